"""The gateway over real sockets, before a real gRPC server, with both stores."""

import concurrent.futures
import contextlib
import json
import signal
import subprocess
import sys
import time

import grpc
import numpy as np
import pytest
import requests

from tests.serving.fake_upstream import POISON, BackgroundLoop, FakeUpstream, Reference, start
from tests.serving.redis_process import RedisProcess
from tfmem.errors import InvalidInput
from tfmem.serving.gateway import server as gateway_server


@pytest.fixture(scope="module")
def loop():
    loop = BackgroundLoop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def running_upstream(loop):
    servicer = FakeUpstream()
    server, port = loop.run(start(servicer))
    servicer.address = f"127.0.0.1:{port}"
    yield servicer
    loop.run(server.stop(None))


@pytest.fixture
def upstream(running_upstream):
    running_upstream.forget()
    yield running_upstream
    running_upstream.open.set()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    server = RedisProcess(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def gateway(loop, upstream):
    """Starts gateways, by default with the store in process; gives their URLs."""
    with contextlib.ExitStack() as stack:

        def started(**options):
            options = {"upstream": upstream.address, "port": 0, **options}
            running = gateway_server.running(gateway_server.GatewayConfig(**options))
            url = loop.run(running.__aenter__())
            stack.callback(lambda: loop.run(running.__aexit__(None, None, None)))
            return url

        yield started


@pytest.fixture(params=["memory", "redis"])
def url(request, gateway):
    """A gateway with each kind of store."""
    if request.param == "memory":
        return gateway()
    server = request.getfixturevalue("redis_server")
    server.client.flushall()
    return gateway(store=server.url)


def post(url, body=None, expected=200):
    answer = requests.post(url, data=body if isinstance(body, str) else json.dumps(body), timeout=20)
    assert answer.status_code == expected, answer.text
    return answer.json()


def begin(url, model="sum", **fields):
    return post(f"{url}/v1/sessions", {"model": model, **fields}, 201)["session_id"]


def act(url, session_id, observation, expected=200, **fields):
    body = {"observation": observation, **fields}
    return post(f"{url}/v1/sessions/{session_id}:act", body, expected)


def test_actions_are_those_of_the_model_in_process(url, upstream):
    upstream.versions = {1, 2}
    parts = {"observation_x": [0.5, -3], "observation_on": True}
    sessions = [
        (begin(url, version=1), Reference(1), [3, 1, 4, 1, 5]),
        (begin(url), Reference(2), [3, 1, 4, 1, 5]),
        (begin(url, "parts"), Reference(2), [parts, {**parts, "observation_on": False}, parts, parts, parts]),
    ]
    for i in range(5):
        for session_id, reference, observations in sessions:
            assert act(url, session_id, observations[i]) == reference.act(observations[i])
    answer = post(f"{url}/v1/sessions/{sessions[0][0]}:reset")
    assert (answer["step"], answer["version"]) == (0, 1)
    assert act(url, sessions[0][0], 2) == Reference(1).act(2)


def test_what_starting_and_status_tell(url, upstream):
    upstream.versions, upstream.labels = {1, 2, 3}, {"stable": 2}
    started = post(f"{url}/v1/sessions", {"model": "sum", "session_id": "robot-7.a"}, 201)
    assert started["session_id"] == "robot-7.a"
    assert (started["version"], started["step"], len(started["fingerprint"])) == (3, 0, 16)
    for i in range(1, 3):
        act(url, "robot-7.a", i)
        status = requests.get(f"{url}/v1/sessions/robot-7.a", timeout=20).json()
        assert status == {**started, "step": i}
    assert post(f"{url}/v1/sessions", {"model": "sum", "label": "stable"}, 201)["version"] == 2
    assert post(f"{url}/v1/sessions", {"model": "sum", "version": 1}, 201)["version"] == 1


def test_a_session_is_started_once_and_ended_once(url):
    session_id = begin(url, session_id="a")
    assert "already" in post(f"{url}/v1/sessions", {"model": "sum", "session_id": "a"}, 409)["error"]
    assert requests.delete(f"{url}/v1/sessions/{session_id}", timeout=20).status_code == 204
    assert requests.delete(f"{url}/v1/sessions/{session_id}", timeout=20).status_code == 404
    assert requests.get(f"{url}/v1/sessions/{session_id}", timeout=20).status_code == 404
    assert "no session 'a'" in act(url, session_id, 1, 404)["error"]
    post(f"{url}/v1/sessions/{session_id}:reset", expected=404)


def test_a_model_version_or_label_that_is_not_served(url):
    for body in ({"model": "other"}, {"model": "sum", "version": 9}, {"model": "sum", "label": "canary"}):
        assert post(f"{url}/v1/sessions", body, 404)["error"]
    assert "signature 'step'" in post(f"{url}/v1/sessions", {"model": "no_step"}, 400)["error"]


def test_a_retried_step_gets_the_stored_answer(url, upstream):
    session_id, reference = begin(url), Reference(1)
    first = act(url, session_id, 3, step=0)
    assert first == reference.act(3)
    assert act(url, session_id, 3, step=0) == first
    assert act(url, session_id, 4, step=first["step"]) == reference.act(4)
    assert len(upstream.batches) == 2
    for step in (0, 3):
        refusal = act(url, session_id, 5, 412, step=step)
        assert "next step of this session is 2" in refusal["error"]
        assert refusal["step"] == 2
    assert act(url, session_id, 5, step=2) == reference.act(5)


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_of_concurrent_calls_exactly_one_wins(url, upstream):
    session_id, reference = begin(url), Reference(1)
    upstream.open.clear()
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        body = json.dumps({"observation": 3})
        calls = [
            pool.submit(requests.post, f"{url}/v1/sessions/{session_id}:act", data=body, timeout=20)
            for _ in range(6)
        ]
        wait_until(lambda: sum(call.done() for call in calls) == 5)
        post(f"{url}/v1/sessions/{session_id}:reset", expected=409)
        upstream.open.set()
        answers = [call.result() for call in calls]
    assert sorted(answer.status_code for answer in answers) == [200] + 5 * [409]
    assert [a.json() for a in answers if a.status_code == 200] == [reference.act(3)]
    assert "one at a time" in next(a for a in answers if a.status_code == 409).json()["error"]
    assert act(url, session_id, 4) == reference.act(4)


def test_a_batch_is_one_call_for_each_version(url, upstream):
    upstream.versions = {1, 2}
    versions = [1, 2, 1, 1]
    ids = [begin(url, version=version) for version in versions]
    references = [Reference(version) for version in versions]
    for i in range(3):
        entries = [{"session_id": s, "observation": i + k, "step": i} for k, s in enumerate(ids)]
        results = post(f"{url}/v1/sessions:act", {"sessions": entries})["results"]
        assert results == [reference.act(i + k) for k, reference in enumerate(references)]
    assert sorted(upstream.batches) == [(1, 3)] * 3 + [(2, 1)] * 3
    assert post(f"{url}/v1/sessions:act", {"sessions": entries})["results"] == results  # asked again
    assert post(f"{url}/v1/sessions:act", {"sessions": []}) == {"results": []}


def test_what_is_wrong_in_a_batch_fails_alone(url, upstream):
    a, b, c, d = (begin(url) for _ in range(4))
    act(url, d, 1)
    entries = [
        {"session_id": a, "observation": 1},
        {"session_id": b, "observation": "left"},
        {"session_id": "nobody", "observation": 1},
        {"session_id": c, "observation": POISON},
        {"session_id": d, "observation": 1, "step": 7},
        {"session_id": d, "observation": 2},
        {"session_id": a, "observation": 1, "time": 3},
        "act",
    ]
    results = post(f"{url}/v1/sessions:act", {"sessions": entries})["results"]
    # Either of the two calls on the session may be the one that holds it first.
    statuses = [result.get("status", 200) for result in results]
    assert statuses[:4] + statuses[6:] == [200, 400, 404, 400, 400, 400]
    assert statuses[4:6] in ([412, 409], [409, 200], [412, 200])
    assert results[0] == Reference(1).act(1)
    assert act(url, b, 5, step=0) == act(url, c, 5, step=0) == Reference(1).act(5)
    too_many = {"sessions": [entries[0]] * 1025}
    assert "1024" in post(f"{url}/v1/sessions:act", too_many, 400)["error"]


def test_a_version_that_goes_away(url, upstream):
    session_id, pinned, reference = begin(url), begin(url, version=1), Reference(1)
    assert act(url, session_id, 1) == reference.act(1)
    upstream.versions = {1, 2}
    assert act(url, session_id, 2) == reference.act(2)  # pinned, whatever is rolled out
    upstream.versions = {2}
    assert "version 1 of model 'sum' is gone" in act(url, session_id, 3, 410, step=2)["error"]
    assert act(url, session_id, 3, 410, step=2)
    upstream.versions = {1, 2}
    assert act(url, session_id, 3, step=2) == reference.act(3)
    upstream.versions = {2}
    act(url, session_id, 3, 410)
    assert post(f"{url}/v1/sessions/{session_id}:reset")["version"] == 2
    assert act(url, session_id, 3) == Reference(2).act(3)
    post(f"{url}/v1/sessions/{pinned}:reset", expected=404)  # what was asked for by number is not served


def test_a_number_that_stands_for_another_memory(gateway, upstream, redis_server):
    first = gateway(store=redis_server.url)
    session_id = begin(first)
    act(first, session_id, 1)
    upstream.width = 3
    restarted = gateway(store=redis_server.url)
    assert "another kind of memory" in act(restarted, session_id, 2, 410)["error"]
    upstream.width = 2
    assert post(f"{restarted}/v1/sessions/{session_id}:reset")["step"] == 0


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
        (grpc.StatusCode.INTERNAL, 502),
    ],
)
def test_the_upstream_failing_loses_nothing(gateway, upstream, failure, status):
    url = gateway()
    session_id, reference = begin(url), Reference(1)
    assert act(url, session_id, 1) == reference.act(1)
    upstream.failure = failure
    assert f"{failure.name}: told to" in act(url, session_id, 2, status, step=1)["error"]
    post(f"{url}/v1/sessions", {"model": "sum"}, status)
    post(f"{url}/v1/sessions/{session_id}:reset", expected=status)
    upstream.failure = None
    assert act(url, session_id, 2, step=1) == reference.act(2)


