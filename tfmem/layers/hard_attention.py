"""Hard attention: select one row instead of mixing all, and three ways to train the selection."""

from typing import Literal

import tensorflow as tf
import tensorflow_probability as tfp

from tfmem import ops
from tfmem._keras import keras

Estimator = Literal["reinforce", "gumbel", "straight_through"]
ESTIMATORS = ("reinforce", "gumbel", "straight_through")


@keras.saving.register_keras_serializable("tfmem")
class HardAttention(keras.layers.Layer):
    """Hard attention: a selection `L ∈ {0, 1}^T` of one input, and the input that it selects as context.

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
      seed: makes the drawn selections reproducible; None leaves them to `tf.random.set_seed`.

    Call arguments:
      h: `[B, T, D]`.
      query: `[B, Q]`, optional.
      mask: `[B, T]` bool, True where an entry may be selected; a Keras mask is used where there is one.
      training: draw, or select the most probable.

    Returns:
      `(context [B, D], selection [B, T])`; both are zero in a row whose mask is all False.

    Raises:
      ValueError: on an unknown estimator, or a temperature that is not above 0.
    """

    def __init__(
        self,
        units: int,
        estimator: Estimator = "gumbel",
        temperature: float = 1.0,
        entropy_weight: float = 0.0,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if estimator not in ESTIMATORS:
            raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}; not {estimator!r}")
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, not {temperature}")
        self.units = units
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
            lambda: self._draw(logits), lambda: _one_hot_maximum(logits), training=training
        )
        if mask is not None:  # a row without any entry selects none
            selection = tf.where(mask, selection, tf.zeros_like(selection))
        selection = tf.cast(selection, h.dtype)
        return ops.attend(selection, h), selection

    def log_prob(self, selection, h, query=None, mask=None):
        """`log p(L | h)`, `[B]`, with gradients to the layer's parameters and none to the selection.

        Args:
          selection: `[B, T]` one-hot, what an earlier call returned.
          h: as in that call.
          query: as in that call.
          mask: as in that call.
        """
        log_p = tf.nn.log_softmax(self._logits(h, query, mask))
        chosen = tf.cast(tf.stop_gradient(selection), log_p.dtype)
        # Where nothing is selected -inf must not meet 0.
        return tf.reduce_sum(tf.math.multiply_no_nan(log_p, chosen), axis=-1)

    def _logits(self, h, query, mask):
        """`[B, T]` float32, the smallest finite number where the mask forbids."""
        projected = None if query is None else self._query(query)
        keys = self._key(h)
        scores = ops.additive_scores(keys, tf.cast(self._vector, keys.dtype), projected)
        scores = tf.cast(scores, tf.float32)
        # Half of the smallest number: noise may still be added to it.
        return scores if mask is None else tf.where(mask, scores, scores.dtype.min / 2)

    def _draw(self, logits):
        # Without a seed of the layer's own, TensorFlow's stateful one.
        seed = None if self._random is None else self._random.uniform_full_int([2], tf.int32)
        if self.estimator == "reinforce":
            categorical = tfp.distributions.OneHotCategorical(logits=logits, dtype=tf.float32)
            return tf.stop_gradient(categorical.sample(seed=seed))
        relaxed = tfp.distributions.RelaxedOneHotCategorical(
            tf.cast(self.temperature, tf.float32), logits=logits
        ).sample(seed=seed)
        if self.estimator == "gumbel":
            return relaxed
        return relaxed + tf.stop_gradient(_one_hot_maximum(relaxed) - relaxed)

    def compute_mask(self, inputs, mask=None):
        return None  # the time axis is gone

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "estimator": self.estimator,
            "temperature": self._initial_temperature,
            "entropy_weight": self.entropy_weight,
            "seed": self.seed,
        }


def _one_hot_maximum(x: tf.Tensor) -> tf.Tensor:
    return tf.one_hot(tf.argmax(x, axis=-1), tf.shape(x)[-1], dtype=x.dtype)


def _entropy(logits: tf.Tensor) -> tf.Tensor:
    """H of each row's distribution, in nats; a forbidden entry adds nothing."""
    return tfp.distributions.Categorical(logits=logits).entropy()
