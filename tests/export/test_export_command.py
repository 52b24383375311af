import json
from pathlib import Path

import pytest
import tensorflow as tf
from click.testing import CliRunner

from tfmem.cli import main
from tfmem.training import train

COMMITTED = Path(__file__).parents[2] / "saved_models" / "repeat_previous" / "1"


def run(*arguments):
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


@pytest.fixture(scope="module")
def scalar(tmp_path_factory):
    """A SavedModel with a scalar in and out."""
    path = tmp_path_factory.mktemp("scalar")
    module = tf.Module()
    module.double = tf.function(lambda x: {"y": 2.0 * x}).get_concrete_function(tf.TensorSpec([], name="x"))
    tf.saved_model.save(module, str(path), signatures={"double": module.double})
    return path


@pytest.fixture(scope="module")
def trained(tiny_config, tmp_path_factory):
    """The folder of a run."""
    path = tmp_path_factory.mktemp("runs") / "run"
    train(tiny_config, path)
    return path


def test_a_run_is_exported_with_its_serving_files_and_a_litert_model(trained, tmp_path):
    base, config, lite = tmp_path / "models" / "p", tmp_path / "config", tmp_path / "p.tflite"
    result = run(trained, base, "--serving-files", config, "--litert", lite, "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["version"] == 1
    assert printed["litert_bytes"] == lite.stat().st_size
    assert printed["litert_agreement"] == 1.0
    assert printed["litert_q_difference"] < 1e-4
    assert "agreement" not in printed
    files = sorted(file.name for file in config.iterdir())
    assert files == ["batching.config", "models.config", "monitoring.config"]
    assert 'name: "p"' in (config / "models.config").read_text()


def test_a_lower_precision_says_how_close_it_is(trained, tmp_path):
    lite = ["--litert", tmp_path / "p.tflite", "--litert-precision", "int8"]
    result = run(trained, tmp_path / "p", "--precision", "float16", *lite, "--min-agreement", 0.5)
    assert result.exit_code == 0, result.output
    printed = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert 0.5 <= float(printed["agreement"]) <= 1
    assert 0 < float(printed["worst_q_difference"]) < 0.1
    assert 0.5 <= float(printed["litert_agreement"]) <= 1
    assert 0 < float(printed["litert_q_difference"]) < 0.1


def test_check_says_ok_of_a_model_that_a_server_takes():
    result = run("--check", COMMITTED)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"ok  {COMMITTED}: nothing that a stock server does not take\n"
    assert json.loads(run("--check", COMMITTED, "--json").stdout) == {"ok": True, "findings": []}


def test_check_prints_each_finding_on_a_line_and_fails(scalar):
    result = run("--check", scalar)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "signature double: input x is a scalar, without a batch axis; make it an input of shape [None]",
        "signature double: output y is a scalar, without a batch axis; make it an output of shape [None]",
    ]


def test_check_as_json(scalar):
    result = run("--check", scalar, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["ok"] is False
    assert report["findings"][0] == {
        "signature": "double",
        "function": "",
        "where": "input x",
        "problem": "is a scalar, without a batch axis",
        "change": "make it an input of shape [None]",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give RUN and BASE to export, or --check PATH"),
        (["run"], "give RUN and BASE to export, or --check PATH"),
        (["run", "base", "--check", COMMITTED], "--check exports nothing"),
        (["--litert", "file", "--check", COMMITTED], "--check exports nothing"),
        (["--serving-files", "config", "--check", COMMITTED], "--check exports nothing"),
        (["run", "base", "--litert-precision", "int8"], "give its file by --litert FILE too"),
        (["--check", "tests"], "tests holds no SavedModel"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
