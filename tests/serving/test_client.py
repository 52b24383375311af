"""The client, blocking and for asyncio, over REST and gRPC, on real sockets."""

import asyncio
import inspect
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.serving import fakes
from tests.serving.certificates import make_certificate
from tfmem.errors import InvalidInput
from tfmem.export import load_policy
from tfmem.serving import AsyncPolicyClient, PolicyClient, ServerError, VersionGone

EXPORT = Path("saved_models/repeat_previous/1").resolve()
KINDS = ["http-blocking", "http-asyncio", "grpc-blocking", "grpc-asyncio"]


class Blocking:
    """An object whose coroutines are run to their end, so that one test does for both clients."""

    def __init__(self, loop, held):
        self._loop, self._held = loop, held

    def __getattr__(self, name):
        value = getattr(self._held, name)
        if not inspect.iscoroutinefunction(value):
            return value

        def call(*args, **kwargs):
            result = self._loop.run_until_complete(value(*args, **kwargs))
            return Blocking(self._loop, result) if type(result).__module__.startswith("tfmem") else result

        return call


@pytest.fixture
def policies():
    return fakes.Policies()


@pytest.fixture
def urls(policies):
    with fakes.served_over_http(policies) as http, fakes.served(fakes.Grpc(policies)) as grpc:
        yield {"http": http, "grpc": grpc}


@pytest.fixture
def make():
    """Makes clients, of asyncio too, whose calls block; closes them."""
    loop, clients = asyncio.new_event_loop(), []

    async def make_async(*args, **kwargs):
        return AsyncPolicyClient(*args, **kwargs)

    def make(kind, *args, **kwargs):
        if kind == "blocking":
            clients.append(PolicyClient(*args, **kwargs))
        else:
            clients.append(Blocking(loop, loop.run_until_complete(make_async(*args, **kwargs))))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
    loop.close()


@pytest.fixture(params=KINDS)
def connect(request, urls, make):
    """A function that makes a client of one kind of the fake server."""
    protocol, kind = request.param.split("-")
    return lambda **kwargs: make(kind, urls[protocol], fakes.NAME, **kwargs)


def play(session, observations, *, version, carried=None):
    """Acts, and compares with the policy called in process; its state at the end."""
    state = carried or {"memory": np.zeros([1, 3], np.float32), "seen": np.zeros([1], np.int64)}
    for t, observation in enumerate(observations):
        first = np.array([carried is None and t == 0])
        expected = fakes.step(version, observation=np.array([observation]), is_first=first, **state)
        state = {name: expected[name] for name in state}
        assert session.act(observation) == expected["action"][0]
        np.testing.assert_array_equal(session.q_values, expected["q_values"][0])
    return state


def test_the_same_actions_as_in_process(connect, policies):
    session = connect().session()
    assert session.version == 1
    rng = np.random.default_rng(0)
    for _ in range(2):  # the second episode does not see the first
        session.reset()
        play(session, rng.integers(3, size=20), version=1)
    assert policies.calls == ["metadata"] + ["predict"] * 40


def test_status_and_specs(connect, policies):
    policies.versions = {1, 4}
    client = connect()
    assert [(v["version"], v["state"]) for v in client.status()] == [("1", "AVAILABLE"), ("4", "AVAILABLE")]
    assert client.status()[0]["status"] == {"error_code": "OK", "error_message": ""}
    policy = client.pinned()
    assert (policy.version, policy.actions) == (4, 4)
    assert policy.observation == {"observation": {"dtype": "int64", "shape": []}}
    assert policy.state_specs["memory"] == {"dtype": "float32", "shape": [3]}
    action, q_values, state = policy.step([1, 2], [True, True], policy.initial_state(2))
    assert (action.dtype, q_values.shape) == (np.int32, (2, 4))
    assert {name: part.dtype for name, part in state.items()} == {"memory": np.float32, "seen": np.int64}


def test_numbers_that_are_none_go_there_and_back(connect):
    state = {"memory": np.array([[np.nan, np.inf, -np.inf]], np.float32), "seen": [0]}
    inputs = {"observation": [1], "is_first": [False], **state}
    outputs = connect().predict("step", inputs, version=1)
    np.testing.assert_array_equal(outputs["memory"], [[np.nan, np.inf, -np.inf]])


def test_a_label_is_resolved_when_a_session_starts(connect, policies):
    policies.versions, policies.labels = {1, 2}, {"stable": 1}
    client = connect(label="stable")
    session = client.session()
    policies.labels["stable"] = 2
    play(session, [0, 1, 2], version=1)
    assert client.session().version == 2
    assert connect(version=1).session().version == 1
    with pytest.raises(ServerError, match="label: other"):
        connect(label="other").session()


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_a_busy_server_is_asked_again(connect, policies, code):
    session = connect().session()
    policies.calls.clear()
    policies.failures = [code, code]
    play(session, [1], version=1)
    assert policies.calls == ["predict"] * 3


