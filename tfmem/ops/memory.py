"""Reading and writing a memory matrix of N slots of D numbers."""

import functools

import tensorflow as tf


def erase_and_add(weights: tf.Tensor, erase: tf.Tensor, add: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The decay and the update of one write: `M_t = A_t ⊙ M_{t-1} + U_t`.

    `A_t = Π_j (1 − w_tj ⊗ e_tj)` and `U_t = Σ_j w_tj ⊗ v_tj` over the write heads j: all heads erase,
    then all add [Graves et al., "Neural Turing Machines", 2014, eq. 3 and 4].

    Args:
      weights: `[..., W, N]`, where each of W heads writes; each row sums to at most 1.
      erase: `[..., W, D]` in [0, 1], or `[..., W, 1]`, one strength for a whole slot.
      add: `[..., W, D]`.

    Returns:
      `(decay, update)`: `[..., N, D]` or `[..., N, 1]` as `erase` is, and `[..., N, D]`.
    """
    keep = 1.0 - weights[..., tf.newaxis] * erase[..., tf.newaxis, :]
    # A product of few factors: reduce_prod's gradient would take two cumulative products over them.
    decay = functools.reduce(tf.multiply, tf.unstack(keep, axis=-3))
    return decay, tf.matmul(weights, add, transpose_a=True)


def write(memory: tf.Tensor, weights: tf.Tensor, erase: tf.Tensor, add: tf.Tensor) -> tf.Tensor:
    """One write, `M_t = A_t ⊙ M_{t-1} + U_t` with `erase_and_add`'s `A_t` and `U_t`.

    Args:
      memory: `[..., N, D]`.
      weights: `[..., W, N]`.
      erase: `[..., W, D]` or `[..., W, 1]`.
      add: `[..., W, D]`.

    Returns:
      `[..., N, D]`.
    """
    decay, update = erase_and_add(weights, erase, add)
    return decay * memory + update


def read(memory: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Reads `r_j = Σ_i w_ji M_i` [Graves et al., 2014, eq. 2].

    Args:
      memory: `[..., N, D]`.
      weights: `[..., R, N]`, where each of R heads reads.

    Returns:
      `[..., R, D]`.
    """
    return tf.matmul(weights, memory)
