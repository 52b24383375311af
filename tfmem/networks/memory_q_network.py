"""The Q-network: encoder, layers that remember, dueling head."""

import itertools
import math

import tensorflow as tf
from tf_agents.networks import network
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts
from tf_agents.utils import nest_utils

from tfmem._keras import keras
from tfmem.errors import InvalidInput, require
from tfmem.layers import ScanNTM
from tfmem.layers.scan_ntm import State
from tfmem.layers.scan_ntm_controls import Controls
from tfmem.networks.action_slots import ActionScores, ActionSlots, Neighbourhoods, OwnParts
from tfmem.networks.config import NetworkConfig
from tfmem.networks.encoder import ObservationEncoder
from tfmem.networks.region_attention import RegionAttention
from tfmem.networks.stateful import RecentAttention, stateful_layers
from tfmem.networks.tallies import AlikeCodes, Tallies, alike

# The part of an observation that says which actions are allowed, `[actions]`, 0 or 1.
ACTION_MASK = "action_mask"
# The part that says which action was taken before, a scalar: `tfmem.environments.GymnasiumEnvironment`.
PREVIOUS_ACTION = "previous_action"
# The name of where in the image the policy looked.
REGION_ATTENTION = "region_attention"
# The Q-value of an action that is not allowed: below any other, and still a number that JSON can hold.
FORBIDDEN = -1e9


