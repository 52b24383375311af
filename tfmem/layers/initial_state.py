"""Zeros, where a cell's first state is not zero."""

import tensorflow as tf


def begun(states: list[tf.Tensor], initial: list[tf.Tensor], weights: tf.Tensor) -> list[tf.Tensor]:
    """`states`, but the initial ones for those of the batch that have not taken a step.

    TF-Agents' networks, and Keras after `reset_states`, begin with zeros whatever `get_initial_state` says.
    After a step the weights of heads or of attention are never all zero, so zeros there tell.

    Args:
      states: tensors `[B, ...]`.
      initial: for one of the batch, `[1, ...]` each: XLA compiles no gradient of a tile by a batch size in a
        loop.
      weights: `[B, ...]`, one of the states.
    """
    zero = tf.reduce_all(tf.equal(weights, 0), axis=list(range(1, weights.shape.rank)))

    def begin(state, first):
        here = tf.reshape(zero, [-1, *[1] * (state.shape.rank - 1)])
        return tf.where(here, tf.cast(first, state.dtype), state)

    return [begin(*pair) for pair in zip(states, initial, strict=True)]
