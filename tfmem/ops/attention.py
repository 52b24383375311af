"""Soft attention: scores, masked normalisation, context."""

import tensorflow as tf


def additive_scores(keys: tf.Tensor, vector: tf.Tensor, query: tf.Tensor | None = None) -> tf.Tensor:
    """Additive scores `e_i = vᵀ tanh(k_i + q)` [Bahdanau et al., 2015], `q = 0` without a query.

    Args:
      keys: `[..., T, U]`, projected inputs `W h_i`.
      vector: `[U]`, v; or with axes that broadcast, such as one for heads.
      query: `[..., U]`, a projected query.

    Returns:
      `[..., T]`.
    """
    if query is not None:
        keys = keys + query[..., tf.newaxis, :]
    return tf.reduce_sum(tf.tanh(keys) * vector, axis=-1)


def dot_product_scores(keys: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
    """Scaled dot-product scores `e_i = k_i · q / √U` [Vaswani et al., 2017].

    Args:
      keys: `[..., T, U]`.
      query: `[..., U]`.

    Returns:
      `[..., T]`, in at least 32 bits: such products outgrow float16.
    """
    if keys.dtype.size < 4:
        keys, query = tf.cast(keys, tf.float32), tf.cast(query, tf.float32)
    scale = tf.math.rsqrt(tf.cast(tf.shape(keys)[-1], keys.dtype))
    return tf.linalg.matvec(keys, query) * scale


def masked_softmax(scores: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
    """Softmax over the last axis among the entries where `mask` holds; zeros where none does.

    Args:
      scores: `[..., T]`.
      mask: `[..., T]` bool, True where an entry may be attended to.

    Returns:
      `[..., T]`; a row sums to 1, or to 0 where its mask is all False.
    """
    if mask is None:
        return tf.nn.softmax(scores)
    # The smallest finite number, not -inf: a row without entries must not become NaN.
    weights = tf.nn.softmax(tf.where(mask, scores, scores.dtype.min))
    return tf.where(mask, weights, tf.zeros_like(weights))


def attend(weights: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """The context `c = Σ_i a_i h_i`.

    Args:
      weights: `[..., T]`.
      values: `[..., T, D]`.

    Returns:
      `[..., D]`.
    """
    return tf.linalg.matvec(values, weights, transpose_a=True)