class MemoryQNetwork(network.Network):
    """Q-values from an observation and a memory, as a TF-Agents network.

    The encoder's output, of an image by attention over its regions where asked for, runs through attention
    over the recent past and a core that remembers, all optional (`NetworkConfig`), into a dueling head [Wang
    et al., 2016]

        Q(s, a) = V(s) + A(s, a) − mean_a' A(s, a').

    The network owns the time axis. Observations `[B, ...]` take one step, observations `[B, T, ...]` unroll
    T steps and return Q-values `[B, T, actions]`. Wherever `step_type` is FIRST, every layer that remembers
    starts from its own initial state, whatever state came in: policies may pass zeros there.

    With `config.action_mask` the part `action_mask` of the observation says which actions are allowed. It is
    not encoded; the Q-values of the others are -1e9, so that whoever takes the greatest, in exploration,
    targets, evaluation and in an export, takes one that is allowed. Where it allows nothing, as an
    environment may after an episode's end, nothing is forbidden.

    With `config.action_slots` there is a slot for every action as well (`tfmem.networks.action_slots`), and
    the part `previous_action` of the observation says which one to write. All slots, and the previous
    action's own part of the observation where there is one, join the core's output; each action's own slot
    and part, with `config.action_grid` those of its neighbours as well, add a score to its advantage.

    With `config.tallies`, sums of what each component of the observation has shown, times what others show
    now (`tfmem.networks.tallies`), join the core's output as well.

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
      InvalidInput: when a part of the observation cannot be encoded, there is no action mask or no previous
        action where the configuration needs it, `action_grid` has not as many cells as there are actions, or
        tallies are asked for and no two components have the same categories.
    """

    def __init__(
        self,
        input_tensor_spec,
        action_spec: tensor_spec.BoundedTensorSpec,
        config: NetworkConfig | None = None,
        name: str = "MemoryQNetwork",
    ):
        config = config or NetworkConfig()
        actions = int(action_spec.maximum) + 1
        if config.action_mask:
            _require_action_mask(input_tensor_spec, actions)
        if config.action_slots:
            _require_previous_action(input_tensor_spec, actions)
        if config.action_grid:
            cells = math.prod(config.action_grid)
            require(cells == actions, "the number of cells of action_grid", cells, f"{actions}, the actions")
        regions = _region_attention(config)
        seen = _seen(input_tensor_spec, config.action_mask)
        encoder = ObservationEncoder(seen, config.embedding, regions)
        layers = stateful_layers(config)
        slots = None
        if config.action_slots:
            slots = ActionSlots(actions, config.action_slots)
        tallies = None
        if config.tallies:
            tallies = Tallies(_require_alike(seen), config.tallies)
        remembering = [*layers, *(layer for layer in (slots, tallies) if layer is not None)]
        shapes = {key: shape for layer in remembering for key, shape in layer.state_shapes.items()}
        super().__init__(
            input_tensor_spec=input_tensor_spec,
            state_spec={key: tf.TensorSpec(shape, tf.float32, key) for key, shape in shapes.items()} or (),
            name=name,
        )
        self._masks_actions = config.action_mask
        self._network_output_spec = tf.TensorSpec([actions], tf.float32)
        self._encoder = encoder
        self._selection_log_prob: tf.Tensor | None = None
        self._stateful = layers
        self._action_slots = slots
        self._tallies = tallies
        self._remembering = remembering
        if slots is not None:
            self._own_parts = OwnParts(seen, actions)
            self._neighbourhoods = Neighbourhoods(config.action_grid) if config.action_grid else None
            self._action_scores = ActionScores()
        if tallies is not None:
            self._alike_codes = AlikeCodes(seen)
        self._hidden = [
            keras.layers.Dense(config.hidden, activation="relu", name=f"hidden_{i}" if i else "hidden")
            for i in range(config.hidden_layers)
        ]
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
            key: part
            for layer in self._remembering
            for key, part in layer.get_initial_state(batch_size).items()
        }

    def set_temperature(self, temperature: float | tf.Tensor) -> None:
        """Of the heads of the network's `ScanNTM`; a target network follows as with any weight."""
        if self.memory is not None:
            self.memory.temperature.assign(temperature)

    @property
    def selection_log_prob(self) -> tf.Tensor | None:
        """`log p [B, T]` of all that `reinforce` attention drew in the latest call in training, or None."""
        return self._selection_log_prob

    @property
    def explained(self) -> dict[str, tf.Tensor]:
        """What the latest call can show beside the state: `region_attention [B, h, w]`, where there is one.

        After a call over `[B, T, ...]`, of all `B·T` images.
        """
        return {} if self._encoder.regions is None else {REGION_ATTENTION: self._encoder.regions.attention}

    def controls(self, observation, network_state: State) -> Controls | None:
        """What the `ScanNTM`'s controller says of observations `[B, ...]` that follow states `[B, ...]`.

        None without a `ScanNTM`.
        """
        memory = self.memory
        if memory is None:
            return None
        x = self._encode(self._encoder, _seen(observation, self._masks_actions), outer_rank=1)
        for layer in itertools.takewhile(lambda layer: layer is not memory, self._stateful):
            x, _ = layer.step(x, {key: network_state[key] for key in layer.state_shapes})
        return memory.controls(x)

    @property
    def memory(self) -> ScanNTM | None:
        """The layer that holds the external memory, where there is one."""
        return next((layer for layer in self._stateful if isinstance(layer, ScanNTM)), None)

    def call(self, observation, step_type=None, network_state=(), training=False):
        outer_rank = nest_utils.get_outer_rank(observation, self.input_tensor_spec)
        if outer_rank not in (1, 2):
            raise ValueError(
                f"observations must have the axes [B] or [B, T] before their own; got {outer_rank} axes"
            )
        seen = _seen(observation, self._masks_actions)
        x = self._encode(self._encoder, seen, outer_rank, training=training)
        outer = tf.shape(x)[:-1]
        reset = tf.zeros(outer, tf.bool) if step_type is None else tf.equal(step_type, ts.StepType.FIRST)
        state: State = {}

        def remember(layer, x):
            own = {key: network_state[key] for key in layer.state_shapes} if network_state else None
            x, own = self._remember(layer, x, own, reset, training)
            state.update(own)
            return x

        slots = None
        if self._action_slots is not None:
            own = self._encode(self._own_parts, seen, outer_rank)
            code = tf.one_hot(observation[PREVIOUS_ACTION], own.shape[-2])
            code = tf.where(reset[..., tf.newaxis], 0.0, code)  # a first frame follows no action
            found = tf.linalg.matvec(own, code, transpose_a=True)  # the previous action's own part
            slots = remember(self._action_slots, tf.concat([x, found, code], axis=-1))
        for layer in self._stateful:
            x = remember(layer, x)
        self._selection_log_prob = self._drawn(outer)
        if slots is not None:
            table = tf.reshape(slots, tf.concat([outer, [slots.shape[-2] * slots.shape[-1]]], axis=0))
            x = tf.concat([x, table, found], axis=-1)
        if self._tallies is not None:
            codes = self._encode(self._alike_codes, seen, outer_rank)
            x = tf.concat([x, remember(self._tallies, codes)], axis=-1)
        for hidden in self._hidden:
            x = hidden(x)
        advantage = self._advantage(x)
        if slots is not None:
            known = tf.concat([slots, own], axis=-1)
            if self._neighbourhoods is not None:
                known = tf.concat([known, self._neighbourhoods(known)], axis=-1)
            advantage += self._action_scores(known, x)
        q_values = self._value(x) + advantage - tf.reduce_mean(advantage, axis=-1, keepdims=True)
        if self._masks_actions:
            q_values = tf.where(allowed_actions(observation[ACTION_MASK]), q_values, FORBIDDEN)
        return q_values, state or ()

    def _drawn(self, outer: tf.Tensor) -> tf.Tensor | None:
        """The log probability, with the axes `outer`, of what all layers have just drawn together."""
        layers = [] if self._encoder.regions is None else [self._encoder.regions]
        layers += [layer for layer in self._stateful if isinstance(layer, RecentAttention)]
        drawn = [layer.selection_log_prob for layer in layers if layer.selection_log_prob is not None]
        return tf.add_n([tf.reshape(log_prob, outer) for log_prob in drawn]) if drawn else None

    def _encode(self, encoder, observation, outer_rank: int, **options) -> tf.Tensor:
        """Runs an encoder of observations `[B, ...]` over those with the axes `[B]` or `[B, T]`."""
        if outer_rank == 1:
            return encoder(observation, **options)
        outer = tf.shape(tf.nest.flatten(observation)[0])[:2]
        static = tf.nest.flatten(observation)[0].shape[:2]
        flat = tf.nest.map_structure(
            lambda z: tf.reshape(z, tf.concat([[-1], tf.shape(z)[2:]], axis=0)), observation
        )
        x = encoder(flat, **options)
        inner = x.shape[1:]
        x = tf.reshape(x, tf.concat([outer, tf.shape(x)[1:]], axis=0))
        return tf.ensure_shape(x, [*static, *inner])

    def _remember(self, layer, x: tf.Tensor, state: State | None, reset: tf.Tensor, training: bool):
        """Runs one layer that remembers over `x [B, F]` or `[B, T, F]`; `(y, its next state)`."""
        if not layer.built:
            layer.build(x.shape)
        initial = layer.get_initial_state(tf.shape(x)[0])
        state = initial if state is None else state
        if x.shape.rank == 3:
            return layer(x, initial_state=state, reset_mask=reset, training=training)
        fresh = {key: select(reset, initial[key], part) for key, part in state.items()}
        return layer.step(x, fresh)


