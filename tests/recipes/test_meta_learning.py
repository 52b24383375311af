"""Trials in the Dark Room: what stays, what starts again, what is held out, what pays."""

import gymnasium as gym
import numpy as np
import pytest

import tfmem.recipes  # noqa: F401  registers them
from tfmem.environments import load

pytest.importorskip("toymeta")
from tfmem.recipes.meta_learning import goal_cells

STAY, UP, RIGHT, DOWN, LEFT = range(5)
STEPS, EPISODES = 12, 4


@pytest.fixture
def trial():
    return gym.make("recipes/dark-room")


def place_goal(trial, goal):
    trial.reset(seed=0)
    trial.unwrapped.goal_pos = np.array(goal)


def walk(trial, actions):
    """Positions, start flags, rewards and ends along `actions`."""
    told = [trial.step(action) for action in actions]
    return (
        [tuple(int(i) for i in observation["position"]) for observation, *_ in told],
        [observation["start"] for observation, *_ in told],
        [reward for _, reward, *_ in told],
        [terminated for _, _, terminated, *_ in told],
    )


def test_every_step_on_the_goal_pays(trial):
    place_goal(trial, (1, 3))
    positions, starts, rewards, ends = walk(trial, [UP, RIGHT, STAY, LEFT, RIGHT])
    assert positions == [(1, 2), (1, 3), (1, 3), (1, 2), (1, 3)]
    assert rewards == [0, 1, 1, 0, 1]
    assert not any(starts)
    assert not any(ends)


def test_an_episode_starts_in_the_middle_after_the_last_step_of_the_one_before(trial):
    observation, _ = trial.reset(seed=0)
    assert (observation["position"].tolist(), observation["start"]) == ([2, 2], 1)
    place_goal(trial, (0, 2))
    positions, starts, rewards, ends = walk(trial, [UP] * STEPS * EPISODES)
    assert positions == [*[(1, 2), *[(0, 2)] * (STEPS - 2), (2, 2)] * EPISODES]
    assert starts == [*[0] * (STEPS - 1), 1] * EPISODES
    # Against the wall it stays, on the goal: the step that ends an episode pays as well.
    assert rewards == [0, *[1] * (STEPS - 1)] * EPISODES
    assert ends == [*[False] * (STEPS * EPISODES - 1), True]


def test_the_goal_stays_for_a_trial_and_another_has_another(trial):
    trial.reset(seed=0)
    found = []
    for _ in range(100):
        first = tuple(trial.unwrapped.goal_pos)
        walk(trial, [STAY] * STEPS * EPISODES)
        assert tuple(trial.unwrapped.goal_pos) == first
        found.append(first)
        trial.reset()
    assert len(set(found)) > 20  # of 25 cells


def test_held_out_goals_are_never_trained_on():
    everywhere, training, held_out = (
        {tuple(cell) for cell in goal_cells(9, goals)} for goals in ("all", "training", "held_out")
    )
    assert len(everywhere) == 81
    assert training | held_out == everywhere
    assert not training & held_out
    assert len(held_out) == 16
    assert {row for row, _ in held_out} == {column for _, column in held_out} == set(range(9))
    for arguments, goals in (({}, training), ({"goals": "held_out"}, held_out)):
        trial = gym.make("recipes/dark-room-9", **arguments)
        trial.reset(seed=0)
        drawn = set()
        for _ in range(300):
            trial.reset()
            drawn.add(tuple(trial.unwrapped.goal_pos))
        assert drawn <= goals
        assert len(drawn) > 0.9 * len(goals)


def test_the_last_action_and_reward_of_an_episode_are_seen_at_the_start_of_the_next():
    environment = load("recipes/dark-room", previous_action=True, previous_reward=True, seed=0)
    environment.reset()
    environment._environment.envs[0].unwrapped.goal_pos = np.array([2, 2])
    for _ in range(STEPS):
        seen = environment.step(np.array([STAY])).observation
    assert seen["observation"]["start"][0] == 1
    assert (seen["previous_action"][0], seen["previous_reward"][0]) == (STAY, 1)
    assert environment.current_time_step().is_mid()[0]
