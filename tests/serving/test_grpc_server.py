"""The local server by TF Serving's official stubs over a real socket, and its models over their life."""

import asyncio
import logging
import shutil
import signal
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import psutil
import pytest
import requests
import tensorflow as tf
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from tests.serving.certificates import make_certificate
from tests.serving.predict_requests import predict_request
from tests.serving.test_server import post, start
from tfmem.errors import InvalidInput
from tfmem.serving.server import server
from tfmem.serving.server.model_config import ModelServerConfig, discover
from tfmem.serving.server.models import Models


class Counter(tf.Module):
    """`step` adds to a total; `slow` takes milliseconds as told. Each version counts by its own number."""

    def __init__(self, by: int):
        super().__init__()
        self._by = tf.Variable(by, dtype=tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "total")])
    def step(self, total):
        return {"total": total + self._by}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "ms")])
    def slow(self, ms):
        end = tf.timestamp() + 1e-3 * tf.cast(tf.reduce_max(ms), tf.float64)
        x = tf.ones([100, 100])
        while tf.timestamp() < end:
            x = tf.linalg.l2_normalize(x @ x)
        return {"done": ms + tf.cast(x[0, 0] * 0, tf.int64)}


def save(base, version):
    module = Counter(version)
    path = base / "counter" / f".{version}"
    signatures = {"serving_default": module.step, "slow": module.slow}
    tf.saved_model.save(module, str(path), signatures=signatures)
    path.rename(base / "counter" / str(version))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    base = tmp_path_factory.mktemp("counters")
    for version in (1, 2):
        save(base, version)
    return base


class Served:
    """A server in a thread of this process, for what has to be configured."""

    def __init__(self, source, **config):
        self._source, self._stop = source, None
        self._config = server.ServerConfig(rest_port=0, grpc_port=0, poll_s=0.1, **config)
        self._ready = threading.Event()

    async def _serve(self):
        self._stop = asyncio.Event()

        def ready(url, address, available):
            self.url, self.address, self.available = url, address, available
            self._loop = asyncio.get_running_loop()
            self._ready.set()

        await server.serve(self._source, self._config, ready=ready, stop=self._stop)

    def __enter__(self):
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(60)
        self.channel = grpc.insecure_channel(self.address)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        return self

    def stop(self):
        self._loop.call_soon_threadsafe(self._stop.set)

    def __exit__(self, *exc_info):
        self.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()
        self.channel.close()


@pytest.fixture(scope="module")
def served(base):
    with Served(lambda: discover(base, keep=2)) as served:
        yield served


def request(total, *, name="counter", key="total", **spec):
    return predict_request({key: np.asarray(total, np.int64)}, name=name, **spec)


def totals(answer, key="total"):
    return tf.make_ndarray(answer.outputs[key]).tolist()


def refused(call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, timeout=20, **options)
    return caught.value.code(), caught.value.details()


def test_predict_answers_by_the_newest_version_or_the_one_that_is_asked_for(served):
    newest = served.stub.Predict(request([5, 6]), timeout=20)
    assert totals(newest) == [7, 8]
    assert (newest.model_spec.name, newest.model_spec.version.value) == ("counter", 2)
    assert newest.model_spec.signature_name == "serving_default"
    older = served.stub.Predict(request([5, 6], version=1), timeout=20)
    assert (totals(older), older.model_spec.version.value) == ([6, 7], 1)


def test_typed_values_are_read_as_contents_are(served):
    message = request([0])
    message.inputs["total"].Clear()
    message.inputs["total"].dtype = tf.int64.as_datatype_enum
    message.inputs["total"].tensor_shape.dim.add(size=3)
    message.inputs["total"].int64_val.extend([4, 9])  # the last one repeats
    assert totals(served.stub.Predict(message, timeout=20)) == [6, 11, 11]


def test_an_output_filter_chooses(served):
    message = request([1])
    message.output_filter.append("total")
    assert list(served.stub.Predict(message, timeout=20).outputs) == ["total"]
    message.output_filter.append("nothing")
    code, details = refused(served.stub.Predict, message)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "nothing" in details


