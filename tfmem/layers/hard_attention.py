"""Hard attention: select one row instead of mixing all, and three ways to train the selection."""

from typing import Literal

import tensorflow as tf
import tensorflow_probability as tfp

from tfmem import ops
from tfmem._keras import keras

Estimator = Literal["reinforce", "gumbel", "straight_through"]
# The score of what may not be selected: finite, with room for noise and a low temperature.
FORBIDDEN = -1e30
# What a relaxed selection leaves of an input at the least.
LEAST_LEFT = 1e-20
ESTIMATORS = ("reinforce", "gumbel", "straight_through")


@keras.saving.register_keras_serializable("tfmem")
class HardAttention(keras.layers.Layer):
    """Hard attention: a selection `L ∈ {0, 1}^T` of one input, or of k, and what it selects as context.

    With additive scores `e_i = vᵀ tanh(W h_i + U q)` and `p = softmax(e)` over what the mask allows,

        p(L | h) = Π_i p_i^{l_i}        [Xu et al., "Show, Attend and Tell", 2015]
        c = Σ_i l_i h_i

    In training the selection is drawn, and how gradients pass it is the estimator's affair:

    - `reinforce`: one-hot, drawn from p. No gradient passes the selection: add `score_function_loss` of
      `log_prob` to the loss [Williams, 1992].
    - `gumbel`: `softmax((log p + g) / τ)` with Gumbel noise g; it is not one-hot. The gradient is exact for
      this relaxed selection [Jang et al., 2017; Maddison et al., 2017].
    - `straight_through`: one-hot, the maximum of that relaxed selection; its gradient is the relaxed one's,
      which is biased [Bengio et al., 2013].

    Outside of training the selection is the most probable input, one-hot.

    With `selections=k`, k different inputs are selected one after the other, each by p over those that are
    left: the order of the k largest `log p_i + g_i` has that distribution [Plackett-Luce; Kool et al., 2019].
    Relaxed, each selection takes its share from those after it, `log p ← log p + log(1 − a_j)` with a_j the
    relaxed selection j [Xie and Ermon, 2019].

    The temperature τ is a variable that is not trained: assign to `layer.temperature`, or anneal it with
    `TemperatureSchedule`. `entropy_weight` adds `λ · mean_B H(p)` to the layer's losses: positive sharpens
    the distribution, negative keeps it exploring.

    Example:
      >>> context, selection = HardAttention(16)(tf.zeros([2, 5, 8]), training=True)
      >>> context.shape, selection.shape
      (TensorShape([2, 8]), TensorShape([2, 5]))

    Args:
      units: width of the space in which scores are computed.
      estimator: `"gumbel"`, `"straight_through"` or `"reinforce"`.
      temperature: τ at first, above 0.
      entropy_weight: λ; 0 adds no loss.
      selections: k, at least 1.
      seed: makes the drawn selections reproducible; None leaves them to `tf.random.set_seed`.

    Call arguments:
      h: `[B, T, D]`.
      query: `[B, Q]`, optional.
      mask: `[B, T]` bool, True where an entry may be selected; a Keras mask is used where there is one.
      training: draw, or select the most probable.

    Returns:
      `(context [B, D], selection [B, T])`; for k above 1 `(context [B, k·D], selection [B, k, T])`, in the
      order of selection. Both are zero where the mask leaves nothing to select.

    Raises:
      ValueError: on an unknown estimator, a temperature that is not above 0, or fewer than 1 selections.
    """

    def __init__(
        self,
        units: int,
        estimator: Estimator = "gumbel",
        temperature: float = 1.0,
        entropy_weight: float = 0.0,
        selections: int = 1,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if estimator not in ESTIMATORS:
            raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}; not {estimator!r}")
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, not {temperature}")
        if selections < 1:
            raise ValueError(f"selections must be at least 1, not {selections}")
        self.units = units
        self.selections = selections
        self.estimator = estimator
        self.entropy_weight = entropy_weight
        self.seed = seed
        self._initial_temperature = temperature
        self._key = keras.layers.Dense(units, use_bias=False, name="key", dtype=self._dtype_policy)
        self._query = keras.layers.Dense(units, use_bias=False, name="query", dtype=self._dtype_policy)
        self._random = None if seed is None else tf.random.Generator.from_seed(seed)

    def build(self, input_shape):
        with tf.name_scope("key"):
            self._key.build(input_shape)
        self._vector = self.add_weight(name="vector", shape=[self.units])
        self.temperature = self.add_weight(
            name="temperature",
            shape=[],
            initializer=keras.initializers.Constant(self._initial_temperature),
            trainable=False,
        )
        super().build(input_shape)

    def call(self, h, query=None, mask=None, training=None):
        logits = self._logits(h, query, mask)
        if self.entropy_weight:
            self.add_loss(self.entropy_weight * tf.reduce_mean(_entropy(logits)))
        selection = keras.backend.in_train_phase(
            lambda: self._draw(logits), lambda: _largest(logits, self.selections), training=training
        )
        if mask is None and self.selections > 1:
            mask = tf.ones(tf.shape(h)[:2], tf.bool)
        if mask is not None:  # what is not there, or no longer, is not selected
            left = tf.range(self.selections) < tf.reduce_sum(tf.cast(mask, tf.int32), -1, keepdims=True)
            possible = left[..., tf.newaxis] & mask[:, tf.newaxis]
            selection = tf.where(possible, selection, tf.zeros_like(selection))
        selection = tf.cast(selection, h.dtype)
        context = tf.matmul(selection, h)  # [B, k, D]
        if self.selections == 1:
            return context[:, 0], selection[:, 0]
        return tf.reshape(context, [-1, self.selections * h.shape[-1]]), selection

    def log_prob(self, selection, h, query=None, mask=None):
        """`log p(L | h)`, `[B]`, with gradients to the layer's parameters and none to the selection.

        Args:
          selection: `[B, T]` or `[B, k, T]`, what an earlier call returned; for k in that order.
          h: as in that call.
          query: as in that call.
          mask: as in that call.
        """
        logits = self._logits(h, query, mask)
        rows = tf.cast(tf.stop_gradient(selection), logits.dtype)
        total = tf.zeros(tf.shape(logits)[:1], logits.dtype)
        for chosen in [rows] if self.selections == 1 else tf.unstack(rows, axis=1):
            # Where nothing is selected -inf must not meet 0.
            terms = tf.math.multiply_no_nan(tf.nn.log_softmax(logits), chosen)
            total += tf.reduce_sum(terms, axis=-1)
            logits = _without(logits, chosen)
        return total

    def _logits(self, h, query, mask):
        """`[B, T]` float32."""
        projected = None if query is None else self._query(query)
        keys = self._key(h)
        scores = ops.additive_scores(keys, tf.cast(self._vector, keys.dtype), projected)
        scores = tf.cast(scores, tf.float32)
        return scores if mask is None else tf.where(mask, scores, FORBIDDEN)

    def _draw(self, logits):
        # Without a seed of the layer's own, TensorFlow's stateful one.
        seed = None if self._random is None else self._random.uniform_full_int([2], tf.int32)
        noise = tfp.distributions.Gumbel(0.0, 1.0).sample(tf.shape(logits), seed=seed)
        noisy = logits + noise
        drawn = _largest(noisy, self.selections)
        if self.estimator == "reinforce":
            return tf.stop_gradient(drawn)
        relaxed = _relaxed_largest(noisy, self.selections, tf.cast(self.temperature, tf.float32))
        if self.estimator == "gumbel":
            return relaxed
        return relaxed + tf.stop_gradient(drawn - relaxed)

    def compute_mask(self, inputs, mask=None):
        return None  # the time axis is gone

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "estimator": self.estimator,
            "temperature": self._initial_temperature,
            "entropy_weight": self.entropy_weight,
            "selections": self.selections,
            "seed": self.seed,
        }


def _largest(scores: tf.Tensor, count: int) -> tf.Tensor:
    """The largest scores of `[B, T]` one after the other, `[B, count, T]` one-hot."""
    rows = []
    for _ in range(count):
        rows.append(tf.one_hot(tf.argmax(scores, axis=-1), tf.shape(scores)[-1], dtype=scores.dtype))
        scores = _without(scores, rows[-1])
    return tf.stack(rows, axis=1)


def _relaxed_largest(scores: tf.Tensor, count: int, temperature: tf.Tensor) -> tf.Tensor:
    """`_largest`, with softmax for maximum."""
    rows = []
    for _ in range(count):
        rows.append(tf.nn.softmax(scores / temperature))
        scores += tf.math.log(tf.maximum(1.0 - rows[-1], LEAST_LEFT))
    return tf.stack(rows, axis=1)


def _without(scores: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    return tf.where(chosen > 0, FORBIDDEN, scores)


def _entropy(logits: tf.Tensor) -> tf.Tensor:
    """H of each row's distribution, in nats; a forbidden entry adds nothing."""
    return tfp.distributions.Categorical(logits=logits).entropy()
