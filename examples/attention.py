"""Trains an attention or memory layer to recall the one vector that was marked, and draws what it looked at.

    python examples/attention.py soft docs/images/soft_attention.png
    python examples/attention.py hard docs/images/hard_attention.png
    python examples/attention.py attentive_memory docs/images/attentive_memory_cell.png
    python examples/attention.py external_memory docs/images/external_memory.png

Twelve vectors of bits are shown, one of them marked. Attention sees all of them at once. The cells see one
after the other and answer after the last.
"""

import tfmem.quiet  # isort: skip  (before anything that imports TensorFlow)
import tfmem.xla  # noqa: F401  # isort: skip  (before XLA compiles)

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from tfmem.layers import AttentiveMemoryCell, ExternalMemory, HardAttention, SoftAttention

STEPS, BITS, EXAMPLES, EPOCHS = 12, 4, 8_192, 15
CELLS = {
    "attentive_memory": lambda: AttentiveMemoryCell(units=16, slots=4, width=8, window=3),
    "external_memory": lambda: ExternalMemory(slots=4, width=8, write_addressing="direct"),
}
ATTENTION = {
    "soft": lambda: SoftAttention(16),
    "hard": lambda: HardAttention(16, "straight_through"),
}


def sample(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors with a mark, `[B, T, bits + 1]`, and the marked one, `[B, bits]`."""
    bits = rng.integers(0, 2, [size, STEPS, BITS])
    marked = rng.integers(0, STEPS, size)
    mark = np.eye(STEPS)[marked][..., np.newaxis]
    x = np.concatenate([bits, mark], axis=-1).astype(np.float32)
    return x, bits[np.arange(size), marked].astype(np.float32)


def make_model(name: str) -> tuple[tf.keras.Model, tf.keras.Model | None]:
    """The model to train and, of attention, one that gives its weights, `[B, T]`."""
    inputs = tf.keras.Input([STEPS, BITS + 1])
    if name in CELLS:
        read, weigh = tf.keras.layers.RNN(CELLS[name]())(inputs), None
    else:
        read, weights = ATTENTION[name]()(inputs)
        weigh = tf.keras.Model(inputs, weights)
    return tf.keras.Model(inputs, tf.keras.layers.Dense(BITS, activation="sigmoid")(read)), weigh


def weights_over_time(cell: tf.keras.layers.Layer, x: np.ndarray) -> dict[str, np.ndarray]:
    """What the cell looked at, and where it wrote, in each step of the first sequence, `[T, n]` each."""
    states, rows = cell.get_initial_state(batch_size=len(x)), []
    for step in tf.unstack(x, axis=1):
        _, states = cell(step, states)
        rows.append([z[0].numpy().squeeze() for z in states])
    parts = [np.stack(part) for part in zip(*rows, strict=True)]
    if isinstance(cell, ExternalMemory):
        return {"read from slot": parts[1], "written": parts[2]}
    recent, slots = np.split(parts[-1], [cell.window], axis=1)
    return {"looked back, latest on top": recent, "looked at slot": slots}


def draw(x: np.ndarray, weights: dict[str, np.ndarray], path: Path) -> None:
    """What was shown and what was looked at, one above the other, over the steps of a sequence."""
    rows = {"bits and mark": x, **weights}
    heights = [row.shape[1] for row in rows.values()]
    figure, axes = plt.subplots(
        len(rows),
        figsize=(7, 0.8 + 0.22 * sum(heights)),
        height_ratios=heights,
        sharex=True,
        layout="constrained",
    )
    for axis, (label, values) in zip(axes, rows.items(), strict=True):
        image = axis.imshow(values.T, aspect="auto", cmap="magma", vmin=0, vmax=1, origin="lower")
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
        axis.set_yticks([])
    axes[-1].set_xlabel("step")
    figure.colorbar(image, ax=axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Parses the command line, trains, tests and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("layer", choices=[*ATTENTION, *CELLS])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    arguments = parser.parse_args()
    tf.keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    model, weigh = make_model(arguments.layer)
    model.compile(tf.keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=["binary_accuracy"])
    model.fit(*sample(rng, EXAMPLES), batch_size=64, epochs=arguments.epochs)
    x, marked = sample(rng, 1_000)
    print(f"right bits: {model.evaluate(x, marked, verbose=0)[1]:.3f}")
    x = x[x[:, 3, -1] == 1][:1]  # marked early, so that it has to be kept
    looked_at = {"looked at": weigh(x).numpy().T} if weigh else weights_over_time(model.layers[1].cell, x)
    draw(x[0], looked_at, arguments.picture)


if __name__ == "__main__":
    main()
