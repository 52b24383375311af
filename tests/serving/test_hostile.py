"""Requests that are malformed or meant to harm, at a real server over both protocols."""

import http.client
import itertools
import json
import socket
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from google.protobuf import text_format
from hostile import grpc_requests, http_requests
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, predict_pb2

from tests.serving.test_grpc_server import CODES, Served, refused
from tfmem.serving.server.model_config import discover

COMMITTED = Path(__file__).parents[2] / "saved_models"
MODEL = "repeat_previous"
PREDICT = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture(scope="module")
def served():
    with Served(lambda: discover(COMMITTED, keep=1)) as served:
        yield served


@pytest.fixture(scope="module")
def inputs(served):
    """What `step` takes as two episodes begin."""
    url = f"{served.url}/v1/models/{MODEL}:predict"
    body = {"signature_name": "initial_state", "inputs": [0, 0]}
    state = requests.post(url, json=body, timeout=20).json()["outputs"]
    return {
        "observation": np.asarray([1, 2]),
        "is_first": np.asarray([True, True]),
        **{name: np.asarray(value, np.float32) for name, value in state.items()},
    }


def send(url, data):
    """The status of the answer to raw bytes; 0 when the connection is closed without one."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        try:
            connection.sendall(data)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
        except (ConnectionError, http.client.BadStatusLine):
            return 0
        return answer.status


def call(channel, method, data, **options):
    try:
        channel.unary_unary(method)(data, **options)
    except grpc.RpcError as error:
        return error.code()
    return CODES.OK


def predict(inputs, signature="step"):
    message = predict_pb2.PredictRequest()
    message.model_spec.name = MODEL
    message.model_spec.signature_name = signature
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message


def test_fuzzed_requests_are_refused_and_good_ones_still_answered(served, inputs):
    before = served.stub.Predict(predict(inputs), timeout=20)
    statuses = Counter()
    for one in itertools.islice(http_requests(MODEL, inputs, seed=1), 170):
        if one.whole:
            statuses[send(served.url, one.data)] += 1
    assert not [status for status in statuses if status >= 500], statuses
    assert {200, 400, 404} <= statuses.keys()
    codes = Counter()
    for one in itertools.islice(grpc_requests(MODEL, inputs, seed=1), 150):
        codes[call(served.channel, one.method, one.data, metadata=one.metadata, timeout=one.timeout_s)] += 1
    assert not codes.keys() & {CODES.INTERNAL, CODES.UNKNOWN, CODES.UNAVAILABLE}, codes
    assert {CODES.OK, CODES.INVALID_ARGUMENT, CODES.NOT_FOUND} <= codes.keys()
    after = served.stub.Predict(predict(inputs), timeout=20)
    assert after.outputs == before.outputs


@pytest.mark.parametrize("method", [PREDICT, "/tensorflow.serving.ModelService/GetModelStatus"])
def test_bytes_that_are_no_message(served, method):
    assert call(served.channel, method, b"\xff" * 9, timeout=20) is CODES.INVALID_ARGUMENT


@pytest.mark.parametrize("size", [2000, 2**27, 2**62, -1])
def test_few_bytes_do_not_become_a_large_tensor(served, size):
    message = predict({"batch": np.asarray([0], np.int32)}, "initial_state")
    message.inputs["batch"].tensor_shape.dim[0].size = size
    message.inputs["batch"].tensor_content = b""
    message.inputs["batch"].int_val.append(0)
    code, details = refused(served.stub.Predict, message)
    assert code is CODES.INVALID_ARGUMENT
    assert ("rows" in details) == (size > 0)


def test_more_rows_than_a_request_may_have(served):
    body = {"signature_name": "initial_state", "inputs": [0] * 1025}
    answer = requests.post(f"{served.url}/v1/models/{MODEL}:predict", json=body, timeout=20)
    assert (answer.status_code, "at most 1024 rows" in answer.text) == (400, True)


@pytest.mark.parametrize(
    "header", ["Content-Encoding: gzip", "Content-Encoding: deflate", "Transfer-Encoding: chunked"]
)
def test_a_body_that_is_not_encoded_as_it_says(served, header):
    length = "" if "chunked" in header else "Content-Length: 2\r\n"
    head = f"POST /v1/models/{MODEL}:predict HTTP/1.1\r\nHost: x\r\n{header}\r\n{length}\r\n"
    assert send(served.url, head.encode() + b"{}\r\n\r\n") == 400


def test_a_token_that_is_no_text():
    with Served(lambda: discover(COMMITTED, keep=1), token="secret") as served:
        head = b"GET /v1/models/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n"
        assert send(served.url, head) == 401


@pytest.mark.parametrize("base_path", [r"/\000", "/" + "x" * 300, "/nowhere"])
def test_a_configuration_that_is_refused_leaves_nothing_behind(served, base_path):
    message = model_management_pb2.ReloadConfigRequest()
    text = f'model_config_list {{ config {{ name: "junk" base_path: "{base_path}" }} }}'
    text_format.Parse(text, message.config)
    assert refused(served.models.HandleReloadConfigRequest, message)[0] is CODES.INVALID_ARGUMENT
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "junk"
    assert refused(served.models.GetModelStatus, status)[0] is CODES.NOT_FOUND
    assert json.loads(requests.get(f"{served.url}/v1/models/{MODEL}", timeout=20).text)
