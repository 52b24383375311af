"""The greedy policy of a Q-network, with its memory in plain sight."""

from typing import Any

import tensorflow as tf
from tf_agents.trajectories import time_step as ts

from tfmem.agents.losses import unscale
from tfmem.layers.scan_ntm import State
from tfmem.networks import MemoryQNetwork
from tfmem.networks.memory_q_network import FORBIDDEN
from tfmem.serving import wire


class MemoryPolicy(tf.Module):
    """Greedy actions from a `MemoryQNetwork`: a pure function of observation and state.

    What is trained, evaluated in process and exported acts through this one function.

    Args:
      network: the Q-network, with its variables created.
      reward_scale: what rewards were multiplied by in training, 1 by default; the policy's Q-values
        are divided by it, so that they are in the environment's own units.
      value_rescaling: the network has learned `h(Q)`, which the policy undoes (`tfmem.agents.rescale`).
    """

    def __init__(
        self,
        network: MemoryQNetwork,
        reward_scale: tf.Variable | None = None,
        *,
        value_rescaling: bool = False,
    ):
        super().__init__(name="memory_policy")
        self.network = network
        self.reward_scale = tf.Variable(1.0) if reward_scale is None else reward_scale
        self._value_rescaling = value_rescaling
        # Traced once for any batch: an evaluation plays many episodes at a time, a look into one.
        self._step = tf.function(
            self._greedy,
            input_signature=[
                _batched(network.input_tensor_spec),
                tf.TensorSpec([None], tf.bool),
                _batched(dict(network.state_spec)),
            ],
            autograph=False,
        )

    @property
    def actions(self) -> int:
        """The number of actions."""
        return self.network.create_variables().shape[-1]

    @property
    def observation(self) -> dict[str, dict[str, Any]]:
        """dtype and shape of each part of the observation, by its name on the wire."""
        parts = wire.flatten_observation(self.network.input_tensor_spec)
        return {
            name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()} for name, spec in parts.items()
        }

    def over(self, network: MemoryQNetwork) -> "MemoryPolicy":
        """The policy over another network, in the same units."""
        return MemoryPolicy(network, self.reward_scale, value_rescaling=self._value_rescaling)

    def initial_state(self, batch_size: int) -> State:
        """The state at an episode's start, a dict of `[batch_size, ...]`."""
        return self.network.initial_state(batch_size)

    def step(self, observation, is_first: tf.Tensor, state: State) -> tuple[tf.Tensor, tf.Tensor, State]:
        """Acts once.

        Args:
          observation: a nest of `[B, ...]`.
          is_first: `[B]` bool; where it holds, the state that comes in is ignored.
          state: a dict of `[B, ...]`.

        Returns:
          `(action [B] int32, q_values [B, actions], next state)`.
        """
        action, q_values, next_state, _ = self._step(observation, is_first, state)
        return action, q_values, next_state

    def explain(
        self, observation, is_first: tf.Tensor, state: State
    ) -> tuple[tf.Tensor, tf.Tensor, State, dict[str, tf.Tensor]]:
        """As `step`, and what else can be shown of it, by name; the state shows the rest.

        Returns:
          `(action, q_values, next state, explained)`, in the last `region_attention [B, h, w]` where the
          network attends to regions of an image: the share that each of them had.
        """
        return self._step(observation, is_first, state)

    def _greedy(self, observation, is_first, state):
        step_type = tf.where(is_first, ts.StepType.FIRST, ts.StepType.MID)
        q_values, next_state = self.network(observation, step_type=step_type, network_state=state)
        action = tf.argmax(q_values, axis=-1, output_type=tf.int32)
        values = (unscale(q_values) if self._value_rescaling else q_values) / self.reward_scale
        # What a mask forbids stays at its mark, whatever the units.
        values = tf.where(tf.equal(q_values, FORBIDDEN), FORBIDDEN, values)
        return action, values, dict(next_state or {}), self.network.explained


def _batched(specs):
    return tf.nest.map_structure(lambda spec: tf.TensorSpec([None, *spec.shape], spec.dtype), specs)
