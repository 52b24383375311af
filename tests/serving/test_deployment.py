"""serving/: what its files say of tfmem and of each other is so. No container is run here."""

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import yaml

from tests.serving.fake_upstream import BackgroundLoop
from tests.serving.test_grpc_server import Served, reload
from tfmem.cli.serving import gateway
from tfmem.export import write_serving_files
from tfmem.serving.gateway import GatewayConfig
from tfmem.serving.gateway.server import running
from tfmem.serving.server.model_config import read_config

ROOT = Path(__file__).parents[2]
SERVING = ROOT / "serving"
COMMITTED = ROOT / "saved_models" / "repeat_previous" / "1"
GENERATED = ("models.config", "batching.config", "monitoring.config")
GRPC, REST, GATEWAY, REDIS = 8500, 8501, 8600, 6379

# Of tensorflow_model_server; there is none here to ask.
SERVER_FLAGS = {
    "--model_config_file",
    "--model_config_file_poll_wait_seconds",
    "--allow_version_labels_for_unavailable_models",
    "--monitoring_config_file",
    "--enable_batching",
    "--batching_parameters_file",
}


def documents(path):
    return list(yaml.safe_load_all((SERVING / path).read_text()))


def kubernetes(path, kind):
    (found,) = [document for document in documents(f"kubernetes/{path}") if document["kind"] == kind]
    return found


def container(path, kind="Deployment"):
    (found,) = kubernetes(path, kind)["spec"]["template"]["spec"]["containers"]
    return found


COMPOSE = documents("compose.yaml")[0]["services"]
PROMETHEUS = {job["job_name"]: job for job in documents("prometheus.yml")[0]["scrape_configs"]}


@contextlib.contextmanager
def deployed(models_config):
    """The local server with this configuration, and the URL of a gateway before it."""
    loop = BackgroundLoop()
    with Served(lambda: read_config(models_config)) as served:
        running_gateway = running(GatewayConfig(upstream=served.address, port=0))
        try:
            yield served, loop.run(running_gateway.__aenter__())
        finally:
            loop.run(running_gateway.__aexit__(None, None, None))
            loop.close()


@pytest.fixture(scope="module")
def urls(tmp_path_factory):
    """The local server with the generated models.config, and a gateway before it, by port in the files."""
    base, config = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("config")
    shutil.copytree(COMMITTED, base / "1")
    write_serving_files(COMMITTED, config, base_path=str(base))
    with deployed(config / "models.config") as (served, gateway_url):
        yield {REST: served.url, GATEWAY: gateway_url}


@pytest.mark.parametrize("name", GENERATED)
def test_the_configuration_is_what_the_committed_policy_generates(name, tmp_path):
    write_serving_files(COMMITTED, tmp_path)
    assert (SERVING / name).read_text() == (tmp_path / name).read_text()


def test_every_yaml_file_parses_and_kubernetes_objects_have_names():
    files = [*SERVING.rglob("*.yaml"), *SERVING.rglob("*.yml")]
    assert len(files) == 6
    for file in files:
        for document in documents(file.relative_to(SERVING)):
            if file.parent.name == "kubernetes":
                assert {"apiVersion", "kind", "spec"} <= document.keys()
                assert "_" not in document["metadata"]["name"]
            assert document


# TF Serving


@pytest.mark.parametrize(
    ("flags", "folders"),
    [
        (COMPOSE["serving"]["command"], {volume.split(":")[1] for volume in COMPOSE["serving"]["volumes"]}),
        (
            container("serving.yaml")["args"],
            {mount["mountPath"] for mount in container("serving.yaml")["volumeMounts"]},
        ),
    ],
    ids=["compose", "kubernetes"],
)
def test_the_server_gets_the_generated_files_and_the_models(flags, folders):
    flags = dict(flag.split("=") for flag in flags)
    assert flags.keys() == SERVER_FLAGS
    files = {flags[name] for name in flags if name.endswith("_file")}
    assert files == {f"/config/{name}" for name in GENERATED}
    (model,) = read_config(SERVING / "models.config").model_config_list.config
    assert folders == {"/config", str(Path(model.base_path).parent)}


def test_compose_mounts_what_is_there():
    for service in COMPOSE.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (SERVING / source).exists(), volume
    assert (SERVING / COMPOSE["gateway"]["build"]["context"] / "serving" / "Dockerfile").exists()


