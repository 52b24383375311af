"""Draws from a run's TensorBoard events how a memory was learned: scalars, distances and where it reads.

python examples/tensorboard_events.py runs/recall/events docs/images/tensorboard.png
"""

import argparse
import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util


def events_of(folder: Path) -> dict[str, dict[int, np.ndarray]]:
    """What a folder's events hold, by tag and step."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return {
        tag: {event.step: tensor_util.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
    }


def picture(image: np.ndarray) -> np.ndarray:
    """The pixels of TensorBoard's `[width, height, PNG]`."""
    return plt.imread(io.BytesIO(image[2]))


def draw(found: dict[str, dict[int, np.ndarray]], path: Path) -> None:
    """Returns, entropies and mean distances over training; distances and reads, first and last."""
    steps = sorted(found["memory/read_weights"])
    figure = plt.figure(figsize=(10, 7.5), layout="constrained")
    grid = figure.add_gridspec(3, 4)
    for column, (title, prefix) in enumerate(
        [
            ("return", "greedy_return"),
            ("entropy", "entropy/read"),
            ("mean distance", "mean_distance/read"),
            ("gradients", "gradients/"),
        ]
    ):
        axis = figure.add_subplot(grid[0, column])
        for tag in sorted(tag for tag in found if tag.startswith(prefix)):
            axis.plot(list(found[tag]), list(found[tag].values()), ".-", label=tag.split("/")[-1])
        axis.set_title(title)
        axis.set_xlabel("environment steps")
        axis.xaxis.set_major_formatter("{x:.0f}")
        axis.tick_params(axis="x", rotation=30)
        if column:
            axis.legend(fontsize=6)
    figure.axes[3].set_yscale("log")
    for row, step in zip((1, 2), (steps[0], steps[-1]), strict=True):
        axis = figure.add_subplot(grid[row, :2])
        for tag in sorted(tag for tag in found if tag.startswith("distance/read")):
            buckets = found[tag][step]
            axis.plot(buckets[:, :2].mean(axis=1), buckets[:, 2], ".-", label=tag.split("/")[-1])
        axis.set(
            title=f"distance, {step} steps", xlabel="steps ago", ylabel="share of reads", xlim=(-0.5, 12)
        )
        axis.legend(fontsize=6)
        axis = figure.add_subplot(grid[row, 2:])
        axis.imshow(picture(found["memory/read_weights"][step]), cmap="gray", aspect="auto", vmin=0, vmax=1)
        axis.set(title=f"memory/read_weights, {step} steps", xlabel="step of the episode", yticks=[])
        axis.set_ylabel("slots of each read head")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Parses the command line, reads and draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=Path, help="folder `events` of a run")
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    draw(events_of(arguments.events), arguments.picture)


if __name__ == "__main__":
    main()
