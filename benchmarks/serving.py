"""Serving: what a step costs through the local server, what batching gives, and the first request.

    python benchmarks/serving.py

Serves the committed policy, and untrained ones that are larger, and loads the server from another process
over loopback with the official stubs. Each figure is the median of several rounds in which what is compared
takes turns; what batching gives is its best setting over the best without.
Results go to benchmarks/results/serving.json.
"""

import tfmem.quiet  # noqa: F401  # isort: skip  (before TensorFlow)

import argparse
import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

import grpc
import numpy as np
import tensorflow as tf
from machine import provenance
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tf_agents.specs import tensor_spec

from tfmem.agents import MemoryPolicy
from tfmem.export import export_policy
from tfmem.networks import LSTMConfig, MemoryQNetwork, NetworkConfig

ROOT = Path(__file__).resolve().parent.parent
MODEL = "repeat_previous"
COMMITTED = ROOT / "saved_models" / MODEL / "1"
RESULTS = ROOT / "benchmarks" / "results" / "serving.json"
ROUNDS = 5
SECONDS = 4.0
SESSIONS = 64
LSTM_UNITS = (2048, 4096)
BATCHING = {
    "64 clients": (),
    "64 clients, wait 1 ms": ("--batch-timeout-micros", "1000"),
    "64 clients, wait 50 ms, two cores": ("--batch-timeout-micros", "50000", "--threads", "2"),
}
NO_BATCHING = {
    "64 clients, no batching": ("--max-batch-size", "1"),
    "64 clients, no batching, two cores": ("--max-batch-size", "1", "--threads", "2"),
}
STARTS = 5
PAUSE = 0.2


def untrained(base: Path, units: int) -> Path:
    """An LSTM policy of so many units, exported."""
    network = MemoryQNetwork(
        tensor_spec.BoundedTensorSpec([], tf.int64, 0, 3),
        tensor_spec.BoundedTensorSpec([], tf.int32, 0, 3),
        NetworkConfig(core=LSTMConfig(units=units), hidden=units),
    )
    network.create_variables()
    return export_policy(MemoryPolicy(network), base / f"lstm_{units}").path


@contextlib.contextmanager
def server(versions: Path, *options: str) -> Iterator[str]:
    """A local server of a folder of versions in a process of its own; yields the address of gRPC."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / MODEL).symlink_to(versions)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tfmem", "serve", folder),
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


async def first_and_later(address: str, versions: Path, request: predict_pb2.PredictRequest) -> list[float]:
    """Latencies in milliseconds of the first step of a server, of a new version's, and the median of others.

    The new version, a copy of the one that is served, is put beside it while the server runs. Before each
    step nothing happens for a while, as before the first, since a machine at rest is slower for a moment.
    """
    async with grpc.aio.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        await channel.channel_ready()

        async def step() -> tuple[float, int]:
            await asyncio.sleep(PAUSE)
            started = time.perf_counter()
            answer = await stub.Predict(request)
            return 1e3 * (time.perf_counter() - started), answer.model_spec.version.value

        first, version = await step()
        later = [(await step())[0] for _ in range(20)]
        shutil.copytree(versions / str(version), versions / ".coming")
        (versions / ".coming").rename(versions / str(version + 1))
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = MODEL
        newest = None
        while newest != (version + 1, get_model_status_pb2.ModelVersionStatus.AVAILABLE):
            await asyncio.sleep(PAUSE)
            found = await model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status)
            newest = found.model_version_status[0].version, found.model_version_status[0].state
        first_of_new, answered = await step()
        assert answered == version + 1
    return [first, first_of_new, median(later)]


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


def measure(version: Path) -> dict[str, dict[str, float]]:
    """One and many sessions, with batching and without, and the same function called in this process."""
    request = first_request(version)
    rounds: dict[str, list[dict[str, float]]] = {}
    with contextlib.ExitStack() as stack:
        addresses = {
            name: stack.enter_context(server(version.parent, *options))
            for name, options in {**BATCHING, **NO_BATCHING}.items()
        }
        for number in range(ROUNDS):
            rounds.setdefault("in process", []).append(summary(in_process(version), 1))
            for name, address, sessions in (
                ("one client", addresses["64 clients"], 1),
                *((name, address, SESSIONS) for name, address in addresses.items()),
            ):
                found = summary(asyncio.run(load(address, request, sessions)), sessions)
                rounds.setdefault(name, []).append(found)
                print(number, name, medians([found]), flush=True)
    return {name: medians(each) for name, each in rounds.items()}


def fastest(found: dict[str, dict[str, float]], settings: Iterable[str]) -> float:
    """Steps a second of the setting that is best for a policy."""
    return max(found[name]["steps_per_s"] for name in settings)


def measure_first(version: Path) -> dict[str, float]:
    """The first steps of a new server and of a new version, against the median of later ones."""
    request = first_request(version)
    starts = []
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as folder:
            versions = Path(folder) / MODEL
            shutil.copytree(version, versions / version.name)
            with server(versions) as address:
                first, first_of_new, later = asyncio.run(first_and_later(address, versions, request))
        starts.append(
            {
                "new_server_ms": first,
                "new_version_ms": first_of_new,
                "later_ms": later,
                "new_server_ratio": first / later,
                "new_version_ratio": first_of_new / later,
            }
        )
    return medians(starts)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    # As the server computes, so does the call in this process that it is compared with.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        versions = {MODEL: COMMITTED} | {
            f"lstm_{units}": untrained(Path(folder), units) for units in LSTM_UNITS
        }
        measured = {name: measure(version) for name, version in versions.items()}
        first = measure_first(versions[MODEL])
    result = {
        **provenance(),
        "rounds": ROUNDS,
        "seconds": SECONDS,
        "added_by_grpc_ms": {
            name: round(found["one client"]["p50_ms"] - found["in process"]["p50_ms"], 3)
            for name, found in measured.items()
        },
        "batching_gives": {
            name: round(fastest(found, BATCHING) / fastest(found, NO_BATCHING), 2)
            for name, found in measured.items()
        },
        "first_request": first,
        "measured": measured,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
