import numpy as np
import pytest
from gymnasium import spaces

from tfmem.environments.spaces import (
    action_count,
    action_grid,
    bounded_parts,
    float_parts,
    observation_spec,
    require_finite,
    require_inside,
    require_numbers,
    to_action,
    to_observation,
)
from tfmem.errors import InvalidInput


def test_specs_of_every_space():
    space = spaces.Dict(
        {
            "discrete": spaces.Discrete(3, start=5),
            "pair": spaces.Tuple([spaces.MultiDiscrete([2, 4]), spaces.MultiBinary(3)]),
            "box": spaces.Box(-1, 1, (2,), np.float32),
        }
    )
    spec = observation_spec(space)
    assert (spec["discrete"].minimum, spec["discrete"].maximum) == (0, 2)
    assert spec["pair"][0].maximum.tolist() == [1, 3]
    assert spec["pair"][1].shape == (3,)
    assert spec["box"].dtype == np.float32


def test_boolean_boxes_are_numbers():
    space = spaces.Box(0, 1, (2,), np.bool_)
    assert observation_spec(space).dtype == np.int8
    found = to_observation(space, np.array([[True, False]]))
    assert (found.dtype, found.tolist()) == (np.int8, [[1, 0]])


def test_observations_count_from_zero():
    batch = {"a": np.array([5, 7]), "b": (np.array([[1, 2]] * 2),)}
    space = spaces.Dict(
        {
            "a": spaces.Discrete(3, start=5),
            "b": spaces.Tuple([spaces.MultiDiscrete([4, 4], start=[1, 1])]),
        }
    )
    found = to_observation(space, batch)
    assert found["a"].tolist() == [0, 2]
    assert found["b"][0].tolist() == [[0, 1]] * 2


def test_multi_discrete_actions_become_one_choice_and_back():
    space = spaces.MultiDiscrete([2, 3, 4])
    assert action_count(space) == 24
    actions = to_action(space, np.arange(24))
    assert len({tuple(a) for a in actions}) == 24
    assert all(space.contains(a) for a in actions)
    assert actions[1 * 12 + 2 * 4 + 3].tolist() == [1, 2, 3]
    assert to_action(spaces.Discrete(3, start=-1), np.array([0, 2])).tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("space", "grid"),
    [
        (spaces.MultiDiscrete([3, 4]), (3, 4)),
        (spaces.MultiDiscrete([[2, 1], [3, 4]]), (2, 3, 4)),
        (spaces.MultiDiscrete([1, 5]), ()),
        (spaces.MultiDiscrete([5]), ()),
        (spaces.Discrete(5), ()),
    ],
)
def test_actions_of_several_components_are_a_grid(space, grid):
    assert action_grid(space) == grid


def test_what_does_not_fit_is_named():
    with pytest.raises(InvalidInput, match=r"observation\.word is a Text space"):
        observation_spec(spaces.Dict({"word": spaces.Text(5)}))
    with pytest.raises(InvalidInput, match="Discrete or MultiDiscrete actions"):
        action_count(spaces.Box(0, 1))
    for many in ([10] * 10, [2] * 64):
        with pytest.raises(
            InvalidInput, match=r"number of \(joint\) actions must be at most 65536, not \d+$"
        ):
            action_count(spaces.MultiDiscrete(many))


def test_observations_without_a_number_are_named():
    for space, named in (
        (spaces.Dict({}), "the observation space must be of one part at least"),
        (spaces.Dict({"a": spaces.Box(-1, 1, (0,))}), r"observation\.a's shape must be of one number"),
    ):
        with pytest.raises(InvalidInput, match=named):
            require_numbers(observation_spec(space))


def test_numbers_that_are_not_finite_are_named():
    space = spaces.Tuple([spaces.Discrete(3), spaces.Box(-np.inf, np.inf, (2,), np.float32)])
    parts = float_parts(observation_spec(space))
    require_finite(parts, (np.array([1]), np.array([[1.0, 2.0]], np.float32)))
    for value in (np.nan, np.inf):
        with pytest.raises(InvalidInput, match=rf"observation\.1 must be of finite numbers, not {value}"):
            require_finite(parts, (np.array([1]), np.array([[1.0, value]], np.float32)))


def test_whole_numbers_outside_of_their_bounds_are_named():
    space = spaces.Dict(
        {"a": spaces.Discrete(3), "b": spaces.Box(0, 255, [2], np.uint8), "c": spaces.Box(0, 1)}
    )
    parts = bounded_parts(observation_spec(space))
    assert list(parts) == [0]  # bytes and fractions are what they are
    inside = {"a": np.array([0, 2]), "b": np.zeros([2, 2], np.uint8), "c": np.array([[5.0], [0.0]])}
    require_inside(parts, inside)
    with pytest.raises(
        InvalidInput, match=r"^observation.a must be inside of its space's bounds, 0 to 2, not 3$"
    ):
        require_inside(parts, inside | {"a": np.array([0, 3])})
