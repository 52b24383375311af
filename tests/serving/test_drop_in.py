"""What any server of TF Serving's API has to do with the policy of this repository.

Runs against `tfmem serve`, or, with TFMEM_SERVING_URL (REST, http://host:8501) and TFMEM_SERVING_GRPC
(host:8500) set, against the server that is there; it must serve saved_models/repeat_previous, version 1 and
no other.
"""

import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from tests.serving.fake_upstream import BackgroundLoop
from tests.serving.predict_requests import predict_request
from tests.serving.test_server import post, start
from tfmem.export import load_policy
from tfmem.serving import PolicyClient, ServerError
from tfmem.serving.gateway import GatewayConfig
from tfmem.serving.gateway.server import running

COMMITTED = Path(__file__).parents[2] / "saved_models" / "repeat_previous" / "1"
NAME = "repeat_previous"
AVAILABLE = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
CODES = grpc.StatusCode


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """The URL of REST and the address of gRPC."""
    there = [os.environ.get(name) for name in ("TFMEM_SERVING_URL", "TFMEM_SERVING_GRPC")]
    if any(there):
        assert all(there), "set both TFMEM_SERVING_URL and TFMEM_SERVING_GRPC"
        yield there[0].rstrip("/"), there[1]
        return
    base = tmp_path_factory.mktemp("models")
    shutil.copytree(COMMITTED, base / NAME / "1")
    process = start(base, "--rest-port", "0", "--grpc-port", "0")
    ready = process.stdout.readline().split()
    assert ready[:1] == ["ready"], process.stderr.read()
    yield ready[2], ready[4].removeprefix("grpc://")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


@pytest.fixture(scope="module")
def model(addresses):
    return f"{addresses[0]}/v1/models/{NAME}"


@pytest.fixture(scope="module")
def stubs(addresses):
    with grpc.insecure_channel(addresses[1]) as channel:
        yield SimpleNamespace(
            predictions=prediction_service_pb2_grpc.PredictionServiceStub(channel),
            models=model_service_pb2_grpc.ModelServiceStub(channel),
        )


@pytest.fixture(scope="module")
def policy():
    return load_policy(COMMITTED)