def test_compose_and_kubernetes_have_the_same_server():
    image = COMPOSE["serving"]["image"].replace("${TF_SERVING_TAG:-", "").rstrip("}")
    assert container("serving.yaml")["image"] == image
    assert container("redis.yaml", "StatefulSet")["image"] == COMPOSE["redis"]["image"]
    assert container("redis.yaml", "StatefulSet")["args"] == COMPOSE["redis"]["command"]


def test_every_service_is_checked_restarted_bounded_and_for_this_machine_only():
    for service in COMPOSE.values():
        assert {"healthcheck", "restart", "mem_limit"} <= service.keys()
        for published in service.get("ports", []):
            host, outside, inside = published.split(":")
            assert (host, outside) == ("127.0.0.1", inside)


# The gateway


@pytest.mark.parametrize(
    ("arguments", "server", "store"),
    [
        (COMPOSE["gateway"]["command"], "serving", "redis"),
        (container("gateway.yaml")["args"], "tf-serving", "tfmem-redis"),
    ],
    ids=["compose", "kubernetes"],
)
def test_the_gateway_takes_its_arguments(arguments, server, store):
    config = GatewayConfig(**gateway.make_context("gateway", list(arguments)).params)
    assert config.upstream == f"{server}:{GRPC}"
    assert config.store == f"redis://{store}:{REDIS}"
    assert (config.host, config.port) == ("0.0.0.0", GATEWAY)


def test_the_services_are_where_the_gateway_looks():
    assert {"serving", "redis"} <= COMPOSE.keys()
    assert COMPOSE["gateway"]["ports"] == [f"127.0.0.1:{GATEWAY}:{GATEWAY}"]
    kind = {"redis.yaml": "StatefulSet"}
    for path, ports in (
        ("serving.yaml", {"tf-serving": {GRPC, REST}}),
        ("gateway.yaml", {"tfmem-gateway": {GATEWAY}}),
        ("redis.yaml", {"tfmem-redis": {REDIS}}),
    ):
        service, workload = kubernetes(path, "Service"), kubernetes(path, kind.get(path, "Deployment"))
        named = {
            port["name"]: port["containerPort"]
            for port in container(path, kind.get(path, "Deployment"))["ports"]
        }
        assert {service["metadata"]["name"]: {port["port"] for port in service["spec"]["ports"]}} == ports
        assert all(named[port["targetPort"]] == port["port"] for port in service["spec"]["ports"])
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"] == workload["spec"]["selector"]["matchLabels"] == labels


def test_the_image_starts_the_gateway_and_opens_its_port():
    lines = (SERVING / "Dockerfile").read_text().splitlines()
    instructions = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    assert json.loads(instructions["ENTRYPOINT"]) == ["tfmem", "gateway"]
    assert instructions["EXPOSE"] == str(GATEWAY)
    assert shlex.split(instructions["RUN"])[-1] == ".[gateway]"
    for line in lines:
        if line.startswith("COPY"):
            assert all((ROOT / source).exists() for source in line.split()[1:-1])


