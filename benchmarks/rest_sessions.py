"""Sessions over HTTP and JSON that carry their memory along, for servers of the signature `step`.

The body is TF Serving's column form; the answer is `{"outputs": {…}}`.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import tensorflow as tf

Inputs = dict[str, Any]
Step = Callable[[Inputs], Awaitable[Inputs]]
EPISODE = 16


def first_inputs(version: Path, rows: int = 1) -> dict[str, np.ndarray]:
    """A step with zeros, as an episode begins."""
    specs = tf.saved_model.load(str(version)).signatures["step"].structured_input_signature[1]
    zeros = {
        name: np.zeros([rows, *spec.shape[1:]], spec.dtype.as_numpy_dtype) for name, spec in specs.items()
    }
    return zeros | {"is_first": np.ones([rows], bool)}


def expected(version: Path, sessions: int) -> np.ndarray:
    """Q-values and actions of episodes as `answers` plays them, by the function called here."""
    model = tf.saved_model.load(str(version))
    inputs, found = first_inputs(version, sessions), []
    for seen in _observations(sessions).T:
        inputs["observation"] = seen
        outputs = model.signatures["step"](**{name: tf.constant(value) for name, value in inputs.items()})
        found.append(np.column_stack([outputs["q_values"], outputs["action"]]))
        inputs = {name: outputs.get(name, value) for name, value in inputs.items()}
        inputs["is_first"] = np.zeros([sessions], bool)
    return np.stack(found, axis=1)


async def answers(url: str, first: Inputs, sessions: int) -> np.ndarray:
    """Q-values and actions, [sessions, steps, …], of episodes played at the same time.

    Every session sees observations of its own, so that memory of another one would be seen.
    """

    async def play(step: Step, observations: list[int]) -> list[list[float]]:
        inputs, found = first, []
        for seen in observations:
            outputs = await step(inputs | {"observation": [seen]})
            found.append([*outputs["q_values"][0], *outputs["action"]])
            inputs = _next(inputs, outputs)
        return found

    async with _stepping(url) as step:
        return np.array(
            await asyncio.gather(*(play(step, seen) for seen in _observations(sessions).tolist()))
        )


async def latencies(url: str, first: Inputs, sessions: int, seconds: float) -> list[float]:
    """Latencies in milliseconds of sessions at the same time, each one step after another."""
    found: list[float] = []

    async def play(step: Step, until: float) -> None:
        inputs, index = first, 0
        while (started := time.perf_counter()) < until:
            outputs = await step(inputs)
            found.append(1e3 * (time.perf_counter() - started))
            index += 1
            inputs = _next(inputs, outputs) | {"observation": [index % 4]}

    async with _stepping(url) as step:
        until = time.perf_counter() + seconds
        await asyncio.gather(*(play(step, until) for _ in range(sessions)))
    return found


async def answered(url: str, first: Inputs, starting: Callable[[], bool]) -> bool:
    """Waits for an answer from a server as long as it is `starting`; whether there was one."""
    async with _stepping(url) as step:
        while starting():
            try:
                await step(first)
                return True
            except aiohttp.ClientError:
                await asyncio.sleep(0.2)
    return False


@contextlib.asynccontextmanager
async def _stepping(url: str) -> AsyncIterator[Step]:
    """A function from inputs to outputs, with a connection for each of its callers."""

    async def step(inputs: Inputs) -> Inputs:
        async with http.post(url, json={"signature_name": "step", "inputs": inputs}) as answer:
            return (await answer.json())["outputs"]

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, raise_for_status=True) as http:
        yield step


def _next(inputs: Inputs, outputs: Inputs) -> Inputs:
    return {name: outputs.get(name, value) for name, value in inputs.items()} | {"is_first": [False]}


def _observations(sessions: int) -> np.ndarray:
    return np.random.default_rng(0).integers(4, size=[sessions, EPISODE])