def test_it_gives_up_after_five_attempts(connect, policies):
    session = connect().session()
    policies.calls.clear()
    policies.failures = ["UNAVAILABLE"] * 9
    with pytest.raises(ServerError, match="told to fail") as caught:
        session.act(1)
    assert (caught.value.status, len(policies.calls)) == (503, 5)


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "INTERNAL"])
def test_other_failures_are_final_and_the_memory_stays(connect, policies, code):
    session = connect().session()
    state = play(session, [0, 1], version=1)
    policies.calls.clear()
    policies.failures = [code]
    with pytest.raises(ServerError) as caught:
        session.act(2)
    assert (caught.value.status, policies.calls) == (fakes.HTTP_STATUS[code], ["predict"])
    play(session, [2, 0], version=1, carried=state)


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_an_answer_that_was_lost_is_asked_for_again(make, urls, policies, kind):
    session = make(kind, urls["http"], fakes.NAME).session()
    state = play(session, [0], version=1)
    policies.calls.clear()
    policies.failures = ["LOST", "LOST"]
    play(session, [1], version=1, carried=state)
    assert policies.calls == ["predict"] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_no_server(make, kind):
    protocol, kind = kind.split("-")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        client = make(kind, f"{protocol}://{address}", "x", timeout_s=5)
        started = time.monotonic()
        with pytest.raises(ServerError, match=r"(?i)refused|connect call failed") as caught:
            client.session()
        assert time.monotonic() - started < 4  # five attempts
        assert "\n" not in str(caught.value)
        assert address in str(caught.value)


def test_a_timeout_is_one_line_and_final(connect, policies):
    session = connect(timeout_s=0.5).session()
    policies.calls.clear()
    policies.delay_s = 3
    started = time.monotonic()
    with pytest.raises(ServerError, match=r"no answer from \S+ in time; a larger timeout_s") as caught:
        session.act(1)
    assert time.monotonic() - started < 2.5
    assert (caught.value.status, policies.calls) == (504, ["predict"])
    assert "\n" not in str(caught.value)


def test_retries_end_with_the_time(connect, policies):
    session = connect(timeout_s=0.8).session()
    policies.failures, policies.delay_s = ["UNAVAILABLE"] * 9, 0.5
    started = time.monotonic()
    with pytest.raises(ServerError):
        session.act(1)
    assert time.monotonic() - started < 2


def test_a_version_that_is_gone_resets_the_memory_and_says_so(connect, policies):
    session = connect().session()
    state = play(session, [0, 1, 2], version=1)
    policies.versions = {1, 2}
    play(session, [0], version=1, carried=state)  # pinned: a newer version changes nothing
    policies.versions = {2}
    with pytest.raises(
        VersionGone, match=r"version 1 of 'fake' .* memory was reset.* on version 2"
    ) as caught:
        session.act(1)
    assert (caught.value.status, session.version, session.q_values) == (404, 2, None)
    play(session, [1, 2, 0], version=2)


def test_a_model_that_is_gone_leaves_the_session_as_it_was(connect, policies):
    session = connect().session()
    state = play(session, [0, 1, 2], version=1)
    policies.failures = ["NOT_FOUND"] * 2
    with pytest.raises(ServerError) as caught:
        session.act(1)
    assert not isinstance(caught.value, VersionGone)
    play(session, [1, 2], version=1, carried=state)


def test_a_snapshot_is_resumed_in_the_middle_of_an_episode(connect, policies):
    session = connect().session()
    state = play(session, [0, 1, 2], version=1)
    snapshot = session.save()
    policies.versions = {1, 2}
    resumed = connect().resume(snapshot)
    assert resumed.version == 1
    play(resumed, [2, 1], version=1, carried=state)
    play(connect().resume(connect(version=1).session().save()), [1], version=1)  # before the first step


def test_a_snapshot_that_does_not_fit(connect, policies):
    snapshot = connect().session().save()
    for damaged in (b"", b"x", snapshot[:100], b"\x93NUMPY", snapshot.replace(b"is_first", b"is_furst")):
        with pytest.raises(InvalidInput, match="this is no snapshot"):
            connect().resume(damaged)
    policies.versions = {1, 2}
    with pytest.raises(
        InvalidInput, match="of version 1 of 'fake', and this client is for version 2 of 'fake'"
    ):
        connect(version=2).resume(snapshot)
    policies.memory_size = 5
    with pytest.raises(InvalidInput, match=r"does not fit version 1 of 'fake' .* fingerprint is \w+, not"):
        connect().resume(snapshot)
    policies.versions = {2}
    with pytest.raises(VersionGone, match="of version 1 of 'fake', which is no longer served"):
        connect().resume(snapshot)


def test_the_token_is_sent(connect, policies):
    connect(token="secret").session().act(1)
    assert policies.authorization == "Bearer secret"
    connect().status()
    assert policies.authorization is None


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("kind", KINDS)
def test_tls(make, policies, certificate, kind):
    protocol, kind = kind.split("-")
    server = (
        fakes.served_over_http(policies, certificate=certificate)
        if protocol == "http"
        else fakes.served(fakes.Grpc(policies), certificate=certificate)
    )
    with server as url:
        assert url.startswith(protocol + "s://")
        play(make(kind, url, fakes.NAME, ca_file=str(certificate[0])).session(), [0, 1], version=1)
        with pytest.raises(ServerError, match=r"(?i)certificate") as caught:
            make(kind, url, fakes.NAME, timeout_s=1).session()
        assert "\n" not in str(caught.value)


