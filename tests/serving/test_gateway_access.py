"""The gateway between TLS and tokens on both of its sides, before a real server, over real sockets."""

import contextlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from click.testing import CliRunner

from tests.serving.certificates import make_certificate
from tests.serving.fake_upstream import BackgroundLoop
from tests.serving.test_grpc_server import Served
from tfmem.cli import main
from tfmem.export import load_policy
from tfmem.serving.gateway import GatewayConfig
from tfmem.serving.gateway.server import running
from tfmem.serving.server import discover

MODELS = Path(__file__).parents[2] / "saved_models"
MODEL = "repeat_previous"
RIGHT = {"Authorization": "Bearer callers-own"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Certificates and tokens, of the gateway and of the server behind it."""
    folder = tmp_path_factory.mktemp("access")
    found = SimpleNamespace(token=folder / "token", upstream_token=folder / "upstream-token")
    found.token.write_text("callers-own\n")
    found.upstream_token.write_text("gateways-own\n")
    (folder / "upstream").mkdir()
    found.certificate, found.key = make_certificate(folder)
    found.upstream_certificate, found.upstream_key = make_certificate(folder / "upstream")
    return found


@pytest.fixture(scope="module")
def served(files):
    certificate, key = files.upstream_certificate, files.upstream_key
    models = files.token.parent / "models"
    models.mkdir()
    # The committed version alone: `make run` exports others beside it.
    shutil.copytree(MODELS / MODEL / "1", models / MODEL / "1")
    source = lambda: discover(models, keep=1)  # noqa: E731
    with Served(source, token="gateways-own", tls_certificate=certificate, tls_key=key) as served:
        yield served


@pytest.fixture(scope="module")
def url(files, served):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tfmem", "gateway", f"grpcs://{served.address}", "--port", "0"),
            *("--tls-certificate", files.certificate, "--tls-key", files.key, "--token-file", files.token),
            *("--upstream-token-file", files.upstream_token),
            *("--upstream-ca-file", files.upstream_certificate),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    ready = process.stdout.readline()
    assert ready.startswith("ready at https://127.0.0.1:"), process.stderr.read()
    yield ready.split()[2]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert process.stderr.read() == ""


def call(url, files, headers, method="POST", **options):
    return requests.request(
        method, url, headers=headers, verify=str(files.certificate), timeout=20, **options
    )


def test_a_session_with_the_token(url, files):
    started = call(f"{url}/v1/sessions", files, RIGHT, json={"model": MODEL})
    assert started.status_code == 201, started.text
    session = f"{url}/v1/sessions/{started.json()['session_id']}"
    policy = load_policy(MODELS / MODEL / "1")
    state = policy.initial_state(1)
    for step, observation in enumerate([2, 0, 3]):
        answer = call(f"{session}:act", files, RIGHT, json={"observation": observation, "step": step})
        _, q_values, state = policy.step([observation], [step == 0], state)
        assert answer.json()["q_values"] == pytest.approx(q_values[0].numpy().tolist(), abs=1e-4)
    assert call(session, files, RIGHT, "DELETE").status_code == 204


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer gateways-own"},
        {"Authorization": "Basic callers-own"},
        {"Authorization": b"Bearer \xff\xfe"},
    ],
)
def test_without_the_token_only_health_is_told(url, files, headers):
    for method, path in (
        ("POST", "/v1/sessions"),
        ("POST", "/v1/sessions:act"),
        ("GET", "/v1/sessions/a"),
        ("GET", "/metrics"),
        ("GET", "/nothing"),
    ):
        answer = call(url + path, files, headers, method)
        assert (answer.status_code, answer.json()) == (401, {"error": "a valid bearer token is required"})
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    for path in ("/healthz", "/readyz"):
        assert call(url + path, files, headers, "GET").status_code == 200
    assert call(f"{url}/metrics", files, RIGHT, "GET").status_code == 200


def test_callers_without_tls_or_the_certificate_do_not_get_through(url):
    with pytest.raises(requests.exceptions.SSLError, match="certificate verify failed"):
        requests.get(f"{url}/healthz", timeout=20)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/healthz".replace("https", "http"), timeout=20)


@pytest.fixture(scope="module")
def loop():
    loop = BackgroundLoop()
    yield loop
    loop.close()


@contextlib.contextmanager
def gateway(loop, **options):
    """The URL of a gateway in this process."""
    running_gateway = running(GatewayConfig(port=0, **options))
    yield loop.run(running_gateway.__aenter__())
    loop.run(running_gateway.__aexit__(None, None, None))


@pytest.mark.parametrize(
    ("scheme", "trusted", "token", "status", "reason"),
    [
        ("grpcs", True, "gateways-own", 201, "session_id"),
        ("grpcs", True, "callers-own", 502, "answered UNAUTHENTICATED: a valid bearer token is required"),
        ("grpcs", True, None, 502, "answered UNAUTHENTICATED"),
        ("grpcs", False, "gateways-own", 503, "answered UNAVAILABLE"),
        ("grpc", False, "gateways-own", 503, "answered UNAVAILABLE"),
    ],
)
def test_how_the_upstream_is_reached(loop, files, served, scheme, trusted, token, status, reason):
    ca_file = str(files.upstream_certificate) if trusted else None
    upstream = f"{scheme}://{served.address}"
    with gateway(loop, upstream=upstream, upstream_token=token, upstream_ca_file=ca_file) as url:
        answer = requests.post(f"{url}/v1/sessions", json={"model": MODEL}, timeout=20)
        assert answer.status_code == status
        assert reason in answer.text
        assert "gateways-own" not in answer.text


def test_tokens_are_not_shown():
    config = GatewayConfig(upstream="127.0.0.1:8500", token="callers-own", upstream_token="gateways-own")
    assert "own" not in repr(config)


@pytest.mark.parametrize("command", [["serve", str(MODELS)], ["gateway", "127.0.0.1:1"]])
def test_options_that_do_not_fit(command, files, tmp_path):
    def error(*options):
        result = CliRunner().invoke(main, [*command, *map(str, options)])
        assert result.exit_code == 1
        return result.output.splitlines()[-1]

    token = tmp_path / "token"
    for content in (b"", b"\n", b"a\nb", b"\xff\xfe"):
        token.write_bytes(content)
        assert error("--token-file", token) == "Error: token must be printable ASCII text on one line"
    assert "TLS must be a certificate and its key" in error("--tls-key", files.key)


def test_what_a_gateway_cannot_use(loop, files):
    for options, reason in (
        ({"tls_certificate": files.key, "tls_key": files.certificate}, "cannot be used for TLS"),
        ({"upstream_ca_file": str(files.certificate)}, "ca_file needs TLS: use https:// or grpcs://"),
        ({"upstream_token": ""}, "token must be printable ASCII"),
    ):
        with (
            pytest.raises(ValueError, match=reason),
            gateway(loop, upstream="127.0.0.1:1", **options),
        ):
            pass
