"""The scoreboard: what the presets learn, beside the best published figures.

    python benchmarks/scoreboard.py                    every cell that is missing, from the top of the table
    python benchmarks/scoreboard.py autoencode_easy    the cells of one row
    python benchmarks/scoreboard.py --page             only docs/scoreboard.md and its plots

A cell is a run of one system with one seed: trained by `tfmem train` with the row's preset and nothing of
its own but the number of evaluations, then 100 greedy episodes on environment seeds that training never
uses, with and without memory. Baselines that are not tfmem's are run by baselines.py; those in PyTorch need
an environment of their own, `.venv-peers`, which that file says how to make, and are left out without it.
Results go to benchmarks/results/scoreboard/<row>.json as each cell finishes, and a cell that is there is
not run again. `--cores 0,1` runs a cell on each of these processor cores at a time.
"""

import tfmem.quiet  # isort: skip  (before anything that imports TensorFlow)

import argparse
import concurrent.futures
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from machine import provenance

from tfmem.networks import ScanNTMConfig

HERE = Path(__file__).parent.resolve()  # holds popgym_sizes, memory_chain and frame_stack
PEERS = HERE.parent / ".venv-peers" / "bin" / "python"
RESULTS = HERE / "results" / "scoreboard"
DOCS = HERE.parent / "docs"
EPISODES = 100
EVALUATIONS = 20
SOLVED = 0.995  # of the greatest return that there is

POPGYM = "POPGym, PPO, best of 13 models, 15 M steps, maximum over epochs (Morad et al., 2023, appendix)"
MEMOROIDS = "DDQN with memoroids, 10 k to 20 k episodes (Morad et al., 2024, read off a figure)"
SHM = "Stable Hadamard Memory, 15 M steps (Le et al., 2024)"


@dataclass(frozen=True)
class Row:
    """An environment, the budget, and the best figure published for it."""

    name: str
    env_id: str
    steps: int
    published: float | None
    source: str
    preset: str = "recall"
    env_kwargs: tuple[tuple[str, Any], ...] = ()
    seeds: int = 3
    systems: tuple[str, ...] = ("scan_ntm",)
    greatest: float | None = 1.0  # return, where there is one

    @property
    def title(self) -> str:
        arguments = ", ".join(f"{name}={value}" for name, value in self.env_kwargs)
        short = self.env_id.rpartition(":")[2].removeprefix("popgym-").removesuffix("-v0")
        return f"{short}({arguments})" if arguments else short


def popgym(task: str) -> str:
    return f"popgym-{task}-v0"


