import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tf_agents.specs import tensor_spec

from tests.conftest import RECALL
from tests.export.policies import SMALL, SUIT, policy_of
from tfmem.environments import load
from tfmem.errors import InvalidInput
from tfmem.export import ExportMismatch, export_policy, load_policy, read_manifest
from tfmem.networks import NetworkConfig, NoCoreConfig
from tfmem.training import evaluate


@pytest.fixture(scope="module")
def base(trained_run, tmp_path_factory):
    """The trained policy, exported as version 1."""
    base = tmp_path_factory.mktemp("models") / "recall"
    export_policy(
        trained_run.policy,
        base,
        environment=trained_run.environment,
        run=trained_run.provenance,
    )
    return base


def test_signatures_have_the_same_state_in_and_out_and_any_batch_size(base):
    signatures = tf.saved_model.load(str(base / "1")).signatures
    assert sorted(signatures) == ["explain", "initial_state", "serving_default", "step"]
    state = {"memory", "read_weights", "write_weights"}
    for name in ("step", "explain"):
        inputs = signatures[name].structured_input_signature[1]
        outputs = signatures[name].structured_outputs
        assert set(inputs) == {"observation", "is_first", *state}
        assert set(outputs) == {"action", "q_values", *state}
        for part in state:
            assert inputs[part].shape.as_list() == outputs[part].shape.as_list()
    for signature in signatures.values():
        for spec in signature.structured_input_signature[1].values():
            assert spec.shape[0] is None
    assert set(signatures["serving_default"].structured_outputs) == {"action"}
    assert set(signatures["initial_state"].structured_outputs) == state


def test_the_graph_has_no_python_operations_no_xla_and_no_fourier_transforms(base):
    proto = saved_model_pb2.SavedModel.FromString((base / "1" / "saved_model.pb").read_bytes())
    graph = proto.meta_graphs[0].graph_def
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    operations = {node.op for node in nodes}
    assert not [op for op in operations if "Py" in op or "FFT" in op.upper() or "Xla" in op]
    assert not [n.name for n in nodes if "_XlaMustCompile" in n.attr and n.attr["_XlaMustCompile"].b]


def test_the_manifest_says_what_it_is(base, trained_run):
    manifest = read_manifest(base / "1")
    assert manifest["observation"] == {
        "observation": {"dtype": "int64", "shape": [], "minimum": 0, "maximum": 3}
    }
    assert manifest["action"] == {"dtype": "int32", "count": 4, "space": "Discrete(4)"}
    assert manifest["state"]["memory"] == {"dtype": "float32", "shape": [52, 16]}
    assert manifest["environment"]["id"] == RECALL
    assert manifest["run"]["greedy_return"] == trained_run.metrics[-1]["greedy_return"]
    assert len(manifest["fingerprint"]) == 16


def test_the_loaded_policy_acts_as_the_trained_one(base, trained_run):
    environment = load(RECALL, num_envs=20)
    own = evaluate(trained_run.policy, environment, episodes=20, seed=0)
    loaded = evaluate(load_policy(base / "1"), environment, episodes=20, seed=0)
    for a, b in zip(own.actions, loaded.actions, strict=True):
        np.testing.assert_array_equal(a, b)
    assert loaded.mean_return >= 0.99


def test_versions_count_up_and_none_is_overwritten(base, trained_run):
    before = (base / "1" / "saved_model.pb").read_bytes()
    export = export_policy(trained_run.policy, base)
    assert (export.version, export.path) == (2, base / "2")
    assert (base / "1" / "saved_model.pb").read_bytes() == before
    assert sorted(entry.name for entry in base.iterdir()) == ["1", "2"]
    shutil.rmtree(base / "2")


