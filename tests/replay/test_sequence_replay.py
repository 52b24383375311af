import numpy as np
import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts

from tfmem.errors import InvalidInput
from tfmem.replay import Priorities, SequenceReplay, estimate_bytes

F, M, L = (int(t) for t in (ts.StepType.FIRST, ts.StepType.MID, ts.StepType.LAST))
NUM_ENVS = 3
ACTION = tensor_spec.BoundedTensorSpec([], tf.int32, 0, 999)
# The observation of environment e at row t is 10_000 e + t: a window says where it comes from.
SPEC = ts.time_step_spec(tensor_spec.BoundedTensorSpec([], tf.int64, 0, 10**6))


def filled(rows, episode=5, capacity_rows=40, length=8, stride=7, **kwargs):
    """A replay after `rows` rows of episodes of `episode` frames; environment e is e frames ahead."""
    replay = SequenceReplay(
        SPEC,
        ACTION,
        num_envs=NUM_ENVS,
        capacity=capacity_rows * NUM_ENVS,
        length=length,
        stride=stride,
        **kwargs,
    )
    for t in range(rows):
        age = (t + np.arange(NUM_ENVS)) % episode
        step_type = np.where(age == 0, F, np.where(age == episode - 1, L, M))
        if t == 0:
            step_type[:] = F
        replay.add(
            ts.TimeStep(
                step_type=tf.constant(step_type, tf.int32),
                reward=tf.fill([NUM_ENVS], float(t)),
                discount=tf.constant(np.where(step_type == L, 0.0, 1.0), tf.float32),
                observation=tf.constant(10_000 * np.arange(NUM_ENVS) + t),
            ),
            tf.fill([NUM_ENVS], t % 1000),
            {"memory": tf.constant([[10_000.0 * e + t] for e in range(NUM_ENVS)])},
        )
    return replay


def windows(replay, batch=200, seed=0):
    return replay.sample(batch, generator=tf.random.Generator.from_seed(seed))


def sample(replay, batch=200, seed=0):
    return windows(replay, batch, seed).experience


