"""Soft attention over a sequence."""

from typing import Literal

import tensorflow as tf

from tfmem import ops
from tfmem._keras import keras

Score = Literal["additive", "dot"]


@keras.saving.register_keras_serializable("tfmem")
class SoftAttention(keras.layers.Layer):
    """Soft attention: a weighted mean of the inputs, with weights that sum to 1.

    With `score="additive"` [Bahdanau et al., 2015], `e_i = vᵀ tanh(W h_i + U q)`, and `U q = 0` without a
    query. With `score="dot"` [Vaswani et al., 2017], `e_i = (W h_i) · (U q) / √units`. Then
    `a = softmax(e)` over the entries that the masks allow and `c = Σ_i a_i h_i`.

    Several heads have scores of their own over the same inputs; their contexts are joined.

    `entropy_weight` adds `λ · mean_B Σ H(a)` to the layer's losses, summed over heads and queries: positive
    sharpens the weights, negative spreads them.

    A Keras mask of the inputs is used up: outputs carry none, also where each belongs to one of S queries.

    Example:
      >>> context, weights = SoftAttention(16)(tf.zeros([2, 5, 8]))
      >>> context.shape, weights.shape
      (TensorShape([2, 8]), TensorShape([2, 5]))

    Args:
      units: width U of the space in which each head computes its scores.
      score: `"additive"` or `"dot"`; the latter needs a query.
      heads: H.
      causal: query s attends to the inputs 0 … s alone; needs a query for every input.
      entropy_weight: λ; 0 adds no loss.

    Call arguments:
      h: `[B, T, D]`.
      query: `[B, Q]`, or `[B, S, Q]` for S queries; optional for additive scores.
      mask: `[B, T]` bool, True where an entry may be attended to; a Keras mask is used where there is one.

    Returns:
      `(context, weights)`: `[B, H·D]` and `[B, T]` with one head, `[B, H, T]` with more; with S queries an
      axis S follows B in both. They are zero where the masks leave nothing to attend to.

    Raises:
      ValueError: on an unknown `score`, without a query that is needed, or for causal attention without a
        query for every input.
    """

    def __init__(
        self,
        units: int,
        score: Score = "additive",
        heads: int = 1,
        causal: bool = False,
        entropy_weight: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if score not in ("additive", "dot"):
            raise ValueError(f"score must be 'additive' or 'dot', not {score!r}")
        if heads < 1:
            raise ValueError(f"heads must be at least 1, not {heads}")
        self.units = units
        self.score = score
        self.heads = heads
        self.causal = causal
        self.entropy_weight = entropy_weight
        self._key = self._projection("key")
        self._query = self._projection("query")

    def _projection(self, name: str) -> keras.layers.Dense:
        return keras.layers.Dense(
            self.heads * self.units, use_bias=False, name=name, dtype=self._dtype_policy
        )

    def build(self, input_shape):
        with tf.name_scope("key"):
            self._key.build(input_shape)
        if self.score == "additive":
            self._vector = self.add_weight(name="vector", shape=[self.heads, self.units])
        super().build(input_shape)

    def call(self, h, query=None, mask=None):
        many = query is not None and query.shape.rank == 3
        if self.causal and not many:
            raise ValueError("causal SoftAttention needs a query for every input: [B, T, Q]")
        keys = self._by_head(self._key(h))[:, tf.newaxis]  # [B, 1, H, T, U]
        if query is None:
            projected = None
        else:
            queries = self._query(query if many else query[:, tf.newaxis])
            # [B, S, H, U]
            projected = tf.transpose(self._by_head(queries), [0, 2, 1, 3])
        if self.score == "additive":
            vector = tf.cast(self._vector, keys.dtype)[:, tf.newaxis]  # [H, 1, U]
            scores = ops.additive_scores(keys, vector, projected)
        elif projected is None:
            raise ValueError("SoftAttention with score='dot' needs a query: call it with query=…")
        else:
            scores = ops.dot_product_scores(keys, projected)
        weights = ops.masked_softmax(scores, self._allowed(mask, scores))  # [B, S, H, T]
        if self.entropy_weight:
            wide = tf.cast(weights, self.variable_dtype)
            entropy = -tf.reduce_sum(tf.math.xlogy(wide, wide), axis=[1, 2, 3])
            self.add_loss(self.entropy_weight * tf.reduce_mean(entropy))
        weights = tf.cast(weights, h.dtype)
        context = tf.matmul(weights, h[:, tf.newaxis])  # [B, S, H, D]
        shape = tf.shape(context)
        context = tf.reshape(context, tf.concat([shape[:2], [self.heads * h.shape[-1]]], axis=0))
        if self.heads == 1:
            weights = weights[:, :, 0]
        return (context, weights) if many else (context[:, 0], weights[:, 0])

    def _by_head(self, x):
        """`[B, T, H·U]` to `[B, H, T, U]`."""
        shape = tf.concat([tf.shape(x)[:2], [self.heads, self.units]], axis=0)
        return tf.transpose(tf.reshape(x, shape), [0, 2, 1, 3])

    def _allowed(self, mask, scores):
        """The padding and causal masks together, to be broadcast over `scores [B, S, H, T]`, or None."""
        allowed = None if mask is None else mask[:, tf.newaxis, tf.newaxis]
        if self.causal:
            shape = tf.shape(scores)
            past = tf.linalg.band_part(tf.ones([shape[1], shape[3]], tf.bool), -1, 0)[:, tf.newaxis]
            allowed = past if allowed is None else allowed & past
        return None if allowed is None else tf.broadcast_to(allowed, tf.shape(scores))

    def compute_mask(self, inputs, mask=None):
        return None

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "score": self.score,
            "heads": self.heads,
            "causal": self.causal,
            "entropy_weight": self.entropy_weight,
        }
