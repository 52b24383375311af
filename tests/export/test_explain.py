"""What an export's `explain` shows of a policy that attends to regions of an image."""

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec

from tests.export.policies import SUIT, policy_of
from tfmem.environments import load
from tfmem.export import export_policy, load_policy
from tfmem.inspection.trace import trace
from tfmem.networks import LSTMConfig, NetworkConfig

SPEC = {"camera": tensor_spec.BoundedTensorSpec([8, 9, 3], tf.uint8, 0, 255), "suit": SUIT}


def config(kind):
    return NetworkConfig(core=LSTMConfig(6), embedding=8, hidden=8, region_attention=kind)


@pytest.mark.parametrize("kind", ["soft", "reinforce"])
def test_an_export_shows_where_it_looks_as_the_policy_does(kind, tmp_path):
    policy = policy_of(SPEC, config(kind))
    path = export_policy(policy, tmp_path / "p").path
    signatures = tf.saved_model.load(str(path)).signatures
    shown = set(signatures["explain"].structured_outputs) - set(signatures["step"].structured_outputs)
    assert shown == {"region_attention"}
    loaded = load_policy(path)
    rng = np.random.default_rng(1)
    own = other = policy.initial_state(3)
    for t in range(4):
        observation = {
            "camera": tf.constant(rng.integers(0, 256, [3, 8, 9, 3]), tf.uint8),
            "suit": tf.constant(rng.integers(0, 4, [3])),
        }
        *_, own, in_process = policy.explain(observation, tf.fill([3], t == 0), own)
        *_, other, exported = loaded.explain(observation, tf.fill([3], t == 0), other)
        assert exported["region_attention"].shape == (3, 4, 5)
        assert list(exported) == ["region_attention"]
        np.testing.assert_allclose(exported["region_attention"], in_process["region_attention"], atol=1e-6)


def test_a_trace_has_it_at_every_step(tmp_path):
    environment = load("tests/Marked-v0", num_envs=1)
    policy = policy_of(tensor_spec.from_spec(environment.observation_spec()), config("soft"))
    traced = trace(policy, environment, seed=0, gamma=0.9)
    assert traced.explained["region_attention"].shape == (5, 6, 6)
    path = export_policy(policy, tmp_path / "p").path
    again = trace(load_policy(path), environment, seed=0, gamma=0.9)
    np.testing.assert_allclose(
        again.explained["region_attention"], traced.explained["region_attention"], atol=1e-6
    )
