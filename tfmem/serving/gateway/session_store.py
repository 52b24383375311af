"""Where sessions are kept between calls: what a store promises, and the store in this process.

A store keeps bytes by session id. It has a cap, forgets what was idle for too long, lets one call at a time
hold a session, and replaces its bytes only if nothing else has done so since they were read. The store in
Redis is `tfmem.serving.gateway.redis_store.RedisStore`.
"""

import asyncio
import contextlib
import dataclasses
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tfmem.serving.gateway.sessions import SessionError


class UnknownSession(SessionError):
    """There is no such session: it was never started, has ended or was idle for too long."""

    status = 404

    def __init__(self, session_id: str):
        super().__init__(f"there is no session {session_id!r}: it has ended or expired, or was never started")


class DuplicateSession(SessionError):
    """A session has the wanted id already."""

    status = 409

    def __init__(self, session_id: str):
        super().__init__(f"there is a session {session_id!r} already; end it first or give another id")


class SessionBusy(SessionError):
    """Another call is being answered on the session, or has changed it meanwhile."""

    status = 409

    def __init__(self, session_id: str):
        super().__init__(
            f"another call is being answered on session {session_id!r}; a session takes one at a time"
        )


class TooManySessions(SessionError):
    """The cap on sessions is reached."""

    status = 503

    def __init__(self, cap: int):
        super().__init__(f"all {cap} sessions are taken; end some, wait for some to expire, or raise the cap")


class StoreUnavailable(SessionError):
    """The store does not answer; what it holds is as it was."""

    status = 503


class HeldSession(Protocol):
    """A session that this call alone may act on.

    Attributes:
      value: its bytes.
    """

    value: bytes

    async def write(self, value: bytes) -> None:
        """Replaces the bytes.

        Raises:
          SessionBusy: when another call has replaced them since; nothing was written.
          UnknownSession: when the session has ended meanwhile.
          StoreUnavailable: when the store fails; the bytes are the old or the new ones, never part of both.
        """


class SessionStore(Protocol):
    """Bytes by session id. Every method raises `StoreUnavailable` when the store fails."""

    async def create(self, session_id: str, value: bytes) -> None:
        """Adds a session; raises `DuplicateSession` or `TooManySessions`."""

    async def read(self, session_id: str) -> bytes:
        """A session's bytes, its idle time going on; raises `UnknownSession`."""

    def hold(self, session_id: str) -> AbstractAsyncContextManager[HeldSession]:
        """Holds a session for one call, its idle time begun anew; raises `UnknownSession`, `SessionBusy`."""

    async def delete(self, session_id: str) -> None:
        """Ends a session; raises `UnknownSession`."""

    async def count(self) -> int:
        """How many sessions there are."""

    async def ping(self) -> None:
        """Raises `StoreUnavailable` unless the store answers."""

    async def close(self) -> None:
        """Closes the connections."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Entry:
    value: bytes
    expires: float


class MemoryStore:
    """Sessions in this process, which lose them when it ends; its cap bounds the memory it takes.

    Args:
      max_sessions: the cap.
      idle_timeout_s: seconds after which a session that nothing has acted on is forgotten.
    """

    def __init__(self, *, max_sessions: int, idle_timeout_s: float):
        self._max_sessions = max_sessions
        self._idle_timeout_s = idle_timeout_s
        # In the order in which they expire: all have the same time, so whichever is renewed becomes the last.
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._held: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def create(self, session_id: str, value: bytes) -> None:
        self._forget_idle()
        if session_id in self._entries:
            raise DuplicateSession(session_id)
        if len(self._entries) >= self._max_sessions:
            raise TooManySessions(self._max_sessions)
        self._put(session_id, value)

    async def read(self, session_id: str) -> bytes:
        return self._find(session_id).value

    @contextlib.asynccontextmanager
    async def hold(self, session_id: str) -> AsyncIterator["_HeldInMemory"]:
        value = self._find(session_id).value
        if session_id in self._held:
            raise SessionBusy(session_id)
        self._held.add(session_id)
        try:
            yield _HeldInMemory(self, session_id, self._put(session_id, value))
        finally:
            self._held.discard(session_id)

    async def delete(self, session_id: str) -> None:
        self._find(session_id)
        del self._entries[session_id]

    async def count(self) -> int:
        self._forget_idle()
        return len(self._entries)

    async def ping(self) -> None:
        pass

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def replace(self, session_id: str, entry: _Entry, value: bytes) -> _Entry:
        """Puts new bytes in the place of `entry`, if that is still the session's."""
        if self._find(session_id) is not entry:
            raise SessionBusy(session_id)
        self._entries[session_id] = dataclasses.replace(entry, value=value)
        return self._entries[session_id]

    def _find(self, session_id: str) -> _Entry:
        self._forget_idle()
        try:
            return self._entries[session_id]
        except KeyError:
            raise UnknownSession(session_id) from None

    def _put(self, session_id: str, value: bytes) -> _Entry:
        loop = asyncio.get_running_loop()
        entry = _Entry(value, loop.time() + self._idle_timeout_s)
        self._entries[session_id] = entry
        self._entries.move_to_end(session_id)
        if self._timer is None:
            self._timer = loop.call_at(entry.expires, self._wake)
        return entry

    def _wake(self) -> None:
        self._forget_idle()
        self._timer = None
        if self._entries:
            first = next(iter(self._entries.values()))
            self._timer = asyncio.get_running_loop().call_at(first.expires, self._wake)

    def _forget_idle(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._entries:
            session_id, entry = next(iter(self._entries.items()))
            if entry.expires > now:
                return
            del self._entries[session_id]


class _HeldInMemory:
    def __init__(self, store: MemoryStore, session_id: str, entry: _Entry):
        self._store, self._session_id, self._entry = store, session_id, entry
        self.value = entry.value

    async def write(self, value: bytes) -> None:
        self._entry = self._store.replace(self._session_id, self._entry, value)
        self.value = value
