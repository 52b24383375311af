"""The Q-network: encoder, layers that remember, dueling head."""

import tensorflow as tf
from tf_agents.networks import network
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts
from tf_agents.utils import nest_utils

from tfmem._keras import keras
from tfmem.layers.scan_ntm import State
from tfmem.networks.config import NetworkConfig
from tfmem.networks.encoder import ObservationEncoder
from tfmem.networks.stateful import stateful_layers


class MemoryQNetwork(network.Network):
    """Q-values from an observation and a memory, as a TF-Agents network.

    The encoder's output runs through soft attention over the recent past and a core that remembers, both
    optional (`NetworkConfig`), into a dueling head [Wang et al., 2016]

        Q(s, a) = V(s) + A(s, a) − mean_a' A(s, a').

    The network owns the time axis. Observations `[B, ...]` take one step, observations `[B, T, ...]` unroll
    T steps and return Q-values `[B, T, actions]`. Wherever `step_type` is FIRST, every layer that remembers
    starts from its own initial state, whatever state came in: policies may pass zeros there.

    `copy()` builds new layers from the same configuration and shares no variable.

    Example:
      >>> net = MemoryQNetwork(observation_spec, action_spec, NetworkConfig())
      >>> q_values, state = net(observation, step_type=step_type, network_state=state)

    Args:
      input_tensor_spec: nest of specs of the observation.
      action_spec: a scalar bounded integer spec with minimum 0.
      config: what the network is made of; `NetworkConfig()` by default.
      name: the network's name.

    Raises:
      InvalidInput: when a part of the observation cannot be encoded.
    """

    def __init__(
        self,
        input_tensor_spec,
        action_spec: tensor_spec.BoundedTensorSpec,
        config: NetworkConfig | None = None,
        name: str = "MemoryQNetwork",
    ):
        config = config or NetworkConfig()
        encoder = ObservationEncoder(input_tensor_spec, config.embedding)
        layers = stateful_layers(config)
        shapes = {key: shape for layer in layers for key, shape in layer.state_shapes.items()}
        super().__init__(
            input_tensor_spec=input_tensor_spec,
            state_spec={key: tf.TensorSpec(shape, tf.float32, key) for key, shape in shapes.items()} or (),
            name=name,
        )
        actions = int(action_spec.maximum) + 1
        self._network_output_spec = tf.TensorSpec([actions], tf.float32)
        self._encoder = encoder
        self._stateful = layers
        self._hidden = keras.layers.Dense(config.hidden, activation="relu", name="hidden")
        self._value = keras.layers.Dense(1, name="value")
        self._advantage = keras.layers.Dense(actions, name="advantage")

    def create_variables(self, input_tensor_spec=None, **kwargs):
        """Creates the variables, and returns the spec of the Q-values of one observation.

        Upstream draws random observations from the spec for this, which fails for bytes and for bounds
        that differ by component; zeros do as well.
        """
        if not self.built:
            zeros = tf.nest.map_structure(
                lambda spec: tf.zeros([1, *spec.shape], spec.dtype),
                self.input_tensor_spec,
            )
            self(zeros, step_type=tf.fill([1], ts.StepType.FIRST), **kwargs)
        return self._network_output_spec

    def initial_state(self, batch_size: int | tf.Tensor) -> State:
        """The state at an episode's start, a dict of `[batch_size, ...]`; empty without memory."""
        return {
            key: part for layer in self._stateful for key, part in layer.get_initial_state(batch_size).items()
        }

    def call(self, observation, step_type=None, network_state=(), training=False):
        del training
        outer_rank = nest_utils.get_outer_rank(observation, self.input_tensor_spec)
        if outer_rank not in (1, 2):
            raise ValueError(
                f"observations must have the axes [B] or [B, T] before their own; got {outer_rank} axes"
            )
        x = self._encode(observation, outer_rank)
        outer = tf.shape(x)[:-1]
        reset = tf.zeros(outer, tf.bool) if step_type is None else tf.equal(step_type, ts.StepType.FIRST)
        state: State = {}
        for layer in self._stateful:
            if not layer.built:
                layer.build(x.shape)
            own = {key: network_state[key] for key in layer.state_shapes} if network_state else None
            x, own = self._remember(layer, x, own, reset)
            state |= own
        x = self._hidden(x)
        advantage = self._advantage(x)
        q_values = self._value(x) + advantage - tf.reduce_mean(advantage, axis=-1, keepdims=True)
        return q_values, state or ()

    def _encode(self, observation, outer_rank: int) -> tf.Tensor:
        """Observations with the axes `[B]` or `[B, T]` to `[B, embedding]` or `[B, T, embedding]`."""
        if outer_rank == 1:
            return self._encoder(observation)
        outer = tf.shape(tf.nest.flatten(observation)[0])[:2]
        static = tf.nest.flatten(observation)[0].shape[:2]
        flat = tf.nest.map_structure(
            lambda z: tf.reshape(z, tf.concat([[-1], tf.shape(z)[2:]], axis=0)), observation
        )
        x = self._encoder(flat)
        x = tf.reshape(x, tf.concat([outer, tf.shape(x)[1:]], axis=0))
        return tf.ensure_shape(x, [*static, x.shape[-1]])

    def _remember(self, layer, x: tf.Tensor, state: State | None, reset: tf.Tensor):
        """Runs one layer that remembers over `x [B, F]` or `[B, T, F]`; `(y, its next state)`."""
        initial = layer.get_initial_state(tf.shape(x)[0])
        state = initial if state is None else state
        if x.shape.rank == 3:
            return layer(x, initial_state=state, reset_mask=reset)
        fresh = {key: select(reset, initial[key], part) for key, part in state.items()}
        return layer.step(x, fresh)


def select(condition: tf.Tensor, chosen: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """`chosen` where `condition [B]` holds, else `other`, both `[B, ...]`."""
    shape = tf.concat([tf.shape(condition), tf.ones([chosen.shape.rank - 1], tf.int32)], axis=0)
    return tf.where(tf.reshape(condition, shape), chosen, other)