def test_an_upstream_too_slow_or_not_there(gateway, upstream):
    url = gateway(request_timeout_s=0.3)
    session_id = begin(url)
    upstream.open.clear()
    act(url, session_id, 1, 504)
    upstream.open.set()
    assert act(url, session_id, 1) == Reference(1).act(1)
    nowhere = gateway(upstream="grpc://127.0.0.1:1")
    assert "127.0.0.1:1 answered UNAVAILABLE" in post(f"{nowhere}/v1/sessions", {"model": "m"}, 503)["error"]
    assert requests.get(f"{nowhere}/readyz", timeout=20).status_code == 503
    assert requests.get(f"{nowhere}/healthz", timeout=20).status_code == 200


def test_a_store_killed_and_restarted_loses_nothing(gateway, upstream, tmp_path):
    server = RedisProcess(tmp_path, durable=True)
    try:
        url = gateway(store=server.url, request_timeout_s=1)
        session_id, reference = begin(url), Reference(1)
        for observation in (1, 2):
            assert act(url, session_id, observation) == reference.act(observation)
        assert requests.get(f"{url}/readyz", timeout=20).status_code == 200
        server.kill()
        for _ in range(2):
            error = act(url, session_id, 3, 503, step=2)["error"]
            assert error.startswith("the session store does not answer: ")
            assert "\n" not in error
        post(f"{url}/v1/sessions", {"model": "sum"}, 503)
        assert requests.get(f"{url}/readyz", timeout=20).status_code == 503
        assert "tfmem_gateway_sessions NaN" in requests.get(f"{url}/metrics", timeout=20).text
        server.start()
        assert act(url, session_id, 3, step=2) == reference.act(3)

        # Killed between reading and writing, while the call holds the session.
        upstream.open.clear()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            upstream.asked = 0
            pending = pool.submit(act, url, session_id, 4, 503, step=3)
            wait_until(lambda: upstream.asked)
            server.kill()
            upstream.open.set()
            pending.result()
        server.start()
        time.sleep(1.1)  # the lock's time limit
        assert act(url, session_id, 4, step=3) == reference.act(4)
    finally:
        server.kill()


