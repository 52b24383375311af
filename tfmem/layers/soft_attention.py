"""Soft attention over a sequence."""

from typing import Literal

import tensorflow as tf

from tfmem import ops
from tfmem._keras import keras


@keras.saving.register_keras_serializable("tfmem")
class SoftAttention(keras.layers.Layer):
    """Soft attention: a weighted mean of the inputs, with weights that sum to 1.

    With `score="additive"` [Bahdanau et al., 2015], `e_i = vᵀ tanh(W h_i + U q)`, and `U q = 0` without a
    query. With `score="dot"` [Vaswani et al., 2017], `e_i = (W h_i) · (U q) / √units`. Then
    `a = softmax(e)` over the entries that the mask allows and `c = Σ_i a_i h_i`.

    Example:
      >>> context, weights = SoftAttention(16)(tf.zeros([2, 5, 8]))
      >>> context.shape, weights.shape
      (TensorShape([2, 8]), TensorShape([2, 5]))

    Args:
      units: width U of the space in which scores are computed.
      score: `"additive"` or `"dot"`; the latter needs a query.

    Call arguments:
      h: `[B, T, D]`.
      query: `[B, Q]`, optional for additive scores.
      mask: `[B, T]` bool, True where an entry may be attended to; a Keras mask is used where there is one.

    Returns:
      `(context [B, D], weights [B, T])`; both are zero in a row whose mask is all False.

    Raises:
      ValueError: on an unknown `score`, or when `score="dot"` is called without a query.
    """

    def __init__(self, units: int, score: Literal["additive", "dot"] = "additive", **kwargs):
        super().__init__(**kwargs)
        if score not in ("additive", "dot"):
            raise ValueError(f"score must be 'additive' or 'dot', not {score!r}")
        self.units = units
        self.score = score
        self._key = keras.layers.Dense(units, use_bias=False, name="key", dtype=self._dtype_policy)
        self._query = keras.layers.Dense(units, use_bias=False, name="query", dtype=self._dtype_policy)

    def build(self, input_shape):
        with tf.name_scope("key"):
            self._key.build(input_shape)
        if self.score == "additive":
            self._vector = self.add_weight(name="vector", shape=[self.units])
        super().build(input_shape)

    def call(self, h, query=None, mask=None):
        keys = self._key(h)
        projected = None if query is None else self._query(query)
        if self.score == "additive":
            scores = ops.additive_scores(keys, tf.cast(self._vector, keys.dtype), projected)
        elif projected is None:
            raise ValueError("SoftAttention with score='dot' needs a query: call it with query=…")
        else:
            scores = ops.dot_product_scores(keys, projected)
        weights = ops.masked_softmax(scores, mask)
        return ops.attend(weights, h), weights

    def compute_mask(self, inputs, mask=None):
        return None  # the time axis is gone

    def get_config(self):
        return {**super().get_config(), "units": self.units, "score": self.score}