THREE = ("scan_ntm", "lstm", "none")
PEERS_OF_OURS = ("frame_stack", "tf_agents", "recurrent_ppo", "tianshou")
BASELINES = (*THREE, *PEERS_OF_OURS)
CONTROL = ("lstm", "scan_ntm", "none")  # the preset's own core first
CONTROL_BASELINES = (*CONTROL, *PEERS_OF_OURS)
# From the top down: what is measured first.
ROWS = (
    Row(
        "repeat_previous_easy", popgym("RepeatPreviousEasy"), 50_000, 1.0, POPGYM, seeds=5, systems=BASELINES
    ),
    Row("repeat_first_easy", popgym("RepeatFirstEasy"), 50_000, 1.0, MEMOROIDS, seeds=5),
    Row("repeat_first_medium", popgym("RepeatFirstMedium"), 400_000, 1.0, POPGYM),
    Row(
        "repeat_previous_2_10",
        "popgym_sizes:RepeatPrevious-v0",
        200_000,
        1.0,
        MEMOROIDS,
        env_kwargs=(("num_decks", 2), ("k", 10)),
        seeds=5,
    ),
    Row("autoencode_easy", popgym("AutoencodeEasy"), 300_000, 0.495, SHM, seeds=5, systems=BASELINES),
    Row("repeat_previous_medium", popgym("RepeatPreviousMedium"), 200_000, 0.789, POPGYM, systems=THREE),
    Row("repeat_previous_hard", popgym("RepeatPreviousHard"), 400_000, 0.191, POPGYM),
    Row("autoencode_medium", popgym("AutoencodeMedium"), 800_000, -0.420, POPGYM),
    Row("autoencode_hard", popgym("AutoencodeHard"), 1_500_000, -0.448, POPGYM),
    Row("count_recall_easy", popgym("CountRecallEasy"), 1_000_000, 0.575, MEMOROIDS),
    Row("count_recall_medium", popgym("CountRecallMedium"), 2_000_000, -0.519, POPGYM),
    Row("count_recall_hard", popgym("CountRecallHard"), 2_000_000, -0.470, POPGYM),
    Row(
        "repeat_previous_10_256",
        "popgym_sizes:RepeatPrevious-v0",
        1_000_000,
        None,
        "",
        env_kwargs=(("num_decks", 10), ("k", 256)),
    ),
    Row("autoencode_6", "popgym_sizes:Autoencode-v0", 3_000_000, None, "", env_kwargs=(("num_decks", 6),)),
    Row(
        "memory_len_30",
        "memory_chain:MemoryChain-v0",
        310_000,
        None,
        "",
        env_kwargs=(("length", 30),),
        systems=THREE,
    ),
    Row("memory_len_100", "memory_chain:MemoryChain-v0", 500_000, None, "", env_kwargs=(("length", 100),)),
    Row(
        "memory_size_10",
        "memory_chain:MemoryChain-v0",
        100_000,
        None,
        "",
        env_kwargs=(("length", 2), ("bits", 10)),
        systems=THREE,
    ),
    *(
        Row(
            f"position_only_cartpole_{size.lower()}",
            popgym(f"PositionOnlyCartPole{size}"),
            steps,
            1.0,
            POPGYM,
            preset="control",
            systems=systems,
        )
        for size, steps, systems in (
            ("Easy", 100_000, CONTROL_BASELINES),
            ("Medium", 150_000, CONTROL),
            ("Hard", 150_000, CONTROL),
        )
    ),
    *(
        Row(
            f"noisy_position_only_cartpole_{size.lower()}",
            popgym(f"NoisyPositionOnlyCartPole{size}"),
            150_000,
            published,
            POPGYM,
            preset="control",
            systems=CONTROL,
        )
        for size, published in (("Medium", 0.659), ("Hard", 0.404))
    ),
    Row(
        "flicker_breakout",
        "flicker:Breakout-v0",
        500_000,
        None,
        "",
        preset="atari",
        systems=("lstm", "none"),
        greatest=None,
    ),
    *(
        Row(f"fast_{name}", popgym(task), 50_000, 1.0, POPGYM, preset="fast", systems=("lstm",))
        for name, task in (
            ("repeat_previous_easy", "RepeatPreviousEasy"),
            ("position_only_cartpole_easy", "PositionOnlyCartPoleEasy"),
        )
    ),
)
SYSTEMS = {
    "scan_ntm": "external memory (ScanNTM)",
    "lstm": "LSTM",
    "none": "no memory",
    "frame_stack": "the last 4 frames",
    "tf_agents": "TF-Agents' DqnAgent and QRnnNetwork, LSTM",
    "recurrent_ppo": "sb3-contrib's RecurrentPPO, LSTM",
    "tianshou": "tianshou's recurrent double DQN, LSTM",
}
# The Python that runs baselines.py for a system.
BASELINE_PYTHON = {"tf_agents": Path(sys.executable), "recurrent_ppo": PEERS, "tianshou": PEERS}


def printed(*command: object, core: int) -> dict:
    """What a command prints as JSON."""
    done = subprocess.run(
        list(map(str, command)),
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])},
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    return json.loads(done.stdout.splitlines()[-1])


def tfmem(*arguments: object, core: int) -> dict:
    return printed(sys.executable, "-m", "tfmem", *arguments, "--json", core=core)