def test_idle_sessions_expire(gateway, redis_server):
    redis_server.client.flushall()
    for store in ("memory", redis_server.url):
        url = gateway(store=store, idle_timeout_s=0.6)
        used, left = begin(url), begin(url)
        for i in range(3):
            time.sleep(0.3)
            assert act(url, used, i)["step"] == i + 1
        act(url, left, 1, 404)
        assert "tfmem_gateway_sessions 1.0" in requests.get(f"{url}/metrics", timeout=20).text


def test_the_cap_on_sessions(gateway):
    url = gateway(max_sessions=2)
    first, _ = begin(url), begin(url)
    assert "all 2 sessions are taken" in post(f"{url}/v1/sessions", {"model": "sum"}, 503)["error"]
    requests.delete(f"{url}/v1/sessions/{first}", timeout=20)
    begin(url)


def test_more_requests_than_it_takes(gateway, upstream):
    url = gateway(max_in_flight=1)
    a, b = begin(url), begin(url)
    upstream.open.clear()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pending = pool.submit(act, url, a, 1)
        wait_until(lambda: upstream.asked)
        assert "saturated" in act(url, b, 1, 429)["error"]
        assert requests.get(f"{url}/healthz", timeout=20).status_code == 200
        upstream.open.set()
        assert pending.result() == Reference(1).act(1)
    assert act(url, b, 1) == Reference(1).act(1)


