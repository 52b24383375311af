"""`tfmem train`."""

import dataclasses
from pathlib import Path

import click

from tfmem.cli.common import JSON, parse_settings, reports_errors, show
from tfmem.errors import InvalidInput


@click.command()
@click.argument("env_id")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option(
    "--preset", help="Family of tasks: recall, control, atari or fast.  [default: the recipe's, or recall]"
)
@click.option("--steps", type=int, help="Environment steps (env_steps).")
@click.option("--seed", type=int, help="Seed of the run.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a field of the configuration, such as learning_rate=0.001, core=lstm, core.slots=64.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out from its last checkpoint.")
@JSON
@reports_errors
def train(
    env_id: str,
    out: Path,
    preset: str | None,
    steps: int | None,
    seed: int | None,
    settings: tuple[str, ...],
    resume: bool,
    as_json: bool,
) -> None:
    """Train a memory-augmented DQN on ENV_ID, a Gymnasium id or module:id.

    The folder gets config.json, checkpoints, TensorBoard events, metrics.jsonl and result.json. A resumed
    run keeps its own configuration.

    Example: tfmem train popgym-RepeatPreviousEasy-v0 --out runs/recall --steps 100000
    """
    import tfmem.xla  # noqa: F401
    from tfmem.progress import training_progress
    from tfmem.training import RunFolder, make_config
    from tfmem.training import train as train_run

    overrides = parse_settings(settings)
    overrides |= {k: v for k, v in (("env_steps", steps), ("seed", seed)) if v is not None}
    if resume:
        config = RunFolder(out).config()
        if config.env_id != env_id:
            raise InvalidInput(f"{out} is a run of {config.env_id}, not of {env_id}")
        if overrides or preset:
            raise InvalidInput(
                "a resumed run keeps its configuration; leave --preset, --steps, --seed and --set out"
            )
    else:
        config = make_config(env_id, preset=preset, overrides=overrides)
    with training_progress(config) as watch:
        result = train_run(config, out, resume=resume, watch=watch)
    show(dataclasses.asdict(result), as_json)
