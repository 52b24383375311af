"""The whole chain under load while its parts are replaced and killed.

    python benchmarks/serving_soak.py --minutes 30

`tfmem serve`, a Redis and two gateways, each a process. Sessions play episodes through either gateway in turn
and repeat a step until it is answered. Every action and Q-value is compared with what the version that the
episode is pinned to gives in this process, so that memory of another session or version would be seen.
Meanwhile new versions are rolled out, and Redis and the gateways are killed. Results go to
benchmarks/results/serving_soak.json.
"""

from tfmem import _keras  # noqa: F401  # isort: skip  (before TF-Agents)

import argparse
import asyncio
import itertools
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import tensorflow as tf
from machine import provenance
from processes import Process, free_port
from tf_agents.specs import tensor_spec

from tfmem.agents import MemoryPolicy
from tfmem.export import LoadedPolicy, export_policy, load_policy
from tfmem.networks import MemoryQNetwork, NetworkConfig, ScanNTMConfig

RESULTS = Path(__file__).parent / "results" / "serving_soak.json"
MODEL = "soak"
CONFIG = NetworkConfig(core=ScanNTMConfig(slots=8, width=4), embedding=8, hidden=8)
KINDS = 4  # of weights
AGAIN = {409, 429, 503, 504}
EPISODE = 40
ROLLOUT_S = 20.0
KILL_S = 25.0
TOLERANCE = 1e-4


@dataclass
class Record:
    """What the sessions saw."""

    steps: int = 0
    episodes: int = 0
    wrong: list[dict[str, Any]] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    versions: Counter[int] = field(default_factory=Counter)
    undocumented: list[str] = field(default_factory=list)


def export_kinds(folder: Path) -> list[Path]:
    """Exports of one network with different weights."""
    paths = []
    for seed in range(KINDS):
        observation = tensor_spec.BoundedTensorSpec([], tf.int64, 0, 3)
        network = MemoryQNetwork(observation, tensor_spec.BoundedTensorSpec([], tf.int32, 0, 2), CONFIG)
        network.create_variables()
        rng = np.random.default_rng(seed)
        for variable in network.variables:
            variable.assign(variable + rng.normal(size=variable.shape))
        paths.append(export_policy(MemoryPolicy(network), folder / MODEL, batch_sizes=(1, 4, 16)).path)
    return paths


class Expected:
    """The Q-values of an episode as a kind of weights gives them in this process."""

    def __init__(self, policy: LoadedPolicy, observations: list[int]):
        self.q_values = []
        state = policy.initial_state(1)
        for step, observation in enumerate(observations):
            _, q_values, state = policy.step(np.asarray([observation]), [step == 0], state)
            self.q_values.append(q_values.numpy()[0])


class Chain:
    """The processes, and the versions that are served, newest last."""

    def __init__(self, folder: Path, kinds: list[Path], redis: str):
        self._base = folder / "served" / MODEL
        self._base.mkdir(parents=True)
        self._kinds = kinds
        self._numbers = itertools.count(1)
        self.roll_out()
        self.roll_out()
        self.redis_port = free_port()
        (folder / "redis").mkdir()
        self.redis = Process(
            "redis",
            *(redis, "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", ""),
            *("--dir", str(folder / "redis"), "--appendonly", "yes", "--appendfsync", "always"),
            says_ready=False,
        )
        tfmem = (sys.executable, "-m", "tfmem")
        base = str(self._base.parent)
        self.server = Process("server", *tfmem, "serve", base, "--rest-port", "0", "--grpc-port", "0")
        upstream = self.server.ready.split()[4]
        self.ports = [free_port() for _ in range(2)]
        self.gateways = [
            Process(
                f"gateway {number}",
                *(*tfmem, "gateway", upstream, "--store", f"redis://127.0.0.1:{self.redis_port}"),
                *("--port", str(port), "--request-timeout-s", "3"),
            )
            for number, port in enumerate(self.ports)
        ]

    @property
    def processes(self) -> list[Process]:
        return [self.redis, self.server, *self.gateways]

    def kind(self, version: int) -> int:
        """Which weights a version has."""
        return version % len(self._kinds)

    def roll_out(self) -> None:
        """A new version appears whole, and the third newest goes."""
        version = next(self._numbers)
        staged = self._base / f".{version}"
        shutil.copytree(self._kinds[self.kind(version)], staged)
        staged.rename(self._base / str(version))
        old = self._base / str(version - 2)
        if old.exists():
            shutil.rmtree(old)