BAD_STARTS = [
    "{",
    "[]",
    "\ud7ff",
    "[" * 100_000,
    "{}",
    {"model": 3},
    {"model": ""},
    {"model": "\ud800"},
    {"model": "sum", "version": "1"},
    {"model": "sum", "version": True},
    {"model": "sum", "version": -1},
    {"model": "sum", "version": 2**63},
    {"model": "sum", "version": 1, "label": "stable"},
    {"model": "sum", "session_id": "a b"},
    {"model": "sum", "session_id": ""},
    {"model": "sum", "session_id": "a:act"},
    {"model": "sum", "versions": 1},
]
BAD_ACTS = [
    "",
    {},
    {"observation": 1, "step": "0"},
    {"observation": 1, "step": 0.0},
    {"observation": None},
    {"observation": [1]},
    {"observation": 0.5},
    {"observation": 2**64},
    {"observation": {"observation_x": 1}},
    {"observation": POISON},
    '{"observation": NaN}',
]


def test_requests_that_do_not_fit(gateway):
    url = gateway()
    for body in BAD_STARTS:
        text = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else json.dumps(body).encode()
        answer = requests.post(f"{url}/v1/sessions", data=text, timeout=20)
        assert (answer.status_code, list(answer.json())) == (400, ["error"]), body
    session_id = begin(url)
    for body in BAD_ACTS:
        error = post(f"{url}/v1/sessions/{session_id}:act", body, 400)["error"]
        assert error
        assert "\n" not in error
    assert act(url, session_id, 1) == Reference(1).act(1)
    for path in ("/", "/v1/sessions/a b:act", "/v1/sessions/%00:act", f"/v1/sessions/{'a' * 129}:act"):
        assert requests.post(url + path, data="{}", timeout=20).status_code == 404
    assert requests.get(f"{url}/v1/sessions", timeout=20).status_code == 405


def test_metrics(gateway):
    url = gateway()
    session_id = begin(url)
    act(url, session_id, 1)
    act(url, session_id, "x", 400)
    entries = [{"session_id": session_id, "observation": 1}, {"session_id": "b", "observation": 1}]
    post(f"{url}/v1/sessions:act", {"sessions": entries})
    answer = requests.get(f"{url}/metrics", timeout=20)
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    for line in (
        "tfmem_gateway_sessions 1.0",
        'tfmem_gateway_acts_total{status="200"} 2.0',
        'tfmem_gateway_acts_total{status="400"} 1.0',
        'tfmem_gateway_acts_total{status="404"} 1.0',
        "tfmem_gateway_act_seconds_count 3.0",
    ):
        assert line in answer.text.splitlines()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"upstream": "http://127.0.0.1:8501"}, "gRPC address such as 127.0.0.1:8500"),
        ({"upstream": "localhost"}, "gRPC address"),
        ({"store": "memcached://127.0.0.1"}, "memory or a URL such as redis://"),
        ({"idle_timeout_s": 0.0}, "idle_timeout_s must be a number of seconds above 0, not 0.0"),
        ({"request_timeout_s": np.nan}, "request_timeout_s"),
        ({"max_sessions": 0}, "max_sessions must be at least 1"),
    ],
)
def test_options_that_do_not_fit(gateway, options, reason):
    with pytest.raises(InvalidInput, match=reason):
        gateway(**options)


def test_a_port_that_is_taken(gateway):
    port = int(gateway().rpartition(":")[2])
    with pytest.raises(InvalidInput, match=f"cannot listen on 127.0.0.1:{port}: .*change --host or --port"):
        gateway(port=port)


def test_two_processes_serve_one_session_in_turn(gateway, upstream, redis_server):
    command = [sys.executable, "-m", "tfmem", "gateway", upstream.address, "--port", "0"]
    process = subprocess.Popen(
        [*command, "--store", redis_server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    here = gateway(store=redis_server.url)
    ready = process.stdout.readline()
    assert ready.startswith("ready at http://127.0.0.1:"), process.stderr.read()
    there = ready.split()[2]
    session_id, reference = begin(here), Reference(1)
    for i in range(6):
        assert act([here, there][i % 2], session_id, i, step=i) == reference.act(i)
    assert act(there, session_id, 5, step=5)["step"] == 6

    upstream.open.clear()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        upstream.asked = 0
        pending = pool.submit(act, there, session_id, 9)
        wait_until(lambda: upstream.asked)
        act(here, session_id, 9, 409)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None  # what is being answered is finished first
        upstream.open.set()
        assert pending.result() == reference.act(9)
    assert process.wait(timeout=20) == 0
    assert process.stderr.read() == ""
    assert act(here, session_id, 3) == reference.act(3)
