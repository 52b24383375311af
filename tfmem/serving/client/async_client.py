"""The client for asyncio."""

import asyncio
from typing import Any

import numpy as np
import tenacity

from tfmem.serving import wire
from tfmem.serving.client.base import ClientBase
from tfmem.serving.client.call import Answer, Call
from tfmem.serving.client.errors import NOT_FOUND, ServerError
from tfmem.serving.client.memory import Memory
from tfmem.serving.client.policy import ServedPolicy
from tfmem.serving.client.retrying import Deadline, options
from tfmem.serving.client.server import Server
from tfmem.serving.client.snapshot import Snapshot


class AsyncPolicyClient(ClientBase):
    """`tfmem.serving.PolicyClient` with coroutines, for many sessions at a time within one event loop.

    Arguments and errors are the same. Make it inside the event loop, which its connections belong to.

    Example:
      >>> async with AsyncPolicyClient("grpc://127.0.0.1:8500", "repeat_previous") as client:
      ...     session = await client.session()
      ...     action = await session.act(observation)
    """

    def _make_transport(self, server: Server) -> Any:
        if server.is_grpc:
            from tfmem.serving.client.grpc_transport import AsyncGrpcTransport

            return AsyncGrpcTransport(server)
        from tfmem.serving.client.aiohttp_transport import AiohttpTransport

        return AiohttpTransport(server)

    async def __aenter__(self) -> "AsyncPolicyClient":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def status(self) -> list[dict[str, Any]]:
        """See `PolicyClient.status`."""
        return await self._run(self._api.status())

    async def session(self) -> "AsyncSession":
        """See `PolicyClient.session`."""
        return AsyncSession(self, await self.pinned())

    async def resume(self, snapshot: bytes) -> "AsyncSession":
        """See `PolicyClient.resume`."""
        saved = self._read(snapshot)
        try:
            policy = await self._pinned(version=saved.version, label=None)
        except ServerError as error:
            if error.status != NOT_FOUND:
                raise
            raise saved.gone() from error
        return AsyncSession(self, policy, snapshot=saved)

    async def pinned(self) -> "AsyncPinnedPolicy":
        """See `PolicyClient.pinned`."""
        return await self._pinned(version=self._version, label=self._label)

    async def predict(self, signature: str, inputs: dict[str, Any], *, version: int) -> Any:
        """See `PolicyClient.predict`."""
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        return await self._run(self._api.predict(signature, arrays, version=version))

    async def _pinned(self, *, version: int | None, label: str | None) -> "AsyncPinnedPolicy":
        metadata = await self._run(self._api.metadata(version=version, label=label))
        return AsyncPinnedPolicy(self, self._name, metadata)

    async def _run(self, call: Call[Answer]) -> Answer:
        deadline = Deadline(self._timeout_s)

        async def attempt() -> Answer:
            return call.read(await self._transport.send(call.request, deadline.left_s()))

        return await tenacity.AsyncRetrying(**options(self._timeout_s))(attempt)


class AsyncPinnedPolicy(ServedPolicy):
    """`tfmem.serving.PinnedPolicy` with coroutines."""

    def __init__(self, client: AsyncPolicyClient, name: str, metadata: dict[str, Any]):
        super().__init__(name, metadata)
        self._client = client

    async def step(
        self, observation: Any, is_first: Any, state: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """See `PinnedPolicy.step`."""
        inputs = self.step_inputs(observation, is_first, state)
        return self.read_outputs(await self._client.predict("step", inputs, version=self.version))

    async def explain(
        self, observation: Any, is_first: Any, state: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """As `step`, and what else can be shown of it; see `tfmem.agents.MemoryPolicy.explain`."""
        inputs = self.step_inputs(observation, is_first, state)
        return self.read_explained(await self._client.predict("explain", inputs, version=self.version))

    async def initial_state(self, batch_size: int) -> dict[str, np.ndarray]:
        """The state at an episode's start, as the model tells it; zeros where it does not, which do as well
        where `is_first`.
        """
        if not self._tells_initial_state:
            return self.blank_state(batch_size)
        inputs = {wire.BATCH: np.zeros([batch_size], np.int32)}
        return self.read_initial_state(
            await self._client.predict("initial_state", inputs, version=self.version)
        )


class AsyncSession(Memory[AsyncPinnedPolicy]):
    """`tfmem.serving.Session` with coroutines. Calls that overlap are answered one after the other."""

    def __init__(
        self, client: AsyncPolicyClient, policy: AsyncPinnedPolicy, *, snapshot: Snapshot | None = None
    ):
        super().__init__(policy, snapshot=snapshot)
        self._client = client
        self._turn = asyncio.Lock()

    async def act(self, observation: Any) -> int:
        """See `Session.act`."""
        async with self._turn:
            try:
                return self._advance(await self._policy.step(*self._step_arguments(observation)))
            except ServerError as error:
                if error.status != NOT_FOUND:
                    raise
                raise self._move(await self._client.pinned()) from error