CODES = grpc.StatusCode


@pytest.mark.parametrize(
    ("message", "code", "details"),
    [
        (request([1], name="x"), CODES.NOT_FOUND, "Servable not found for request: Latest(x)"),
        (request([1], version=7), CODES.NOT_FOUND, "Specific(counter, 7)"),
        (request([1], label="stable"), CODES.NOT_FOUND, "label: stable"),
        (request([1], signature="x"), CODES.FAILED_PRECONDITION, '"x" not found in signature def'),
        (
            request([1], key="sum"),
            CODES.INVALID_ARGUMENT,
            "Sent extra: {sum}. Missing but required: {total}.",
        ),
        (request(1), CODES.INVALID_ARGUMENT, "must have the shape ['batch'], not []"),
        (request([]), CODES.INVALID_ARGUMENT, "the batch is empty"),
    ],
)
def test_what_is_refused(served, message, code, details):
    found, said = refused(served.stub.Predict, message)
    assert found is code
    assert details in said


def test_a_wrong_type_and_a_broken_tensor_are_refused(served):
    message = request([1])
    message.inputs["total"].CopyFrom(tf.make_tensor_proto([1.5]))
    code, details = refused(served.stub.Predict, message)
    assert (code, "must be of type int64, not float32" in details) == (CODES.INVALID_ARGUMENT, True)
    message.inputs["total"].CopyFrom(request([1]).inputs["total"])
    message.inputs["total"].tensor_content = b"123"
    code, details = refused(served.stub.Predict, message)
    assert (code, "'total' is not a tensor" in details) == (CODES.INVALID_ARGUMENT, True)


def test_classification_says_what_to_call_instead(served):
    from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

    several = inference_pb2.MultiInferenceRequest()
    several.tasks.add().model_spec.name = "counter"
    for call, message in (
        (served.stub.Classify, classification_pb2.ClassificationRequest()),
        (served.stub.Regress, regression_pb2.RegressionRequest()),
        (served.stub.MultiInference, several),
    ):
        if hasattr(message, "model_spec"):
            message.model_spec.name = "counter"
        code, details = refused(call, message)
        assert (code, "use Predict" in details) == (CODES.INVALID_ARGUMENT, True)


def test_metadata(served):
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    message.model_spec.name = "counter"
    answer = served.stub.GetModelMetadata(message, timeout=20)
    assert answer.model_spec.version.value == 2
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == {"serving_default", "slow"}
    assert signatures.signature_def["slow"].inputs["ms"].dtype == tf.int64.as_datatype_enum
    message.metadata_field[:] = ["everything"]
    assert refused(served.stub.GetModelMetadata, message)[0] is CODES.INVALID_ARGUMENT


def test_status(served):
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = "counter"
    states = served.models.GetModelStatus(message, timeout=20).model_version_status
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert [(one.version, one.state) for one in states] == [(2, available), (1, available)]
    assert all(one.HasField("status") and one.status.error_code == 0 for one in states)
    message.model_spec.version.value = 9
    assert refused(served.models.GetModelStatus, message)[0] is CODES.NOT_FOUND


def test_health_readiness_and_metrics(served):
    health = health_pb2_grpc.HealthStub(served.channel)
    answer = health.Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    for path in ("/healthz", "/readyz"):
        assert requests.get(served.url + path, timeout=20).status_code == 200
    served.stub.Predict(request([1]), timeout=20)
    refused(served.stub.Predict, request([1], name="made-up"))
    text = requests.get(f"{served.url}/monitoring/prometheus/metrics", timeout=20).text
    assert 'tfmem_serving_requests_total{code="OK",model="counter",protocol="grpc"}' in text
    assert 'tfmem_serving_version_available{model="counter",version="2"} 1.0' in text
    assert "made-up" not in text


