"""What decides which runs of the scoreboard are made, and of what; the runs themselves take hours."""

import dataclasses
import importlib
import json
import sys
from pathlib import Path

import pytest

from tfmem.training import make_config

ROW = "repeat_previous_easy"


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a script of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module


@pytest.fixture
def scoreboard(benchmark, monkeypatch, tmp_path):
    """`scoreboard(*arguments)` runs the script on made-up runs, and returns the cells that it ran."""
    script, rows = benchmark("scoreboard"), benchmark("scoreboard_rows")
    cells = []

    def run(row, system, seed, processor):
        cells.append((row.name, system, seed))
        config = json.loads(make_config(row.env_id, preset=row.preset, overrides={"core": system}).to_json())
        return {"system": system, "seed": seed, "return": 1.0, "wall_s": 1.0, "config": config}

    for module in (script, rows):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(script, "run", run)
    monkeypatch.setattr(script, "write_page", lambda: None)

    def called(*arguments):
        cells.clear()
        monkeypatch.setattr(sys, "argv", ["scoreboard.py", "--cores", "0", *arguments])
        script.main()
        return list(cells)

    return called


def test_the_scoreboard_runs_what_is_missing_of_the_systems_asked_for(scoreboard):
    lstm = [(ROW, "lstm", seed) for seed in range(3)]
    assert scoreboard(ROW, "--systems", "lstm") == lstm
    # The row's own system has more seeds than what it is compared with.
    assert scoreboard(ROW, "--systems", "lstm,scan_ntm") == [(ROW, "scan_ntm", seed) for seed in range(5)]
    assert scoreboard(ROW, "--systems", "lstm,scan_ntm") == []


def test_the_scoreboard_runs_again_what_was_run_with_another_preset_or_noted_as_earlier(scoreboard, tmp_path):
    scoreboard(ROW, "--systems", "lstm")
    path = tmp_path / f"{ROW}.json"
    kept = json.loads(path.read_text())
    kept["runs"][0]["config"]["gamma"] = 0.9
    kept["runs"][2]["earlier"] = "another encoder"
    path.write_text(json.dumps(kept))
    assert scoreboard(ROW, "--systems", "lstm") == [(ROW, "lstm", 0), (ROW, "lstm", 2)]
    assert len(json.loads(path.read_text())["runs"]) == 3


@pytest.mark.parametrize("arguments", [["no_such_row"], [ROW, "--systems", "gru"]])
def test_an_unknown_row_or_system_is_named(scoreboard, arguments, capsys):
    with pytest.raises(SystemExit):
        scoreboard(*arguments)
    assert (
        f"there is no {'row no_such_row' if len(arguments) == 1 else 'system gru'}; choose"
        in capsys.readouterr().err
    )


def test_transfer_learns_each_size_with_a_memory_of_its_own(benchmark, monkeypatch):
    transfer, configs = benchmark("transfer"), []
    monkeypatch.setattr(transfer, "learned", lambda config, out: configs.append(config))
    transfer.compare("autoencode", 1)
    small, large, transferred = configs
    sizes = [(config.core.slots, config.sequence_length) for config in (small, large)]
    assert sizes == [(104, 105), (208, 209)]
    assert Path(transferred.pretrained).name == "small"
    assert dataclasses.replace(transferred, pretrained=None) == large