def test_models_that_are_no_policies(connect, policies):
    client = connect()
    policies.signature = "other"
    with pytest.raises(ServerError, match="no signature 'step': it is not a tfmem export"):
        client.session()


@pytest.mark.parametrize("step", [1, {}, {"inputs": {"x": {}}, "outputs": {}}])
def test_metadata_of_another_form_is_one_line(make, urls, policies, monkeypatch, step):
    monkeypatch.setattr(policies, "metadata", lambda: {"signature_def": {"signature_def": {"step": step}}})
    with pytest.raises(ServerError, match="the metadata of 'fake' is not TF Serving's"):
        make("blocking", urls["http"], fakes.NAME).session()


def test_observations_that_do_not_fit(connect, policies):
    session = connect().session()
    policies.calls.clear()
    for observation, message in (
        ("x", "observation must be of type int64, not str"),
        (1.5, "observation must be of type int64, not float64"),
        ([1, 2], r"observation must have the shape \['batch'\], not \[1, 2\]"),
        ({"a": 1}, r"missing \['observation'\], not expected \['observation_a'\]"),
    ):
        with pytest.raises(InvalidInput, match=message):
            session.act(observation)
    assert policies.calls == []
    play(session, [1], version=1)


def test_calls_that_overlap_on_one_session_take_turns(urls):
    async def overlap(url):
        async with AsyncPolicyClient(url, fakes.NAME) as client:
            with await client.session() as session, await client.session() as other:
                together = await asyncio.gather(*(session.act(i) for i in (0, 1, 2, 1, 0)))
                return together, [await other.act(i) for i in (0, 1, 2, 1, 0)]

    for url in urls.values():
        together, in_turn = asyncio.run(overlap(url))
        assert together == in_turn


@pytest.mark.parametrize(
    ("url", "kwargs", "message"),
    [
        ("127.0.0.1:8501", {}, "must be a URL such as"),
        ("ftp://host:1", {}, "must be a URL such as"),
        ("grpc://host", {}, "must be a URL such as"),
        ("grpc://host:8500/path", {}, "must be a URL such as"),
        ("http://host:port", {}, "must be a URL such as"),
        ("http://host:1", {"timeout_s": 0}, "timeout_s must be more than 0"),
        ("http://host:1", {"version": 1, "label": "a"}, "a version or a label, not both"),
        ("http://host:1", {"token": "a\nb"}, "token must be printable ASCII text on one line"),
        ("grpc://host:1", {"ca_file": "x"}, "use https:// or grpcs://"),
        ("grpcs://host:1", {"ca_file": "missing.pem"}, "there is no missing.pem"),
    ],
)
def test_settings_that_cannot_be_right(url, kwargs, message):
    for kind in (PolicyClient, AsyncPolicyClient):
        with pytest.raises(InvalidInput, match=message) as caught:
            kind(url, "x", **kwargs)
        assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def exported():
    with fakes.served(fakes.Exported(EXPORT)) as url:
        yield url


def test_an_export_acts_the_same_through_every_client(make, tmp_path):
    (tmp_path / "repeat_previous").mkdir()
    (tmp_path / "repeat_previous" / "1").symlink_to(EXPORT)  # and no later version that lies beside it
    ports = ["--rest-port", "0", "--grpc-port", "0"]
    command = [sys.executable, "-m", "tfmem", "serve", str(tmp_path), *ports]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        words = server.stdout.readline().split()
        policy = load_policy(EXPORT)
        sessions = [
            make(kind, url, "repeat_previous").session()
            for kind in ("blocking", "asyncio")
            for url in (words[2], words[4])
        ]
        state = policy.initial_state(1)
        for t, observation in enumerate(np.random.default_rng(0).integers(4, size=52)):
            action, q_values, state = policy.step([observation], [t == 0], state)
            for session in sessions:
                assert session.act(observation) == int(action[0])
                np.testing.assert_allclose(session.q_values, q_values[0], atol=1e-5)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=20)


def test_acting_over_grpc_imports_no_tensorflow(exported):
    code = (
        "import asyncio, sys\n"
        "from tfmem.serving import AsyncPolicyClient, PolicyClient\n"
        f"url, name = {exported!r}, 'repeat_previous'\n"
        "session = PolicyClient(url, name).session()\n"
        "actions = [session.act(i % 4) for i in range(6)]\n"
        "async def act():\n"
        "    async with AsyncPolicyClient(url, name) as client:\n"
        "        session = await client.session()\n"
        "        return [await session.act(i % 4) for i in range(6)]\n"
        "assert asyncio.run(act()) == actions\n"
        "print(sorted({'tensorflow', 'tensorflow_serving', 'tf_agents'} & set(sys.modules)), actions)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert process.stdout.startswith("[] ["), process.stderr