def test_a_learned_initial_memory_survives(tmp_path):
    policy = policy_of(SUIT, SMALL, initial_memory=0.7)
    loaded = load_policy(export_policy(policy, tmp_path / "p").path)
    np.testing.assert_allclose(loaded.initial_state(2)["memory"], np.full([2, 6, 4], 0.7))
    # A client may start from zeros: the first step puts the model's own memory in place.
    zeros = {name: tf.zeros_like(part) for name, part in policy.initial_state(1).items()}
    _, expected, _ = policy.step(tf.constant([1], tf.int64), [True], policy.initial_state(1))
    _, found, _ = loaded.step([1], [True], zeros)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    _, later, _ = loaded.step([1], [False], zeros)
    assert np.abs(later - expected).max() > 1e-3


@pytest.mark.parametrize(
    "observation_spec",
    [
        {"b": SUIT, "a": {"c/d": tf.TensorSpec([2], tf.float32)}},
        (SUIT, tensor_spec.BoundedTensorSpec([8, 8, 3], tf.uint8, 0, 255)),
        tensor_spec.BoundedTensorSpec([2], tf.int64, 0, [3, 5]),
    ],
    ids=["dict", "tuple with an image", "multi-discrete"],
)
def test_nested_observations_get_names(observation_spec, tmp_path):
    policy = policy_of(observation_spec, SMALL)
    loaded = load_policy(export_policy(policy, tmp_path / "p").path)
    observation = tf.nest.map_structure(lambda spec: tf.ones([3, *spec.shape], spec.dtype), observation_spec)
    _, expected, _ = policy.step(observation, [True] * 3, policy.initial_state(3))
    _, found, _ = loaded.step(observation, [True] * 3, loaded.initial_state(3))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_policy_without_memory_has_no_state(tmp_path):
    policy = policy_of(SUIT, NetworkConfig(core=NoCoreConfig()))
    loaded = load_policy(export_policy(policy, tmp_path / "p").path)
    assert loaded.initial_state(2) == {}
    action, _, state = loaded.step([1, 2], [False, False], {})
    assert action.shape == (2,)
    assert state == {}


def test_an_export_that_acts_otherwise_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    policy = policy_of(SUIT, SMALL)
    right = policy.step

    def wrong(observation, is_first, state):
        action, q_values, state = right(observation, is_first, state)
        return (action + tf.cast(state["memory"][:, 1, 0] > 0, tf.int32)) % 3, q_values, state

    monkeypatch.setattr(policy, "step", wrong)
    signatures = "tfmem.export.signatures.ExportedPolicy._step"

    def saved(self, **inputs):
        state = {name: inputs[name] for name in self._state}
        action, q_values, state = right(self._nest(inputs), inputs["is_first"], state)
        return {"action": action, "q_values": q_values, **state}

    monkeypatch.setattr(signatures, saved)
    with pytest.raises(ExportMismatch, match="action differs at step"):
        export_policy(policy, tmp_path / "p")
    assert list((tmp_path / "p").iterdir()) == []


def test_rounding_of_large_values_is_no_difference(tmp_path):
    policy = policy_of(SUIT, SMALL)
    policy.reward_scale.assign(1e-6)
    assert export_policy(policy, tmp_path / "p").version == 1


def test_the_manifest_leaves_out_bounds_that_bound_nothing(tmp_path):
    spec = (
        tensor_spec.BoundedTensorSpec([8, 8, 3], tf.uint8, 0, 255),
        tensor_spec.BoundedTensorSpec([2], tf.float32, -np.inf, [1.0, 2.0]),
    )
    manifest = read_manifest(export_policy(policy_of(spec, SMALL), tmp_path / "p").path)
    assert manifest["observation"] == {
        "observation_0": {"dtype": "uint8", "shape": [8, 8, 3]},
        "observation_1": {"dtype": "float32", "shape": [2], "maximum": [1.0, 2.0]},
    }


def test_numbers_are_not_cut_to_integers(base):
    policy = load_policy(base / "1")
    with pytest.raises(TypeError):
        policy.step([1.5], [True], policy.initial_state(1))


def test_a_damaged_export_is_named(base, tmp_path):
    shutil.copytree(base / "1", tmp_path / "1")
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(InvalidInput, match="is damaged"):
        load_policy(tmp_path / "1")


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="not a version folder of a tfmem export"):
        load_policy(tmp_path)
