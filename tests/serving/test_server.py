"""The local server over a real socket, in a process of its own, by plain HTTP and by the client."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import requests

from tests.conftest import RECALL
from tfmem.environments import load
from tfmem.errors import InvalidInput
from tfmem.export import export_policy
from tfmem.serving import PolicyClient, ServerError
from tfmem.training import evaluate


@pytest.fixture(scope="module")
def models(trained_run, tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    for _ in range(2):
        export_policy(
            trained_run.policy,
            base / "recall",
            environment=trained_run.environment,
            run=trained_run.provenance,
        )
    return base


def start(base, *arguments, option=None):
    """`tfmem serve` on a folder of models, or on what `option` names."""
    what = [str(base)] if option is None else [option, str(base)]
    return subprocess.Popen(
        [sys.executable, "-m", "tfmem", "serve", *what, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def url(models):
    process = start(models, "--rest-port", "0", "--grpc-port", "0")
    ready = process.stdout.readline()
    assert ready.startswith("ready at http://127.0.0.1:"), process.stderr.read()
    assert ready.rstrip().endswith("with recall version 2")
    yield ready.split()[2]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    log = [json.loads(line) for line in process.stderr.read().splitlines()]
    assert [line["message"] for line in log] == ["loaded", "loaded", "draining"]


def post(url, body):
    text = body if isinstance(body, str) else json.dumps(body)
    answer = requests.post(url, data=text, timeout=20)
    return answer.status_code, answer.json()


def test_status(url):
    statuses = [
        {
            "version": version,
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
        for version in ("2", "1")
    ]
    for path, found in (("", statuses), ("/versions/2", statuses[:1])):
        answer = requests.get(f"{url}/v1/models/recall{path}", timeout=20)
        assert (answer.status_code, answer.json()) == (200, {"model_version_status": found})


def test_metadata(url):
    answer = requests.get(f"{url}/v1/models/recall/metadata", timeout=20).json()
    assert answer["model_spec"] == {"name": "recall", "signature_name": "", "version": "2"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    step = signatures["step"]
    assert step["method_name"] == "tensorflow/serving/predict"
    assert step["inputs"]["memory"]["dtype"] == "DT_FLOAT"
    dims = step["inputs"]["memory"]["tensor_shape"]["dim"]
    assert [dim["size"] for dim in dims] == ["-1", "52", "16"]


def test_rows_and_columns_with_one_input(url):
    predict = f"{url}/v1/models/recall:predict"
    status, rows = post(predict, {"instances": [0, 1, 2]})
    assert status == 200
    assert post(predict, {"inputs": [0, 1, 2]}) == (200, {"outputs": rows["predictions"]})
    named = {"signature_name": "serving_default", "instances": [{"observation": 1}]}
    assert post(predict, named)[1]["predictions"] == rows["predictions"][1:2]


def test_rows_and_columns_with_several(url):
    predict = f"{url}/v1/models/recall/versions/2:predict"
    status, answer = post(predict, {"signature_name": "initial_state", "instances": [0, 0]})
    assert status == 200
    state = answer["predictions"]
    assert sorted(state[0]) == ["memory", "read_weights", "write_weights"]
    rows = [{"observation": i, "is_first": False, **s} for i, s in enumerate(state)]
    status, by_row = post(predict, {"signature_name": "step", "instances": rows})
    assert status == 200
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    status, by_column = post(predict, {"signature_name": "step", "inputs": columns})
    assert status == 200
    for key, column in by_column["outputs"].items():
        assert column == [row[key] for row in by_row["predictions"]]


def test_not_a_number_may_be_sent_and_comes_back(url):
    predict = f"{url}/v1/models/recall:predict"
    _, answer = post(predict, {"signature_name": "initial_state", "inputs": [0]})
    state = answer["outputs"]
    state["memory"][0][0][0] = float("nan")
    inputs = {"observation": [1], "is_first": [False], **state}
    body = {"signature_name": "step", "inputs": inputs}
    answer = requests.post(predict, data=json.dumps(body), timeout=20)
    assert answer.status_code == 200
    assert "NaN" in answer.text


STEP_INPUTS = {"observation": [1], "is_first": [True]}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("GET", "/v1/models/nothing", None, 404, "Servable not found for request: Latest(nothing)"),
        ("GET", "/v1/models/recall/versions/9", None, 404, "Specific(recall, 9)"),
        ("GET", "/v1/models/recall/labels/canary", None, 404, "label: canary"),
        ("POST", "/v1/models/nothing:predict", "{}", 404, "Latest(nothing)"),
        ("POST", "/v1/models/recall:guess", "{}", 400, "Malformed request: POST /v1/models/recall:guess"),
        ("GET", "/v2/models/recall", None, 400, "Malformed request: GET /v2/models/recall"),
        ("POST", "/v1/models/recall:predict", "{", 400, "JSON Parse error"),
        ("POST", "/v1/models/recall:predict", "[]", 400, "must be an object"),
        ("POST", "/v1/models/recall:predict", "{}", 400, "exactly one of"),
        (
            "POST",
            "/v1/models/recall:predict",
            {"instances": [1], "inputs": [1]},
            400,
            "exactly one of",
        ),
        ("POST", "/v1/models/recall:predict", {"instances": []}, 400, "at least one instance"),
        ("POST", "/v1/models/recall:predict", {"inputs": [1], "extra": 1}, 400, "extra"),
        (
            "POST",
            "/v1/models/recall:predict",
            {"signature_name": "x", "inputs": [1]},
            400,
            'Serving signature name: "x" not found in signature def',
        ),
        ("POST", "/v1/models/recall:predict", {"inputs": [1.5]}, 400, "'observation' must be of type int64"),
        ("POST", "/v1/models/recall:predict", {"inputs": ["a"]}, 400, "must be of type int64"),
        ("POST", "/v1/models/recall:predict", {"inputs": [10**30]}, 400, "'observation'"),
        ("POST", "/v1/models/recall:predict", {"inputs": 1}, 400, "must have the shape ['batch'], not []"),
        ("POST", "/v1/models/recall:predict", {"inputs": [[1], [1, 2]]}, 400, "not a rectangular array"),
        (
            "POST",
            "/v1/models/recall:predict",
            {"signature_name": ["x"], "inputs": [1]},
            400,
            "not found in signature def",
        ),
        (
            "POST",
            "/v1/models/recall:predict",
            {"signature_name": "step", "inputs": STEP_INPUTS},
            400,
            "missing ['memory', 'read_weights', 'write_weights'], not expected []",
        ),
        (
            "POST",
            "/v1/models/recall:predict",
            {"signature_name": "step", "inputs": [1]},
            400,
            "must be an object with the keys",
        ),
    ],
)
def test_errors(url, method, path, body, status, message):
    data = body if isinstance(body, str | None) else json.dumps(body)
    answer = requests.request(method, url + path, data=data, timeout=20)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]


def test_batch_sizes_have_to_agree(url):
    _, answer = post(f"{url}/v1/models/recall:predict", {"signature_name": "initial_state", "inputs": [0, 0]})
    inputs = {**STEP_INPUTS, **answer["outputs"]}
    status, answer = post(f"{url}/v1/models/recall:predict", {"signature_name": "step", "inputs": inputs})
    assert status == 400
    assert "batch sizes differ" in answer["error"]


def test_a_session_acts_as_the_policy_does_in_process(url, trained_run):
    rng = np.random.default_rng(0)
    with PolicyClient(url, "recall") as client, client.session() as session:
        assert session.version == 2
        for _ in range(2):  # two episodes: a reset forgets the first
            session.reset()
            state = trained_run.policy.initial_state(1)
            for t in range(60):
                observation = np.int64(rng.integers(4))
                action, q_values, state = trained_run.policy.step(np.array([observation]), [t == 0], state)
                assert session.act(observation) == int(action[0])
                np.testing.assert_allclose(session.q_values, q_values[0], atol=1e-4)


def test_the_same_episodes_have_the_same_actions_through_the_server(url, trained_run):
    here = evaluate(trained_run.policy, load(RECALL, num_envs=20), episodes=20, seed=0)
    with PolicyClient(url, "recall") as client:
        there = evaluate(client.pinned(), load(RECALL), episodes=20, seed=0)
    for a, b in zip(here.actions, there.actions, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(there.returns, here.returns)


def test_the_client_names_what_went_wrong(url):
    with pytest.raises(ServerError, match="answered 404: Servable not found") as caught:
        PolicyClient(url, "nothing").session()
    assert caught.value.status == 404
    with pytest.raises(ServerError, match="answered 404"):
        PolicyClient(url, "recall", version=7).session()
    with pytest.raises(ServerError, match=r"no answer from http://127.0.0.1:9/.*refused"):
        PolicyClient("http://127.0.0.1:9", "recall").session()


def test_a_failed_step_leaves_the_memory_as_it_was(url):
    with PolicyClient(url, "recall") as client, client.session() as session:
        for observation in (1, 2, 3):
            session.act(np.int64(observation))
        with pytest.raises(InvalidInput):
            session.act("x")
        after = [session.act(np.int64(0))]
        session.reset()
        for observation in (1, 2, 3):
            session.act(np.int64(observation))
        assert after == [session.act(np.int64(0))]


def test_another_server_is_told_apart(url):
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'["something else"]')

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(ServerError, match="does not answer as TF Serving does"):
            PolicyClient(f"http://127.0.0.1:{other.server_port}", "x").session()
        other.shutdown()


def test_play_through_the_command_line(url):
    arguments = ["play", "recall", "--server", url, "--episodes", "2", "--json"]
    played = json.loads(
        subprocess.run(
            [sys.executable, "-m", "tfmem", *arguments, "--env", RECALL],
            check=True,
            capture_output=True,
        ).stdout
    )
    assert played["mean_return"] >= 0.99
    assert 0 < played["p50_ms"] <= played["p99_ms"]
    other = subprocess.run(
        [sys.executable, "-m", "tfmem", *arguments, "--env", "CartPole-v1"],
        capture_output=True,
        text=True,
    )
    assert other.returncode == 1
    assert other.stderr.startswith("Error: the environment does not fit the policy: it shows")
    assert len(other.stderr.splitlines()) == 1


def test_the_client_status(url):
    assert PolicyClient(url, "recall").status()[0]["state"] == "AVAILABLE"


def test_a_taken_port_and_an_empty_folder_are_one_line(url, models, tmp_path):
    taken = start(models, "--grpc-port", "0", "--rest-port", url.rsplit(":", 1)[1])
    assert "cannot listen on 127.0.0.1" in taken.communicate(timeout=60)[1].splitlines()[-1]
    assert taken.returncode == 1
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "saved_model.pb").write_bytes(b"no model")
    broken = start(tmp_path)
    errors = broken.communicate(timeout=60)[1]
    assert "model 'broken' has no version that can be loaded: " in errors.splitlines()[-1]
    assert (broken.returncode, len(errors.splitlines())) == (1, 2)  # and the log's
    empty = start(tmp_path / "broken")
    assert "holds no models" in empty.communicate(timeout=60)[1]
    assert empty.returncode == 1


def test_the_client_works_without_tensorflow(url):
    """In a process where importing TensorFlow fails."""
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from tfmem.serving import PolicyClient\n"
        f"session = PolicyClient({url!r}, 'recall').session()\n"
        "print([session.act(i % 4) for i in range(6)])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert process.stdout.startswith("["), process.stderr
