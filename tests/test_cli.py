"""The command line in this process through click's runner, and once as a real command."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from tests.conftest import RECALL, TINY
from tfmem.cli import main
from tfmem.training import PRESETS

COMMANDS = sorted(main.commands)


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def tiny_settings(**overrides):
    return [f"--set={k}={json.dumps(v)}" for k, v in {**TINY, **overrides}.items()]


def test_the_commands():
    assert [
        *("doctor", "evaluate", "export", "gateway", "play", "recipes", "report", "serve", "train"),
    ] == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: tfmem {command}" in result.output


def test_doctor():
    result = run("doctor", "--json")
    assert result.exit_code == 0
    report = json.loads(result.output)
    assert report["ok"] is True
    assert report["tensorflow"]["found"].startswith("2.21")
    assert "python" in run("doctor").output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny run made by the command line."""
    out = tmp_path_factory.mktemp("cli") / "run"
    result = run("train", "tests/RememberFirst-v0", "--out", out, *tiny_settings(), "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed == json.loads((out / "result.json").read_text())
    names = ("env", "seed", "env_steps", "updates", "wall_s", "final_return", "best_return", "time_shares")
    assert set(printed) == set(names)
    np.testing.assert_allclose(sum(printed["time_shares"].values()), 1, atol=0.01)
    assert printed["time_shares"]["other"] < 0.5
    return out


def test_evaluate_export_evaluate(folder, tmp_path):
    whole = json.loads(run("evaluate", folder, "--episodes", 9, "--json").stdout)
    assert set(whole) == {"env", "episodes", "mean_return", "std_return"}
    ablated = json.loads(run("evaluate", folder, "--episodes", 9, "--ablate-memory", "--json").stdout)
    assert whole["mean_return"] > ablated["mean_return"]
    exported = json.loads(run("export", folder, tmp_path / "first", "--json").stdout)
    assert exported["path"] == str(tmp_path / "first" / "1")
    again = json.loads(run("evaluate", exported["path"], "--episodes", 9, "--json").stdout)
    assert again == whole
    best = json.loads(run("evaluate", folder, "--best", "--episodes", 9, "--json").stdout)
    exported = json.loads(run("export", folder, tmp_path / "best", "--best", "--json").stdout)
    again = json.loads(run("evaluate", exported["path"], "--episodes", 9, "--json").stdout)
    assert again == best
    asked = run("evaluate", exported["path"], "--best")
    assert asked.exit_code != 0
    assert "is an export, of one policy; --best is for a run" in asked.stderr


def test_report(folder, tmp_path):
    page = tmp_path / "page.html"
    told = json.loads(run("report", folder, "--seed", 4, "--out", page, "--json").stdout)
    assert told["bytes"] == page.stat().st_size
    assert told["steps"] == 5
    assert told["return: With memory"] >= told["return: Without memory"]
    assert "One greedy episode of" in page.read_text()
    cut = run("report", folder, "--steps", 2, "--env-arg", "length=9", "--out", page, "--json")
    assert json.loads(cut.stdout)["steps"] == 2


def test_report_of_two_policies(folder, tmp_path):
    page = tmp_path / "page.html"
    options = ("--compare", "--episodes", 3, "--out", page, "--json")
    told = json.loads(run("report", folder, folder, *options).stdout)
    first, second = (value for name, value in told.items() if name.startswith("return: "))
    assert first == second
    assert "The same seeds" in page.read_text()


def test_every_kind_of_space_trains_exports_and_plays(tmp_path):
    added = {"attention_window": 3, "previous_action": True, "previous_reward": True, "action_slots": 3}
    settings = tiny_settings(env_steps=400, **added)
    trained = run("train", "tests/EverySpace-v0", "--out", tmp_path / "run", *settings, "--json")
    assert trained.exit_code == 0, trained.output
    before = json.loads(run("evaluate", tmp_path / "run", "--episodes", 5, "--json").stdout)
    exported = run("export", tmp_path / "run", tmp_path / "every", "--json")
    assert exported.exit_code == 0, exported.output
    path = json.loads(exported.stdout)["path"]
    assert json.loads(run("evaluate", path, "--episodes", 5, "--json").stdout) == before


def test_resume_of_a_finished_run_prints_its_result(folder):
    result = run("train", "tests/RememberFirst-v0", "--out", folder, "--resume", "--json")
    assert result.exit_code == 0, result.output
    before = json.loads((folder / "result.json").read_text())
    assert json.loads(result.stdout)["final_return"] == before["final_return"]


BAD = {
    "other observations": (
        ["evaluate", "FOLDER", "--env", "CartPole-v1"],
        "the environment does not fit the policy: it shows",
    ),
    "other actions": (
        ["evaluate", "FOLDER", "--env", "tests/FourActions-v0"],
        "it has 4 actions, the policy 3",
    ),
    "a file in the way": (
        ["train", "CartPole-v1", "--out", "FILE"],
        "file is a file; name a folder for the run",
    ),
    "export onto a file": (["export", "FOLDER", "FILE"], "file: File exists"),
    "environment": (["train", "CartPol-v1", "--out", "OUT"], "nearest: CartPole"),
    "setting": (["train", "CartPole-v1", "--out", "OUT", "--set", "gama=1"], "gama"),
    "no value": (["train", "CartPole-v1", "--out", "OUT", "--set", "gamma"], "expected key=value"),
    "preset": (["train", "CartPole-v1", "--out", "OUT", "--preset", "x"], "preset must be one of recall"),
    "taken folder": (["train", "CartPole-v1", "--out", "FOLDER"], "already holds a run"),
    "nothing to resume": (["train", "CartPole-v1", "--out", "OUT", "--resume"], "holds no run"),
    "resumed otherwise": (
        ["train", "tests/RememberFirst-v0", "--out", "FOLDER", "--resume", "--steps", "5"],
        "leave --preset, --steps, --seed and --set out",
    ),
    "resumed elsewhere": (["train", "CartPole-v1", "--out", "FOLDER", "--resume"], "is a run of tests/"),
    "no run": (["evaluate", "OUT"], "neither the folder of a run nor a version folder"),
    "no run to export": (["export", "OUT", "OUT/model"], "holds no run"),
    "no run to report": (["report", "OUT", "--out", "OUT.html"], "neither the folder of a run nor"),
    "two reports": (["report", "FOLDER", "FOLDER", "--out", "OUT.html"], "two with --compare; found 2"),
    "one compared": (["report", "FOLDER", "--compare", "--out", "OUT.html"], "found 1 with --compare"),
    "no page": (["report", "FOLDER", "--out", "OUT"], "--out must be a file NAME.html"),
    "no models": (["serve", "OUT"], "holds no models"),
    "no server": (
        ["play", "x", "--server", "http://127.0.0.1:9", "--env", "CartPole-v1"],
        "no answer from http://127.0.0.1:9",
    ),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_bad_input_is_one_line_and_a_non_zero_exit(name, folder, tmp_path):
    arguments, message = BAD[name]
    (tmp_path / "file").write_text("")
    places = {
        "OUT": tmp_path / "out",
        "FOLDER": folder,
        "FILE": tmp_path / "file",
        "OUT/model": tmp_path / "out" / "model",
        "OUT.html": tmp_path / "out.html",
    }
    result = run(*(places.get(a, a) for a in arguments))
    assert result.exit_code != 0
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not result.stdout


def test_an_interrupted_run_exits_non_zero_and_names_the_way_on(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "tfmem.training.learner.Learner.ready", lambda self: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    result = run("train", "tests/RememberFirst-v0", "--out", tmp_path / "run", *tiny_settings())
    assert result.exit_code == 1
    assert "go on with --resume" in result.output


def test_an_export_that_names_no_environment_asks_for_it(folder, tmp_path):
    from tfmem.export import export_policy
    from tfmem.training import load_run

    path = export_policy(load_run(folder).policy, tmp_path / "nameless").path
    asked = run("evaluate", path)
    assert asked.exit_code == 1
    assert "does not say which environment it is for; give --env" in asked.output
    given = run("evaluate", path, "--env", "tests/RememberFirst-v0", "--episodes", 3, "--json")
    assert json.loads(given.stdout)["episodes"] == 3


def test_arguments_of_the_environment_can_be_given(folder):
    def mean_return(*arguments):
        result = run("evaluate", folder, "--episodes", 9, "--json", *arguments)
        return json.loads(result.stdout)["mean_return"]

    # A reward a step, of at most 1, whatever the policy has learned.
    assert mean_return("--env-arg", "length=1") <= 1 < mean_return()


def test_given_arguments_join_those_of_the_run(tmp_path):
    # Without memory one answer is given to all blanks, whatever it is: right in some episodes, all along.
    settings = tiny_settings(env_steps=1_200, env_kwargs={"length": 20}, core="none")
    settings = [setting for setting in settings if "core." not in setting]
    assert run("train", "tests/RememberFirst-v0", "--out", tmp_path, *settings).exit_code == 0

    def mean_return(*arguments):
        result = run("evaluate", tmp_path, "--episodes", 30, "--json", *arguments)
        return json.loads(result.stdout)["mean_return"]

    # How an episode ends does not change its return; how long it is does.
    assert mean_return("--env-arg", "ending=truncated") == mean_return()
    assert mean_return("--env-arg", "length=5") < mean_return()


def test_doctor_reports_a_tensorflow_that_cannot_be_imported(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('libcudart is broken')")
    process = subprocess.run(
        [sys.executable, "-m", "tfmem", "doctor"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert process.returncode == 1
    assert "BAD  tensorflow" in process.stdout
    assert "libcudart is broken" in process.stdout
    assert process.stderr == ""


def test_doctor_reports_keras_3():
    process = subprocess.run(
        [sys.executable, "-m", "tfmem", "doctor"],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_USE_LEGACY_KERAS": "0"},
    )
    assert process.returncode == 1
    assert "BAD  keras" in process.stdout
    assert "TF_USE_LEGACY_KERAS is '0'; unset it" in process.stdout
    assert process.stderr == ""


def test_the_command_is_quiet_in_a_pipe():
    process = subprocess.run(
        [sys.executable, "-m", "tfmem", "evaluate", "nowhere", "--env", RECALL],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1
    assert process.stdout == ""
    assert process.stderr.startswith("Error: nowhere is neither")
    assert len(process.stderr.splitlines()) == 1


def test_help_names_every_preset():
    text = run("train", "--help").stdout
    assert all(preset in text for preset in PRESETS)
