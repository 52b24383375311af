"""What recording for TensorBoard costs: runs with it and without, in turns.

    taskset -c 0 python benchmarks/summaries.py

RepeatPreviousEasy with the `recall` preset and its ScanNTM, and with attention over the last 8 inputs before
an LSTM; 60,000 steps, as in the README's first example: the shorter a run, the more the first recording
weighs. Each run has a process of its own, so that importing, tracing and compiling count. "Without" leaves
out episodes, scalars, histograms and pictures, and the gradient norms that an update computes; the share is
the stopwatch's own, which has none of the norms, so that the processor's seconds for the whole run are
compared as well. Medians of several runs. Writes benchmarks/results/summaries.json.
"""

import tfmem.quiet  # isort: skip  (before anything that imports TensorFlow)
import tfmem.xla  # noqa: F401  # isort: skip  (as the command line does)

import concurrent.futures
import json
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

from machine import provenance

from tfmem.agents import MemoryDqnAgent
from tfmem.training import Result, make_config, train
from tfmem.training.board import Board

ENV_ID = "popgym-RepeatPreviousEasy-v0"
STEPS, ROUNDS = 60_000, 3
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "ScanNTM": {},
    "attention": {"core": "lstm", "attention_window": 8},
}
RESULTS = Path(__file__).parent / "results" / "summaries.json"


class Silent(Board):
    """Records nothing."""

    def play(self):
        return None

    def write(self, scalars, *, step, episode=None):
        pass


def run(name: str, records: bool) -> tuple[Result, float]:
    """A run of a configuration, with recording or without, and the seconds that the processor took for it."""
    started = time.process_time()
    result = trained(name, records)
    return result, round(time.process_time() - started, 2)


def trained(name: str, records: bool) -> Result:
    config = make_config(ENV_ID, overrides={"env_steps": STEPS, **CONFIGURATIONS[name]})
    with tempfile.TemporaryDirectory() as out:
        if records:
            return train(config, Path(out) / "run")
        with (
            mock.patch("tfmem.training.run.Board", Silent),
            mock.patch.object(MemoryDqnAgent, "modules", {}),
        ):
            return train(config, Path(out) / "run")


def compared(recorded: list[tuple[Result, float]], silent: list[tuple[Result, float]]) -> dict[str, Any]:
    shares = [result.time_shares["recording"] for result, _ in recorded]
    runs = {"with": recorded, "without": silent}
    return {
        "recording_share": statistics.median(shares),
        "recording_share_of_each": shares,
        "cpu_s": {name: statistics.median(s for _, s in of) for name, of in runs.items()},
        "cpu_s_of_each": {name: [s for _, s in of] for name, of in runs.items()},
        "wall_s_of_each": {name: [result.wall_s for result, _ in of] for name, of in runs.items()},
        "final_return": [result.final_return for result, _ in recorded],
    }


def main() -> None:
    results: dict[tuple[str, bool], list[tuple[Result, float]]] = {}
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        for _ in range(ROUNDS):
            for name in CONFIGURATIONS:
                for records in (True, False):
                    result = pool.submit(run, name, records).result()
                    results.setdefault((name, records), []).append(result)
                    print(name, records, result, flush=True)
    content = {
        **provenance(("tensorflow", "tensorboard", "numpy")),
        "env": ENV_ID,
        "env_steps": STEPS,
        "runs_of_each": ROUNDS,
        **{name: compared(results[name, True], results[name, False]) for name in CONFIGURATIONS},
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