def test_the_autoscaler_and_the_claims_name_what_there_is():
    scaler = kubernetes("gateway.yaml", "HorizontalPodAutoscaler")["spec"]
    target = kubernetes("gateway.yaml", scaler["scaleTargetRef"]["kind"])
    assert scaler["scaleTargetRef"]["name"] == target["metadata"]["name"]
    # Utilization is of what is requested.
    assert "cpu" in container("gateway.yaml")["resources"]["requests"]
    claim = kubernetes("serving.yaml", "PersistentVolumeClaim")["metadata"]["name"]
    volumes = kubernetes("serving.yaml", "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["persistentVolumeClaim"]["claimName"] == claim
    model = kubernetes("kserve.yaml", "InferenceService")["spec"]["predictor"]["model"]
    assert model["modelFormat"]["name"] == "tensorflow"
    assert model["storageUri"] == f"pvc://{claim}/{COMMITTED.parent.name}"


# What is asked over HTTP


def probes(path):
    found = container(path)
    ports = {port["name"]: port["containerPort"] for port in found["ports"]}
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        if "httpGet" in found[name]:
            yield ports[found[name]["httpGet"]["port"]], found[name]["httpGet"]["path"]
        else:
            assert found[name]["tcpSocket"]["port"] in ports


def scraped(path):
    annotations = kubernetes(path, "Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true"
    return int(annotations["prometheus.io/port"]), annotations["prometheus.io/path"]


def test_probes_are_answered(urls):
    asked = [*probes("serving.yaml"), *probes("gateway.yaml")]
    assert {(REST, "/v1/models/repeat_previous"), (GATEWAY, "/readyz"), (GATEWAY, "/healthz")} == set(asked)
    for port, path in asked:
        assert requests.get(urls[port] + path, timeout=20).status_code == 200


def test_prometheus_scrapes_what_is_served(urls):
    (served,) = PROMETHEUS["serving"]["static_configs"]
    (gateways,) = PROMETHEUS["gateway"]["static_configs"]
    assert (served["targets"], gateways["targets"]) == ([f"serving:{REST}"], [f"gateway:{GATEWAY}"])
    for job, port, path, metric in (
        ("serving", REST, "serving.yaml", "tfmem_serving_"),
        ("gateway", GATEWAY, "gateway.yaml", "tfmem_gateway_sessions"),
    ):
        metrics_path = PROMETHEUS[job]["metrics_path"]
        assert scraped(path) == (port, metrics_path)
        assert metric in requests.get(urls[port] + metrics_path, timeout=20).text
    assert f'path: "{PROMETHEUS["serving"]["metrics_path"]}"' in (SERVING / "monitoring.config").read_text()


@pytest.mark.parametrize(("name", "port"), [("serving", REST), ("gateway", GATEWAY)])
def test_health_checks_of_compose_tell_a_server_from_none(urls, name, port):
    kind, *command = COMPOSE[name]["healthcheck"]["test"]
    assert (kind, str(port) in command[-1]) == ("CMD", True)
    command[0] = {"python": sys.executable}.get(command[0], command[0])
    for there, status in ((urls[port].rsplit(":", 1)[1], True), ("9", False)):
        asked = [*command[:-1], command[-1].replace(str(port), there)]
        process = subprocess.run(asked, capture_output=True, text=True, timeout=30)
        assert (process.returncode == 0) is status, process.stderr


def test_the_label_of_the_configuration_begins_a_session(urls):
    body = {"model": "repeat_previous", "label": "stable"}
    answer = requests.post(f"{urls[GATEWAY]}/v1/sessions", json=body, timeout=20)
    assert (answer.status_code, answer.json()["version"]) == (201, 1)


def test_the_walk_through_of_the_readme(tmp_path):
    """Canary, promotion and roll-back, with a session on each label."""
    steps = re.findall(r"```proto\n(.*?)```", (SERVING / "README.md").read_text(), re.DOTALL)
    base = tmp_path / "repeat_previous"
    shutil.copytree(COMMITTED, base / "1")
    write_serving_files(COMMITTED, tmp_path, base_path=str(base))
    with deployed(tmp_path / "models.config") as (served, gateway_url):
        sessions = f"{gateway_url}/v1/sessions"

        def began(label, name):
            body = {"model": "repeat_previous", "label": label, "session_id": name}
            return requests.post(sessions, json=body, timeout=20).json()["version"]

        def acted(name):
            answer = requests.post(f"{sessions}/{name}:act", json={"observation": 1}, timeout=20)
            return answer.json()["version"] if answer.status_code == 200 else answer.status_code

        assert began("stable", "old") == 1
        shutil.copytree(COMMITTED, tmp_path / "copying")
        (tmp_path / "copying").rename(base / "2")
        version = f"{served.url}/v1/models/repeat_previous/versions/2/metadata"
        deadline = time.monotonic() + 30
        while requests.get(version, timeout=20).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        canary, promoted, rolled_back = [step.replace("/models/repeat_previous", str(base)) for step in steps]
        reload(served.models, canary)
        assert (began("stable", "stable"), began("canary", "canary"), acted("old")) == (1, 2, 1)
        reload(served.models, promoted)
        assert (began("stable", "new"), acted("stable"), acted("canary")) == (2, 1, 2)
        reload(served.models, rolled_back)
        assert (acted("old"), acted("canary"), acted("new")) == (1, 410, 410)
        for name in ("canary", "new"):
            reset = requests.post(f"{sessions}/{name}:reset", timeout=20)
            assert (reset.status_code, reset.json()["version"], acted(name)) == (200, 1, 1)
