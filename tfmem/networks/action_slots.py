"""What is known of an action: a slot for what it found, its own part of the observation, its neighbours."""

import math
from collections.abc import Sequence

import tensorflow as tf

from tfmem._keras import keras
from tfmem.networks.encoder import distinct_bounds, leaf_encoder
from tfmem.networks.stateful import Stateful
from tfmem.ops import unroll

# Width of the hidden layer, and of the keys and queries, that score an action.
SCORING_UNITS = 32
# Width of what is told of an action's neighbourhood.
NEIGHBOURHOOD_UNITS = 16


class ActionSlots(Stateful):
    """A slot of D numbers for each of A actions, D - 1 of them for what it found; taking it overwrites them.

    Where observations say what an action found, as a shot in Battleship or a card turned over, the state of
    such a game is a table over its actions. With x_t what is seen at t, and a_{t-1} the action before it,

        M_t[a_{t-1}] = [V x_t + b, 1]        M_t[a] = M_{t-1}[a] for all other actions,

    and M is zero at an episode's start, so that the last number of a slot says whether the action has been
    taken in this episode.

    Args:
      actions: A.
      width: D, at least 2.

    Call arguments:
      x: `[B, T, F + A]`: F numbers of what is seen, and the one-hot code of the previous action, zeros where
        there was none, as on an episode's first frame.
      initial_state: `action_slots [B, A, D]`.
      reset_mask: `[B, T]` bool, where episodes start.

    Returns:
      `(M [B, T, A, D], final state)`.
    """

    def __init__(self, actions: int, width: int):
        super().__init__(name="action_slots")
        self._actions = actions
        self._value = keras.layers.Dense(width - 1, name="value")
        self.state_shapes = {"action_slots": (actions, width)}

    def build(self, input_shape):
        self._value.build([None, input_shape[-1] - self._actions])
        super().build(input_shape)

    def call(self, x, initial_state, reset_mask, training=False):
        del training

        def step(inputs, memory, _):
            value, action, first = inputs
            memory = _overwrite(tf.where(first[:, tf.newaxis, tf.newaxis], 0.0, memory), value, action)
            return memory, memory

        memories, memory = unroll(step, (*self._found(x), reset_mask), initial_state["action_slots"])
        return memories, {"action_slots": memory}

    def step(self, x, state):
        """One step without a reset: `x [B, F + A]` and a state to `(M [B, A, D], next state)`."""
        memory = _overwrite(state["action_slots"], *self._found(x))
        return memory, {"action_slots": memory}

    def _found(self, x) -> tuple[tf.Tensor, tf.Tensor]:
        """What to write, `[..., D]`, and the code of the action whose slot it is, `[..., A]`."""
        seen, action = tf.split(x, [x.shape[-1] - self._actions, self._actions], axis=-1)
        value = self._value(seen)
        return tf.concat([value, tf.ones_like(value[..., :1])], axis=-1), action


def _overwrite(memory, value, action):
    return tf.where(action[:, :, tf.newaxis] > 0, value[:, tf.newaxis], memory)


class OwnParts(keras.layers.Layer):
    """What an observation says of each action by itself, `[B, A, P]`.

    Such are the parts that are vectors of A numbers with the same bounds, one for each action: cards on a
    table one of which is turned over, or a board's cells in a row. P is 0 where there is none.

    Args:
      spec: nest of specs of the observation.
      actions: A.

    Call arguments:
      observation: nest of `[B, ...]`.
    """

    def __init__(self, spec, actions: int):
        super().__init__(name="own_parts")
        self._actions = actions
        leaves = dict(enumerate(tf.nest.flatten(spec)))
        self._places = tuple(
            i
            for i, leaf in leaves.items()
            if leaf.shape.as_list() == [actions] and len(distinct_bounds(leaf)) == 1
        )
        self._encoders = [leaf_encoder(f"part {i}", leaves[i]) for i in self._places]

    def call(self, observation):
        parts = tf.nest.flatten(observation)
        encoded = [encode(parts[i]) for i, encode in zip(self._places, self._encoders, strict=True)]
        if not encoded:
            return tf.zeros([tf.shape(parts[0])[0], self._actions, 0])
        own = [tf.reshape(part, [-1, self._actions, part.shape[-1] // self._actions]) for part in encoded]
        return tf.concat(own, axis=-1)


class Neighbourhoods(keras.layers.Layer):
    """What is known around every action, where actions are the cells of a grid, as a board's are.

    A convolution of width three along one axis after the other. With k_{i,j} what is known of the action at
    (i, j) and a 1, by which edges are seen, and zeros beyond the edge,

        u_{i,j} = relu(W [k_{i-1,j}, k_{i,j}, k_{i+1,j}] + b)
        v_{i,j} = relu(W' [u_{i,j-1}, u_{i,j}, u_{i,j+1}] + b'),

    so that v tells of an action and the eight around it, and what is learned of one neighbourhood holds for
    all of them.

    Args:
      grid: cells along each axis; actions are numbered in C order, and A is their product.

    Call arguments:
      known: k, `[..., A, K]`.

    Returns:
      `[..., A, N]` with N = `NEIGHBOURHOOD_UNITS`.
    """

    def __init__(self, grid: Sequence[int]):
        super().__init__(name="neighbourhoods")
        self._grid = tuple(grid)
        self._axes = [
            keras.layers.Dense(NEIGHBOURHOOD_UNITS, activation="relu", name=f"axis_{i}")
            for i in range(len(grid))
        ]

    def call(self, known):
        x = tf.concat([known, tf.ones_like(known[..., :1])], axis=-1)
        for i, (cells, mix) in enumerate(zip(self._grid, self._axes, strict=True)):
            along = tf.reshape(x, [-1, cells, math.prod(self._grid[i + 1 :]), x.shape[-1]])
            padded = tf.pad(along, [[0, 0], [1, 1], [0, 0], [0, 0]])
            x = mix(tf.concat([padded[:, :-2], along, padded[:, 2:]], axis=-1))
        x = tf.reshape(x, tf.concat([tf.shape(known)[:-1], [NEIGHBOURHOOD_UNITS]], axis=0))
        return tf.ensure_shape(x, [*known.shape[:-1], NEIGHBOURHOOD_UNITS])


class ActionScores(keras.layers.Layer):
    """A score for every action by what is known of it: what is learned of one holds for all others at once.

    With k_a what is known of action a, h what matters besides, and J units,

        score_a = w·relu(W k_a + U h + b) + (K k_a)·(Q h + c) / √J,

    a small network, and how well a key made of k_a answers a query made of h, scaled as attention's dot
    products [Vaswani et al., 2017]: whether the card that an action would turn over is like the one that
    lies open takes a product, which sums inside a relu make hard to learn.

    Call arguments:
      known: k, `[..., A, K]`.
      hidden: h, `[..., H]`, the same for all actions.

    Returns:
      `[..., A]`.
    """

    def __init__(self):
        super().__init__(name="action_scores")
        self._known = keras.layers.Dense(SCORING_UNITS, name="known")
        self._context = keras.layers.Dense(SCORING_UNITS, use_bias=False, name="context")
        self._score = keras.layers.Dense(1, use_bias=False, name="score")
        self._key = keras.layers.Dense(SCORING_UNITS, use_bias=False, name="key")
        self._query = keras.layers.Dense(SCORING_UNITS, name="query")

    def call(self, known, hidden):
        context = self._context(hidden)[..., tf.newaxis, :]
        score = self._score(tf.nn.relu(self._known(known) + context))[..., 0]
        return score + tf.linalg.matvec(self._key(known), self._query(hidden)) / SCORING_UNITS**0.5
