"""Many sessions that are opened through the gateway, make one step and are left.

    python benchmarks/gateway_sessions.py --sessions 100000

`tfmem serve`, a Redis and a gateway, each a process, and this one the client, once with sessions in Redis and
once in the gateway itself. As many sessions as the gateway may have are started over HTTP, and each makes a
step, so that it has a memory to be kept. Then nobody calls until all have expired, and all of it is done
again: what an allocator keeps for itself is filled a second time, and a leak would make the second top higher
than the first. Resident memory is read before, at each top and after it; before, a few sessions have come and
gone, so that what stays once is there. The idle time has to outlast the opening, or there is no top with all
of them.
Results go to benchmarks/results/gateway_sessions.json.
"""

import argparse
import asyncio
import json
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import redis
from machine import provenance
from processes import Process, free_port

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "gateway_sessions.json"
MODEL = "repeat_previous"
CALLERS = 16
STEPS_TOGETHER = 64
WARM_UP = CALLERS * STEPS_TOGETHER
ROUNDS = 2
PATIENCE_S = 60.0  # beyond the idle time
PACKAGES = ("tensorflow", "tensorflow-serving-api", "aiohttp", "grpcio", "redis")


class Gateway:
    """A gateway with a store, its calls and what they answered."""

    def __init__(self, process: Process, store: Process | None, redis_url: str, http: aiohttp.ClientSession):
        self._process, self._store = process, store
        self._redis = redis.Redis.from_url(redis_url)
        self._url = process.ready.split()[2]
        self._http = http
        self.statuses: Counter[str] = Counter()

    async def call(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and answer."""
        async with self._http.post(f"{self._url}/v1/sessions{path}", json=body) as response:
            return response.status, await response.json()

    async def open(self, count: int) -> list[str]:
        """Starts sessions one after another, and makes one step with all of them; gives their ids."""
        ids = []
        for _ in range(count):
            status, session = await self.call("", {"model": MODEL})
            self.statuses[f"start {status}"] += 1
            ids += [session["session_id"]] if status == 201 else []
        status, answer = await self.call(
            ":act", {"sessions": [{"session_id": session_id, "observation": 1} for session_id in ids]}
        )
        for result in answer["results"]:
            self.statuses[f"step {result.get('status', status)}"] += 1
        return ids

    async def end(self, session_id: str) -> None:
        """Ends a session."""
        async with self._http.delete(f"{self._url}/v1/sessions/{session_id}") as response:
            response.raise_for_status()

    async def sessions(self) -> int:
        """How many there are."""
        async with self._http.get(f"{self._url}/metrics") as response:
            found = re.search(r"^tfmem_gateway_sessions (\S+)$", await response.text(), re.MULTILINE)
        assert found, "the gateway does not tell its sessions"
        return int(float(found[1]))

    async def left(self) -> int:
        """Sessions, and what of them Redis still keeps."""
        return await self.sessions() + (self._redis.dbsize() if self._store else 0)

    async def figures(self) -> dict[str, float]:
        """Sessions and memory now."""
        found: dict[str, float] = {
            "sessions": await self.sessions(),
            "gateway_mib": self._process.resident_mib(),
        }
        if self._store:
            used = self._redis.info("memory")["used_memory"]
            found |= {
                "redis_mib": self._store.resident_mib(),
                "redis_used_mib": round(used / 2**20, 1),
                "redis_keys": self._redis.dbsize(),
            }
        return found


async def open_all(gateway: Gateway, sessions: int) -> list[str]:
    """Opens sessions by a few callers at a time; gives their ids."""
    starts = iter(range(0, sessions, STEPS_TOGETHER))
    ids: list[str] = []

    async def caller() -> None:
        for start in starts:
            ids.extend(await gateway.open(min(STEPS_TOGETHER, sessions - start)))

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return ids


async def opened_and_left(gateway: Gateway, *, sessions: int, idle_s: float) -> dict[str, Any]:
    """Opens sessions and waits until all have expired."""
    gateway.statuses.clear()
    started = time.monotonic()
    await open_all(gateway, sessions)
    opened = time.monotonic()
    top = await gateway.figures()
    one_more, _ = await gateway.call("", {"model": MODEL})
    while await gateway.left() and time.monotonic() < opened + idle_s + PATIENCE_S:
        await asyncio.sleep(1)
    return {
        "seconds_to_open": round(opened - started, 1),
        "seconds_until_none_was_left": round(time.monotonic() - opened, 1),
        "statuses": dict(gateway.statuses),
        "one_more_at_the_top": one_more,
        "top": top,
        "after": await gateway.figures(),
    }


async def measure(
    process: Process, store: Process | None, redis_url: str, *, sessions: int, idle_s: float
) -> dict[str, Any]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        gateway = Gateway(process, store, redis_url, http)
        for session_id in await open_all(gateway, min(WARM_UP, sessions)):
            await gateway.end(session_id)
        before = await gateway.figures()
        rounds = [await opened_and_left(gateway, sessions=sessions, idle_s=idle_s) for _ in range(ROUNDS)]
        return {"before": before, "rounds": rounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--idle-timeout-s", type=float, default=300.0)
    arguments = parser.parse_args()
    binary = shutil.which("redis-server")
    if binary is None:
        parser.error("there is no redis-server on the path")
    measured = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:

        def running(name: str, *command: str, says_ready: bool = True) -> Process:
            process = Process(name, *command, says_ready=says_ready)
            stack.callback(process.kill)
            return process

        tfmem = (sys.executable, "-m", "tfmem")
        server = running(
            "server", *tfmem, "serve", str(ROOT / "saved_models"), *("--rest-port", "0", "--grpc-port", "0")
        )
        port = str(free_port())
        keeps_nothing = ("--save", "", "--appendonly", "no", "--dir", folder)
        store = running(
            "redis", binary, "--port", port, "--bind", "127.0.0.1", *keeps_nothing, says_ready=False
        )
        url = f"redis://127.0.0.1:{port}"
        for name in ("redis", "memory"):
            gateway = running(
                "gateway",
                *(*tfmem, "gateway", server.ready.split()[4], "--port", "0"),
                *("--store", url if name == "redis" else "memory"),
                *("--idle-timeout-s", str(arguments.idle_timeout_s)),
                *("--max-sessions", str(arguments.sessions)),
            )
            in_redis = store if name == "redis" else None
            measured[name] = asyncio.run(
                measure(gateway, in_redis, url, sessions=arguments.sessions, idle_s=arguments.idle_timeout_s)
            )
            print(name, json.dumps(measured[name]), flush=True)
    result = {
        **provenance(PACKAGES),
        "sessions": arguments.sessions,
        "idle_timeout_s": arguments.idle_timeout_s,
        "callers": CALLERS,
        "stores": measured,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
