"""What can be done with sessions, over a store and a policy server. No HTTP here."""

import asyncio
import dataclasses
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

from tfmem.errors import InvalidInput
from tfmem.serving.gateway.batch import Batch, Steps
from tfmem.serving.gateway.session_store import SessionStore
from tfmem.serving.gateway.sessions import Choice, ServedPolicy, Session, SessionError, VersionGone

_KNOWN_POLICIES = 256


class PolicyServer(Steps, Protocol):
    """A server of policies, such as `tfmem.serving.gateway.upstream.Upstream`."""

    async def resolve(self, choice: Choice) -> ServedPolicy:
        """The version that a choice comes to now; raises `SessionError` of status 404 if there is none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Act:
    """One step of one session.

    Attributes:
      session_id: the session.
      observation: as JSON gives it.
      step: the number of the step, which makes it safe to ask again; None for the next, whichever it is.
    """

    session_id: str
    observation: Any
    step: int | None = None


class SessionService:
    """Starts, steps, resets and ends sessions.

    A step reads the memory from the store, steps the policy, and writes memory and answer back before the
    answer is given: whatever fails on the way, the same step can be asked for again.

    Args:
      store: keeps the sessions.
      server: steps the policies.
    """

    def __init__(self, store: SessionStore, server: PolicyServer):
        self._store = store
        self._server = server
        self._policies: dict[tuple[str, int], ServedPolicy] = {}

    async def start(self, choice: Choice, session_id: str | None = None) -> tuple[str, Session]:
        """Starts a session; gives its id, a new one unless there is one given.

        Raises:
          SessionError: 404 for an unknown model or version, 409 for an id that is taken, 503 when full.
        """
        session_id = session_id or str(uuid.uuid4())
        session = Session.start(choice, await self._resolve(choice))
        await self._store.create(session_id, session.to_bytes())
        return session_id, session

    async def act(self, acts: "Sequence[Act | InvalidInput]") -> list[Session | BaseException]:
        """Steps sessions, all those of one model and version in one call of the server.

        Args:
          acts: the steps; what could not be read as one is answered by its error.

        Returns:
          For each the session with its answer, or the error, mostly a `SessionError` or `InvalidInput`.
        """
        batch = Batch(self._server, len(acts))
        return await asyncio.gather(*(self._act(act, batch) for act in acts), return_exceptions=True)

    async def reset(self, session_id: str) -> Session:
        """Begins a new episode with fresh memory, on the version that the session's choice comes to now."""
        async with self._store.hold(session_id) as held:
            choice = Session.from_bytes(held.value).choice
            session = Session.start(choice, await self._resolve(choice))
            await held.write(session.to_bytes())
            return session

    async def status(self, session_id: str) -> Session:
        """The session as it is."""
        return Session.from_bytes(await self._store.read(session_id))

    async def end(self, session_id: str) -> None:
        """Ends a session; its memory is gone."""
        await self._store.delete(session_id)

    async def _act(self, act: Act | InvalidInput, batch: Batch) -> Session:
        with batch.place() as step:
            if isinstance(act, InvalidInput):
                raise act
            async with self._store.hold(act.session_id) as held:
                session = Session.from_bytes(held.value)
                if session.has_answered(act.step):
                    return session
                try:
                    policy = await self._policy(session)
                    outputs = await step(policy, session.inputs(policy, act.observation))
                except SessionError as error:
                    if error.status == 404:
                        self._policies.pop((session.choice.model, session.version), None)
                        raise _gone(session) from error
                    raise
                session = session.after(policy, outputs)
                await held.write(session.to_bytes())
                return session

    async def _policy(self, session: Session) -> ServedPolicy:
        known = self._policies.get((session.choice.model, session.version))
        return known or await self._resolve(Choice(model=session.choice.model, version=session.version))

    async def _resolve(self, choice: Choice) -> ServedPolicy:
        policy = await self._server.resolve(choice)
        if len(self._policies) >= _KNOWN_POLICIES:
            del self._policies[next(iter(self._policies))]
        self._policies[policy.model, policy.version] = policy
        return policy


def _gone(session: Session) -> VersionGone:
    return VersionGone(
        f"version {session.version} of model {session.choice.model!r} is gone, though the episode needs it; "
        "reset the session to go on with fresh memory on the version that is served"
    )