def test_requests_at_the_same_time_share_batches_and_keep_their_rows(served):
    """Many threads, each with its own number of rows, on two versions."""
    wrong = []

    def caller(number):
        rows, version = number % 5 + 1, number % 2 + 1
        for _ in range(10):
            sent = [number * 100 + row for row in range(rows)]
            got = totals(served.stub.Predict(request(sent, version=version), timeout=30))
            if got != [value + version for value in sent]:
                wrong.append((sent, got))

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_batch_larger_than_the_largest_is_split(served):
    sent = list(range(200))
    assert totals(served.stub.Predict(request(sent), timeout=20)) == [value + 2 for value in sent]


def test_a_saturated_server_refuses_and_a_late_answer_is_a_deadline(base):
    with Served(lambda: discover(base, keep=1), max_concurrency=1, request_timeout_s=1.5) as served:
        long = request([6_000], signature="slow", key="ms")
        late = served.stub.Predict.future(long, timeout=60)
        metrics = f"{served.url}/monitoring/prometheus/metrics"
        deadline = time.monotonic() + 20
        while "tfmem_serving_in_flight 1.0" not in requests.get(metrics, timeout=20).text:
            assert time.monotonic() < deadline
        assert refused(served.stub.Predict, request([1]))[0] is CODES.RESOURCE_EXHAUSTED
        status, answer = post(f"{served.url}/v1/models/counter:predict", {"inputs": [1]})
        assert (status, "saturated" in answer["error"]) == (429, True)
        with pytest.raises(grpc.RpcError) as caught:
            late.result()
        assert caught.value.code() is CODES.DEADLINE_EXCEEDED


def test_new_versions_roll_out_and_back_without_a_failed_request(base, tmp_path):
    shutil.copytree(base / "counter" / "1", tmp_path / "counter" / "1")
    with Served(lambda: discover(tmp_path, keep=1)) as served:
        answers, stop = [], threading.Event()

        def caller():
            while not stop.is_set():
                answer = served.stub.Predict(request([0]), timeout=20)
                answers.append((answer.model_spec.version.value, totals(answer)[0]))

        threads = [threading.Thread(target=caller) for _ in range(4)]
        for thread in threads:
            thread.start()

        def wait_for(version):
            deadline = time.monotonic() + 30
            while not answers or answers[-1][0] != version:
                assert time.monotonic() < deadline
                time.sleep(0.01)

        wait_for(1)
        save(tmp_path, 3)
        wait_for(3)
        (tmp_path / "counter" / "3").rename(tmp_path / "gone")
        wait_for(1)
        stop.set()
        for thread in threads:
            thread.join()
        assert {version for version, _ in answers} == {1, 3}
        assert all(version == total for version, total in answers)


def test_versions_that_have_gone_leave_no_threads(base, tmp_path):
    shutil.copytree(base / "counter" / "1", tmp_path / "counter" / "1")
    with Served(lambda: discover(tmp_path, keep=1)) as served:

        def threads_with(version):
            wait = time.monotonic() + 30
            while served.stub.Predict(request([0]), timeout=20).model_spec.version.value != version:
                assert time.monotonic() < wait
                time.sleep(0.05)
            return psutil.Process().num_threads()

        first = threads_with(1)
        for version in range(2, 8):
            save(tmp_path, version)
            last = threads_with(version)
        assert last <= first + 2  # of the server's own, which may still be starting


def test_a_broken_version_is_told_and_the_old_one_goes_on(base, tmp_path):
    shutil.copytree(base / "counter" / "1", tmp_path / "counter" / "1")
    with Served(lambda: discover(tmp_path, keep=1)) as served:
        broken = tmp_path / "counter" / "2"
        broken.mkdir()
        (broken / "saved_model.pb").write_bytes(b"no model")
        deadline = time.monotonic() + 20
        states = {}
        while states.get("2") != "END" and time.monotonic() < deadline:
            found = requests.get(f"{served.url}/v1/models/counter", timeout=20).json()
            states = {one["version"]: one["state"] for one in found["model_version_status"]}
            time.sleep(0.05)
        assert states == {"1": "AVAILABLE", "2": "END"}
        assert totals(served.stub.Predict(request([0]), timeout=20)) == [1]


