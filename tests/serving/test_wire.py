import numpy as np
import pytest

from tfmem.serving import wire


def test_names_of_nested_observations():
    assert wire.flatten_observation(3) == {"observation": 3}
    assert wire.flatten_observation({"b": (1, 2), "a": {"c d": 3}}) == {
        "observation_a_c_d": 3,
        "observation_b_0": 1,
        "observation_b_1": 2,
    }
    assert list(wire.flatten_observation(np.zeros(3))) == ["observation"]


def test_two_parts_may_not_have_one_name():
    with pytest.raises(ValueError, match="'observation_a_b'"):
        wire.flatten_observation({"a_b": 1, "a.b": 2})


def test_state_names():
    names = ["memory", "is_first", "observation", "observation_x", "action", "observations"]
    assert [n for n in names if wire.is_state(n)] == ["memory", "observations"]


def test_a_fingerprint_is_of_the_spec_alone():
    spec = {"memory": {"dtype": "float32", "shape": [4, 2]}}
    assert wire.fingerprint(spec) == wire.fingerprint(
        {"memory": {"dtype": "float32", "shape": (4, 2), "minimum": 0}}
    )
    assert wire.fingerprint(spec) != wire.fingerprint({"memory": {"dtype": "float32", "shape": [2, 4]}})
