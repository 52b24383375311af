"""Linear recurrences `x_t = a_t ⊙ x_{t-1} + b_t`, solved for all steps at once."""

import tensorflow as tf
import tensorflow_probability as tfp


def _prefix_compose(decay: tf.Tensor, update: tf.Tensor) -> tf.Tensor:
    """Solves the recurrence from zero by an associative scan over axis 1.

    Two steps compose to one of the same form, `(a, b) ∘ (a', b') = (a·a', b·a' + b')`, and the
    composition is associative, so T steps take O(log T) dependent operations [Blelloch, "Prefix sums
    and their applications", 1990].
    """

    def compose(first, second):
        return first[0] * second[0], first[1] * second[0] + second[1]

    return tfp.math.scan_associative(compose, (decay, update), axis=1)[1]


@tf.custom_gradient
def _recurrence_from_zero(decay: tf.Tensor, update: tf.Tensor):
    states = _prefix_compose(decay, update)

    def gradient(upstream: tf.Tensor):
        # With g_t the gradient that reaches x_t, g_t = upstream_t + conj(a_{t+1}) g_{t+1}: the same
        # recurrence run backwards, so differentiating costs one more scan and stores no scan levels.
        next_decay = tf.concat([decay[:, 1:], tf.zeros_like(decay[:, :1])], axis=1)
        reached = tf.reverse(
            _prefix_compose(tf.reverse(tf.math.conj(next_decay), axis=[1]), tf.reverse(upstream, axis=[1])),
            axis=[1],
        )
        previous = tf.concat([tf.zeros_like(states[:, :1]), states[:, :-1]], axis=1)
        return reached * tf.math.conj(previous), reached

    return states, gradient


def linear_recurrence(
    decay: tf.Tensor,
    update: tf.Tensor,
    *,
    initial: tf.Tensor,
    reset_mask: tf.Tensor | None = None,
    reset_value: tf.Tensor | None = None,
) -> tf.Tensor:
    """Solves `x_t = a_t ⊙ x_{t-1} + b_t` for t = 0 … T-1 by an associative scan.

    Where `reset_mask` holds at step t, `x_{t-1}` is replaced by `reset_value` before the step is taken:
    the update becomes `b_t + a_t ⊙ reset_value` and the decay 0.

    Args:
      decay: `[B, T, ...]`, real or complex; `a_t`.
      update: `[B, T, ...]`, the shape and dtype of `decay`; `b_t`.
      initial: `[B, ...]`; `x_{-1}`.
      reset_mask: `[B, T]` bool, or None where nothing is reset.
      reset_value: `[...]` or `[B, ...]`.

    Returns:
      `[B, T, ...]`, every `x_t`. Differentiable in everything but `reset_mask`.

    Raises:
      ValueError: on a reset_mask without a reset_value.
    """
    if reset_mask is not None:
        if reset_value is None:
            raise ValueError("a reset_mask needs the reset_value that it puts in place")
        extra_axes = decay.shape.rank - 2
        reset = tf.reshape(reset_mask, tf.concat([tf.shape(reset_mask), [1] * extra_axes], axis=0))
        if reset_value.shape.rank == decay.shape.rank - 1:
            reset_value = reset_value[:, tf.newaxis]
        update = update + tf.where(reset, decay * reset_value, tf.zeros_like(decay))
        decay = tf.where(reset, tf.zeros_like(decay), decay)
    first = update[:, :1] + decay[:, :1] * initial[:, tf.newaxis]
    return _recurrence_from_zero(decay, tf.concat([first, update[:, 1:]], axis=1))
