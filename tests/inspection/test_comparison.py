"""Two policies on the same episodes."""

from dataclasses import replace

import numpy as np
import pytest

from tests.export.policies import SMALL, SUIT, policy_of
from tfmem.environments import load
from tfmem.errors import InvalidInput
from tfmem.inspection import compare, trace
from tfmem.inspection.comparison import first_difference


class Answers:
    """Says what it has seen at first, from step `late` on; 0 before. Counts its steps in its state."""

    def __init__(self, late):
        self._late = late

    def initial_state(self, batch_size):
        return {"seen": np.zeros(batch_size, np.int64), "steps": np.zeros(batch_size, np.int64)}

    def explain(self, observation, is_first, state):
        seen = np.where(is_first, observation, state["seen"])
        steps = np.where(is_first, 0, state["steps"] + 1)
        action = np.where(steps >= self._late, seen, 0).astype(np.int32)
        return action, np.eye(3)[action], {"seen": seen, "steps": steps}, {}


def test_returns_and_the_first_other_action():
    environment = load("tests/RememberFirst-v0")
    seeds = range(4, 12)
    found = compare(Answers(0), Answers(3), environment, seeds=seeds)
    numbers = [int(trace(Answers(0), environment, seed=s, gamma=1.0).action[0]) for s in seeds]
    np.testing.assert_array_equal(found.seeds, seeds)
    assert 0 < np.count_nonzero(numbers) < len(numbers)
    # Whoever says 0 for three steps is right where the number is 0.
    np.testing.assert_array_equal(found.returns, [[5, 2 if number else 5] for number in numbers])
    np.testing.assert_array_equal(found.first_difference, [0 if number else -1 for number in numbers])
    assert found.mean_returns == (5, np.mean(found.returns[:, 1]))


def test_a_difference_is_found_where_it_begins():
    environment = load("tests/RememberFirst-v0")
    seed = next(s for s in range(20) if trace(Answers(0), environment, seed=s, gamma=1.0).action[0])
    episodes = [trace(Answers(late), environment, seed=seed, gamma=1.0) for late in (2, 4)]
    assert first_difference(*episodes) == 2
    shorter = replace(episodes[0], action=episodes[0].action[:2])
    assert first_difference(shorter, episodes[1]) == 2


def test_a_policy_beside_itself_never_differs():
    policy = policy_of(SUIT, SMALL)
    found = compare(policy, policy, load("tests/RememberFirst-v0"), seeds=range(2), max_steps=3)
    np.testing.assert_array_equal(found.first_difference, [-1, -1])


def test_no_seeds():
    with pytest.raises(InvalidInput, match="seeds must be at least one"):
        compare(Answers(0), Answers(1), load("tests/RememberFirst-v0"), seeds=range(0))
