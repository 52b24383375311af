"""The Neural Turing Machine's addressing [Graves et al., 2014]: look up, keep or go there, shift, sharpen.

One head's new weights come from its old ones in four steps, `content_weights`, `interpolate`, `shift` and
`sharpen` (eq. 5 to 9). Leading axes are free; H is the axis of heads.
"""

import tensorflow as tf

# Vectors shorter than this have no direction: similar to nothing, and the gradient of that is finite.
SHORTEST = 1e-6
# Weights below this count as this when sharpened.
LEAST_WEIGHT = 1e-20


def content_weights(memory: tf.Tensor, key: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Weights by similarity, `softmax_i(β cos(k, M_i))` (eq. 5 and 6).

    Args:
      memory: `[..., N, D]`, float32 or float64.
      key: `[..., H, D]`.
      strength: `[..., H]`, β ≥ 0.

    Returns:
      `[..., H, N]`.
    """
    unit_memory = tf.math.l2_normalize(memory, axis=-1, epsilon=SHORTEST**2)
    unit_key = tf.math.l2_normalize(key, axis=-1, epsilon=SHORTEST**2)
    similarity = tf.matmul(unit_key, unit_memory, transpose_b=True)
    return tf.nn.softmax(strength[..., tf.newaxis] * similarity)


def interpolate(content: tf.Tensor, previous: tf.Tensor, gate: tf.Tensor) -> tf.Tensor:
    """Go to what was looked up, or keep the old weights: `g w^c + (1 − g) w_{t-1}` (eq. 7).

    Args:
      content: `[..., H, N]`.
      previous: `[..., H, N]`.
      gate: `[..., H]` in [0, 1].

    Returns:
      `[..., H, N]`.
    """
    gate = gate[..., tf.newaxis]
    return gate * content + (1.0 - gate) * previous


def shift(weights: tf.Tensor, distribution: tf.Tensor) -> tf.Tensor:
    """Moves weights around the ring by a distribution over offsets, a circular convolution (eq. 8).

    Args:
      weights: `[..., H, N]`.
      distribution: `[..., H, 2R + 1]`, over the offsets −R … R.

    Returns:
      `[..., H, N]`.
    """
    offsets = distribution.shape[-1]
    moved = [tf.roll(weights, i - offsets // 2, axis=-1) for i in range(offsets)]
    return tf.add_n([distribution[..., i : i + 1] * w for i, w in enumerate(moved)])


def sharpen(weights: tf.Tensor, exponent: tf.Tensor) -> tf.Tensor:
    """`w_i^γ / Σ_j w_j^γ` (eq. 9), computed as a softmax of `γ log w`, which neither over- nor underflows.

    Args:
      weights: `[..., H, N]`, at least 0.
      exponent: `[..., H]`, γ ≥ 1.

    Returns:
      `[..., H, N]`.
    """
    log_weights = tf.math.log(tf.maximum(weights, LEAST_WEIGHT))
    return tf.nn.softmax(exponent[..., tf.newaxis] * log_weights)