@pytest.fixture(scope="module")
def episodes(policy):
    """Observations of two episodes, and what the policy does in this process: actions and Q-values."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(2):
        state, steps = policy.initial_state(1), []
        for t in range(40):
            observation = int(rng.integers(4))
            action, q_values, state = policy.step([observation], [t == 0], state)
            steps.append((observation, int(action[0]), q_values[0].numpy()))
        found.append(steps)
    return found


# REST


def test_rest_status(model):
    for path in ("", "/versions/1"):
        answer = requests.get(model + path, timeout=20)
        assert (answer.status_code, answer.json()) == (200, {"model_version_status": [AVAILABLE]})


def test_rest_metadata(model, policy):
    for path in ("/metadata", "/versions/1/metadata"):
        answer = requests.get(model + path, timeout=20).json()
        assert (answer["model_spec"]["name"], answer["model_spec"]["version"]) == (NAME, "1")
        signatures = answer["metadata"]["signature_def"]["signature_def"]
        assert {"serving_default", "initial_state", "step"} <= signatures.keys()
        for name, spec in policy.manifest["state"].items():
            for side in ("inputs", "outputs"):
                info = signatures["step"][side][name]
                sizes = [int(dim["size"]) for dim in info["tensor_shape"]["dim"]]
                assert (info["dtype"], sizes) == ("DT_FLOAT", [-1, *spec["shape"]])


def test_rest_rows_and_columns_are_the_same(model):
    predict = f"{model}:predict"
    status, rows = post(predict, {"instances": [0, 1, 2]})
    assert (status, len(rows["predictions"])) == (200, 3)
    assert post(predict, {"inputs": [0, 1, 2]}) == (200, {"outputs": rows["predictions"]})
    named = {"signature_name": "serving_default", "instances": [{"observation": 1}]}
    assert post(f"{model}/versions/1:predict", named)[1]["predictions"] == rows["predictions"][1:2]


def test_rest_rows_and_columns_of_several_inputs(model, policy):
    predict = f"{model}:predict"
    _, answer = post(predict, {"signature_name": "initial_state", "instances": [0, 0]})
    assert set(answer["predictions"][0]) == set(policy.manifest["state"])
    rows = [{"observation": i, "is_first": False, **state} for i, state in enumerate(answer["predictions"])]
    status, by_row = post(predict, {"signature_name": "step", "instances": rows})
    assert status == 200
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    status, by_column = post(predict, {"signature_name": "step", "inputs": columns})
    assert status == 200
    for key, column in by_column["outputs"].items():
        np.testing.assert_allclose(column, [row[key] for row in by_row["predictions"]], atol=1e-6)


@pytest.mark.parametrize(
    ("method", "path", "body", "statuses", "said"),
    [
        ("GET", "nothing", None, {404}, "nothing"),
        ("GET", f"{NAME}/versions/9", None, {404}, NAME),
        ("GET", f"{NAME}/versions/9/metadata", None, {404}, NAME),
        # TF Serving finds an unknown label invalid, `tfmem serve` does not find it.
        ("POST", f"{NAME}/labels/none:predict", {"inputs": [1]}, {400, 404}, "none"),
        ("POST", "nothing:predict", {"inputs": [1]}, {404}, "nothing"),
        ("POST", f"{NAME}/versions/9:predict", {"inputs": [1]}, {404}, NAME),
        ("POST", f"{NAME}:guess", {"inputs": [1]}, {400}, "Malformed request: POST"),
        ("POST", f"{NAME}:predict", "{", {400}, ""),
        ("POST", f"{NAME}:predict", "[]", {400}, ""),
        ("POST", f"{NAME}:predict", "{}", {400}, ""),
        ("POST", f"{NAME}:predict", {"instances": [1], "inputs": [1]}, {400}, ""),
        ("POST", f"{NAME}:predict", {"instances": []}, {400}, ""),
        ("POST", f"{NAME}:predict", {"inputs": ["a"]}, {400}, ""),
        ("POST", f"{NAME}:predict", {"inputs": [1.5]}, {400}, ""),
        (
            "POST",
            f"{NAME}:predict",
            {"signature_name": "x", "inputs": [1]},
            {400},
            'Serving signature name: "x" not found in signature def',
        ),
        ("POST", f"{NAME}:predict", {"signature_name": "step", "inputs": {"observation": [1]}}, {400}, ""),
    ],
)
def test_rest_errors(addresses, method, path, body, statuses, said):
    data = body if isinstance(body, str | None) else json.dumps(body)
    answer = requests.request(method, f"{addresses[0]}/v1/models/{path}", data=data, timeout=20)
    assert answer.status_code in statuses, answer.text
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]


# gRPC


def request(inputs, *, name=NAME, **spec):
    return predict_request(inputs, name=name, **spec)


def step_inputs(policy, observations):
    state = {name: part.numpy() for name, part in policy.initial_state(len(observations)).items()}
    return {"observation": np.int64(observations), "is_first": np.ones(len(observations), bool), **state}


def test_grpc_predict(stubs, policy):
    observations = [0, 1, 2, 3]
    inputs = step_inputs(policy, observations)
    action, q_values, state = policy.step(observations, inputs["is_first"], policy.initial_state(4))
    expected = {"action": action, "q_values": q_values, **state}
    for version in (None, 1):
        message = request(inputs, signature="step", version=version)
        answer = stubs.predictions.Predict(message, timeout=20)
        assert (answer.model_spec.name, answer.model_spec.version.value) == (NAME, 1)
        assert set(answer.outputs) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(tf.make_ndarray(answer.outputs[name]), value, atol=1e-4)


def test_grpc_and_rest_say_the_same_by_the_default_signature(stubs, model):
    answer = stubs.predictions.Predict(request({"observation": np.int64([3, 1])}), timeout=20)
    by_rest = post(f"{model}:predict", {"inputs": [3, 1]})[1]["outputs"]
    assert tf.make_ndarray(answer.outputs["action"]).tolist() == by_rest


def test_grpc_an_output_filter_chooses(stubs, policy):
    message = request(step_inputs(policy, [1]), signature="step")
    message.output_filter.append("q_values")
    assert list(stubs.predictions.Predict(message, timeout=20).outputs) == ["q_values"]


def test_grpc_metadata(stubs, policy):
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    message.model_spec.name = NAME
    answer = stubs.predictions.GetModelMetadata(message, timeout=20)
    assert (answer.model_spec.name, answer.model_spec.version.value) == (NAME, 1)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    expected = {"observation", "is_first", *policy.manifest["state"]}
    assert set(signatures.signature_def["step"].inputs) == expected
    message.metadata_field[:] = ["everything"]
    assert refused(stubs.predictions.GetModelMetadata, message)[0] is CODES.INVALID_ARGUMENT


def test_grpc_status(stubs):
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = NAME
    (status,) = stubs.models.GetModelStatus(message, timeout=20).model_version_status
    assert (status.version, status.state) == (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
    message.model_spec.version.value = 9
    assert refused(stubs.models.GetModelStatus, message)[0] is CODES.NOT_FOUND


ONE = {"observation": np.int64([1])}


@pytest.mark.parametrize(
    ("message", "codes", "said"),
    [
        (request(ONE, name="nothing"), {CODES.NOT_FOUND}, ["nothing"]),
        (request(ONE, version=9), {CODES.NOT_FOUND}, [NAME, "9"]),
        (request(ONE, label="none"), {CODES.INVALID_ARGUMENT, CODES.NOT_FOUND}, ["none"]),
        (request(ONE, signature="x"), {CODES.FAILED_PRECONDITION}, ["x"]),
        (request({}), {CODES.INVALID_ARGUMENT}, ["observation"]),
        (request({"sum": np.int64([1])}), {CODES.INVALID_ARGUMENT}, ["sum", "observation"]),
        (request({"observation": np.float32([1])}), {CODES.INVALID_ARGUMENT}, []),
        (request(ONE, signature="step"), {CODES.INVALID_ARGUMENT}, ["is_first", "memory"]),
    ],
)
def test_grpc_errors(stubs, message, codes, said):
    code, details = refused(stubs.predictions.Predict, message)
    assert code in codes
    assert all(part in details for part in said), details


def refused(call, message):
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=20)
    return caught.value.code(), caught.value.details()


# What tfmem puts in front of the server


@pytest.fixture(params=["rest", "grpc"])
def url(request, addresses):
    return addresses[0] if request.param == "rest" else f"grpc://{addresses[1]}"


def test_the_client_acts_as_the_policy_does_in_process(url, episodes):
    """Two sessions in turns, each with a memory of its own."""
    with PolicyClient(url, NAME) as client:
        ((version, state),) = [(one["version"], one["state"]) for one in client.status()]
        assert (version, state) == ("1", "AVAILABLE")
        sessions = [client.session() for _ in episodes]
        assert {session.version for session in sessions} == {1}
        for steps in zip(*episodes, strict=True):
            for session, (observation, action, q_values) in zip(sessions, steps, strict=True):
                assert session.act(observation) == action
                np.testing.assert_allclose(session.q_values, q_values, atol=1e-4)


def test_the_client_is_told_of_a_version_that_there_is_not(url):
    with PolicyClient(url, NAME, version=9) as client, pytest.raises(ServerError) as caught:
        client.session()
    assert caught.value.status == 404


@pytest.fixture(scope="module")
def gateway(addresses):
    loop = BackgroundLoop()
    running_gateway = running(GatewayConfig(upstream=addresses[1], port=0))
    url = loop.run(running_gateway.__aenter__())
    yield url
    loop.run(running_gateway.__aexit__(None, None, None))
    loop.close()


def test_the_gateway_acts_as_the_policy_does_in_process(gateway, policy, episodes):
    """Two sessions, whose steps go to the server as one batch."""
    assert requests.get(f"{gateway}/readyz", timeout=20).status_code == 200
    sessions = f"{gateway}/v1/sessions"
    ids = [f"s{number}" for number in range(len(episodes))]
    for name in ids:
        status, session = post(sessions, {"model": NAME, "session_id": name})
        assert status == 201
        assert (session["version"], session["fingerprint"]) == (1, policy.manifest["fingerprint"])
    for t, steps in enumerate(zip(*episodes, strict=True)):
        acts = [
            {"session_id": name, "observation": observation, "step": t}
            for name, (observation, _, _) in zip(ids, steps, strict=True)
        ]
        status, answer = post(f"{sessions}:act", {"sessions": acts})
        assert status == 200
        for result, (_, action, q_values) in zip(answer["results"], steps, strict=True):
            assert (result["action"], result["step"]) == (action, t + 1)
            np.testing.assert_allclose(result["q_values"], q_values, atol=1e-4)


def test_the_gateway_begins_no_session_on_a_version_that_there_is_not(gateway):
    status, _ = post(f"{gateway}/v1/sessions", {"model": NAME, "version": 9})
    assert status == 404
