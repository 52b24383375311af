import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec

from tests.export.policies import SMALL, SUIT, policy_of
from tfmem.errors import InvalidInput
from tfmem.export import ExportMismatch, export_litert, export_policy, load_policy, read_manifest

COMMITTED = Path(__file__).parents[2] / "saved_models" / "repeat_previous" / "1"
# tf.lite says that a package of its own is to replace it.
pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")


def test_a_trained_policy_in_litert_plays_as_the_original(tmp_path):
    made = export_litert(COMMITTED, tmp_path / "models" / "recall.tflite")
    assert made.size == made.path.stat().st_size > 10_000
    assert made.worst_q_difference < 1e-4

    step = tf.lite.Interpreter(model_path=str(made.path)).get_signature_runner("step")
    policy = load_policy(COMMITTED)
    state = policy.initial_state(1)
    other_state = {name: np.zeros(part.shape, np.float32) for name, part in state.items()}
    actions = []
    for t, suit in enumerate(np.random.default_rng(1).integers(0, 4, 52)):
        action, _, state = policy.step([suit], [t == 0], state)
        other = step(observation=np.array([suit]), is_first=np.array([t == 0]), **other_state)
        other_state = {name: other[name] for name in other_state}
        assert other["action"] == action
        actions.append(int(action[0]))
    assert len(set(actions)) == 4


# Sizes as shares of the model in float32. In int8 the committed policy picks another action now and then.
@pytest.mark.parametrize(
    ("precision", "agreement", "difference", "share"),
    [("float16", 1.0, 1e-4, 0.6), ("int8", 0.99, 1e-3, 0.43)],
)
def test_a_lower_precision_is_smaller_and_says_how_close_it_is(
    precision, agreement, difference, share, tmp_path
):
    path = tmp_path / "p.tflite"
    whole = export_litert(COMMITTED, tmp_path / "whole.tflite")
    made = export_litert(COMMITTED, path, precision=precision, min_agreement=agreement)
    assert made.size < share * whole.size
    assert agreement <= made.agreement <= 1.0
    assert 1e-6 < made.worst_q_difference < difference
    origin = read_manifest(COMMITTED)
    assert json.loads((tmp_path / "p.tflite.json").read_text()) == {
        **{key: origin[key] for key in ("name", "version", "fingerprint")},
        "precision": precision,
        "agreement": made.agreement,
        "worst_q_difference": made.worst_q_difference,
        "steps": 1000,
    }


def test_another_action_in_one_step_of_many_is_refused_unless_allowed(tmp_path):
    path = tmp_path / "p.tflite"
    with pytest.raises(ExportMismatch, match=r"LiteRT in int8 acts as the original in 99\.\d%"):
        export_litert(COMMITTED, path, precision="int8")
    assert not path.exists()


def test_an_export_in_float16_is_converted_as_any(tmp_path):
    path = export_policy(
        policy_of(SUIT, SMALL),
        tmp_path / "p",
        batch_sizes=(1,),
        precision="float16",
        min_agreement=0.9,
    ).path
    assert export_litert(path, tmp_path / "p.tflite").worst_q_difference < 1e-4


def test_a_conversion_that_acts_otherwise_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    class Worst(tf.lite.Interpreter):
        def get_signature_runner(self, signature_key=None):
            right = super().get_signature_runner(signature_key)

            def run(**inputs):
                outputs = right(**inputs)
                return {**outputs, "action": outputs["q_values"].argmin(axis=-1)}

            return run

    monkeypatch.setattr(tf.lite, "Interpreter", Worst)
    with pytest.raises(ExportMismatch, match=r"LiteRT in float32 acts as the original in 0\.0% of 1000"):
        export_litert(COMMITTED, tmp_path / "p.tflite")
    assert list(tmp_path.iterdir()) == []


def test_nested_observations_with_images(tmp_path):
    spec = {
        "camera": tensor_spec.BoundedTensorSpec([8, 8, 1], tf.uint8, 0, 255),
        "speed": tensor_spec.BoundedTensorSpec([2], tf.float32, -1.0, [1.0, 2.0]),
    }
    path = export_policy(policy_of(spec, SMALL), tmp_path / "p", batch_sizes=(1,)).path
    assert export_litert(path, tmp_path / "p.tflite").worst_q_difference < 1e-4


def test_slots_of_actions(tmp_path):
    action = tensor_spec.BoundedTensorSpec([], tf.int64, 0, 2)  # as many as `policy_of` has
    row = tensor_spec.BoundedTensorSpec([3], tf.int64, 0, 1)  # something of each action
    spec = {"observation": SUIT, "previous_action": action, "row": row}
    config = dataclasses.replace(SMALL, action_slots=4, action_grid=(3, 1))
    path = export_policy(policy_of(spec, config), tmp_path / "p", batch_sizes=(1,)).path
    assert export_litert(path, tmp_path / "p.tflite").worst_q_difference < 1e-4


def test_tallies(tmp_path):
    spec = tensor_spec.BoundedTensorSpec([2], tf.int64, 0, 3)
    config = dataclasses.replace(SMALL, tallies=4)
    path = export_policy(policy_of(spec, config), tmp_path / "p", batch_sizes=(1,)).path
    assert export_litert(path, tmp_path / "p.tflite").worst_q_difference < 1e-4


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="not a version folder of a tfmem export"):
        export_litert(tmp_path, tmp_path / "p.tflite")


def test_an_unknown_precision_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match=r"^precision must be float32 or float16 or int8, not 'int4'$"):
        export_litert(COMMITTED, tmp_path / "p.tflite", precision="int4")
