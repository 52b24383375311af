"""An episode as a figure for papers: what was seen and done, where was written and read, what it gave."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from tfmem.errors import InvalidInput, require
from tfmem.inspection.summary import ATTENTION, READS, WRITES
from tfmem.inspection.trace import Arrays, Trace

FORMATS = (".png", ".svg", ".pdf")
# Parts of an observation with more numbers than this are left out.
MOST_ROWS = 8
# Colours that can be told apart: as many categories; those beyond take them in turn.
COLOURS = 8


def draw(episode: Trace, path: str | os.PathLike[str], *, title: str = "") -> None:
    """Draws an episode, time from left to right.

    From top to bottom: observations of at most 8 numbers and the action, a colour for each value of those
    that are integers; where each write head wrote and each read head read, time × slot; attention over the
    recent past, by age; reward and TD error. What the policy does not have is left out.

    Args:
      episode: what `trace` gives.
      path: a file that ends in `.png`, `.svg` or `.pdf`; its folder is made if there is none.
      title: above the figure.

    Raises:
      InvalidInput: when the path ends otherwise, or matplotlib is not installed.

    Example:
      >>> draw(trace(policy, environment, seed=0, gamma=0.99), "episode.svg")
    """
    path = Path(path)
    require(path.suffix in FORMATS, "path", str(path), f"a file that ends in {', '.join(FORMATS)}")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise InvalidInput("figures need matplotlib: pip install 'tfmem[report]'") from error
    categories, numbers = _rows(episode)
    maps = _maps(episode.state)
    heights = [0.3 + 0.2 * len(rows) for rows in (categories, numbers) if rows] + [1.0] * (len(maps) + 1)
    figure = Figure(figsize=(8, 0.5 + sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    waiting = iter(axes)
    _strip(next(waiting), {name: row % COLOURS for name, row in categories.items()}, "Set2", COLOURS - 1)
    if numbers:
        _strip(next(waiting), {name: _scaled(row) for name, row in numbers.items()}, "viridis", 1)
    with_maps = [next(waiting) for _ in maps]
    for axis, (label, weights) in zip(with_maps, maps.items(), strict=True):
        image = axis.imshow(weights.T, aspect="auto", cmap="magma", vmin=0, vmax=1, origin="lower")
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
        axis.set_yticks([])
    if maps:
        figure.colorbar(image, ax=with_maps, label="weight", fraction=0.03)
    _outcome(next(waiting), episode)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _rows(episode: Trace) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What was seen and done as rows `[T]` by name: those that are categories, and those that are numbers."""
    categories: dict[str, np.ndarray] = {}
    numbers: dict[str, np.ndarray] = {}
    for name, part in episode.observation.items():
        flat = part.reshape(len(part), -1)
        if flat.shape[1] > MOST_ROWS:
            continue
        label = name.removeprefix("observation_")
        for i, row in enumerate(flat.T):
            rows = numbers if np.issubdtype(row.dtype, np.floating) else categories
            rows[label if flat.shape[1] == 1 else f"{label} {i + 1}"] = row
    return categories | {"action": episode.action}, numbers


def _maps(state: Arrays) -> dict[str, np.ndarray]:
    """Weights `[T, N]` by what they are of, heads counted from 1."""
    maps = {
        f"{what} head {head + 1}": state[name][:, head]
        for what, name in (("write", WRITES), ("read", READS))
        if name in state
        for head in range(state[name].shape[1])
    }
    # By age: this step's input at the bottom.
    return maps | ({"attention\nby age": state[ATTENTION][:, ::-1]} if ATTENTION in state else {})


def _scaled(row: np.ndarray) -> np.ndarray:
    """From 0 to 1."""
    return (row - row.min()) / max(np.ptp(row), np.finfo(np.float32).tiny)


def _strip(axis: Any, rows: dict[str, np.ndarray], colours: str, greatest: int) -> None:
    image = np.stack(list(rows.values()))
    axis.imshow(image, aspect="auto", cmap=colours, vmin=0, vmax=greatest, interpolation="nearest")
    axis.set_yticks(range(len(rows)), list(rows))


def _outcome(axis: Any, episode: Trace) -> None:
    steps = np.arange(len(episode))
    axis.step(steps, episode.reward, where="mid", label="reward")
    axis.step(steps, episode.td_error, where="mid", label="TD error", linewidth=0.8)
    axis.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False)
    axis.set_xlabel("step")
