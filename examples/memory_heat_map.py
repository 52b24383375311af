"""Plays one episode with an exported policy and draws where it wrote and read, step by step.

python examples/memory_heat_map.py saved_models/repeat_previous/1 docs/images/memory_heat_map.png
"""

import tfmem.quiet  # noqa: F401  # isort: skip  (before anything that imports TensorFlow)

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from tfmem.environments import load
from tfmem.export import load_policy


def play(policy, environment) -> dict[str, np.ndarray]:
    """One episode: what was seen, done, written and read at each step."""
    time_step = environment.reset()
    state = policy.initial_state(1)
    seen, done, written, read = [], [], [], []
    while not time_step.is_last()[0]:
        seen.append(time_step.observation[0])
        action, _, state = policy.step(time_step.observation, time_step.is_first(), state)
        done.append(int(action[0]))
        written.append(state["write_weights"][0].numpy())
        read.append(state["read_weights"][0].numpy())
        time_step = environment.step(action.numpy())
    return {
        "seen": np.array(seen),
        "done": np.array(done),
        "written": np.stack(written, -1),  # [heads, slots, steps]
        "read": np.stack(read, -1),  # [heads, slots, steps]
    }


def draw(episode: dict[str, np.ndarray], path: Path) -> None:
    """Heat maps of time × slot: the write heads, and the read heads, in order."""
    maps = [
        (f"{what} head {i + 1}", weights)
        for what, key in (("write", "written"), ("read", "read"))
        for i, weights in enumerate(episode[key])
    ]
    figure, axes = plt.subplots(
        1 + len(maps),
        1,
        figsize=(8, 1.0 * (1 + len(maps))),
        sharex=True,
        layout="constrained",
        height_ratios=[0.5] + [1] * len(maps),
    )
    axes[0].imshow(np.stack([episode["seen"], episode["done"]]), aspect="auto", cmap="Set2", vmin=0, vmax=7)
    axes[0].set_yticks([0, 1], ["suit seen", "action"])
    for axis, (label, weights) in zip(axes[1:], maps, strict=True):
        image = axis.imshow(weights, aspect="auto", cmap="magma", vmin=0, vmax=1, origin="lower")
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
        axis.set_yticks([])
    axes[-1].set_xlabel("step")
    figure.colorbar(image, ax=axes[1:], label="weight of a slot", fraction=0.03)
    slots = episode["written"].shape[1]
    figure.suptitle(f"Where the policy writes and reads: {slots} slots, one episode")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Parses the command line, plays and draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policy", type=Path, help="version folder of an export")
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    policy = load_policy(arguments.policy)
    environment = load(policy.manifest["environment"]["id"], seed=0)
    draw(play(policy, environment), arguments.picture)


if __name__ == "__main__":
    main()
