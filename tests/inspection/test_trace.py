"""Episodes as arrays."""

from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest

from tfmem.environments import load
from tfmem.errors import InvalidInput
from tfmem.inspection import trace

# Memory of the counting policy below: how many steps it has seen.
COUNT = "count"


class Counting:
    """Names the action of greatest Q-value, which is the number of steps that it remembers, up to 2."""

    def initial_state(self, batch_size):
        return {COUNT: np.zeros([batch_size, 1], np.float32)}

    def explain(self, observation, is_first, state):
        count = np.where(is_first[:, np.newaxis], 0, state[COUNT]) + 1
        q_values = np.eye(3, dtype=np.float32)[np.minimum(count[:, 0] - 1, 2).astype(int)]
        action = q_values.argmax(axis=-1).astype(np.int32)
        return action, q_values, {COUNT: count}, {"seen_twice": np.asarray(observation) * 2}


def play(ending="terminated", **options):
    environment = load("tests/RememberFirst-v0", env_kwargs={"length": 4, "ending": ending})
    return trace(Counting(), environment, seed=3, gamma=0.5, **options)


def test_it_holds_every_step():
    found = play()
    assert len(found) == 4
    assert found.action.tolist() == [0, 1, 2, 2]
    assert found.q_values.shape == (4, 3)
    assert found.observation["observation"].tolist()[1:] == [3, 3, 3]
    number = found.observation["observation"][0]
    assert found.reward.tolist() == [float(action == number) for action in found.action]
    assert found.total_reward == found.reward.sum()
    assert found.state[COUNT][:, 0].tolist() == [1, 2, 3, 4]
    assert found.initial_state[COUNT].tolist() == [0]
    assert found.explained["seen_twice"].tolist() == [2 * number, 6, 6, 6]
    assert found.frames is None


def test_td_errors_by_hand():
    # The best action is worth 1 at every step, so the error is r + γ·1 − 1, and r − 1 at an end.
    ended, cut = play(), play(ending="truncated")
    assert np.allclose(ended.td_error, ended.reward - np.array([0.5, 0.5, 0.5, 1.0]))
    assert np.allclose(cut.td_error, cut.reward - 0.5)
    assert (ended.truncated, cut.truncated) == (False, True)


def test_it_can_be_cut():
    found = play(max_steps=2)
    assert len(found) == 2
    assert found.truncated


def test_without_memory_every_step_is_the_first():
    assert play(ablate_memory=True).action.tolist() == [0, 0, 0, 0]


def test_the_seed_decides_the_episode():
    def first_seen(seed):
        found = trace(Counting(), load("tests/RememberFirst-v0"), seed=seed, gamma=0.5)
        return int(found.observation["observation"][0])

    seen = [first_seen(seed) for seed in range(10)]
    assert len(set(seen)) > 1
    assert [first_seen(seed) for seed in range(10)] == seen


def test_frames_are_what_the_environment_draws():
    class Drawn(gym.Env):
        """The picture says which step it is."""

        metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 4}
        observation_space = gym.spaces.Discrete(9)
        action_space = gym.spaces.Discrete(3)

        def __init__(self, render_mode=None):
            self.render_mode = render_mode

        def reset(self, *, seed=None, options=None):
            self._t = 0
            return 0, {}

        def step(self, action):
            self._t += 1
            return self._t, 0.0, self._t == 3, False, {}

        def render(self):
            return np.full([5, 4, 3], self._t, np.uint8)

    gym.register("tests/Drawn-v0", Drawn)
    environment = load("tests/Drawn-v0", env_kwargs={"render_mode": "rgb_array"})
    found = trace(Counting(), environment, seed=0, gamma=0.5)
    assert found.frames.shape == (3, 5, 4, 3)
    assert found.frames[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_of_several_the_first_is_kept():
    one, of_three = (
        trace(Counting(), load("tests/RememberFirst-v0", num_envs=n), seed=3, gamma=0.5, max_steps=2)
        for n in (1, 3)
    )
    for name in ("action", "q_values", "reward", "td_error"):
        np.testing.assert_array_equal(getattr(one, name), getattr(of_three, name))
    np.testing.assert_array_equal(one.state[COUNT], of_three.state[COUNT])


def test_an_episode_without_steps_is_refused():
    environment = load("tests/RememberFirst-v0")
    with pytest.raises(InvalidInput, match="max_steps"):
        trace(Counting(), environment, seed=0, gamma=0.5, max_steps=0)
