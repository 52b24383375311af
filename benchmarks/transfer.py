"""Transfer: a policy that learned a small task goes on with a larger one, next to one from scratch.

    python benchmarks/transfer.py autoencode
    python benchmarks/transfer.py repeat_previous

For every seed the task's Easy size is learned, and Medium from these weights (`pretrained`) and from
scratch, each with windows and a memory of its own size. Told are the
environment steps to the first evaluation at .99 of the greatest return, those of the
small task too. Results go to benchmarks/results/transfer_<task>.json; seeds that it has are not run again.
"""

import tfmem.quiet  # isort: skip  (before anything that imports TensorFlow)
import tfmem.xla  # noqa: F401  # isort: skip

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median

from machine import provenance

from tfmem.training import TrainConfig, TrainingRun, evaluate, load_run, make_config
from tfmem.training.run import EVALUATION_SEED

RESULTS = Path(__file__).parent.resolve() / "results"
SOLVED = 0.99
# Of the small size and of the large one.
TASKS = {
    "autoencode": ("Autoencode", 50_000, 50_000),
    "repeat_previous": ("RepeatPrevious", 50_000, 150_000),
}


def learned(config: TrainConfig, out: Path) -> dict:
    """Trains; the steps to the first evaluation that shows the task solved, and every evaluation.

    The first is of the weights that the run starts from, before it learns.
    """
    run = TrainingRun(config, out)
    start = evaluate(
        run.policy, run.evaluation_environment, episodes=config.eval_episodes, seed=EVALUATION_SEED
    )
    result = run.run()
    rows = load_run(out).metrics
    curve = [(0, start.mean_return), *((row["env_steps"], row["greedy_return"]) for row in rows)]
    solved = [steps for steps, greedy in curve if greedy >= SOLVED]
    return {"solved_at": solved[0] if solved else None, "curve": curve, "wall_s": result.wall_s}


def compare(task: str, seed: int) -> dict:
    """The three runs of a seed."""
    family, small_steps, large_steps = TASKS[task]
    shared = {"seed": seed, "checkpoint_interval": 5_000}
    small = make_config(f"popgym-{family}Easy-v0", overrides={**shared, "env_steps": small_steps})
    large = make_config(f"popgym-{family}Medium-v0", overrides={**shared, "env_steps": large_steps})
    with tempfile.TemporaryDirectory() as folder:
        before = learned(small, Path(folder) / "small")
        scratch = learned(large, Path(folder) / "scratch")
        given = asdict(large) | {"pretrained": str(Path(folder) / "small")}
        transferred = learned(TrainConfig.from_dict(given), Path(folder) / "transferred")
    return {"seed": seed, "small": before, "scratch": scratch, "transferred": transferred}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("task", choices=TASKS)
    options.add_argument("--seeds", default="0,1,2")
    given = options.parse_args()
    path = RESULTS / f"transfer_{given.task}.json"
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    for seed in map(int, given.seeds.split(",")):
        if any(run["seed"] == seed for run in runs):
            print(f"seed {seed} is in {path.name}", flush=True)
            continue
        runs.append(compare(given.task, seed))
        steps = {
            kind: [run[kind]["solved_at"] for run in runs] for kind in ("small", "scratch", "transferred")
        }
        reached = all(None not in found for found in steps.values())
        # Not above 0, and without a ratio, where the small task's weights solve the large one as they are.
        transferred = median(steps["transferred"]) if reached else 0
        ratio = median(steps["scratch"]) / transferred if transferred else None
        content = {**provenance(), "solved": SOLVED, "steps": steps, "ratio": ratio, "runs": runs}
        path.write_text(json.dumps(content, indent=1) + "\n")
        print(json.dumps({"seed": seed, **steps, "ratio": ratio}), flush=True)


if __name__ == "__main__":
    main()
