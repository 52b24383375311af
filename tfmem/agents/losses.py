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


def selection_loss(log_prob: tf.Tensor, cost: tf.Tensor, step_type: tf.Tensor) -> tf.Tensor:
    """The score-function loss of selections drawn at each frame, `Σ_B Σ_t (C_t − b_t) log p(L_t)`.

    `C_t` sums the costs of frame t and of those after it in its episode and window, which are what its
    selection can change. `b_t` is the mean of `C_t` over the other windows of the batch: it does not depend
    on the selection, so the gradient is that of `E[Σ cost]` [Williams, 1992], the targets taken as given,
    as in all of Q-learning; with one window it is 0.

    Args:
      log_prob: `[B, T]`, of the selections.
      cost: `[B, T]`, such as each frame's TD loss; no gradient.
      step_type: `[B, T]`.

    Returns:
      A scalar whose value means nothing; its gradient does.
    """
    cost = tf.stop_gradient(cost)
    episode = tf.cumsum(tf.cast(tf.equal(step_type, ts.StepType.FIRST), tf.int32), axis=1)
    time = tf.range(tf.shape(cost)[1])
    later = (episode[:, :, tf.newaxis] == episode[:, tf.newaxis]) & (time[:, tf.newaxis] <= time)
    to_go = tf.linalg.matvec(tf.cast(later, cost.dtype), cost)
    others = tf.cast(tf.shape(cost)[0] - 1, cost.dtype)
    baseline = tf.math.divide_no_nan(tf.reduce_sum(to_go, axis=0) - to_go, others)
    return tf.reduce_sum((to_go - baseline) * log_prob)


# ε of `rescale`, as in Pohlen et al. (2018).
RESCALING = 1e-3


def rescale(x: tf.Tensor) -> tf.Tensor:
    """`h(x) = sign(x) (√(|x| + 1) − 1) + ε x`, ε = .001, element by element [Pohlen et al., 2018, eq. 8].

    Makes returns of very different size comparable without clipping rewards.
    """
    # √(|x| + 1) − 1 is |x| / (√(|x| + 1) + 1), which loses no digits where x is small.
    return x / (tf.sqrt(tf.abs(x) + 1.0) + 1.0) + RESCALING * x


def unscale(x: tf.Tensor) -> tf.Tensor:
    """The inverse of `rescale`: `d (|d| + 2)` with `d = 2x / (1 + 2ε + √((1 + 2ε)² + 4ε |x|))`.

    With d = sign(y) (√(|y| + 1) − 1), what it inverts is `x = d + ε d (|d| + 2)`, a quadratic in d. Equal to
    the form of Pohlen et al. (2018), but without its differences of numbers close to 1.
    """
    b = 1.0 + 2.0 * RESCALING
    d = 2.0 * x / (b + tf.sqrt(b**2 + 4.0 * RESCALING * tf.abs(x)))
    return d * (tf.abs(d) + 2.0)


# η of `window_priority`, as in Kapturowski et al. (2019).
GREATEST_SHARE = 0.9


def window_priority(td_error: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """`η max_t |δ_t| + (1 − η) mean_t |δ_t|`, η = .9, of each window [Kapturowski et al., 2019].

    Args:
      td_error: `[B, T]`, δ.
      counts: `[B, T]` bool, the frames that count; a window without any has priority 0.

    Returns:
      `[B]`, no gradient.
    """
    size = tf.where(counts, tf.abs(td_error), 0.0)
    number = tf.math.count_nonzero(counts, axis=1, dtype=size.dtype)
    mean = tf.math.divide_no_nan(tf.reduce_sum(size, axis=1), number)
    return tf.stop_gradient(GREATEST_SHARE * tf.reduce_max(size, axis=1) + (1.0 - GREATEST_SHARE) * mean)
