from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec

from tests.export.policies import SMALL, policy_of
from tfmem.errors import InvalidInput
from tfmem.export import ExportMismatch, export_litert, export_policy, load_policy

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


def test_a_conversion_that_acts_otherwise_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    class Worst(tf.lite.Interpreter):
        def get_signature_runner(self, signature_key=None):
            right = super().get_signature_runner(signature_key)

            def run(**inputs):
                outputs = right(**inputs)
                return {**outputs, "action": outputs["q_values"].argmin(axis=-1)}

            return run

    monkeypatch.setattr(tf.lite, "Interpreter", Worst)
    with pytest.raises(ExportMismatch, match="LiteRT's action at step 0 is worth"):
        export_litert(COMMITTED, tmp_path / "p.tflite")
    assert list(tmp_path.iterdir()) == []


def test_nested_observations_with_images(tmp_path):
    spec = {
        "camera": tensor_spec.BoundedTensorSpec([8, 8, 1], tf.uint8, 0, 255),
        "speed": tensor_spec.BoundedTensorSpec([2], tf.float32, -1.0, [1.0, 2.0]),
    }
    path = export_policy(policy_of(spec, SMALL), tmp_path / "p", batch_sizes=(1,)).path
    assert export_litert(path, tmp_path / "p.tflite").worst_q_difference < 1e-4


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="not a version folder of a tfmem export"):
        export_litert(tmp_path, tmp_path / "p.tflite")
