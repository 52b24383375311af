import numpy as np
import tensorflow as tf
from tf_agents.trajectories import time_step as ts

from tfmem.agents import (
    n_step_targets,
    rescale,
    selection_loss,
    trained_steps,
    unscale,
    window_priority,
)

F, M, L = (int(t) for t in (ts.StepType.FIRST, ts.StepType.MID, ts.StepType.LAST))


def targets(values, rewards, discounts, step_type, n):
    arrays = [tf.constant([z], tf.float32) for z in (values, rewards, discounts)]
    return n_step_targets(*arrays, tf.constant([step_type]), n).numpy()[0]


def test_one_step_targets():
    # r_t + d_t V_{t+1}: 1 + .5 * 20 = 11, 2 + .5 * 30 = 17; no successor at the end.
    found = targets([10, 20, 30], [1, 2, 0], [0.5, 0.5, 0], [F, M, M], 1)
    np.testing.assert_allclose(found[:2], [11, 17])


def test_three_step_targets():
    # t=0: 1 + .5 (2 + .5 (3 + .5 * 40)) = 1 + .5 (2 + .5 * 23) = 7.75
    # t=1: 2 + .5 (3 + .5 * 40) = 13.5, cut to two rewards by the window's end
    # t=2: 3 + .5 * 40 = 23
    found = targets([10, 20, 30, 40], [1, 2, 3, 0], [0.5] * 4, [F, M, M, M], 3)
    np.testing.assert_allclose(found[:3], [7.75, 13.5, 23])


def test_a_termination_ends_the_return_and_a_truncation_bootstraps():
    # Frame 2 is the last of its episode with value 30; frame 3 starts the next one.
    # Terminated, the discount into it is 0: t=0: 1 + .5 (2 + 0 * 30) = 2;  t=1: 2.
    # Truncated, it is .5:                   t=0: 1 + .5 (2 + .5 * 30) = 9.5; t=1: 2 + 15 = 17.
    for discount, expected in ((0.0, [2, 2]), (0.5, [9.5, 17])):
        found = targets([10, 20, 30, 99], [1, 2, 0, 0], [0.5, discount, 0, 0], [F, M, L, F], 4)
        np.testing.assert_allclose(found[:2], expected)


def test_no_return_crosses_into_a_new_episode_that_was_not_announced():
    # The environments were reset in the middle of an episode: MID, then FIRST.
    found = targets([10, 20, 99, 99], [1, 2, 5, 0], [0.5] * 4, [F, M, F, M], 3)
    # t=0 stops at frame 1: 1 + .5 * 20 = 11.
    np.testing.assert_allclose(found[0], 11)


def test_targets_carry_no_gradient():
    values = tf.Variable([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(
            n_step_targets(values, tf.zeros([1, 2]), tf.ones([1, 2]), tf.constant([[F, M]]))
        )
    assert tape.gradient(total, values) is None


def counted(step_type, burn_in=0):
    return trained_steps(tf.constant([step_type]), burn_in).numpy()[0].astype(int).tolist()


def test_last_frames_the_windows_end_and_cut_episodes_do_not_count():
    assert counted([F, M, L, F, M, M]) == [1, 1, 0, 1, 1, 0]
    assert counted([M, M, F, M]) == [1, 0, 1, 0]


def test_burn_in_masks_until_an_episode_starts_inside_the_window():
    assert counted([M, M, M, M, M, M], burn_in=3) == [0, 0, 0, 1, 1, 0]
    assert counted([F, M, M, M, M, M], burn_in=3) == [1, 1, 1, 1, 1, 0]
    assert counted([M, L, F, M, M, M], burn_in=4) == [0, 0, 1, 1, 1, 0]


def test_rescaling_by_hand_and_back():
    # h(3) = √4 - 1 + .003 = 1.003; h(-8) = -(√9 - 1) - .008 = -2.008; h(0) = 0.
    np.testing.assert_allclose(rescale(tf.constant([3.0, -8.0, 0.0])), [1.003, -2.008, 0], atol=1e-6)
    x = tf.constant([-1e4, -3.0, -1e-2, 0.0, 0.5, 70.0, 1e5], tf.float64)
    np.testing.assert_allclose(unscale(rescale(x)), x, rtol=1e-9)


def test_rescaling_loses_no_digits_in_32_bits():
    x = np.geomspace(1e-6, 1e6, 49)
    both = np.concatenate([-x, x])
    exact = np.sign(both) * (np.sqrt(np.abs(both) + 1) - 1) + 1e-3 * both
    np.testing.assert_allclose(rescale(tf.constant(both, tf.float32)), exact, rtol=1e-6)
    np.testing.assert_allclose(unscale(tf.constant(exact, tf.float32)), both, rtol=1e-6)


def test_a_windows_priority_is_mostly_its_greatest_error():
    # .9 * 4 + .1 * (1 + 4 + 1) / 3 = 3.8, the frame that does not count left out; none that counts: 0.
    error = tf.constant([[1.0, -4.0, 1.0, 99.0], [1.0, 1.0, 1.0, 1.0]])
    counts = tf.constant([[True, True, True, False], [False] * 4])
    np.testing.assert_allclose(window_priority(error, counts), [3.8, 0.0], rtol=1e-6)


def test_a_selection_answers_for_what_follows_it_in_its_episode_against_the_other_windows():
    # Costs to go: 1 | 2 + 3 = 5, 3, as a new episode starts at the second frame; 4 + 0 + 2 = 6, 2, 2.
    # The other window is the baseline: 1 - 6, 5 - 2, 3 - 2, and the opposite.
    log_prob = tf.Variable(tf.fill([2, 3], -1.0))
    cost = tf.Variable([[1.0, 2.0, 3.0], [4.0, 0.0, 2.0]])
    step_type = tf.constant([[M, F, M], [F, M, M]])
    with tf.GradientTape() as tape:
        loss = selection_loss(log_prob, cost, step_type)
    gradient, none = tape.gradient(loss, [log_prob, cost])
    np.testing.assert_allclose(gradient, [[-5, 3, 1], [5, -3, -1]])
    assert none is None
    with tf.GradientTape() as tape:  # nothing to compare with
        loss = selection_loss(log_prob[:1], cost[:1], step_type[:1])
    np.testing.assert_allclose(tape.gradient(loss, log_prob)[:1], [[1, 5, 3]])
