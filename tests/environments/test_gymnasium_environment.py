import gc
import multiprocessing
import sys

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from tf_agents.environments import utils as environment_utils
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts

from tests.conftest import RECALL
from tfmem.environments import EnvironmentFailed, GymnasiumEnvironment, Probe, load, probe
from tfmem.errors import InvalidInput

F, M, L = ts.StepType.FIRST, ts.StepType.MID, ts.StepType.LAST


def zeros(environment):
    return np.zeros(environment.batch_size, np.int32)


@pytest.mark.parametrize(("ending", "discount"), [("terminated", 0.0), ("truncated", 1.0)])
def test_terminated_and_truncated_end_an_episode_with_different_discounts(ending, discount):
    environment = load("tests/RememberFirst-v0", num_envs=2, env_kwargs={"length": 2, "ending": ending})
    steps = [environment.reset()] + [environment.step(zeros(environment)) for _ in range(3)]
    assert [s.step_type[0] for s in steps] == [F, M, L, F]
    assert [s.discount[0] for s in steps] == [1, 1, discount, 1]
    assert steps[3].reward.tolist() == [0, 0]


def test_a_first_step_shows_the_new_episode():
    environment = load("tests/RememberFirst-v0", env_kwargs={"length": 1}, seed=0)
    shown = {int(environment.reset().observation[0])}
    for _ in range(20):
        assert environment.step(zeros(environment)).observation[0] == 3
        shown.add(int(environment.step(zeros(environment)).observation[0]))
    assert shown == {0, 1, 2}


@pytest.mark.parametrize("env_id", [RECALL, "CartPole-v1", "tests/RememberFirst-v0"])
def test_tf_agents_accepts_it(env_id):
    environment_utils.validate_py_environment(load(env_id, num_envs=2, seed=0), episodes=3)


def test_seeds_make_it_deterministic_environment_by_environment():
    def observations(num_envs, seed):
        environment = load(RECALL, num_envs=num_envs, seed=seed)
        steps = [environment.reset()] + [environment.step(zeros(environment)) for _ in range(20)]
        return np.stack([s.observation for s in steps])

    np.testing.assert_array_equal(observations(3, 7), observations(3, 7))
    np.testing.assert_array_equal(observations(3, 7)[:, 2:], observations(1, 9))
    assert (observations(3, 7) != observations(3, 8)).any()


def test_previous_action_and_reward_join_the_observation():
    environment = load(
        "tests/RememberFirst-v0",
        env_kwargs={"length": 2},
        previous_action=True,
        previous_reward=True,
        seed=0,
    )
    first = environment.reset().observation
    assert (first["previous_action"][0], first["previous_reward"][0]) == (0, 0)
    number = int(first["observation"][0])
    second = environment.step(np.array([number])).observation
    assert (second["previous_action"][0], second["previous_reward"][0]) == (number, 1)
    environment.step(np.array([2]))
    again = environment.step(np.array([2])).observation  # a new episode
    assert (again["previous_action"][0], again["previous_reward"][0]) == (0, 0)


def test_an_oracle_scores_one():
    """Remembering the four latest cards is all that RepeatPreviousEasy asks."""
    environment = load(RECALL, num_envs=4, seed=0)
    time_step, cards, total = environment.reset(), [], np.zeros(4)
    while not time_step.is_last().all():
        cards.append(time_step.observation)
        time_step = environment.step(cards[max(0, len(cards) - 4)])
        total += time_step.reward
    np.testing.assert_allclose(total, 1.0, atol=1e-5)


def test_an_id_may_name_the_module_that_registers_it():
    assert load(f"popgym:{RECALL}").batch_size == 1
    with pytest.raises(InvalidInput, match="needs the package nowhere: is nowhere installed"):
        load("nowhere:CartPole-v1")
    with pytest.raises(InvalidInput, match=r"importing ./mine fails: TypeError: the 'package' argument"):
        load("./mine:CartPole-v1")


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("CartPol-v1", "nearest: CartPole"),
        ("popgym-RepeatPreviosEasy-v0", "nearest: popgym-RepeatPreviousEasy-v0"),
        ("Zzzzzz", "no environment 'Zzzzzz'; is the package"),
        ("Pendulum-v1", "the action space is Box"),
    ],
)
def test_what_cannot_be_loaded_is_named_in_one_line(env_id, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        load(env_id)
    assert "\n" not in str(caught.value)


def test_wrong_arguments_of_the_environment_are_named():
    with pytest.raises(InvalidInput, match="cannot be made"):
        load("tests/RememberFirst-v0", env_kwargs={"width": 3})
    with pytest.raises(InvalidInput, match=r"'FrozenLake-v1' cannot be made: KeyError: '5x5'"):
        load("FrozenLake-v1", env_kwargs={"map_name": "5x5"})


class Outside(gym.Env):
    observation_space = gym.spaces.Discrete(3)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return 0, {}

    def step(self, action):
        return 3, 0.0, False, False, {}


def test_an_observation_outside_of_its_space_is_named():
    gym.register("tests/Outside-v0", Outside, disable_env_checker=True)
    environment = load("tests/Outside-v0", num_envs=2)
    environment.reset()
    expected = "'tests/Outside-v0' failed: observation must be inside of its space's bounds, 0 to 2, not 3"
    with pytest.raises(EnvironmentFailed, match=expected):
        environment.step(zeros(environment))


def test_another_autoreset_mode_is_refused():
    same_step = gym.make_vec(
        "CartPole-v1",
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP},
    )
    with pytest.raises(InvalidInput, match="autoreset mode must be"):
        GymnasiumEnvironment(same_step)


