"""Serving next to Ray Serve and LitServe: 64 sessions of the committed policy.

The peers run in an environment of their own:

    python -m venv .venv-peers-serving
    .venv-peers-serving/bin/pip install tensorflow-cpu==2.21.0 'ray[serve]==2.60.0' litserve==0.2.19
    python benchmarks/serving_peers.py

Every server batches by its own means and gets the same requests over HTTP and JSON from the same generator
in this process, the memory carried along; `tfmem serve` is also loaded over gRPC. First each peer has one
round with every one of SETTINGS and keeps the one that gave most steps a second; `tfmem serve` has its
defaults. Then rounds take turns. A server runs alone while it is measured, and only once it has answered 64
episodes as the function called in this process does, which also warms it up. Figures are medians of the
rounds. Results go to benchmarks/results/serving_peers.json.
"""

import tfmem.quiet  # noqa: F401  # isort: skip  (before TensorFlow)

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from machine import provenance
from rest_sessions import answered, answers, expected, first_inputs, latencies

from serving import COMMITTED, MODEL, ROOT, ROUNDS, SECONDS, SESSIONS, first_request, load, medians, summary

RESULTS = ROOT / "benchmarks" / "results" / "serving_peers.json"
PEERS = {"Ray Serve": "ray_serve.py", "LitServe": "lit_serve.py"}
PACKAGES = ("ray", "litserve", "tensorflow-cpu", "numpy", "fastapi", "starlette", "uvicorn")
# Ray Serve's for throughput (its guide "Performance tuning"), and no reports to its makers.
ENVIRONMENT = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
# Processes with the model, and seconds that a batch which is not full waits for more rows.
SETTINGS = list(itertools.product((1, 2), (0.0, 0.005, 0.02)))
START_S = 120.0
TOLERANCE = 1e-6  # of Q-values of about .03


class Bench:
    """What every server is asked, and what it must answer."""

    def __init__(self, version: Path, python: Path):
        self._version = version
        self._python = python
        self._first = {name: value.tolist() for name, value in first_inputs(version).items()}
        self._expected = expected(version, SESSIONS)
        self._over_grpc = first_request(version)

    def peer(self, script: str, workers: int, wait_s: float) -> dict[str, float]:
        """A round of a peer."""
        port = _free_port()
        command = [self._python, ROOT / "benchmarks" / "peer_servers" / script, self._version]
        options = ["--port", port, "--workers", workers, "--wait-s", wait_s]
        with _running(*command, *options) as process:
            return self._over_rest(f"http://127.0.0.1:{port}/step", process)

    def tfmem(self) -> tuple[dict[str, float], dict[str, float]]:
        """A round of the local server: over REST and over gRPC."""
        rest_port, grpc_port = _free_port(), _free_port()
        command = [sys.executable, "-m", "tfmem", "serve", self._version.parent.parent, "--versions", 1]
        with _running(*command, "--rest-port", rest_port, "--grpc-port", grpc_port) as process:
            rest = self._over_rest(f"http://127.0.0.1:{rest_port}/v1/models/{MODEL}:predict", process)
            found = asyncio.run(load(f"127.0.0.1:{grpc_port}", self._over_grpc, SESSIONS))
            return rest, summary(found, SESSIONS)

    def _over_rest(self, url: str, process: subprocess.Popen) -> dict[str, float]:
        until = time.monotonic() + START_S

        def starting() -> bool:
            return process.poll() is None and time.monotonic() < until

        if not asyncio.run(answered(url, self._first, starting)):
            raise SystemExit(f"no answer; run it by hand to see why: {shlex.join(process.args)}")
        difference = np.abs(asyncio.run(answers(url, self._first, SESSIONS)) - self._expected).max()
        if difference > TOLERANCE:
            raise SystemExit(f"{url} answers otherwise than the model: by {difference:g}")
        return summary(asyncio.run(latencies(url, self._first, SESSIONS, SECONDS)), SESSIONS)


@contextlib.contextmanager
def _running(*command: Any) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        [str(part) for part in command],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
        # LitServe leaves its workers behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def _versions(python: Path) -> dict[str, str]:
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    found = subprocess.check_output([python, "-c", code, *PACKAGES], text=True)
    return dict(zip(PACKAGES, found.split(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--venv", type=Path, default=ROOT / ".venv-peers-serving", help="the peers' environment"
    )
    python = parser.parse_args().venv / "bin" / "python"
    if not python.exists():
        parser.error(
            f"there is no {python}: make it as the first lines of --help say, or name another by --venv"
        )
    bench = Bench(COMMITTED, python)
    tried: dict[str, dict[tuple[int, float], float]] = {name: {} for name in PEERS}
    for (name, script), setting in itertools.product(PEERS.items(), SETTINGS):
        try:
            tried[name][setting] = bench.peer(script, *setting)["steps_per_s"]
        except aiohttp.ClientError:  # it dropped requests
            tried[name][setting] = 0.0
        print(name, setting, tried[name][setting], flush=True)
    best = {name: max(of, key=of.__getitem__) for name, of in tried.items()}
    rounds: dict[str, list[dict[str, float]]] = {}
    for number in range(ROUNDS):
        found = {name: bench.peer(script, *best[name]) for name, script in PEERS.items()}
        found["tfmem, REST"], found["tfmem, gRPC"] = bench.tfmem()
        for name, one in found.items():
            rounds.setdefault(name, []).append(one)
            print(number, name, medians([one]), flush=True)
    measured = {name: medians(each) for name, each in rounds.items()}
    rates = {name: one["steps_per_s"] for name, one in measured.items()}
    result = {
        **provenance(),
        "peers": _versions(python),
        "model": MODEL,
        "rounds": ROUNDS,
        "seconds": SECONDS,
        "tuning": {
            name: [
                {
                    "workers": workers,
                    "wait_s": wait_s,
                    "steps_per_s": rate,
                    "kept": (workers, wait_s) == best[name],
                }
                for (workers, wait_s), rate in of.items()
            ]
            for name, of in tried.items()
        },
        "tfmem_gives": {
            f"{ours.removeprefix('tfmem, ')}, against {peer}": round(rates[ours] / rates[peer], 2)
            for ours, peer in itertools.product(("tfmem, REST", "tfmem, gRPC"), PEERS)
        },
        "measured": measured,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
