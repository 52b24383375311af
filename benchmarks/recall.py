"""RepeatPrevious: tfmem's memory, an LSTM and no memory on an equal budget, several seeds each.

    python benchmarks/recall.py easy
    python benchmarks/recall.py medium --seeds 3

Trains by the command line, evaluates 100 greedy episodes on environment seeds that training never uses, with
and without memory, and writes benchmarks/results/repeat_previous_<task>.json. A run that is in the file
already is not run again. `--plot` only draws the learning curves into docs/images/.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from machine import provenance


@dataclass(frozen=True)
class Task:
    """An environment, the budget, and what the memory's core is set to.

    `published` is the best mean return of the 13 models of POPGym's own benchmark, PPO with 15 M steps, the
    maximum over epochs (Morad et al., "POPGym: Benchmarking Partially Observable Reinforcement Learning",
    2023, appendix).
    """

    env_id: str
    steps: int
    scan_ntm: tuple[str, ...]
    published: float

    @property
    def name(self) -> str:
        return "repeat_previous_" + self.env_id.removeprefix("popgym-RepeatPrevious")[:-3].lower()


TASKS = {
    "easy": Task("popgym-RepeatPreviousEasy-v0", 60_000, (), 1.0),
    "medium": Task("popgym-RepeatPreviousMedium-v0", 150_000, ("--set", "core.slots=64"), 0.789),
}
CORES = ("scan_ntm", "lstm", "none")
EPISODES = 100
RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parents[1] / "docs" / "images"


def tfmem(*arguments: object) -> dict:
    command = [sys.executable, "-m", "tfmem", *map(str, arguments), "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def run(task: Task, core: str, seed: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        settings = ("--steps", task.steps, "--set", f"core={core}")
        settings += ("--set", f"checkpoint_interval={task.steps // 12}")
        settings += task.scan_ntm if core == "scan_ntm" else ()
        result = tfmem("train", task.env_id, "--out", out, "--seed", seed, *settings)
        whole = tfmem("evaluate", out, "--episodes", EPISODES)
        ablated = tfmem("evaluate", out, "--episodes", EPISODES, "--ablate-memory")
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {
        "core": core,
        "seed": seed,
        "env_steps": result["env_steps"],
        "updates": result["updates"],
        "wall_s": result["wall_s"],
        "return": whole["mean_return"],
        "return_without_memory": ablated["mean_return"],
        "curve": [[row["env_steps"], row["greedy_return"]] for row in rows],
    }


def plot(task: Task, runs: list[dict]) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    colours = {"scan_ntm": "tab:blue", "lstm": "tab:orange", "none": "tab:gray"}
    labels = {"scan_ntm": "external memory (ScanNTM)", "lstm": "LSTM", "none": "no memory"}
    for core in CORES:
        for i, one in enumerate(r for r in runs if r["core"] == core):
            steps, returns = zip(*one["curve"], strict=True)
            label = labels[core] if i == 0 else None
            axes.plot(steps, returns, color=colours[core], alpha=0.8, lw=1.4, label=label)
    axes.set(
        xlabel="environment steps",
        ylabel="greedy return, 64 episodes",
        title=f"{task.env_id}: every seed",
        ylim=(-0.65, 1.05),
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="center right")
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGES / f"{task.name}.png", dpi=150)


def table(runs: list[dict]) -> str:
    lines = [
        "| core | seeds | return, each seed | mean | without memory | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for core in CORES:
        mine = [r for r in runs if r["core"] == core]
        if mine:
            each = ", ".join(f"{r['return']:.3f}" for r in mine)
            lines.append(
                f"| {core} | {len(mine)} | {each} | {mean(r['return'] for r in mine):.3f} "
                f"| {mean(r['return_without_memory'] for r in mine):.3f} "
                f"| {mean(r['wall_s'] for r in mine):.0f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--plot", action="store_true", help="only draw what has been measured")
    arguments = parser.parse_args()
    task = TASKS[arguments.task]
    results = RESULTS / f"{task.name}.json"
    done = json.loads(results.read_text())["runs"] if results.exists() else []
    cells = [(core, seed) for core in CORES for seed in range(arguments.seeds)]
    for core, seed in () if arguments.plot else cells:
        if any(r["core"] == core and r["seed"] == seed for r in done):
            continue
        done.append(run(task, core, seed))
        content = {
            "env": task.env_id,
            "env_steps": task.steps,
            "episodes": EPISODES,
            "settings": {"scan_ntm": task.scan_ntm},
            "published_best": task.published,
            **provenance(),
            "runs": done,
        }
        RESULTS.mkdir(exist_ok=True)
        results.write_text(json.dumps(content, indent=1) + "\n")
        print(f"{core} seed {seed}: {done[-1]['return']:.3f}", flush=True)
    plot(task, done)
    print(table(done))


if __name__ == "__main__":
    main()