@pytest.mark.parametrize("rows", [16, 39, 40, 41, 77, 200])
def test_windows_are_consecutive_frames_of_one_environment(rows):
    window = sample(filled(rows))
    observation = window.observation.numpy()
    assert observation.shape == (200, 8)
    assert (np.diff(observation, axis=1) == 1).all()
    row = observation % 10_000
    assert row.min() >= max(0, rows - 40)
    assert row.max() <= rows - 1
    np.testing.assert_array_equal(window.action, row % 1000)
    assert window.observation.dtype == tf.int64
    assert set(np.unique(observation // 10_000)) == set(range(NUM_ENVS))


def test_rewards_and_discounts_are_those_that_followed():
    window = sample(filled(30))
    row = window.observation.numpy() % 10_000
    np.testing.assert_array_equal(window.reward[:, :-1], row[:, 1:])
    np.testing.assert_array_equal(window.reward[:, -1], np.zeros(200))
    ends = window.step_type.numpy()[:, 1:] == L
    np.testing.assert_array_equal(window.discount[:, :-1] == 0, ends)


@pytest.mark.parametrize("rows", [30, 120])
def test_windows_start_where_episodes_do(rows):
    window = sample(filled(rows, episode=5))
    assert (window.step_type.numpy()[:, 0] == F).all()


def test_long_episodes_are_laid_out_stride_apart():
    window = sample(filled(36, episode=18, capacity_rows=100, length=6, stride=5))
    row = window.observation.numpy()[:, 0] % 10_000
    environment = window.observation.numpy()[:, 0] // 10_000
    age = (row + environment) % 18
    # Environment e starts its tape e frames into an episode, which counts as an episode's start.
    first = row < 18 - environment
    np.testing.assert_array_equal(np.where(first, row, age) % 5, 0)


def test_stride_one_starts_anywhere():
    window = sample(filled(60, stride=1), batch=2000)
    assert len(np.unique(window.observation.numpy()[:, 0] % 10_000)) == 40 - 8


def test_frames_are_sampled_evenly():
    window = sample(filled(37, episode=6, length=12, stride=5), batch=6000)
    starts = window.observation.numpy()[:, 0] % 10_000
    counts = np.unique(starts, return_counts=True)[1]
    assert counts.max() < 4 * np.median(counts)


def test_integers_are_stored_small():
    spec = ts.time_step_spec(tensor_spec.BoundedTensorSpec([84, 84], tf.int64, 0, 255))
    # 84 × 84 bytes, an action of 2, reward and discount of 4 each, a step type of 1, an age of 4.
    assert estimate_bytes(spec, ACTION, 10) == 10 * (84 * 84 + 2 + 4 + 4 + 1 + 4)


def test_what_does_not_fit_into_memory_is_refused_before_it_is_allocated():
    spec = ts.time_step_spec(tensor_spec.BoundedTensorSpec([84, 84, 4], tf.uint8, 0, 255))
    with pytest.raises(InvalidInput, match="set replay_capacity to at most"):
        SequenceReplay(spec, ACTION, num_envs=1, capacity=10**9, length=8, stride=7)


def test_samples_inside_a_traced_function_by_the_given_generator():
    replay, generator = filled(60), tf.random.Generator.from_seed(3)
    traced = tf.function(lambda: replay.sample(4, generator=generator).experience.observation)
    first, second = traced().numpy(), traced().numpy()
    assert (first != second).any()
    generator.reset_from_seed(3)
    np.testing.assert_array_equal(traced(), first)


def test_nested_observations():
    spec = ts.time_step_spec(
        {"a": tf.TensorSpec([2], tf.float32), "b": (tensor_spec.BoundedTensorSpec([], tf.int64, 0, 3),)}
    )
    replay = SequenceReplay(spec, ACTION, num_envs=1, capacity=20, length=2, stride=1)
    for t in range(6):
        observation = {"a": tf.fill([1, 2], float(t)), "b": (tf.constant([t % 4], tf.int64),)}
        replay.add(ts.restart(observation, batch_size=1), tf.zeros([1], tf.int32))
    window = sample(replay, batch=2)
    np.testing.assert_array_equal(window.observation["a"][..., 0] % 4, window.observation["b"][0])


MEMORY = {"memory": tf.TensorSpec([1], tf.float32)}


@pytest.mark.parametrize("episode", [3, 18])
@pytest.mark.parametrize("rows", [16, 40, 41, 77, 200])
def test_windows_start_with_the_state_that_the_policy_came_with(rows, episode):
    # 40 rows hold 8 windows' starts, 5 apart; tapes are cut to a multiple of 5.
    drawn = windows(filled(rows, episode=episode, length=6, stride=5, state_spec=MEMORY))
    first = drawn.experience.observation.numpy()[:, 0]
    np.testing.assert_array_equal(drawn.initial_state["memory"][:, 0], first)
    np.testing.assert_array_equal(first % 10_000 % 5, 0)
    assert (np.diff(drawn.experience.observation, axis=1) == 1).all()


def test_states_count_in_the_estimate():
    # A state of 4 bytes for every fifth of 100 frames, beside what the frames take.
    without = estimate_bytes(SPEC, ACTION, 100)
    assert estimate_bytes(SPEC, ACTION, 100, state_spec=MEMORY, stride=5) == without + 20 * 4


def starts(drawn):
    return drawn.experience.observation.numpy()[:, 0]


@pytest.mark.parametrize("rows", [30, 41, 120])
def test_new_windows_are_drawn_alike_and_complete(rows):
    replay = filled(rows, episode=5, capacity_rows=20, priorities=Priorities())
    drawn = windows(replay, batch=3000)
    np.testing.assert_allclose(drawn.weights, 1.0, rtol=1e-6)
    assert (drawn.experience.step_type.numpy()[:, 0] == F).all()
    assert (np.diff(drawn.experience.observation, axis=1) == 1).all()
    rows_of = drawn.experience.observation.numpy() % 10_000
    assert rows_of.min() >= rows - 20
    assert rows_of.max() < rows
    counts = np.unique(starts(drawn), return_counts=True)[1]
    assert counts.max() - counts.min() <= 2  # one from each equal share


def test_windows_are_drawn_in_proportion_to_their_priorities_and_weighted_for_it():
    replay = filled(13, episode=5, priorities=Priorities(exponent=0.5, correction=1.0))
    # Five windows of 8 frames start at the first frames of episodes: rows 0 and 5 of environment 0, 0 and 4
    # of 1, 0 and 3 of 2. Set those that start in row 0 to 4, the others to 16: p^.5 is 2 and 4.
    drawn = windows(replay, batch=300)
    later = starts(drawn) % 10_000 > 0
    replay.update_priorities(drawn.index, tf.where(later, 16.0, 4.0))
    drawn = windows(replay, batch=1800)
    later = starts(drawn) % 10_000 > 0
    assert len(np.unique(starts(drawn))) == 6
    # P = 2 / 18 and 4 / 18; weights 1 / (6 P) = 1.5 and .75, over the largest 1 and .5.
    assert abs(later.sum() - 1800 * 12 / 18) <= 6
    np.testing.assert_allclose(drawn.weights, np.where(later, 0.5, 1.0), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stride": 8}, "window stride must be between 1 and length - 1 = 7, not 8"),
        ({"length": 1}, "window length must be at least 2, not 1"),
        ({"capacity_rows": 15}, "replay_capacity must be at least 48 frames, not 45"),
        ({"capacity_rows": 16, "state_spec": MEMORY}, "replay_capacity must be at least 63 frames, not 48"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        filled(1, **arguments)


def test_priorities_out_of_range_are_refused():
    with pytest.raises(InvalidInput, match="priority exponent"):
        Priorities(exponent=2.0)
