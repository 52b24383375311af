"""Both session stores by one set of tests, the one in Redis with a real server; and a session's bytes."""

import asyncio
import contextlib
import tracemalloc

import numpy as np
import pytest

from tests.serving.redis_process import RedisProcess
from tfmem.errors import InvalidInput
from tfmem.serving.gateway.redis_store import RedisStore
from tfmem.serving.gateway.session_store import (
    DuplicateSession,
    MemoryStore,
    SessionBusy,
    StoreUnavailable,
    TooManySessions,
    UnknownSession,
)
from tfmem.serving.gateway.sessions import Choice, ServedPolicy, Session, StepOutOfOrder


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    server = RedisProcess(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(params=["memory", "redis"])
def opened(request):
    """Opens a store with the given limits."""
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        server.client.flushall()

    @contextlib.asynccontextmanager
    async def opened(*, max_sessions=100, idle_timeout_s=60.0, timeout_s=5.0):
        limits = {"max_sessions": max_sessions, "idle_timeout_s": idle_timeout_s}
        if request.param == "memory":
            store = MemoryStore(**limits)
        else:
            store = RedisStore(server.url, **limits, timeout_s=timeout_s)
        try:
            yield store
        finally:
            await store.close()

    return opened


def in_loop(test):
    """Runs a test that is a coroutine."""

    def wrapped(opened):
        asyncio.run(asyncio.wait_for(test(opened), 20))

    return wrapped


@in_loop
async def test_what_is_written_is_read(opened):
    async with opened() as store:
        await store.create("a", b"\x00one")
        await store.create("b", b"other")
        async with store.hold("a") as held:
            assert held.value == b"\x00one"
            await held.write(b"two")
            await held.write(b"three")
        assert (await store.read("a"), await store.read("b")) == (b"three", b"other")
        assert await store.count() == 2


@in_loop
async def test_unknown_duplicate_and_ended(opened):
    async with opened() as store:
        await store.create("a", b"one")
        with pytest.raises(DuplicateSession, match="'a'"):
            await store.create("a", b"two")
        await store.delete("a")
        for refused in (store.read("a"), store.delete("a"), hold_and_write(store, "a")):
            with pytest.raises(UnknownSession, match="'a'"):
                await refused
        assert await store.count() == 0
        await store.create("a", b"again")
        assert await store.read("a") == b"again"


async def hold_and_write(store, session_id):
    async with store.hold(session_id) as held:
        await held.write(b"written")


@in_loop
async def test_one_call_holds_a_session(opened):
    async with opened() as store:
        await store.create("a", b"one")
        async with store.hold("a"):
            with pytest.raises(SessionBusy, match="'a'"):
                await hold_and_write(store, "a")
            assert await store.read("a") == b"one"
        await hold_and_write(store, "a")
        assert await store.read("a") == b"written"


@in_loop
async def test_a_session_ended_and_started_anew_is_not_written_by_a_call_on_the_old_one(opened):
    async with opened() as store:
        await store.create("a", b"one")
        async with store.hold("a") as held:
            await store.delete("a")
            with pytest.raises(UnknownSession):
                await held.write(b"late")
            await store.create("a", b"one")
            with pytest.raises(SessionBusy):
                await held.write(b"late")
        assert await store.read("a") == b"one"


@in_loop
async def test_the_cap(opened):
    async with opened(max_sessions=2) as store:
        await store.create("a", b"")
        await store.create("b", b"")
        with pytest.raises(TooManySessions, match="2"):
            await store.create("c", b"")
        await store.delete("a")
        await store.create("c", b"")


@in_loop
async def test_idle_sessions_expire_and_held_ones_are_renewed(opened):
    async with opened(max_sessions=2, idle_timeout_s=0.5) as store:
        await store.create("busy", b"")
        await store.create("left", b"")
        for _ in range(3):
            await asyncio.sleep(0.25)
            await hold_and_write(store, "busy")
        with pytest.raises(UnknownSession):
            await store.read("left")
        assert await store.count() == 1
        await store.create("new", b"")
        await asyncio.sleep(0.25)
        await store.read("busy")  # to look is not to act
        await asyncio.sleep(0.35)
        with pytest.raises(UnknownSession):
            await hold_and_write(store, "busy")


@pytest.mark.parametrize("opened", ["redis"], indirect=True)
@in_loop
async def test_nothing_of_an_expired_session_stays_in_redis(opened):
    async with opened(idle_timeout_s=0.2) as store:
        await store.create("a", b"")
        await hold_and_write(store, "a")
        assert len(await store._redis.keys("*")) == 2
        await asyncio.sleep(0.4)
        assert await store._redis.keys("*") == []


@pytest.mark.parametrize("opened", ["redis"], indirect=True)
@in_loop
async def test_a_call_whose_lock_has_run_out_cannot_write(opened):
    async with opened(timeout_s=0.2) as slow, opened() as other:
        await slow.create("a", b"one")
        async with slow.hold("a") as late:
            await asyncio.sleep(0.3)
            async with other.hold("a") as held:
                await held.write(b"two")
                with pytest.raises(SessionBusy):
                    await late.write(b"late")
        assert await other.read("a") == b"two"


def test_a_redis_that_is_down():
    async def use():
        store = RedisStore("redis://127.0.0.1:1", max_sessions=1, idle_timeout_s=1, timeout_s=1)
        for refused in (store.ping(), store.count(), store.create("a", b""), hold_and_write(store, "a")):
            with pytest.raises(StoreUnavailable, match=r"^the session store does not answer: .*127"):
                await refused
        await store.close()

    asyncio.run(use())


def test_a_url_of_something_else():
    with pytest.raises(InvalidInput, match="memory or a URL such as redis://"):
        RedisStore("http://127.0.0.1", max_sessions=1, idle_timeout_s=1, timeout_s=1)


def test_20000_sessions_left_are_forgotten_without_being_touched(monkeypatch):
    async def leave():
        loop = asyncio.get_running_loop()
        now = loop.time
        store = MemoryStore(max_sessions=20_000, idle_timeout_s=600)
        tracemalloc.start()
        for i in range(20_000):
            await store.create(str(i), bytes(1000))
        with pytest.raises(TooManySessions):
            await store.create("one more", b"")
        filled, _ = tracemalloc.get_traced_memory()
        # The loop's clock is moved on, so that a slow machine does not forget sessions while others are made.
        monkeypatch.setattr(loop, "time", lambda: now() + 601)
        await asyncio.sleep(0.5)
        left, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert filled > 20e6
        assert left < 0.15 * filled
        assert await store.count() == 0
        await store.close()

    asyncio.run(leave())


POLICY = ServedPolicy(
    model="m",
    version=3,
    observation={"observation": {"dtype": "uint8", "shape": [2]}},
    state={"memory": {"dtype": "float32", "shape": [2, 3]}, "count": {"dtype": "int32", "shape": []}},
)


def test_a_sessions_bytes():
    fresh = Session.start(Choice(model="m", label="stable"), POLICY)
    outputs = {
        "action": np.int32(2),
        "q_values": np.asarray([0.1, np.nan, -np.inf], np.float32),
        "memory": np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2],
        "count": np.asarray(7, np.int32),
    }
    session = fresh.after(POLICY, outputs)
    for wanted in (fresh, session):
        found = Session.from_bytes(wanted.to_bytes())
        assert (found.choice, found.version, found.step) == (wanted.choice, 3, wanted.step)
        np.testing.assert_equal(dict(found.answer), dict(wanted.answer))
        np.testing.assert_equal(dict(found.state), dict(wanted.state))
    assert {name: (part.dtype.name, part.shape) for name, part in found.state.items()} == {
        "memory": ("float32", (2, 3)),
        "count": ("int32", ()),
    }
    assert len(session.to_bytes()) < 4 * 6 + 4 + 400


