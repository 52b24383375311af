"""Temporal-difference targets and masks over windows of experience, as pure functions.

A window is `[B, T]` consecutive frames. Frame t has the observation o_t, its step type, the action a_t taken
on it, and the reward and discount that followed. A LAST frame ends an episode: its observation counts, its
action does not, and the frame after it is the next episode's FIRST.
"""

import tensorflow as tf
from tf_agents.trajectories import time_step as ts


def _next(x: tf.Tensor) -> tf.Tensor:
    """`x_{t+1}` at t, and zero at the last step."""
    return tf.concat([x[:, 1:], tf.zeros_like(x[:, :1])], axis=1)


def _has_successor(step_type: tf.Tensor) -> tf.Tensor:
    """Where frame t+1 is in the window and continues frame t's episode, `[B, T]` bool."""
    continues = tf.not_equal(step_type[:, 1:], ts.StepType.FIRST)
    return tf.concat([continues, tf.zeros_like(continues[:, :1])], axis=1)


def n_step_targets(
    values: tf.Tensor,
    rewards: tf.Tensor,
    discounts: tf.Tensor,
    step_type: tf.Tensor,
    n: int = 1,
) -> tf.Tensor:
    """Bootstrapped n-step returns within each window.

    With `V_t` the value of frame t, `Y⁰_t = V_t` and

        Yⁿ_t = r_t + d_t Yⁿ⁻¹_{t+1}     where frame t+1 follows in the episode and in the window,
        Yⁿ_t = V_t                      elsewhere,

    so a return stops early at an episode's last frame and at the window's end, and bootstraps there. At a
    termination the discount is 0 and the value of the last frame drops out; at a truncation it does not.

    Args:
      values: `[B, T]`, V.
      rewards: `[B, T]`, the reward that followed frame t.
      discounts: `[B, T]`, γ times the environment's discount that followed frame t.
      step_type: `[B, T]`.
      n: number of rewards, at least 1.

    Returns:
      `[B, T]`, no gradient. Only where a frame has a successor is it a target.
    """
    successor = _has_successor(step_type)
    targets = values
    for _ in range(n):
        targets = tf.where(successor, rewards + discounts * _next(targets), values)
    return tf.stop_gradient(targets)


def trained_steps(step_type: tf.Tensor, burn_in: int = 0) -> tf.Tensor:
    """Which frames of a window the loss counts, `[B, T]` bool.

    A frame counts when its successor is in the window, and when the state at it can be trusted: the first
    `burn_in` frames only warm the state up, unless their episode started inside the window, where the
    initial state is the true one.

    Args:
      step_type: `[B, T]`.
      burn_in: the number of frames at the window's start that are not trained.
    """
    started = tf.cumsum(tf.cast(tf.equal(step_type, ts.StepType.FIRST), tf.int32), axis=1) > 0
    warm = tf.range(tf.shape(step_type)[1]) >= burn_in
    return _has_successor(step_type) & (started | warm)