def run(row: Row, system: str, seed: int, processor: int) -> dict:
    """One cell, on one core of the processor."""
    if system in BASELINE_PYTHON:
        script = (BASELINE_PYTHON[system], HERE / "baselines.py", system, row.env_id)
        options = ("--preset", row.preset, "--steps", row.steps, "--seed", seed)
        return printed(*script, *options, core=processor)
    env_id, env_kwargs, core = row.env_id, dict(row.env_kwargs), system
    if system == "frame_stack":
        env_id, env_kwargs, core = "frame_stack:FrameStack-v0", {"env_id": env_id, **env_kwargs}, "none"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        settings = [f"core={core}", f"checkpoint_interval={row.steps // EVALUATIONS}"]
        if env_kwargs:
            settings.append(f"env_kwargs={json.dumps(env_kwargs)}")
        sets = [part for setting in settings for part in ("--set", setting)]
        result = tfmem(
            *("train", env_id, "--preset", row.preset, "--steps", row.steps, "--seed", seed, *sets),
            *("--out", out),
            core=processor,
        )
        whole = tfmem("evaluate", out, "--episodes", EPISODES, core=processor)
        ablated = tfmem("evaluate", out, "--episodes", EPISODES, "--ablate-memory", core=processor)
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        config = json.loads((out / "config.json").read_text())
    return {
        "system": system,
        "seed": seed,
        "env_steps": result["env_steps"],
        "updates": result["updates"],
        "wall_s": result["wall_s"],
        "return": whole["mean_return"],
        "return_without_memory": ablated["mean_return"],
        "best_evaluation": result["best_return"],
        "curve": [[one["env_steps"], one["greedy_return"], one["wall_s"]] for one in rows],
        "config": config,
    }


def results_of(row: Row) -> list[dict]:
    path = RESULTS / f"{row.name}.json"
    return json.loads(path.read_text())["runs"] if path.exists() else []


