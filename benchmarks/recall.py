"""RepeatPreviousEasy: tfmem's memory, an LSTM and no memory on an equal budget, several seeds each.

    python benchmarks/recall.py

Trains by the command line, evaluates 100 greedy episodes on environment seeds that training never uses, with
and without memory, and writes benchmarks/results/repeat_previous_easy.json. A run that is in the file already
is not run again. `--plot` draws the learning curves into docs/images/.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean

from machine import provenance

ENV_ID = "popgym-RepeatPreviousEasy-v0"
RESULTS = Path(__file__).parent / "results" / "repeat_previous_easy.json"
PLOT = Path(__file__).parents[1] / "docs" / "images" / "repeat_previous_easy.png"
CORES = ("scan_ntm", "lstm", "none")
STEPS = 60_000
EPISODES = 100
# Published: the best of POPGym's 13 models with PPO at 15 M steps (Morad et al., 2023).
PUBLISHED = 1.0


def tfmem(*arguments: object) -> dict:
    command = [sys.executable, "-m", "tfmem", *map(str, arguments), "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def run(core: str, seed: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        settings = ("--set", f"core={core}", "--set", "checkpoint_interval=5000")
        result = tfmem("train", ENV_ID, "--out", out, "--steps", STEPS, "--seed", seed, *settings)
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


def plot(runs: list[dict]) -> None:
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
        title=f"{ENV_ID}: every seed",
        ylim=(-0.65, 1.05),
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="center right")
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, dpi=150)


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
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--plot", action="store_true", help="only draw what has been measured")
    arguments = parser.parse_args()
    done = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    if not arguments.plot:
        for core in CORES:
            for seed in range(arguments.seeds):
                if any(r["core"] == core and r["seed"] == seed for r in done):
                    continue
                done.append(run(core, seed))
                content = {
                    "env": ENV_ID,
                    "env_steps": STEPS,
                    "episodes": EPISODES,
                    "published_best": PUBLISHED,
                    **provenance(),
                    "runs": done,
                }
                RESULTS.parent.mkdir(exist_ok=True)
                RESULTS.write_text(json.dumps(content, indent=1) + "\n")
                print(f"{core} seed {seed}: {done[-1]['return']:.3f}", flush=True)
    plot(done)
    print(table(done))


if __name__ == "__main__":
    main()
