"""Trains a layer on an algorithmic task with model.fit and draws where it wrote and read, step by step.

    python examples/algorithmic_task.py copy scan_ntm docs/images/copy_scan_ntm.png
    python examples/algorithmic_task.py copy ntm_cell docs/images/copy_ntm_cell.png
    python examples/algorithmic_task.py priority_sort scan_ntm sorted.png

Copy and priority sort take a minute or two. Repeat copy and associative recall need more than what is given
here to be solved: benchmarks/algorithmic_tasks.py has what solves them.
"""

import tfmem.quiet  # isort: skip  (before anything that imports TensorFlow)
import tfmem.xla  # noqa: F401  # isort: skip  (before XLA compiles)

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from tfmem.layers import NTMCell, ScanNTM, TemperatureSchedule
from tfmem.tasks import AssociativeRecall, Copy, PrioritySort, RepeatCopy, batches, wrong_bits

LEARNING_RATE = {"scan_ntm": 3e-3, "ntm_cell": 2e-3}


@dataclass(frozen=True)
class Example:
    """A task, the sizes that it is trained on, each drawn from those given, and those of the test."""

    task: Any
    train: dict[str, Sequence[int]]
    test: tuple[dict[str, int], ...]  # the first is drawn
    batches: int = 600


EXAMPLES = {
    "copy": Example(
        task=Copy(),
        train={"length": (1, 2, 3, 5, 8, 12, 16, 20)},
        test=({"length": 20}, {"length": 40}),
    ),
    "repeat_copy": Example(
        task=RepeatCopy(most_repeats=4),
        train={"length": (1, 2, 4, 6), "repeats": (1, 2, 4)},
        test=({"length": 6, "repeats": 4}, {"length": 8, "repeats": 4}),
        batches=2_000,
    ),
    "associative_recall": Example(
        task=AssociativeRecall(),
        train={"items": (2, 3, 4)},
        test=({"items": 4}, {"items": 6}),
        batches=2_000,
    ),
    "priority_sort": Example(
        task=PrioritySort(),
        train={"items": (4, 8), "answers": (2, 4)},
        test=({"items": 8, "answers": 4}, {"items": 12, "answers": 4}),
        batches=2_000,
    ),
}


def memory_layer(name: str) -> tf.keras.layers.Layer:
    """ScanNTM, or NTMCell in Keras' RNN."""
    if name == "scan_ntm":
        return ScanNTM(slots=64, width=20, read_heads=("forward", "forward"))
    return tf.keras.layers.RNN(NTMCell(slots=64, width=20), return_sequences=True)


def train(
    example: Example, layer: tf.keras.layers.Layer, learning_rate: float, updates: int
) -> tf.keras.Model:
    """Batches of 32; ScanNTM's heads are made to move exactly in the second half."""
    inputs = tf.keras.Input([None, example.task.features])
    y = tf.nest.flatten(layer(inputs))[0]
    answer = tf.keras.layers.Dense(example.task.outputs, activation="sigmoid")(y)
    model = tf.keras.Model(inputs, answer)
    optimizer = tf.keras.optimizers.Adam(learning_rate, global_clipnorm=10.0)
    model.compile(optimizer, "binary_crossentropy", jit_compile=True)
    sharpen = TemperatureSchedule(layer, lambda batch: float(np.clip(2 - 2 * batch / updates, 0.25, 1)))
    callbacks = [sharpen] if isinstance(layer, ScanNTM) else []
    train_on = batches(example.task.sample, np.random.default_rng(0), batch_size=32, **example.train)
    model.fit(train_on, steps_per_epoch=updates, callbacks=callbacks)
    return model


def weights_over_time(layer: tf.keras.layers.Layer, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The write head's weights and each read head's, `[T, N]` and `[H, T, N]`, in the first sequence of x."""
    written, read = [], []
    if isinstance(layer, ScanNTM):
        state = layer.get_initial_state(len(x))
        for step in tf.unstack(x, axis=1):
            _, state = layer.step(step, state)
            written.append(state["write_weights"][0, 0])
            read.append(state["read_weights"][0])
    else:
        states = layer.cell.get_initial_state(batch_size=len(x))
        for step in tf.unstack(x, axis=1):
            _, states = layer.cell(step, states)
            read.append(states[1][0])
            written.append(states[2][0, 0])
    return np.stack(written), np.stack(read, axis=1)


def draw(batch, answer: np.ndarray, written: np.ndarray, read: np.ndarray, path: Path) -> None:
    """Inputs, answers and weights, all over time."""
    rows = [
        ("shown", batch.inputs[0]),
        ("answered", answer[0] * batch.mask[0][:, np.newaxis]),
        ("written", written),
        *((f"read head {i + 1}", weights) for i, weights in enumerate(read)),
    ]
    figure, axes = plt.subplots(len(rows), 1, figsize=(8, 1.6 * len(rows)), sharex=True, layout="constrained")
    for axis, (label, values) in zip(axes, rows, strict=True):
        axis.imshow(values.T, aspect="auto", cmap="magma", vmin=0, vmax=1, origin="lower")
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
        axis.set_yticks([])
    axes[-1].set_xlabel("step")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Parses the command line, trains, tests and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", choices=EXAMPLES)
    parser.add_argument("layer", choices=LEARNING_RATE)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--batches", type=int, help="of 32 sequences to train on")
    arguments = parser.parse_args()
    example = EXAMPLES[arguments.task]
    tf.keras.utils.set_random_seed(0)
    layer = memory_layer(arguments.layer)
    updates = arguments.batches or example.batches
    model = train(example, layer, LEARNING_RATE[arguments.layer], updates)
    for sizes in example.test:
        batch = example.task.sample(np.random.default_rng(1), batch_size=100, **sizes)
        wrong = wrong_bits(model.predict(batch.inputs, verbose=0), batch)
        print(", ".join(f"{name} {size}" for name, size in sizes.items()) + f": {wrong:.2f} wrong bits")
    batch = example.task.sample(np.random.default_rng(1), batch_size=1, **example.test[0])
    draw(
        batch,
        model.predict(batch.inputs, verbose=0),
        *weights_over_time(layer, batch.inputs),
        arguments.picture,
    )


if __name__ == "__main__":
    main()