def reload(models, text):
    message = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(text, message.config)
    return models.HandleReloadConfigRequest(message, timeout=60)


def test_reload_replaces_everything_and_labels_move_to_loaded_versions_only(base):
    def config(label_version, versions="versions: 1 versions: 2"):
        return f"""model_config_list {{ config {{
            name: "again" base_path: "{base / "counter"}" model_platform: "tensorflow"
            model_version_policy {{ specific {{ {versions} }} }}
            version_labels {{ key: "stable" value: {label_version} }} }} }}"""

    with Served(lambda: discover(base, keep=1)) as served:
        reload(served.models, config(1))
        stable = served.stub.Predict(request([0], name="again", label="stable"), timeout=20)
        assert (stable.model_spec.version.value, totals(stable)) == (1, [1])
        assert refused(served.stub.Predict, request([0]))[0] is CODES.NOT_FOUND
        for bad, said in (
            (config(3), "label 'stable' is for version 3, which is not loaded"),
            (config(1, "versions: 9"), "which is not loaded"),
            ("model_config_list { config { name: 'a' base_path: 'here' } }", "base_path must be absolute"),
            ("", "must have a model_config_list"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                reload(served.models, bad)
            assert caught.value.code() is CODES.INVALID_ARGUMENT
            assert said in caught.value.details()
        reload(served.models, config(2))
        url = f"{served.url}/v1/models/again/labels/stable:predict"
        assert post(url, {"inputs": [0]}) == (200, {"outputs": [2]})


class Loaded(logging.Handler):
    """Counts what is loaded."""

    def __init__(self):
        super().__init__()
        self.versions = []

    def emit(self, record):
        if record.getMessage() == "loaded":
            self.versions.append(record.version)


@pytest.fixture
def loaded():
    handler, log = Loaded(), logging.getLogger("tfmem.serving.server.models")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler.versions
    log.removeHandler(handler)
    log.setLevel(level)


def states(models):
    return {version: status.state for version, status in models.statuses("counter").items()}


def test_a_label_on_a_version_that_is_to_go_keeps_all_as_it_is(tmp_path, loaded):
    """As `latest` and a label that nobody has moved come to; nothing is loaded again and again for it."""
    config = ModelServerConfig()
    text = f'name: "counter" base_path: "{tmp_path / "counter"}" version_labels {{ key: "stable" value: 1 }}'
    text_format.Parse(f"model_config_list {{ config {{ {text} }} }}", config)

    async def scenario():
        models = Models(lambda: config, batching=server.Batching())
        await models.start()
        save(tmp_path, 2)
        for _ in range(3):
            with pytest.raises(InvalidInput, match="label 'stable' is for version 1, which is not loaded"):
                await models.refresh()
        assert models.find("counter", label="stable").version == 1
        assert states(models) == {1: "AVAILABLE"}
        assert loaded == [1]

    save(tmp_path, 1)
    asyncio.run(scenario())


def test_a_broken_version_with_a_label_is_tried_once(tmp_path, loaded):
    for version in (1, 2):
        save(tmp_path, version)
    config = discover(tmp_path, keep=2)
    config.model_config_list.config[0].version_labels["new"] = 3

    async def scenario():
        models = Models(lambda: discover(tmp_path, keep=2), batching=server.Batching())
        await models.start()
        broken = tmp_path / "counter" / "3"
        broken.mkdir()
        (broken / "saved_model.pb").write_bytes(b"no model")
        for _ in range(3):
            with pytest.raises(InvalidInput, match="label 'new' is for version 3, which is not loaded"):
                await models.replace(config)
        assert states(models) == {3: "END", 2: "AVAILABLE", 1: "AVAILABLE"}
        assert models.statuses("counter", 3)[3].error
        assert loaded == [1, 2]

    asyncio.run(scenario())


def test_a_model_without_the_wanted_versions_is_one_line(base, tmp_path):
    config = discover(base, keep=1)
    config.model_config_list.config[0].model_version_policy.specific.versions.append(9)
    path = tmp_path / "models.config"
    path.write_text(text_format.MessageToString(config))
    process = start(path, "--rest-port", "0", "--grpc-port", "0", option="--model-config")
    said = process.communicate(timeout=60)[1].splitlines()
    model = "model 'counter' has no version that can be loaded"
    assert said == [f"Error: {model}: there is none of those that are asked for"]
    assert process.returncode == 1


def test_more_large_requests_than_may_wait_are_refused_and_the_others_answered(base):
    batching = server.Batching(max_batch_size=2)
    with Served(lambda: discover(base, keep=1), batching=batching) as served:
        sent = list(range(1024))
        assert totals(served.stub.Predict(request(sent), timeout=60)) == [value + 2 for value in sent]
        calls = [served.stub.Predict.future(request(sent), timeout=60) for _ in range(16)]
        codes = [call.code() for call in calls]
        assert set(codes) == {CODES.OK, CODES.RESOURCE_EXHAUSTED}
        for call, code in zip(calls, codes, strict=True):
            if code is CODES.OK:
                assert totals(call.result()) == [value + 2 for value in sent]


@pytest.mark.parametrize("token", ["", "a\nb", "clé", "secret "])
def test_a_token_that_no_header_carries_is_refused(token):
    """An empty one would not be asked for."""
    with pytest.raises(InvalidInput, match="token must be printable ASCII text on one line"):
        server.ServerConfig(token=token)


def test_a_token_is_required_where_one_is_set(base):
    with Served(lambda: discover(base, keep=1), token="secret") as served:
        assert refused(served.stub.Predict, request([1]))[0] is CODES.UNAUTHENTICATED
        wrong = [("authorization", "Bearer guess")]
        assert refused(served.stub.Predict, request([1]), metadata=wrong)[0] is CODES.UNAUTHENTICATED
        right = [("authorization", "Bearer secret")]
        assert totals(served.stub.Predict(request([1]), metadata=right, timeout=20)) == [3]
        url = f"{served.url}/v1/models/counter"
        assert requests.get(url, timeout=20).status_code == 401
        allowed = requests.get(url, headers={"Authorization": "Bearer secret"}, timeout=20)
        assert allowed.status_code == 200
        assert requests.get(f"{served.url}/healthz", timeout=20).status_code == 200
        assert health_pb2_grpc.HealthStub(served.channel).Check(health_pb2.HealthCheckRequest(), timeout=20)


def test_tls_on_both_ports(base, tmp_path):
    certificate, key = make_certificate(tmp_path)
    with Served(lambda: discover(base, keep=1), tls_certificate=certificate, tls_key=key) as served:
        assert served.url.startswith("https://")
        answer = requests.get(f"{served.url}/v1/models/counter", verify=str(certificate), timeout=20)
        assert answer.status_code == 200
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(served.address, credentials) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            assert totals(stub.Predict(request([1]), timeout=20)) == [3]
        assert refused(served.stub.Predict, request([1]))[0] is CODES.UNAVAILABLE


def test_a_request_that_is_running_is_answered_when_the_server_is_told_to_stop(base):
    process = start(base, "--rest-port", "0", "--grpc-port", "0")
    address = process.stdout.readline().split()[4].removeprefix("grpc://")
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        running = stub.Predict.future(request([1_500], signature="slow", key="ms"), timeout=30)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert totals(running.result(), "done") == [1_500]
    assert process.wait(30) == 0


def test_what_cannot_be_served_is_one_line(tmp_path):
    def error(*arguments):
        process = subprocess.run(
            [sys.executable, "-m", "tfmem", "serve", *arguments], capture_output=True, text=True, timeout=60
        )
        assert process.returncode == 1
        return process.stderr.splitlines()[-1]

    assert "give either BASE" in error()
    config = tmp_path / "models.config"
    config.write_text("model_config_list { config { nam: 'x' } }")
    assert "is not a model_config_list in text form" in error("--model-config", str(config))
    assert "max_batch_size must be a power of two" in error(str(tmp_path), "--max-batch-size", "3")
