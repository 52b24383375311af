"""Attention over the regions of an image."""

import tensorflow as tf

from tfmem._keras import keras
from tfmem.networks.attention_layer import attention_layer
from tfmem.networks.config import Attention


class RegionAttention(keras.layers.Layer):
    """Attends to the regions of an image, soft or hard, in place of flattening its features.

    The features `v_i` of region i, one of the `h·w` positions that convolutions leave, get a learned embedding
    `p_i` of their place, and a query `q` asks for what of the image goes on:

        h_i = v_i + p_i,    q = mean_i h_i,    c_j = Σ_i a_ji h_i,    j = 1 … k

    Soft attention has k heads, each with weights `a_j` of its own (`tfmem.layers.SoftAttention`); hard
    attention selects k different regions (`tfmem.layers.HardAttention`). Nothing else of the image goes on.

    DARQN [Sorokin et al., 2015] has one head, and its query is the LSTM's previous output. That puts
    attention inside the recurrence, one time after the other. Here the image itself asks, so that all times
    of a window are attended to at once, whatever core follows; where to look does not depend on what is
    remembered, and k heads make up for part of that.

    After a call `attention` is where it looked, `[B, h, w]`, the mean over the k heads or selections, with
    sum 1; and after a call in training `selection_log_prob` is `log p` of what `reinforce` has drawn, `[B]`,
    otherwise None.

    Args:
      attention: `"soft"`, or an estimator of `tfmem.layers.HardAttention`.
      heads: k; where there are fewer regions, as many as there are.
      entropy: λ of the attention's entropy in the layer's losses.

    Call arguments:
      features: `[B, h, w, C]`.
      training: whether hard attention draws, or selects the most probable regions.

    Returns:
      `[B, k·C]`, the contexts, joined.
    """

    def __init__(self, attention: Attention, *, heads: int = 1, entropy: float = 0.0):
        super().__init__(name="region_attention")
        self._kind = attention
        self._heads = heads
        self._entropy = entropy
        self.attention: tf.Tensor | None = None
        self.selection_log_prob: tf.Tensor | None = None

    def build(self, input_shape):
        _, height, width, channels = input_shape
        self._grid = height, width
        self._place = self.add_weight(
            name="place", shape=[height * width, channels], initializer="random_normal"
        )
        self._attention = attention_layer(
            channels, self._kind, entropy=self._entropy, count=min(self._heads, height * width)
        )
        super().build(input_shape)

    def call(self, features, training=False):
        regions = tf.reshape(features, [-1, *self._place.shape]) + self._place  # [B, h·w, C]
        inputs = {"h": regions, "query": tf.reduce_mean(regions, axis=1)}
        context, weights = self._attention(**inputs, training=training)
        self.selection_log_prob = None
        if self._kind == "reinforce" and training:
            self.selection_log_prob = self._attention.log_prob(weights, **inputs)
        shares = weights if weights.shape.rank == 2 else tf.reduce_mean(weights, axis=1)
        self.attention = tf.reshape(shares, [-1, *self._grid])
        return context
