import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from tf_agents.specs import tensor_spec

from tests.export.policies import SMALL, SUIT, policy_of
from tfmem.errors import InvalidInput
from tfmem.export import ExportMismatch, check, export_policy, load_policy, read_manifest
from tfmem.networks import NetworkConfig, NoCoreConfig

PATH = "assets.extra/tf_serving_warmup_requests"
# Two parts that cannot be zero, the second not even the same everywhere, and an image.
AWAY_FROM_ZERO = (
    tensor_spec.BoundedTensorSpec([], tf.int32, 2, 5),
    tensor_spec.BoundedTensorSpec([2], tf.float32, [1.0, -4.0], [2.0, -3.0]),
    tensor_spec.BoundedTensorSpec([16, 16, 3], tf.uint8, 0, 255),
)


def records(path):
    """The requests of a warm-up file, as TF Serving reads them."""
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(path / PATH))
    ]
    assert all(log.WhichOneof("log_type") == "predict_log" for log in logs)
    return [log.predict_log.request for log in logs]


@pytest.fixture(scope="module")
def policy():
    return policy_of(AWAY_FROM_ZERO, SMALL)


@pytest.fixture(scope="module")
def path(policy, tmp_path_factory):
    return export_policy(policy, tmp_path_factory.mktemp("models") / "warm").path


def test_a_record_for_each_signature_and_batch_size(path):
    sizes = read_manifest(path)["batch_sizes"]
    assert sizes == [1, 2, 4, 8, 16, 32, 64]
    found = []
    for request in records(path):
        assert request.model_spec.name == "warm"
        (size,) = {tensor.tensor_shape.dim[0].size for tensor in request.inputs.values()}
        found.append((request.model_spec.signature_name, size))
    names = ["explain", "initial_state", "serving_default", "step"]
    assert found == [(name, size) for name in names for size in sizes]


def test_the_records_give_the_policys_own_answers(path, policy):
    signatures = tf.saved_model.load(str(path)).signatures
    for request in records(path):
        name = request.model_spec.signature_name
        inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        outputs = signatures[name](**inputs)
        size = len(next(iter(inputs.values())))
        if name == "initial_state":
            expected = policy.initial_state(size)
        else:
            observation = tuple(inputs[f"observation_{part}"] for part in range(3))
            action, q_values, state = policy.step(observation, [True] * size, policy.initial_state(size))
            expected = {"action": action, "q_values": q_values, **state}
        for key, value in outputs.items():
            np.testing.assert_allclose(value, expected[key], atol=1e-5)


def test_observations_keep_to_their_bounds(path):
    for request in records(path):
        if request.model_spec.signature_name == "step":
            inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
            assert np.all(inputs["observation_0"] == 2)
            assert np.all(inputs["observation_1"] == [1.0, -3.0])
            assert inputs["is_first"].all()
            assert inputs["memory"].shape[1:] == (6, 4)


def test_the_file_stays_small_whatever_the_state_and_the_observation(path):
    assert (path / PATH).stat().st_size < 20_000


@pytest.mark.parametrize("sizes", [(), (0, 1), (1, 1), (4, 2), tuple(range(1, 252))])
def test_batch_sizes_increase_and_are_no_more_than_a_server_warms_up(policy, tmp_path, sizes):
    with pytest.raises(InvalidInput, match="batch_sizes must be 1 to 250 sizes, positive and strictly incr"):
        export_policy(policy, tmp_path / "p", batch_sizes=sizes)
    assert not (tmp_path / "p").exists()


def test_a_record_that_fails_fails_the_export(tmp_path):
    policy = policy_of(SUIT, NetworkConfig(core=NoCoreConfig()))
    right = policy.step

    def step(observation, is_first, state):
        with tf.control_dependencies([tf.Assert(tf.shape(is_first)[0] != 6, ["too many for me"])]):
            return right(tf.identity(observation), is_first, state)

    policy.step = step
    message = "warm-up of serving_default fails at batch size 6: .*too many for me"
    with pytest.raises(ExportMismatch, match=message) as raised:
        export_policy(policy, tmp_path / "p", batch_sizes=(1, 6))
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "p").iterdir()) == []


def test_a_record_whose_answer_has_too_few_rows_fails(path):
    signatures = dict(tf.saved_model.load(str(path)).signatures)
    right = signatures["step"]

    def step(**inputs):
        outputs = right(**inputs)
        return {**outputs, "action": outputs["action"][:15]}

    signatures["step"] = step
    with pytest.raises(ValueError, match="action of step has 15 rows for 16 of its inputs"):
        check.replay(signatures, str(path / PATH))


def test_an_export_from_before_warm_up_still_loads(path, tmp_path):
    old = tmp_path / "models" / "1"
    manifest = read_manifest(path)
    del manifest["batch_sizes"]
    tf.io.gfile.makedirs(str(old / "assets.extra"))
    tf.io.gfile.copy(str(path / "saved_model.pb"), str(old / "saved_model.pb"))
    tf.io.gfile.makedirs(str(old / "variables"))
    for file in (path / "variables").iterdir():
        tf.io.gfile.copy(str(file), str(old / "variables" / file.name))
    (old / "assets.extra" / "tfmem.json").write_text(json.dumps(manifest))
    loaded = load_policy(old)
    observation = tf.constant([3]), tf.constant([[1.5, -3.5]]), tf.ones([1, 16, 16, 3], tf.uint8)
    action, _, _ = loaded.step(observation, [True], loaded.initial_state(1))
    assert action.shape == (1,)
