"""Serving: what a step costs through the local server, and what batching gives.

    python benchmarks/serving.py

Serves the committed policy and loads the server from another process over loopback with the official stubs.
Each figure is the median of several rounds in which what is compared takes turns. Results go to
benchmarks/results/serving.json.
"""

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import grpc
import numpy as np
import tensorflow as tf
from machine import provenance
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

ROOT = Path(__file__).resolve().parent.parent
MODEL = "repeat_previous"
RESULTS = ROOT / "benchmarks" / "results" / "serving.json"
ROUNDS = 5
SECONDS = 4.0
SESSIONS = 64


@contextlib.contextmanager
def server(*options: str) -> Iterator[str]:
    """A local server in a process of its own; yields the address of gRPC."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tfmem", "serve", str(ROOT / "saved_models"), "--versions", "1"),
            *("--rest-port", "0", "--grpc-port", "0", *options),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process.stdout.readline().split()[4].removeprefix("grpc://")
    finally:
        process.terminate()
        process.wait()


def first_request(version: Path) -> predict_pb2.PredictRequest:
    """A step with zeros, as an episode begins."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL
    request.model_spec.signature_name = "step"
    specs = tf.saved_model.load(str(version)).signatures["step"].structured_input_signature[1]
    for name, spec in specs.items():
        zeros = np.zeros([1, *spec.shape[1:]], spec.dtype.as_numpy_dtype)
        request.inputs[name].CopyFrom(tf.make_tensor_proto(zeros, spec.dtype))
    request.inputs["is_first"].CopyFrom(tf.make_tensor_proto([True]))
    return request


async def session(stub, request: predict_pb2.PredictRequest, until: float, latencies: list[float]) -> None:
    """Steps one after another, the memory carried along, with new observations."""
    mine = predict_pb2.PredictRequest()
    mine.CopyFrom(request)
    step = 0
    while time.perf_counter() < until:
        started = time.perf_counter()
        answer = await stub.Predict(mine)
        latencies.append(1e3 * (time.perf_counter() - started))
        for name in mine.inputs:
            if name in answer.outputs:
                mine.inputs[name].CopyFrom(answer.outputs[name])
        mine.inputs["is_first"].CopyFrom(tf.make_tensor_proto([False]))
        step += 1
        mine.inputs["observation"].CopyFrom(tf.make_tensor_proto([step % 4], tf.int64))


async def load(address: str, request: predict_pb2.PredictRequest, sessions: int) -> list[float]:
    """Latencies in milliseconds of some sessions at a time."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        first: list[float] = []
        await session(stub, request, time.perf_counter() + 0.5, first)  # connects, and warms this process up
        latencies: list[float] = []
        until = time.perf_counter() + SECONDS
        await asyncio.gather(*(session(stub, request, until, latencies) for _ in range(sessions)))
    return latencies


def in_process(version: Path) -> list[float]:
    """Latencies in milliseconds of the same function called here."""
    step = tf.saved_model.load(str(version)).signatures["step"]
    specs = step.structured_input_signature[1]
    inputs = {name: tf.zeros([1, *spec.shape[1:]], spec.dtype) for name, spec in specs.items()}
    latencies = []
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        started = time.perf_counter()
        answer = step(**inputs)
        inputs |= {name: answer[name] for name in inputs if name in answer}
        latencies.append(1e3 * (time.perf_counter() - started))
    return latencies[len(latencies) // 10 :]


def summary(latencies: list[float], sessions: int) -> dict[str, float]:
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99])
    return {
        "sessions": sessions,
        "steps_per_s": len(latencies) / SECONDS,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
    }


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(median(one[key] for one in rounds), 3) for key in rounds[0]}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    versions = (path.parent for path in (ROOT / "saved_models" / MODEL).glob("*/saved_model.pb"))
    version = max(versions, key=lambda path: int(path.name))
    request = first_request(version)
    rounds: dict[str, list[dict[str, float]]] = {}
    with server() as batched, server("--max-batch-size", "1") as alone:
        for number in range(ROUNDS):
            for name, one in (
                ("in process", lambda: summary(in_process(version), 1)),
                ("one client", lambda: summary(asyncio.run(load(batched, request, 1)), 1)),
                ("64 clients", lambda: summary(asyncio.run(load(batched, request, SESSIONS)), SESSIONS)),
                (
                    "64 clients, no batching",
                    lambda: summary(asyncio.run(load(alone, request, SESSIONS)), SESSIONS),
                ),
            ):
                rounds.setdefault(name, []).append(one())
                print(number, name, medians(rounds[name][-1:]), flush=True)
    found = {name: medians(each) for name, each in rounds.items()}
    result = {
        **provenance(),
        "model": MODEL,
        "rounds": ROUNDS,
        "seconds": SECONDS,
        "added_by_grpc_ms": round(found["one client"]["p50_ms"] - found["in process"]["p50_ms"], 3),
        "batching_gives": round(
            found["64 clients"]["steps_per_s"] / found["64 clients, no batching"]["steps_per_s"], 2
        ),
        "measured": found,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
