"""Progress on a terminal, silence in a pipe. Always on standard error."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from tfmem.training import Status, TrainConfig


def working(what: str) -> AbstractContextManager:
    """A spinner that says what is being done."""
    console = Console(stderr=True)
    return console.status(what) if console.is_terminal else nullcontext()


@contextmanager
def training_progress(config: "TrainConfig") -> Iterator[Callable[["Status"], None]]:
    """A bar over a run's steps; yields the function to call with each `Status`.

    Before anything is allocated it says how much memory the replay takes.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda status: None
        return
    apart = ", and the memory's states" if config.stored_state else ""
    size = f"{_replay_megabytes(config):.0f} MB for {config.replay_capacity} frames"
    console.print(f"replay: up to {size}{apart}")
    progress = Progress(
        TextColumn("{task.fields[doing]:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps  {task.fields[updates]} updates"),
        TextColumn("return {task.fields[recent]} exploring, {task.fields[greedy]} greedy"),
        TimeRemainingColumn(),
        console=console,
    )
    with progress:
        task = progress.add_task(
            "", total=config.env_steps, doing="starting", updates=0, recent="-", greedy="-"
        )

        def watch(status: "Status") -> None:
            progress.update(
                task,
                completed=min(status.env_steps, config.env_steps),
                doing=status.doing,
                updates=status.updates,
                recent=_shown(status.recent_return),
                greedy=_shown(status.greedy_return),
            )

        yield watch


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _replay_megabytes(config: "TrainConfig") -> float:
    from tf_agents.specs import tensor_spec

    from tfmem.replay import estimate_bytes
    from tfmem.training import load_environment

    environment = load_environment(config, num_envs=1)
    try:
        return 1e-6 * estimate_bytes(
            tensor_spec.from_spec(environment.time_step_spec()),
            tensor_spec.from_spec(environment.action_spec()),
            config.replay_capacity,
        )
    finally:
        environment.close()