def test_steps_in_order():
    session = Session.start(Choice(model="m"), POLICY)
    assert [session.has_answered(step) for step in (None, 0)] == [False, False]
    outputs = {
        "action": np.int32(0),
        "q_values": np.zeros(2),
        "memory": np.zeros([2, 3]),
        "count": np.int32(1),
    }
    session = session.after(POLICY, outputs).after(POLICY, outputs)
    assert [session.has_answered(step) for step in (None, 2, 1)] == [False, False, True]
    for step in (0, 3, -1):
        with pytest.raises(StepOutOfOrder, match="the next step of this session is 2") as refusal:
            session.has_answered(step)
        assert refusal.value.body()["step"] == 2


@pytest.mark.parametrize(
    ("observation", "reason"),
    [
        ([1], r"observation must have the shape \[2\], not \[1\]"),
        ([1, [2]], "rectangular"),
        ([1, 256], "outside of uint8"),
        ([1, 2**70], "of type uint8"),
        ([1, 0.5], "of type uint8"),
        (["1", "2"], "of type uint8"),
        ({"observation_x": [1, 2]}, r"must have the parts \['observation'\], not \['observation_x'\]"),
        (None, "shape"),
    ],
)
def test_observations_that_do_not_fit(observation, reason):
    with pytest.raises(InvalidInput, match=reason):
        POLICY.encode_observation(observation)
