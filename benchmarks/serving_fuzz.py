"""Malformed and hostile requests against `tfmem serve`, over both of its protocols.

    python benchmarks/serving_fuzz.py --requests 10000

Half of the requests of `hostile.py` go to each protocol. A 5xx, INTERNAL, UNKNOWN or no answer where one is
due is a failure. After every 100 a good request must give the right action still, and every 1,000 the
server's resident memory is read. Results go to benchmarks/results/serving_fuzz.json.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
import psutil
import tensorflow as tf
from hostile import GrpcRequest, HttpRequest, grpc_requests, http_requests
from machine import provenance
from tensorflow_serving.apis import predict_pb2

ROOT = Path(__file__).resolve().parent.parent
VERSION = ROOT / "saved_models" / "repeat_previous" / "1"
MODEL = "repeat_previous"
RESULTS = ROOT / "benchmarks" / "results" / "serving_fuzz.json"
ANSWER_S = 20.0
FAILURES = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNAVAILABLE", "no answer"}


@contextlib.contextmanager
def server(base: Path, log: Path) -> Iterator[tuple[subprocess.Popen, str, str]]:
    """`tfmem serve` in a process of its own: the process, host and port of REST, address of gRPC."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*(sys.executable, "-m", "tfmem", "serve", str(base)), "--rest-port", "0", "--grpc-port", "0"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdout is not None
        ready = process.stdout.readline().split()
        try:
            yield process, urlsplit(ready[2]).netloc, ready[4].removeprefix("grpc://")
        finally:
            process.terminate()
            process.wait()


def send_http(address: str, request: HttpRequest) -> str:
    """The status, or what happened in its place."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=ANSWER_S) as connection:
        with contextlib.suppress(ConnectionError):  # the server may answer and close before it has read all
            connection.sendall(request.data)
        if not request.whole:
            return "dropped"
        try:
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return str(answer.status)
        except (ConnectionError, http.client.BadStatusLine):
            return "closed"
        except TimeoutError:
            return "no answer"


def send_grpc(channel: grpc.Channel, request: GrpcRequest) -> str:
    """The name of the status."""
    call = channel.unary_unary(request.method, request_serializer=None, response_deserializer=None)
    try:
        call(request.data, timeout=request.timeout_s, metadata=request.metadata)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def failed(status: str) -> bool:
    """Whether a server must not answer so."""
    return status in FAILURES or (status.isdigit() and int(status) >= 500)


def first_step() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What `step` takes as two episodes begin, and the Q-values that it gives."""
    model = tf.saved_model.load(str(VERSION))
    step = model.signatures["step"]
    specs = step.structured_input_signature[1]
    inputs = {name: np.zeros([2, *spec.shape[1:]], spec.dtype.as_numpy_dtype) for name, spec in specs.items()}
    inputs["is_first"][:] = True
    outputs = step(**{name: tf.constant(value) for name, value in inputs.items()})
    return inputs, outputs["q_values"].numpy()


def answers_well(channel: grpc.Channel, inputs: dict[str, np.ndarray], q_values: np.ndarray) -> bool:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL
    request.model_spec.signature_name = "step"
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    predict = channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict",
        request_serializer=predict_pb2.PredictRequest.SerializeToString,
        response_deserializer=predict_pb2.PredictResponse.FromString,
    )
    outputs = predict(request, timeout=ANSWER_S).outputs
    same = np.allclose(tf.make_ndarray(outputs["q_values"]), q_values, atol=1e-5)
    return same and bool((tf.make_ndarray(outputs["action"]) == q_values.argmax(-1)).all())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    inputs, q_values = first_step()
    statuses: dict[str, Counter[str]] = {"http": Counter(), "grpc": Counter()}
    failures: list[dict[str, Any]] = []
    resident: dict[int, float] = {}
    wrong = checked = 0
    with tempfile.TemporaryDirectory() as folder:
        base, log = Path(folder) / "models", Path(folder) / "log"
        shutil.copytree(VERSION, base / MODEL / "1")
        with (
            server(base, log) as (process, address, grpc_address),
            grpc.insecure_channel(grpc_address) as channel,
        ):
            memory = psutil.Process(process.pid).memory_info
            resident[0] = round(memory().rss / 2**20, 1)
            both = zip(
                http_requests(MODEL, inputs, seed=arguments.seed),
                grpc_requests(MODEL, inputs, seed=arguments.seed),
                strict=True,
            )
            requests = itertools.islice(itertools.chain.from_iterable(both), arguments.requests)
            started = time.monotonic()
            for number, request in enumerate(requests, 1):
                if isinstance(request, HttpRequest):
                    protocol, status = "http", send_http(address, request)
                else:
                    protocol, status = "grpc", send_grpc(channel, request)
                statuses[protocol][status] += 1
                if failed(status):
                    failures.append({"number": number, "status": status, "request": repr(request)[:2000]})
                    print(number, status, request.kind, repr(request)[:300], flush=True)
                if number % 100 == 0:
                    checked += 1
                    wrong += not answers_well(channel, inputs, q_values)
                if number % 1000 == 0:
                    resident[number] = round(memory().rss / 2**20, 1)
                    print(number, resident[number], {k: dict(v) for k, v in statuses.items()}, flush=True)
            seconds = time.monotonic() - started
            crashed = process.poll() is not None
        errors = sum(
            '"level": "ERROR"' in line or "Traceback" in line for line in log.read_text().splitlines()
        )
    result = {
        **provenance(),
        "requests": arguments.requests,
        "seconds": round(seconds, 1),
        "crashed": crashed,
        "failures": failures,
        "good_requests_between": checked,
        "wrong_answers": wrong,
        "error_lines_in_the_log": errors,
        "statuses": {protocol: dict(counted.most_common()) for protocol, counted in statuses.items()},
        "resident_mib_after_requests": resident,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
