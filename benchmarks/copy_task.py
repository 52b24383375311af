"""The copy task: sequences until fewer than 0.01 bits of a sequence are wrong, ten seeds of each layer.

    python benchmarks/copy_task.py scan_ntm
    python benchmarks/copy_task.py ntm_cell

Lengths 1 to 20 (from a fixed choice of eight, each compiled once), 8 bits, 128 slots of 20 numbers,
100 controller units, batches of 32. A run has converged when the mean over its latest 100 batches is below
0.01; the sequences counted include those batches. Then it answers sequences longer than any it has seen.

Writes benchmarks/results/copy_<layer>.json. All seeds share the compiled step, and start from
weights and optimiser state of their own. Seconds do not count compiling.
"""

import tfmem.quiet  # noqa: F401  # isort: skip  (before anything that imports TensorFlow)

import argparse
import collections
import json
import statistics
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from machine import provenance

from tfmem.layers import NTMCell, ScanNTM
from tfmem.tasks import Batch, Copy, wrong_bits

RESULTS = Path(__file__).parent / "results"
TASK = Copy()
LENGTHS = (1, 2, 3, 5, 8, 12, 16, 20)
LONGER = (40, 80, 120)
BATCH, SLOTS, WIDTH, UNITS = 32, 128, 20, 100
LEARNING_RATE = 3e-3
BUDGET = 100_000
WINDOW = 100


def make_model(layer: str) -> tf.keras.Model:
    inputs = tf.keras.Input([None, TASK.features])
    if layer == "scan_ntm":
        y, _ = ScanNTM(SLOTS, WIDTH, controller_units=UNITS)(inputs)
    elif layer == "ntm_cell":
        y = tf.keras.layers.RNN(NTMCell(SLOTS, WIDTH, UNITS), return_sequences=True)(inputs)
    else:
        y = tf.keras.layers.LSTM(256, return_sequences=True)(inputs)
    return tf.keras.Model(inputs, tf.keras.layers.Dense(TASK.outputs)(y))


class Learner:
    """A model and its compiled step, set back to the start of a seed by `restart`."""

    def __init__(self, layer: str):
        self._layer = layer
        self.model = make_model(layer)
        self._optimizer = tf.keras.optimizers.Adam(LEARNING_RATE, global_clipnorm=10.0)
        self._optimizer.build(self.model.trainable_variables)
        self.step = tf.function(self._step, jit_compile=True)
        self.answer = tf.function(self.model, jit_compile=True)

    def restart(self, seed: int) -> None:
        tf.keras.utils.set_random_seed(seed)
        self.model.set_weights(make_model(self._layer).get_weights())
        for variable in self._optimizer.variables:
            if "learning_rate" not in variable.name:
                variable.assign(tf.zeros_like(variable))

    def _step(self, batch: Batch) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = self.model(batch.inputs)
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(batch.targets, logits)
            counted = entropy * batch.mask[..., tf.newaxis]
            loss = tf.reduce_sum(counted) / tf.reduce_sum(batch.mask) / TASK.outputs
        gradients = tape.gradient(loss, self.model.trainable_variables)
        self._optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))
        wrong = tf.cast((logits > 0) != (batch.targets > 0.5), tf.float32)
        return tf.reduce_sum(wrong * batch.mask[..., tf.newaxis]) / BATCH


def run(learner: Learner, seed: int) -> dict:
    learner.restart(seed)
    rng = np.random.default_rng(seed)
    recent: collections.deque[float] = collections.deque(maxlen=WINDOW)
    curve, sequences, started = [], 0, time.perf_counter()
    while sequences < BUDGET:
        batch = TASK.sample(rng, batch_size=BATCH, length=int(rng.choice(LENGTHS)))
        recent.append(float(learner.step(Batch(*map(tf.constant, batch)))))
        sequences += BATCH
        if sequences % (50 * BATCH) == 0:
            curve.append([sequences, round(statistics.mean(list(recent)[-50:]), 4)])
        if len(recent) == WINDOW and statistics.mean(recent) < 0.01:
            break
    seconds = time.perf_counter() - started
    longer = {}
    for length in LONGER:
        batch = TASK.sample(rng, batch_size=BATCH, length=length)
        logits = learner.answer(tf.constant(batch.inputs)).numpy()
        longer[str(length)] = round(wrong_bits(logits > 0, batch), 3)
    return {
        "seed": seed,
        "converged": statistics.mean(recent) < 0.01,
        "sequences": sequences,
        "seconds": round(seconds, 1),
        "wrong_bits_at_length": longer,
        "curve": curve,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("layer", choices=["scan_ntm", "ntm_cell", "lstm"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--print-only", action="store_true", help="write no result, for tuning")
    arguments = parser.parse_args()
    tf.get_logger().setLevel("ERROR")  # a trace for each length is meant
    learner = Learner(arguments.layer)
    rng = np.random.default_rng(0)
    for length in LENGTHS:  # compile before anything is timed
        batch = TASK.sample(rng, batch_size=BATCH, length=length)
        learner.step(Batch(*map(tf.constant, batch)))
    runs = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        runs.append(run(learner, seed))
        print({k: v for k, v in runs[-1].items() if k != "curve"}, flush=True)
        sequences = [r["sequences"] for r in runs]
        content = {
            "task": f"copy, lengths {LENGTHS}, {TASK.bits} bits, batches of {BATCH}",
            "layer": arguments.layer,
            "learning_rate": LEARNING_RATE,
            **provenance(),
            "converged": sum(r["converged"] for r in runs),
            "median_sequences": statistics.median(sequences),
            "worst_sequences": max(sequences),
            "runs": runs,
        }
        if not arguments.print_only:
            path = RESULTS / f"copy_{arguments.layer}.json"
            path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
