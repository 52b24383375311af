from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tests.export.policies import SUIT, policy_of
from tfmem.errors import InvalidInput
from tfmem.export import export_policy, write_serving_files
from tfmem.networks import NetworkConfig, NoCoreConfig

COMMITTED = Path(__file__).parents[2] / "saved_models" / "repeat_previous" / "1"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    policy = policy_of(SUIT, NetworkConfig(core=NoCoreConfig()))
    return export_policy(policy, tmp_path_factory.mktemp("models") / "p", batch_sizes=(1, 4, 6)).path


def model_of(folder):
    text = (folder / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    return model


def lines(file):
    """A text protocol buffer's lines without its comments; there is no class for these in Python."""
    return [line for line in file.read_text().splitlines() if line and not line.startswith("#")]


def test_models_config_names_the_policy_its_versions_and_a_label(path, tmp_path):
    write_serving_files(path, tmp_path / "config")
    model = model_of(tmp_path / "config")
    assert (model.name, model.base_path, model.model_platform) == ("p", "/models/p", "tensorflow")
    assert model.model_version_policy.latest.num_versions == 2
    assert dict(model.version_labels) == {"stable": 1}


def test_the_models_folder_as_the_server_sees_it(path, tmp_path):
    write_serving_files(path, tmp_path, base_path="s3://models/p")
    assert model_of(tmp_path).base_path == "s3://models/p"


def test_batching_fits_the_warm_up(path, tmp_path):
    write_serving_files(path, tmp_path)
    assert lines(tmp_path / "batching.config") == [
        "batch_timeout_micros { value: 500 }",
        "num_batch_threads { value: 4 }",
        "max_enqueued_batches { value: 64 }",
        "max_batch_size { value: 6 }",
        "allowed_batch_sizes: 1",
        "allowed_batch_sizes: 4",
        "allowed_batch_sizes: 6",
    ]


def test_monitoring_is_where_prometheus_looks(path, tmp_path):
    write_serving_files(path, tmp_path)
    assert lines(tmp_path / "monitoring.config") == [
        'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }'
    ]


def test_an_export_from_before_batch_sizes_gets_files_too(tmp_path):
    write_serving_files(COMMITTED, tmp_path)
    assert "max_batch_size { value: 64 }" in lines(tmp_path / "batching.config")


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="not a version folder of a tfmem export"):
        write_serving_files(tmp_path, tmp_path)
    assert list(tmp_path.iterdir()) == []
