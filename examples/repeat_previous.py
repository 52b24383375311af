"""The whole way: train, evaluate with and without memory, show an episode, export, serve, play.

Run by `make run`. Each part is one call; the table at the end says what came of it.
"""

import tfmem.quiet  # isort: skip  (before anything that imports TensorFlow)
import tfmem.xla  # noqa: F401  # isort: skip  (before XLA compiles)

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tfmem.environments import load
from tfmem.export import export_policy
from tfmem.inspection.report import memory_report, write_page
from tfmem.progress import training_progress, working
from tfmem.serving import PolicyClient
from tfmem.training import (
    evaluate,
    load_run,
    make_config,
    train,
)

ENV_ID = "popgym-RepeatPreviousEasy-v0"
EPISODES = 100
PLAYED_EPISODES = 20
# Environment seed of the first evaluated episode; training and its own evaluations never use these.
SEED = 0


def next_folder(parent: Path) -> Path:
    """The first of parent/1, parent/2, … that does not exist."""
    number = 1
    while (parent / str(number)).exists():
        number += 1
    return parent / str(number)


def play_through_server(base: Path, name: str):
    """Starts `tfmem serve`, plays through it with the memory carried by the client, stops it."""
    command = [sys.executable, "-m", "tfmem", "serve", str(base), "--rest-port", "0", "--grpc-port", "0"]
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            ready = server.stdout.readline()
            if not ready.startswith("ready at "):
                server.wait()
                log.seek(0)
                raise SystemExit(f"the server did not start: {log.read()}")
            with PolicyClient(ready.split()[2], name) as client:
                return evaluate(client.pinned(), load(ENV_ID), episodes=PLAYED_EPISODES, seed=SEED)
        finally:
            server.terminate()
            server.wait()


def main() -> None:
    """Parses the command line and does it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60_000, help="environment steps")
    parser.add_argument("--runs", type=Path, default=Path("runs/repeat_previous"))
    parser.add_argument("--models", type=Path, default=Path("saved_models"))
    arguments = parser.parse_args()

    config = make_config(ENV_ID, overrides={"env_steps": arguments.steps})
    out = next_folder(arguments.runs)
    print(f"training on {ENV_ID} into {out}")
    with training_progress(config) as watch:
        result = train(config, out, watch=watch)

    run = load_run(out)
    environment = load(ENV_ID, num_envs=50)
    with working("evaluating, with memory and without"):
        whole = evaluate(run.policy, environment, episodes=EPISODES, seed=SEED)
        ablated = evaluate(run.policy, environment, episodes=EPISODES, seed=SEED, ablate_memory=True)

    with working("drawing an episode"):
        told = memory_report(
            run.policy, load(ENV_ID), name=str(out), env_id=ENV_ID, seed=SEED, gamma=config.gamma
        )
        page = write_page(told, out / "report.html").page
    print(f"what it remembered: {page}")

    with working("exporting, and comparing the export with the policy"):
        export = export_policy(
            run.policy,
            arguments.models / "repeat_previous",
            environment=run.environment,
            run=run.provenance,
        )
    print(f"exported to {export.path}")

    with working("playing through the server"):
        served = play_through_server(arguments.models, "repeat_previous")
    same = all((there == here).all() for there, here in zip(served.actions, whole.actions, strict=False))

    table = Table(title=f"{ENV_ID}, seed {config.seed}")
    table.add_column("")
    table.add_column("value", justify="right")
    for label, value in (
        (f"return, {EPISODES} episodes", f"{whole.mean_return:.3f}"),
        ("return without memory", f"{ablated.mean_return:.3f}"),
        (f"return through the server, {PLAYED_EPISODES} episodes", f"{served.mean_return:.3f}"),
        ("same actions through the server", "yes" if same else "NO"),
        ("environment steps", str(result.env_steps)),
        ("updates", str(result.updates)),
        ("training seconds", f"{result.wall_s:.0f}"),
    ):
        table.add_row(label, value)
    Console().print(table)


if __name__ == "__main__":
    main()
