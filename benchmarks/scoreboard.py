"""The scoreboard: what the presets learn, beside the best published figures, and what the recipes do.

    python benchmarks/scoreboard.py                    every cell that is missing, from the top of the table
    python benchmarks/scoreboard.py autoencode_easy    the cells of one row
    python benchmarks/scoreboard.py memory_s13 --systems none    the same, of one system only
    python benchmarks/scoreboard.py --page             only docs/scoreboard.md and its plots

A cell is a run of one system with one seed: trained by `tfmem train` with the row's preset and nothing of
its own but the number of evaluations, then 100 greedy episodes on environment seeds that training never
uses, with and without memory. Baselines that are not tfmem's are run by baselines.py; those in PyTorch need
an environment of their own, `.venv-peers`, which that file says how to make, and are left out without it.
Results go to benchmarks/results/scoreboard/<row>.json as each cell finishes, and a cell that is there is
not run again, unless the preset has been changed since. `--cores 0,1` runs a cell on each of these
processor cores at a time.
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
from pathlib import Path

from machine import provenance
from scoreboard_page import write_page
from scoreboard_rows import EPISODES, PYTORCH, RECIPE_ROWS, RESULTS, ROWS, SYSTEMS, Row, outdated, results_of

HERE = Path(__file__).parent.resolve()  # holds popgym_sizes, memory_chain and frame_stack
PEERS = HERE.parent / ".venv-peers" / "bin" / "python"
EVALUATIONS = 20
# The Python that runs baselines.py for a system.
BASELINE_PYTHON = {"tf_agents": Path(sys.executable), **dict.fromkeys(PYTORCH, PEERS)}


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
    if system == "observed":
        env_kwargs, core = env_kwargs | dict(row.observed), row.systems[0]
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
        arguments = [part for argument in row.evaluated_on for part in ("--env-arg", argument)]
        evaluation = ("evaluate", out, "--episodes", EPISODES, *arguments)
        whole = tfmem(*evaluation, core=processor)
        ablated = tfmem(*evaluation, "--ablate-memory", core=processor)
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


def keep(row: Row, runs: list[dict]) -> None:
    content = {
        "env": row.env_id,
        "env_kwargs": dict(row.env_kwargs),
        "evaluated_on": row.evaluated_on,
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


def measure(rows: tuple[Row, ...], systems: set[str], processors: list[int]) -> None:
    """Runs every cell of these systems that is missing, one on each core at a time."""
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
            others = [r for r in results_of(row) if (r["system"], r["seed"]) != (system, seed)]
            keep(row, [*others, one])
        print(f"{row.name} {system} seed {seed}: {one['return']:.3f} in {one['wall_s']:.0f} s", flush=True)

    with concurrent.futures.ThreadPoolExecutor(len(processors)) as pool:
        cells = []
        for row in rows:
            there = {(r["system"], r["seed"]) for r in results_of(row) if not outdated(row, r)}
            for system in row.systems:
                if system not in systems:
                    continue
                if system in PYTORCH and not PEERS.exists():
                    print(f"{row.name}: {system} left out, there is no {PEERS}")
                    continue
                for seed in range(row.seeds if system == row.systems[0] else min(3, row.seeds)):
                    if (system, seed) not in there:
                        cells.append(pool.submit(cell, row, system, seed))
        for one in cells:
            one.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    rows = (*ROWS, *RECIPE_ROWS)
    names = [row.name for row in rows]
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(names)}")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="of the rows, the only ones to run")
    parser.add_argument("--cores", default="0,1", help="of the processor, a cell on each")
    parser.add_argument("--page", action="store_true", help="only write the page")
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - set(names)
    if unknown:
        parser.error(f"there is no row {', '.join(sorted(unknown))}; choose from {', '.join(names)}")
    systems = set(arguments.systems.split(","))
    strangers = ", ".join(sorted(systems - set(SYSTEMS)))
    if strangers:
        parser.error(f"there is no system {strangers}; choose from {', '.join(SYSTEMS)}")
    if not arguments.page:
        chosen = tuple(row for row in rows if not arguments.rows or row.name in arguments.rows)
        measure(chosen, systems, [int(core) for core in arguments.cores.split(",")])
    write_page()


if __name__ == "__main__":
    main()
