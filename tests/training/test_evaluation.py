import numpy as np
import pytest

from tfmem.environments import EnvironmentFailed, load
from tfmem.training import evaluate


class Counter:
    """Acts by how many steps it remembers: its state counts them."""

    def __init__(self, actions=3):
        self._actions = actions

    def initial_state(self, batch_size):
        return {"count": np.zeros(batch_size, np.int32)}

    def step(self, observation, is_first, state):
        count = np.where(is_first, 0, state["count"])
        return count % self._actions, None, {"count": count + 1}


def test_memory_is_carried_or_ablated():
    environment = load("tests/RememberFirst-v0", num_envs=2)
    whole = evaluate(Counter(), environment, episodes=2, seed=0)
    assert [a.tolist() for a in whole.actions] == [[0, 1, 2, 0, 1]] * 2
    ablated = evaluate(Counter(), environment, episodes=2, seed=0, ablate_memory=True)
    assert [a.tolist() for a in ablated.actions] == [[0] * 5] * 2


@pytest.mark.parametrize("num_envs", [1, 2, 3, 7])
def test_episodes_do_not_depend_on_how_many_run_together(num_envs):
    found = evaluate(Counter(), load("tests/RememberFirst-v0", num_envs=num_envs), episodes=7, seed=5)
    expected = evaluate(Counter(), load("tests/RememberFirst-v0", num_envs=7), episodes=7, seed=5)
    np.testing.assert_array_equal(found.returns, expected.returns)
    assert found.mean_return == pytest.approx(np.mean(expected.returns))


def test_shorter_episodes_are_counted_once():
    """Environments that end early start again while others go on; only their first episode counts."""
    environment = load("CartPole-v1", num_envs=4)
    found = evaluate(Counter(actions=2), environment, episodes=4, seed=0)
    assert [len(a) for a in found.actions] == found.returns.astype(int).tolist()
    assert len(set(found.returns)) > 1


def test_an_episode_that_does_not_end_is_refused_and_a_limit_ends_it(monkeypatch):
    monkeypatch.setattr("tfmem.training.evaluation.ENDLESS", 50)
    endless = load("tests/RememberFirst-v0", env_kwargs={"length": 1_000})
    with pytest.raises(
        EnvironmentFailed, match=r"has not ended after 50 steps; limit it by .*max_episode_steps"
    ):
        evaluate(Counter(), endless, episodes=1, seed=0)
    limited = load("tests/RememberFirst-v0", env_kwargs={"length": 1_000, "max_episode_steps": 50})
    assert len(evaluate(Counter(), limited, episodes=1, seed=0).actions[0]) == 50
