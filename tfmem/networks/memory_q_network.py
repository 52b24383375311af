"""The Q-network: encoder, layers that remember, dueling head."""

import tensorflow as tf
from tf_agents.networks import network
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts
from tf_agents.utils import nest_utils

from tfmem._keras import keras
from tfmem.networks.config import NetworkConfig
from tfmem.networks.encoder import ObservationEncoder
from tfmem.networks.stateful import State, stateful_layers


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
        self._encoder = encoder
        self._stateful = layers
        self._hidden = keras.layers.Dense(config.hidden, activation="relu", name="hidden")
        self._value = keras.layers.Dense(1, name="value")
        self._advantage = keras.layers.Dense(int(action_spec.maximum) + 1, name="advantage")

    def initial_state(self, batch_size: int | tf.Tensor) -> State:
        """The state at an episode's start, a dict of `[batch_size, ...]`; empty without memory."""
        return {
            key: part for layer in self._stateful for key, part in layer.get_initial_state(batch_size).items()
        }

    def call(self, observation, step_type=None, network_state=(), training=False):
        del training
        if self.input_tensor_spec is None:
            raise ValueError("MemoryQNetwork needs the observation spec")
        outer_rank = nest_utils.get_outer_rank(observation, self.input_tensor_spec)
        if outer_rank not in (1, 2):
            raise ValueError(
                f"observations must have the axes [B] or [B, T] before their own; got {outer_rank} axes"
            )
        outer = tf.shape(tf.nest.flatten(observation)[0])[:outer_rank]
        flat = observation
        if outer_rank == 2:
            flat = tf.nest.map_structure(
                lambda z: tf.reshape(z, tf.concat([[-1], tf.shape(z)[2:]], axis=0)), observation
            )
        x = self._encoder(flat)
        if outer_rank == 2:
            static = tf.nest.flatten(observation)[0].shape[:2]
            x = tf.ensure_shape(
                tf.reshape(x, tf.concat([outer, tf.shape(x)[1:]], axis=0)), [*static, x.shape[-1]]
            )
        reset = tf.zeros(outer, tf.bool) if step_type is None else tf.equal(step_type, ts.StepType.FIRST)
        if isinstance(network_state, dict) and network_state:
            state = dict(network_state)
        else:
            state = self.initial_state(outer[0])
        for layer in self._stateful:
            x, state = self._remember(layer, x, state, reset, outer_rank)
        x = self._hidden(x)
        advantage = self._advantage(x)
        q_values = self._value(x) + advantage - tf.reduce_mean(advantage, axis=-1, keepdims=True)
        return q_values, state if self._stateful else ()

    def _remember(self, layer, x, state: State, reset, outer_rank: int):
        if not layer.built:
            layer.build(x.shape)
        own = {key: state[key] for key in layer.state_shapes}
        if outer_rank == 2:
            x, own = layer(x, initial_state=own, reset_mask=reset)
        else:
            initial = layer.get_initial_state(tf.shape(x)[0])
            own = {key: select(reset, initial[key], part) for key, part in own.items()}
            x, own = layer.step(x, own)
        return x, {**state, **own}


def select(condition: tf.Tensor, chosen: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """`chosen` where `condition [B]` holds, else `other`, both `[B, ...]`."""
    shape = tf.concat([tf.shape(condition), tf.ones([chosen.shape.rank - 1], tf.int32)], axis=0)
    return tf.where(tf.reshape(condition, shape), chosen, other)
