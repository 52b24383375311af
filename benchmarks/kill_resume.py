"""Kills a run with SIGKILL at random moments, resumes it each time, and compares it with one left alone.

    python benchmarks/kill_resume.py --kills 5

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
STEPS = 40_000


def command(out: Path, *extra: str) -> list[str]:
    return [sys.executable, "-m", "tfmem", "train", ENV_ID, "--out", str(out), "--json", *extra]


def curve(out: Path) -> list[list[float]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [[row["env_steps"], row["updates"], row["loss"], row["greedy_return"]] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    settings = ("--steps", str(STEPS), "--set", "checkpoint_interval=4000")
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        started = time.monotonic()
        uninterrupted = json.loads(
            subprocess.run(command(whole, *settings), check=True, stdout=subprocess.PIPE).stdout
        )
        duration = time.monotonic() - started
        kills = []
        while len(kills) < arguments.kills:
            # Not before the folder is there; then anywhere in what is left of the run.
            after = moments.uniform(0.3, 0.9) * duration
            extra = ("--resume",) if killed.exists() else settings
            process = subprocess.Popen(command(killed, *extra), stdout=subprocess.DEVNULL)
            try:
                process.wait(timeout=after)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            recorded = curve(killed)[-1][0] if (killed / "metrics.jsonl").exists() else 0
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
