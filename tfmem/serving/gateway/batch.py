"""Several sessions' steps in one call of the server behind the gateway."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

import numpy as np

from tfmem.serving.gateway.sessions import ServedPolicy, SessionError

Arrays = dict[str, np.ndarray]


class Steps(Protocol):
    """What steps a policy for a batch, such as `tfmem.serving.gateway.upstream.Upstream`."""

    async def step(self, policy: ServedPolicy, inputs: Arrays) -> Arrays:
        """The outputs of `step` for a batch."""


class Batch:
    """Waits until each of its parties has asked for its step or left, then makes one call for each policy.

    A batch that the server finds invalid is halved, so that one session's bad observation, or a batch larger
    than the server takes, does not fail the others.

    Args:
      server: steps the policies.
      parties: how many places there are; each must be taken once.
    """

    def __init__(self, server: Steps, parties: int):
        self._server = server
        self._missing = parties
        self._asked: dict[tuple[str, int], list[_Row]] = defaultdict(list)
        self._calls: list[asyncio.Task] = []

    @contextlib.contextmanager
    def place(self) -> Iterator[Callable[[ServedPolicy, Arrays], Awaitable[Arrays]]]:
        """One party's place: gives the function with which it asks for its step, without the batch axis.

        Whoever goes without having asked is not waited for.
        """
        asked = False

        async def step(policy: ServedPolicy, inputs: Arrays) -> Arrays:
            nonlocal asked
            asked = True
            row = _Row(policy, inputs)
            self._asked[policy.model, policy.version].append(row)
            self._arrive()
            return await row.outputs

        try:
            yield step
        finally:
            if not asked:
                self._arrive()

    def _arrive(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._calls = [asyncio.create_task(self._call(rows)) for rows in self._asked.values()]

    async def _call(self, rows: "list[_Row]") -> None:
        try:
            inputs = {name: np.stack([row.inputs[name] for row in rows]) for name in rows[0].inputs}
            outputs = await self._server.step(rows[0].policy, inputs)
        except Exception as error:
            if isinstance(error, SessionError) and error.status == 400 and len(rows) > 1:
                middle = len(rows) // 2
                await asyncio.gather(self._call(rows[:middle]), self._call(rows[middle:]))
                return
            for row in rows:
                if not row.outputs.cancelled():
                    row.outputs.set_exception(error)
        else:
            for index, row in enumerate(rows):
                if not row.outputs.cancelled():
                    row.outputs.set_result({name: value[index] for name, value in outputs.items()})


class _Row:
    def __init__(self, policy: ServedPolicy, inputs: Arrays):
        self.policy, self.inputs = policy, inputs
        self.outputs: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
