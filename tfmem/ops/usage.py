"""How much slots are in use, for writing to the least used [Santoro et al., MANN, 2016]."""

import tensorflow as tf


def track_usage(
    usage: tf.Tensor, read_weights: tf.Tensor, write_weights: tf.Tensor, decay: float
) -> tf.Tensor:
    """Usage after a step, `u_t = γ u_{t-1} + Σ_j w^r_tj + Σ_j w^w_tj` [Santoro et al., 2016, eq. 5].

    Args:
      usage: `[B, N]`.
      read_weights: `[B, R, N]`.
      write_weights: `[B, W, N]`.
      decay: γ in [0, 1).

    Returns:
      `[B, N]`.
    """
    return decay * usage + tf.reduce_sum(read_weights, axis=-2) + tf.reduce_sum(write_weights, axis=-2)


def least_used(usage: tf.Tensor, heads: int) -> tf.Tensor:
    """The least used slot for the first head, the next for the second, and so on.

    Of slots that are used equally the first comes first. No gradient passes.

    Args:
      usage: `[B, N]`.
      heads: H, at most N.

    Returns:
      `[B, H, N]`, one-hot.
    """
    _, slots = tf.math.top_k(-usage, k=heads)
    return tf.one_hot(slots, usage.shape[-1], dtype=usage.dtype)
