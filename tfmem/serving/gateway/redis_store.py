"""Sessions in Redis, shared by any number of gateways.

| key | what |
| --- | --- |
| `tfmem:session:ID` | hash of a session's bytes and their revision, a random one for each write; expires |
| `tfmem:lock:ID` | the lock of the call that is being answered, with a time limit |
| `tfmem:sessions` | sorted set of all ids by the time at which they expire, for the cap and the count |
"""

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

from redis import asyncio as redis
from redis.asyncio.lock import Lock
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import LockError, RedisError

from tfmem.errors import InvalidInput
from tfmem.serving.gateway.session_store import (
    DuplicateSession,
    SessionBusy,
    StoreUnavailable,
    TooManySessions,
    UnknownSession,
)

_INDEX = "tfmem:sessions"
_CONNECTIONS = 64

# Scripts, since each must happen as a whole. The server's clock, so that the gateways' need not agree.
_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

_RENEW = """
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
"""

_CREATE = f"""{_NOW}
if redis.call('EXISTS', KEYS[1]) == 1 then return 'duplicate' end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[3]) then return 'full' end
redis.call('HSET', KEYS[1], 'revision', ARGV[4], 'value', ARGV[5])
{_RENEW}
return 'done'
"""

_READ_AND_RENEW = f"""{_NOW}
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
{_RENEW}
return redis.call('HMGET', KEYS[1], 'revision', 'value')
"""

# A lock may run out while its call still goes on; the revision tells.
_WRITE = """
local revision = redis.call('HGET', KEYS[1], 'revision')
if not revision then return 'unknown' end
if revision ~= ARGV[1] then return 'busy' end
redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'value', ARGV[3])
return 'done'
"""


class RedisStore:
    """Sessions in one Redis server; see `tfmem.serving.gateway.session_store.SessionStore`.

    Args:
      url: such as `redis://127.0.0.1:6379/0`.
      max_sessions: the cap over all gateways.
      idle_timeout_s: seconds after which a session that nothing has acted on is forgotten.
      timeout_s: how long Redis may take to answer, and how long a gateway that dies keeps what it holds.

    Raises:
      InvalidInput: when the URL is none of Redis.
    """

    def __init__(self, url: str, *, max_sessions: int, idle_timeout_s: float, timeout_s: float):
        try:
            pool = redis.BlockingConnectionPool.from_url(
                url,
                max_connections=_CONNECTIONS,
                timeout=timeout_s,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                # A write that is sent again could meet its own revision, and a lock itself.
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise InvalidInput(
                f"the store must be memory or a URL such as redis://127.0.0.1:6379: {error}"
            ) from error
        self._redis = redis.Redis.from_pool(pool)
        self._max_sessions = max_sessions
        self._idle_ms = max(1, round(1e3 * idle_timeout_s))
        self._timeout_s = timeout_s
        self._create = self._redis.register_script(_CREATE)
        self._read_and_renew = self._redis.register_script(_READ_AND_RENEW)
        self._write = self._redis.register_script(_WRITE)

    async def create(self, session_id: str, value: bytes) -> None:
        with _failures():
            outcome = await self._create(
                keys=[_key(session_id), _INDEX],
                args=[session_id, self._idle_ms, self._max_sessions, uuid.uuid4().hex, value],
            )
        if outcome == b"duplicate":
            raise DuplicateSession(session_id)
        if outcome == b"full":
            raise TooManySessions(self._max_sessions)

    async def read(self, session_id: str) -> bytes:
        with _failures():
            found: Any = await self._redis.hget(_key(session_id), "value")
        if found is None:
            raise UnknownSession(session_id)
        return found

    @contextlib.asynccontextmanager
    async def hold(self, session_id: str) -> AsyncIterator["_HeldInRedis"]:
        lock = Lock(self._redis, f"tfmem:lock:{session_id}", timeout=self._timeout_s, thread_local=False)
        with _failures():
            if not await lock.acquire(blocking=False):
                raise SessionBusy(session_id)
        try:
            with _failures():
                found = await self._read_and_renew(
                    keys=[_key(session_id), _INDEX], args=[session_id, self._idle_ms]
                )
            if found is None:
                raise UnknownSession(session_id)
            yield _HeldInRedis(self, session_id, *found)
        finally:
            # Where this fails, or the lock has run out, the time limit lets go of the session.
            with contextlib.suppress(LockError, RedisError):
                await lock.release()

    async def replace(self, session_id: str, revision: bytes, value: bytes) -> bytes:
        """Replaces the bytes if they still have this revision; gives the new one."""
        new_revision = uuid.uuid4().hex.encode()
        with _failures():
            outcome = await self._write(keys=[_key(session_id)], args=[revision, new_revision, value])
        if outcome == b"unknown":
            raise UnknownSession(session_id)
        if outcome == b"busy":
            raise SessionBusy(session_id)
        return new_revision

    async def delete(self, session_id: str) -> None:
        with _failures():
            async with self._redis.pipeline(transaction=True) as both:
                both.delete(_key(session_id))
                both.zrem(_INDEX, session_id)
                deleted, _ = await both.execute()
        if not deleted:
            raise UnknownSession(session_id)

    async def count(self) -> int:
        with _failures():
            seconds, microseconds = await self._redis.time()
            now = 1000 * seconds + microseconds // 1000
            return await self._redis.zcount(_INDEX, f"({now}", "+inf")

    async def ping(self) -> None:
        with _failures():
            await self._redis.ping()

    async def close(self) -> None:
        await self._redis.aclose()


class _HeldInRedis:
    def __init__(self, store: RedisStore, session_id: str, revision: bytes, value: bytes):
        self._store, self._session_id, self._revision = store, session_id, revision
        self.value = value

    async def write(self, value: bytes) -> None:
        self._revision = await self._store.replace(self._session_id, self._revision, value)
        self.value = value


def _key(session_id: str) -> str:
    return f"tfmem:session:{session_id}"


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Redis's own errors as `StoreUnavailable`."""
    try:
        yield
    except RedisError as error:
        raise StoreUnavailable(f"the session store does not answer: {error}") from error
