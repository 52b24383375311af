"""The arm that is told its goal once: what it sees, how it moves."""

import contextlib

import gymnasium as gym
import numpy as np
import pytest

from tfmem.errors import InvalidInput
from tfmem.recipes import RECIPES, manipulation

pytestmark = pytest.mark.skipif(
    bool(RECIPES["recipes/reach"].needs.missing()), reason="needs gymnasium-robotics and mujoco"
)


@pytest.fixture
def make():
    with contextlib.ExitStack() as made:

        def make(**kwargs):
            return made.enter_context(contextlib.closing(gym.make("recipes/reach", **kwargs)))

        yield make


def test_the_goal_is_shown_at_the_reset_only(make):
    environment = make()
    for seed in (3, 4):
        seen, _ = environment.reset(seed=seed)
        fetch = environment.unwrapped
        assert seen["shown"] == 1
        np.testing.assert_allclose(fetch.initial_gripper_xpos + 0.15 * seen["goal"], fetch.goal, atol=1e-6)
        assert np.abs(seen["goal"]).max() <= 1
        np.testing.assert_allclose(seen["position"], 0, atol=1e-4)
        for _ in range(3):
            seen = environment.step(1)[0]
            assert seen["shown"] == 0
            np.testing.assert_array_equal(seen["goal"], 0)
            where = fetch.data.site("robot0:grip").xpos
            np.testing.assert_allclose(fetch.initial_gripper_xpos + 0.15 * seen["position"], where, atol=1e-6)


def test_always_shows_the_goal_at_every_step(make):
    environment = make(goal="always")
    first, _ = environment.reset(seed=3)
    later = environment.step(2)[0]
    assert first["shown"] == later["shown"] == 1
    np.testing.assert_array_equal(first["goal"], later["goal"])
    with pytest.raises(InvalidInput, match="goal must be once or always, not 'never'"):
        make(goal="never")


def test_each_move_is_along_its_axis(make):
    environment = make()
    directions = [np.zeros(3), *np.repeat(np.eye(3), 2, axis=0) * np.array([[1], [-1]] * 3)]
    assert environment.action_space.n == len(manipulation.MOVES) == len(directions)
    for action, direction in enumerate(directions):
        environment.reset(seed=0)
        seen = [environment.step(action)[0] for _ in range(3)][-1]
        # Three moves of about .03 m; the controller lets the other axes sag by a few millimetres.
        np.testing.assert_allclose(seen["position"], 0.6 * direction, atol=0.06)
        np.testing.assert_allclose(seen["velocity"], 0.75 * direction, atol=0.1)


def test_the_reward_is_minus_the_distance_for_fifty_steps(make):
    environment = make()
    goal = environment.reset(seed=1)[0]["goal"]
    for step in range(1, 51):
        seen, reward, terminated, truncated, _ = environment.step(step % 7)
        assert reward == pytest.approx(-0.15 * np.linalg.norm(goal - seen["position"]), abs=1e-6)
        assert not terminated
        assert truncated == (step == 50)
