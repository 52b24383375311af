"""What trains attention beside the task's own loss: score function, labels, temperature."""

from collections.abc import Callable

import tensorflow as tf

from tfmem._keras import keras

# Attention weights below this count as this where their logarithm is taken.
LEAST_WEIGHT = 1e-37


def score_function_loss(log_prob: tf.Tensor, reward: tf.Tensor, baseline: tf.Tensor) -> tf.Tensor:
    """The score-function (REINFORCE) loss of drawn selections, and the baseline's own loss.

    `mean_B[−(R − b) log p(L|h) + ½ (R − b)²]`, where the first term's gradient reaches log p alone and the
    second's b alone [Williams, 1992; Mnih and Gregor, 2014]. With any b that does not depend on the selection
    the gradient of the first term is that of `−E[R]`; a good b makes its variance small.

    Args:
      log_prob: `[B]`, `HardAttention.log_prob` of the selections.
      reward: `[B]`, R: what each selection earned, such as the negative loss of its example.
      baseline: `[B]` or `[]`, b: a learned prediction of R, or `MovingBaseline`'s.

    Returns:
      A scalar.
    """
    reward = tf.stop_gradient(reward)
    advantage = tf.stop_gradient(reward - baseline)
    return tf.reduce_mean(-advantage * log_prob + 0.5 * tf.square(reward - baseline))


class MovingBaseline(tf.Module):
    """The exponential moving average of rewards, as a baseline.

    Example:
      >>> baseline = MovingBaseline()
      >>> loss = score_function_loss(log_prob, reward, baseline(reward))

    Args:
      decay: the share of the old average that an update keeps, in [0, 1).

    Raises:
      ValueError: when `decay` does not fit.
    """

    def __init__(self, decay: float = 0.9):
        super().__init__(name="moving_baseline")
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), not {decay}")
        self._decay = decay
        self._sum = tf.Variable(0.0, trainable=False)
        self._weight = tf.Variable(0.0, trainable=False)

    def __call__(self, reward: tf.Tensor) -> tf.Tensor:
        """The average before `reward [B]`, a scalar, 0 at first; then takes `reward` in.

        The average does not know the rewards that it is the baseline of, so it adds no bias.
        """
        average = tf.math.divide_no_nan(self._sum, self._weight)
        share = 1.0 - self._decay
        self._sum.assign(self._decay * self._sum + share * tf.reduce_mean(reward))
        self._weight.assign(self._decay * self._weight + share)
        return average


def attention_cross_entropy(weights: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of attention weights with labels of where to attend, `−mean_B Σ_i y_i log a_i`.

    A row of `target` that is all zero has no label and adds nothing.

    Args:
      weights: `[B, T]`, attention weights.
      target: `[B, T]`, y: a distribution over the inputs where it should attend to.

    Returns:
      A scalar.
    """
    if weights.dtype.size < 4:  # 16 bits hold neither a small weight nor its logarithm well
        weights = tf.cast(weights, tf.float32)
    # A weight of exactly 0 must give a large loss, not an infinite one.
    log_weights = tf.math.log(tf.maximum(weights, LEAST_WEIGHT))
    return -tf.reduce_mean(tf.reduce_sum(tf.cast(target, weights.dtype) * log_weights, axis=-1))


class TemperatureSchedule(keras.callbacks.Callback):
    """Sets the temperature of a `HardAttention` or a `ScanNTM` before every training batch.

    Example:
      >>> anneal = TemperatureSchedule(layer, lambda batch: max(0.5, 0.999**batch))
      >>> model.fit(x, y, callbacks=[anneal])

    Args:
      layer: a layer with a variable `temperature`.
      schedule: the number of training batches so far to the temperature, above 0; a function, or a Keras
        learning rate schedule.
    """

    def __init__(self, layer: keras.layers.Layer, schedule: Callable[[int], float]):
        super().__init__()
        self._layer = layer
        self._schedule = schedule
        self._batches = 0

    def on_train_batch_begin(self, batch, logs=None):
        self._layer.temperature.assign(self._schedule(self._batches))
        self._batches += 1