def keep(row: Row, runs: list[dict]) -> None:
    content = {
        "env": row.env_id,
        "env_kwargs": dict(row.env_kwargs),
        "preset": row.preset,
        "env_steps": row.steps,
        "episodes": EPISODES,
        "published": row.published,
        "published_source": row.source,
        **provenance(),
        "runs": sorted(runs, key=lambda r: (r["system"], r["seed"])),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{row.name}.json").write_text(json.dumps(content, indent=1) + "\n")


def measure(rows: tuple[Row, ...], processors: list[int]) -> None:
    """Runs every cell that is missing, one on each core at a time."""
    free: queue.Queue[int] = queue.Queue()
    for processor in processors:
        free.put(processor)
    lock = threading.Lock()

    def cell(row: Row, system: str, seed: int) -> None:
        processor = free.get()
        try:
            one = run(row, system, seed, processor)
        finally:
            free.put(processor)
        with lock:
            keep(row, [*results_of(row), one])
        print(f"{row.name} {system} seed {seed}: {one['return']:.3f} in {one['wall_s']:.0f} s", flush=True)

    with concurrent.futures.ThreadPoolExecutor(len(processors)) as pool:
        cells = []
        for row in rows:
            there = {(r["system"], r["seed"]) for r in results_of(row)}
            for system in row.systems:
                if BASELINE_PYTHON.get(system) == PEERS and not PEERS.exists():
                    print(f"{row.name}: {system} left out, there is no {PEERS}")
                    continue
                for seed in range(row.seeds if system == row.systems[0] else min(3, row.seeds)):
                    if (system, seed) not in there:
                        cells.append(pool.submit(cell, row, system, seed))
        for one in cells:
            one.result()


def solved_at(row: Row, one: dict) -> tuple[int, float] | None:
    """Environment steps and seconds at the first evaluation that shows the task solved."""
    if row.greatest is None:
        return None
    found = [point for point in one["curve"] if point[1] >= SOLVED * row.greatest]
    return (found[0][0], found[0][2]) if found else None


def outdated(run: dict) -> bool:
    """Whether the memory had other heads than the preset gives it now."""
    core, now = run["config"].get("core", {}), ScanNTMConfig()
    if core.get("kind") != now.kind:
        return False
    return core["read_heads"] != list(now.read_heads) or core["write_heads"] != list(now.write_heads)


def line(row: Row, system: str, runs: list[dict]) -> str:
    returns = [r["return"] for r in runs]
    spread = f" ± {stdev(returns):.3f}" if len(returns) > 1 else ""
    when = [solved_at(row, r) for r in runs]
    solved = ", ".join(f"{w[0] / 1000:.0f} k" if w else "no" for w in when) if row.greatest else ""
    config = runs[0]["config"]
    published = "" if row.published is None else f"{row.published:g}"
    return " | ".join(
        [
            f"| {row.title}",
            SYSTEMS[system] + (" †" if any(map(outdated, runs)) else ""),
            f"{row.steps / 1000:g} k",
            ", ".join(f"{r:.3f}" for r in returns),
            f"{mean(returns):.3f}{spread}",
            f"{mean(r['best_evaluation'] for r in runs):.3f}",
            f"{mean(r['return_without_memory'] for r in runs):.3f}"
            if "return_without_memory" in runs[0]
            else "",
            solved,
            f"{mean(r['wall_s'] for r in runs):.0f}",
            f"{'its own' if BASELINE_PYTHON.get(system) == PEERS else row.preset}, gamma={config['gamma']:g}",
            f"{published} |",
        ]
    )


HEAD = f"""# Scoreboard

Written by `python benchmarks/scoreboard.py`; every run, its configuration and its machine are in
[benchmarks/results/scoreboard](../benchmarks/results/scoreboard). Each run had one core.

- *return*: the mean of {EPISODES} greedy episodes after the last step, on environment seeds that training never
  uses; *without memory*: the same policy, its memory put back to the initial one before every step.
- *best*: the greatest of the evaluations during training, averaged over seeds.
- *solved*: the environment step of the first evaluation of 64 episodes at {SOLVED:g} of the greatest possible
  return or above, for each seed.
- †: measured while the preset's memory had fewer heads, none of which jumped.
- *preset*: all that a run is given; windows, slots and rounds follow from the length of episodes. TF-Agents' agent
  gets the preset's sizes, rates, loss, target and windows, as far as it has them; RecurrentPPO its own defaults, and rollouts of 2,048 steps at
  least; tianshou's agent what its own recurrent example sets, with traces of 16 frames in place of 4.

| task | system | steps | return, each seed | mean | best | without memory | solved | seconds | preset | published |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""  # noqa: E501


def page() -> str:
    lines = [HEAD]
    sources = []
    for row in ROWS:
        runs = results_of(row)
        for system in row.systems:
            mine = [r for r in runs if r["system"] == system]
            if mine:
                lines.append(line(row, system, mine))
        if runs and row.published is not None:
            sources.append(f"- {row.title}: {row.published:g}, {row.source}.")
    lines += ["", "Published figures:", "", *sources, ""]
    for row in ROWS:
        if results_of(row):
            lines += [f"![{row.title}](images/scoreboard/{row.name}.png)", ""]
    return "\n".join(lines)


def draw(row: Row) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    for i, system in enumerate(row.systems):
        for j, one in enumerate(r for r in results_of(row) if r["system"] == system):
            steps, returns, _ = zip(*one["curve"], strict=True)
            label = SYSTEMS[system] if j == 0 else None
            axes.plot(steps, returns, color=f"C{i}", alpha=0.8, lw=1.4, label=label)
    if row.published is not None:
        axes.axhline(row.published, color="black", lw=0.8, ls=":", label="best published")
    axes.set(xlabel="environment steps", ylabel="greedy return", title=f"{row.title}: every seed")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize="small")
    path = DOCS / "images" / "scoreboard" / f"{row.name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    names = [row.name for row in ROWS]
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(names)}")
    parser.add_argument("--cores", default="0,1", help="of the processor, a cell on each")
    parser.add_argument("--page", action="store_true", help="only write the page")
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - set(names)
    if unknown:
        parser.error(f"there is no row {', '.join(sorted(unknown))}; choose from {', '.join(names)}")
    if not arguments.page:
        chosen = tuple(row for row in ROWS if not arguments.rows or row.name in arguments.rows)
        measure(chosen, [int(core) for core in arguments.cores.split(",")])
    for row in ROWS:
        if results_of(row):
            draw(row)
    (DOCS / "scoreboard.md").write_text(page())


if __name__ == "__main__":
    main()
