"""Kills a run with SIGKILL at random moments, resumes it each time, and compares it with one left alone.

    python benchmarks/kill_resume.py --kills 20

Writes benchmarks/results/kill_resume.json: the moments, and how many recorded evaluations and the result are
equal to the uninterrupted run's.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import provenance

ENV_ID = "popgym-RepeatPreviousEasy-v0"
RESULTS = Path(__file__).parent / "results" / "kill_resume.json"
STEPS = 100_000
INTERVAL = 2_500  # between checkpoints


def command(out: Path, *extra: str) -> list[str]:
    return [sys.executable, "-m", "tfmem", "train", ENV_ID, "--out", str(out), "--json", *extra]


def curve(out: Path) -> list[list[float]]:
    path = out / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]  # a kill may cut the last one off
    return [[row["env_steps"], row["updates"], row["loss"], row["greedy_return"]] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    settings = ("--steps", str(STEPS), "--set", f"checkpoint_interval={INTERVAL}")
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        started = time.monotonic()
        process = subprocess.Popen(command(whole, *settings), stdout=subprocess.PIPE)
        while not curve(whole):
            time.sleep(0.1)
        starting = time.monotonic() - started  # imports and compiling
        said, _ = process.communicate()
        uninterrupted = json.loads(said)
        running = time.monotonic() - started - starting
        kills = []
        while len(kills) < arguments.kills:
            # At any moment, starting included, and such that the kills are spread over the run.
            after = moments.uniform(0.5, 1.0) * starting
            after += moments.uniform(0.0, 3.0) * running / arguments.kills
            extra = ("--resume",) if (killed / "config.json").exists() else settings
            process = subprocess.Popen(command(killed, *extra), stdout=subprocess.DEVNULL)
            try:
                process.wait(timeout=after)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            recorded = curve(killed)[-1][0] if curve(killed) else 0
            kills.append({"seconds": round(after, 2), "last_recorded_env_steps": recorded})
            print(kills[-1], flush=True)
        subprocess.run(command(killed, "--resume"), check=True, stdout=subprocess.DEVNULL)
        result = json.loads((killed / "result.json").read_text())
        content = {
            "env": ENV_ID,
            **provenance(),
            "uninterrupted": uninterrupted,
            "kills": kills,
            "resumed": result,
            "evaluations": len(curve(whole)),
            "identical_evaluations": sum(a == b for a, b in zip(curve(whole), curve(killed), strict=True)),
        }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps({k: v for k, v in content.items() if k not in ("versions",)}, indent=1))


if __name__ == "__main__":
    main()