@pytest.mark.parametrize("extra", [{}, {"previous_action": True}])
@pytest.mark.parametrize("mask_in", ["observation", "info"])
def test_action_masks_are_a_part_of_the_observation(mask_in, extra):
    environment = load(
        "tests/OneAllowed-v0", num_envs=2, env_kwargs={"mask_in": mask_in}, action_mask=True, **extra
    )
    time_step = environment.reset()
    for _ in range(12):  # over the ends of episodes
        mask = time_step.observation["action_mask"]
        allowed = np.where(time_step.is_last() & (mask_in == "info"), 0, 1)
        np.testing.assert_array_equal(mask.sum(1), allowed)
        assert set(time_step.observation) == set(environment.observation_spec())
        time_step = environment.step(mask.argmax(1))


def test_an_action_mask_that_is_not_there_is_named():
    environment = load("tests/OneAllowed-v0", env_kwargs={"mask_in": "nowhere"}, action_mask=True)
    with pytest.raises(InvalidInput, match="action_mask: the environment gives none"):
        environment.reset()


def test_workers_step_the_same_episodes():
    def play(vectorization):
        environment = load("tests/RememberFirst-v0", num_envs=2, vectorization=vectorization, seed=3)
        steps = [environment.reset(), *(environment.step(zeros(environment)) for _ in range(8))]
        environment.close()
        return np.stack([step.reward for step in steps]), np.stack([step.observation for step in steps])

    for own, other in zip(play("sync"), play("async"), strict=True):
        np.testing.assert_array_equal(own, other)


def test_an_environment_steps_its_copies_its_own_way_where_it_has_one():
    environment = load("CartPole-v1", num_envs=3, vectorization="vector_entry_point", seed=0)
    steps = [environment.reset(), *(environment.step(zeros(environment)) for _ in range(30))]
    lengths = [np.flatnonzero([step.is_last()[i] for step in steps])[0] for i in range(3)]
    assert all(7 <= length <= 11 for length in lengths)  # pushed to the left alone, a pole falls that soon
    for i, length in enumerate(lengths):
        assert steps[length].discount[i] == 0.0
        assert steps[length + 1].is_first()[i]
    with pytest.raises(InvalidInput, match=r"'tests/RememberFirst-v0' cannot be made: .*vector entry point"):
        load("tests/RememberFirst-v0", num_envs=3, vectorization="vector_entry_point")


def test_a_probe_finds_the_longest_episode_by_playing():
    found = probe("tests/RememberFirst-v0", {"length": 9})  # nine steps and the first frame
    assert found == Probe(
        frames=10,
        lengths_vary=False,
        needs_previous_action=False,
        action_grid=(),
        rewards_dense=False,
        observation_spec=tensor_spec.BoundedTensorSpec([], tf.int64, 0, 3, "observation"),
    )


def test_a_probe_tells_where_lengths_depend_on_what_is_done():
    assert probe("CartPole-v1").lengths_vary


def test_a_probe_tells_that_the_environment_asks_for_the_previous_action_and_of_what_kind_it_is():
    found = probe("popgym-BattleshipEasy-v0")
    assert found == Probe(
        frames=65,
        lengths_vary=False,
        needs_previous_action=True,
        action_grid=(8, 8),
        rewards_dense=True,
        observation_spec=tensor_spec.BoundedTensorSpec([], tf.int64, 0, 1, "observation"),
    )


@pytest.mark.parametrize(("mask_in", "part"), [("observation", "x"), ("info", "observation")])
def test_a_probe_tells_what_is_seen_but_for_the_action_mask(mask_in, part):
    found = probe("tests/OneAllowed-v0", {"mask_in": mask_in}, action_mask=True)
    assert list(found.observation_spec) == [part]


def test_a_probe_tells_whether_most_steps_are_rewarded():
    assert probe("CartPole-v1").rewards_dense


def test_workers_that_have_died_can_be_closed():
    before = set(multiprocessing.active_children())
    environment = load("tests/RememberFirst-v0", num_envs=2, vectorization="async")
    environment.reset()
    for worker in set(multiprocessing.active_children()) - before:
        worker.kill()
        worker.join()
    environment.close()


@pytest.mark.filterwarnings("ignore::UserWarning:gymnasium.vector.async_vector_env")
def test_workers_that_die_in_a_step_leave_no_traceback_behind(monkeypatch):
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    environment = load(
        "tests/Breaking-v0", num_envs=2, env_kwargs={"after": 0, "kills": True}, vectorization="async"
    )
    environment.reset()
    with pytest.raises(EnvironmentFailed, match="the process of a worker has ended"):
        environment.step(zeros(environment))
    environment.close()
    del environment
    gc.collect()
    assert not unraisable  # of Gymnasium's destructor