def _seen(observation, masks_actions: bool):
    """What of an observation is encoded."""
    if not masks_actions:
        return observation
    return {key: part for key, part in observation.items() if key != ACTION_MASK}


def _region_attention(config: NetworkConfig) -> RegionAttention | None:
    if config.region_attention == "none":
        return None
    return RegionAttention(
        config.region_attention,
        heads=config.region_attention_heads,
        entropy=config.region_attention_entropy,
    )


def _require_action_mask(spec, actions: int) -> None:
    found = spec.get(ACTION_MASK) if isinstance(spec, dict) else None
    shape = None if found is None else tuple(found.shape)
    require(shape == (actions,), f"observation.{ACTION_MASK}'s shape", shape, f"({actions},)")


def _require_alike(seen):
    groups = alike(seen)
    if not groups:
        raise InvalidInput(
            "tallies need two integer components of the observation with the same bounds, as a MultiDiscrete "
            "space has, and there are none: set tallies=0"
        )
    return groups


def _require_previous_action(spec, actions: int) -> None:
    found = spec.get(PREVIOUS_ACTION) if isinstance(spec, dict) else None
    if found is None:
        raise InvalidInput(
            f"action_slots needs the part {PREVIOUS_ACTION} of the observation, and there is none: set "
            "previous_action=true, or action_slots=0"
        )
    fits = (
        isinstance(found, tensor_spec.BoundedTensorSpec)
        and found.dtype.is_integer
        and found.shape.rank == 0
        and (int(found.minimum), int(found.maximum)) == (0, actions - 1)
    )
    if not fits:
        raise InvalidInput(
            f"observation.{PREVIOUS_ACTION} must be an integer from 0 to {actions - 1}, one for each action, "
            f"for action_slots; it is {found}. Set action_slots=0, or rename that part of the observation"
        )


def allowed_actions(mask: tf.Tensor) -> tf.Tensor:
    """The actions that `mask [..., actions]` allows, bool; all of them where it allows none."""
    allowed = tf.cast(mask, tf.bool)
    return allowed | ~tf.reduce_any(allowed, axis=-1, keepdims=True)


def select(condition: tf.Tensor, chosen: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """`chosen` where `condition [B]` holds, else `other`, both `[B, ...]`."""
    shape = tf.concat([tf.shape(condition), tf.ones([chosen.shape.rank - 1], tf.int32)], axis=0)
    return tf.where(tf.reshape(condition, shape), chosen, other)