class Player:
    """A session that plays its own observations over and over."""

    def __init__(self, number: int, http: aiohttp.ClientSession, chain: Chain, record: Record):
        self._id = f"player-{number}"
        self._http, self._chain, self._record = http, chain, record
        self._turn = number
        rng = np.random.default_rng(1000 + number)
        self.observations = [int(one) for one in rng.integers(0, 4, EPISODE)]
        self.expected: list[Expected] = []

    async def play(self, until: float) -> None:
        """Plays until it is time; an episode that has begun is left then."""
        await self._call("", {"model": MODEL, "session_id": self._id}, until, accept=(201, 409))
        while time.monotonic() < until:
            self._record.episodes += 1
            for step, observation in enumerate(self.observations):
                body = {"observation": observation, "step": step}
                status, answer = await self._call(f"/{self._id}:act", body, until, accept=(200, 410))
                if status != 200:
                    break  # the version is gone, or time is up
                self._compare(step, answer)
            await self._call(f"/{self._id}:reset", None, until, accept=(200,))

    def _compare(self, step: int, answer: dict[str, Any]) -> None:
        version = answer["version"]
        expected = self.expected[self._chain.kind(version)].q_values[step]
        self._record.steps += 1
        self._record.versions[version] += 1
        right = (
            answer["step"] == step + 1
            and np.allclose(answer["q_values"], expected, atol=TOLERANCE)
            and expected[answer["action"]] >= expected.max() - TOLERANCE
        )
        if not right:
            found = {"session": self._id, "step": step, "expected": expected.tolist(), "answer": answer}
            self._record.wrong.append(found)

    async def _call(
        self, path: str, body: Any, until: float, *, accept: tuple[int, ...]
    ) -> tuple[int, dict[str, Any]]:
        """Repeats a call through the gateways in turn until it is answered, or time is up (status 0)."""
        while time.monotonic() < until:
            self._turn += 1
            port = self._chain.ports[self._turn % len(self._chain.ports)]
            try:
                async with self._http.post(f"http://127.0.0.1:{port}/v1/sessions{path}", json=body) as answer:
                    status, content = answer.status, await answer.json()
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, asyncio.TimeoutError) as error:
                self._record.statuses[type(error).__name__] += 1
                await asyncio.sleep(0.05)
                continue
            self._record.statuses[str(status)] += 1
            if status in accept:
                return status, content
            if status not in AGAIN:
                self._record.undocumented.append(f"{path} {status} {content}")
            await asyncio.sleep(0.05)
        return 0, {}


async def roll_outs(chain: Chain, until: float, events: list[str]) -> None:
    while time.monotonic() + ROLLOUT_S < until:
        await asyncio.sleep(ROLLOUT_S)
        await asyncio.to_thread(chain.roll_out)
        events.append("roll-out")


async def kills(chain: Chain, until: float, events: list[str], rng: random.Random) -> None:
    """Redis and the gateways in turn, each away for a moment."""
    for victim in itertools.cycle([chain.redis, *chain.gateways]):
        await asyncio.sleep(KILL_S * rng.uniform(0.7, 1.3))
        if time.monotonic() + KILL_S > until:
            return
        await asyncio.to_thread(victim.kill)
        await asyncio.sleep(rng.uniform(0.1, 2.0))
        await asyncio.to_thread(victim.start)
        events.append(f"{victim.name} killed")


async def soak(chain: Chain, policies: list[LoadedPolicy], sessions: int, minutes: float) -> dict[str, Any]:
    record, events = Record(), []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
        players = [Player(number, http, chain, record) for number in range(sessions)]
        for player in players:
            player.expected = [Expected(policy, player.observations) for policy in policies]
        before = {process.name: process.resident_mib() for process in chain.processes}
        until = time.monotonic() + 60 * minutes
        memory: dict[str, list[float]] = {name: [mib] for name, mib in before.items()}

        async def watch() -> None:
            while time.monotonic() < until:
                await asyncio.sleep(min(60.0, until - time.monotonic()) + 0.01)
                for process in chain.processes:
                    memory[process.name].append(process.resident_mib())
                print(record.steps, len(record.wrong), dict(record.statuses), memory, flush=True)

        await asyncio.gather(
            *(player.play(until) for player in players),
            roll_outs(chain, until, events),
            kills(chain, until, events, random.Random(0)),
            watch(),
        )
    return {
        "sessions": sessions,
        "minutes": minutes,
        "steps": record.steps,
        "episodes": record.episodes,
        "wrong": len(record.wrong),
        "first_wrong": record.wrong[:5],
        "versions_that_answered": len(record.versions),
        "statuses": dict(record.statuses.most_common()),
        "undocumented": record.undocumented[:20],
        "events": dict(Counter(events)),
        "resident_mib_each_minute": memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--sessions", type=int, default=16)
    arguments = parser.parse_args()
    redis = shutil.which("redis-server")
    if redis is None:
        parser.error("there is no redis-server on the path")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = export_kinds(folder / "kinds")
        policies = [load_policy(path) for path in kinds]
        chain = Chain(folder, kinds, redis)
        try:
            found = asyncio.run(soak(chain, policies, arguments.sessions, arguments.minutes))
        finally:
            for process in chain.processes:
                process.kill()
    result = {**provenance(), **found}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
