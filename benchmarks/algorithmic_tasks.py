"""The algorithmic tasks: sequences until a layer solves them, then sequences longer than any it has seen.

    python benchmarks/algorithmic_tasks.py copy scan_ntm
    python benchmarks/algorithmic_tasks.py copy ntm_cell
    python benchmarks/algorithmic_tasks.py copy lstm
    python benchmarks/algorithmic_tasks.py repeat_copy ntm_cell_lstm
    python benchmarks/algorithmic_tasks.py associative_recall ntm_cell_lstm

128 slots of 20 numbers, 100 controller units, batches of 32 of one length each. A run has converged when the
mean over its latest 100 batches is below 0.01 wrong bits a sequence; the sequences counted include those
batches. Then it trains on 10,000 more of the same sequences, during which ScanNTM's temperature falls from 1
to .25, and answers longer ones, before and after. Ten seeds share the compiled step and start from weights
and optimiser state of their own; seconds do not count compiling.

Writes benchmarks/results/<task>_<model>.json after every seed.
"""

import tfmem.quiet  # noqa: F401  # isort: skip  (before anything that imports TensorFlow)

import argparse
import collections
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from machine import provenance

from tfmem.layers import NTMCell, ScanNTM
from tfmem.tasks import AssociativeRecall, Batch, Copy, RepeatCopy

RESULTS = Path(__file__).parent / "results"
BATCH, SLOTS, WIDTH, UNITS, LSTM_UNITS = 32, 128, 20, 100, 256
BUDGET = 100_000
AFTER = 10_000
WINDOW = 100
SOLVED = 0.01
LOWEST_TEMPERATURE = 0.25


@dataclass(frozen=True)
class Setting:
    """A task, its training batches, one of each shape, and the longer ones of the test."""

    task: Copy | RepeatCopy | AssociativeRecall
    train: Callable[[np.random.Generator], Batch]
    shapes: Callable[[np.random.Generator], list[Batch]]
    longer: dict[str, dict]


COPY, REPEAT, RECALL = Copy(), RepeatCopy(), AssociativeRecall()
# A fixed choice of lengths, so that each is compiled once.
COPY_LENGTHS = (1, 2, 3, 5, 8, 12, 16, 20)
# Repeat copy comes in 100 shapes; steps after the answer fill up to the next of these.
REPEAT_STEPS = (16, 28, 44, 68, 113)


def repeat_copy(rng: np.random.Generator, length: int, repeats: int) -> Batch:
    """A batch filled up to the next of `REPEAT_STEPS`."""
    batch = REPEAT.sample(rng, batch_size=BATCH, length=length, repeats=repeats)
    steps = batch.mask.shape[1]
    more = next(s for s in REPEAT_STEPS if s >= steps) - steps
    return Batch(*(np.pad(z, [(0, 0), (0, more), (0, 0)][: z.ndim]) for z in batch))


SETTINGS = {
    "copy": Setting(
        task=COPY,
        train=lambda rng: COPY.sample(rng, batch_size=BATCH, length=int(rng.choice(COPY_LENGTHS))),
        shapes=lambda rng: [COPY.sample(rng, batch_size=BATCH, length=n) for n in COPY_LENGTHS],
        longer={f"length {n}": {"length": n} for n in (40, 80, 120)},
    ),
    "repeat_copy": Setting(
        task=REPEAT,
        train=lambda rng: repeat_copy(rng, int(rng.integers(1, 11)), int(rng.integers(1, 11))),
        shapes=lambda rng: [repeat_copy(rng, n, n) for n in (2, 4, 5, 7, 10)],
        longer={
            "length 20, 10 times": {"length": 20, "repeats": 10},
            "length 10, 20 times": {"length": 10, "repeats": 20},
        },
    ),
    "associative_recall": Setting(
        task=RECALL,
        train=lambda rng: RECALL.sample(rng, batch_size=BATCH, items=int(rng.integers(2, 7))),
        shapes=lambda rng: [RECALL.sample(rng, batch_size=BATCH, items=n) for n in range(2, 7)],
        longer={f"{n} items": {"items": n} for n in (6, 12, 20)},
    ),
}
MODELS = {
    "scan_ntm": lambda: ScanNTM(SLOTS, WIDTH, read_heads=("forward", "forward"), controller_units=UNITS),
    "ntm_cell": lambda: tf.keras.layers.RNN(NTMCell(SLOTS, WIDTH, UNITS), return_sequences=True),
    "ntm_cell_lstm": lambda: tf.keras.layers.RNN(
        NTMCell(SLOTS, WIDTH, UNITS, controller="lstm"), return_sequences=True
    ),
    "lstm": lambda: tf.keras.layers.LSTM(LSTM_UNITS, return_sequences=True),
}
LEARNING_RATES = {"scan_ntm": 3e-3, "ntm_cell": 2e-3, "ntm_cell_lstm": 2e-3, "lstm": 3e-3}


def make_model(name: str, task) -> tuple[tf.keras.Model, tf.keras.layers.Layer]:
    inputs = tf.keras.Input([None, task.features])
    layer = MODELS[name]()
    y = tf.nest.flatten(layer(inputs))[0]
    return tf.keras.Model(inputs, tf.keras.layers.Dense(task.outputs)(y)), layer


class Learner:
    """A model and its compiled step, set back to the start of a seed by `restart`."""

    def __init__(self, name: str, task, learning_rate: float):
        self._name, self._task = name, task
        self.model, self.layer = make_model(name, task)
        self._optimizer = tf.keras.optimizers.Adam(learning_rate, global_clipnorm=10.0)
        self._optimizer.build(self.model.trainable_variables)
        self.step = tf.function(self._step, jit_compile=True)
        self.answer = tf.function(self.model, jit_compile=True)

    def restart(self, seed: int) -> None:
        tf.keras.utils.set_random_seed(seed)
        self.model.set_weights(make_model(self._name, self._task)[0].get_weights())
        for variable in self._optimizer.variables:
            if "learning_rate" not in variable.name:
                variable.assign(tf.zeros_like(variable))

    def _step(self, batch: Batch) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = self.model(batch.inputs)
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(batch.targets, logits)
            counted = entropy * batch.mask[..., tf.newaxis]
            loss = tf.reduce_sum(counted) / tf.reduce_sum(batch.mask) / self._task.outputs
        gradients = tape.gradient(loss, self.model.trainable_variables)
        self._optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))
        wrong = tf.cast((logits > 0) != (batch.targets > 0.5), tf.float32)
        return tf.reduce_sum(wrong * batch.mask[..., tf.newaxis]) / BATCH

    def on(self, batch: Batch) -> float:
        """One update; the wrong bits of a sequence."""
        return float(self.step(Batch(*map(tf.constant, batch))))


def converge(learner: Learner, setting: Setting, rng: np.random.Generator) -> dict:
    recent: collections.deque[float] = collections.deque(maxlen=WINDOW)
    curve, sequences, started, solved = [], 0, time.perf_counter(), False
    while sequences < BUDGET and not solved:
        recent.append(learner.on(setting.train(rng)))
        sequences += BATCH
        if sequences % (50 * BATCH) == 0:
            curve.append([sequences, round(statistics.mean(list(recent)[-50:]), 4)])
        solved = len(recent) == WINDOW and statistics.mean(recent) < SOLVED
    seconds = round(time.perf_counter() - started, 1)
    return {"converged": solved, "sequences": sequences, "seconds": seconds, "curve": curve}


def sharpen(learner: Learner, setting: Setting, rng: np.random.Generator) -> None:
    """Trains on; where the layer has a temperature, it falls for half of the time."""
    updates = AFTER // BATCH
    for i in range(updates):
        if hasattr(learner.layer, "temperature"):
            learner.layer.temperature.assign(max(LOWEST_TEMPERATURE, 1.0 - 2.0 * i / updates))
        learner.on(setting.train(rng))


def test(learner: Learner, setting: Setting, seed: int) -> dict[str, dict[str, float]]:
    """Wrong bits of a sequence, and the share of sequences without any, on 10 batches of each kind."""
    rng, results = np.random.default_rng(1_000_000 + seed), {}
    for name, arguments in setting.longer.items():
        wrong = []
        for _ in range(10):
            batch = setting.task.sample(rng, batch_size=BATCH, **arguments)
            logits = learner.answer(tf.constant(batch.inputs)).numpy()
            bits = ((logits > 0) != (batch.targets > 0.5)) * batch.mask[..., np.newaxis]
            wrong.append(bits.sum((1, 2)))
        wrong = np.concatenate(wrong)
        results[name] = {
            "wrong_bits": round(float(wrong.mean()), 4),
            "right": round(float((wrong == 0).mean()), 4),
        }
    return results


def run(learner: Learner, setting: Setting, seed: int) -> dict:
    learner.restart(seed)
    rng = np.random.default_rng(seed)
    result = {"seed": seed, **converge(learner, setting, rng)}
    result["longer_when_converged"] = test(learner, setting, seed)
    sharpen(learner, setting, rng)
    result["longer"] = test(learner, setting, seed)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", choices=SETTINGS)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, help="for tuning")
    parser.add_argument("--print-only", action="store_true", help="write no result, for tuning")
    arguments = parser.parse_args()
    tf.get_logger().setLevel("ERROR")  # a trace for each length is meant
    setting = SETTINGS[arguments.task]
    learning_rate = arguments.learning_rate or LEARNING_RATES[arguments.model]
    learner = Learner(arguments.model, setting.task, learning_rate)
    for batch in setting.shapes(np.random.default_rng(0)):  # compile before anything is timed
        learner.on(batch)
    runs = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        runs.append(run(learner, setting, seed))
        print({k: v for k, v in runs[-1].items() if k != "curve"}, flush=True)
        sequences = [r["sequences"] for r in runs]
        content = {
            "task": arguments.task,
            "model": arguments.model,
            "batch": BATCH,
            "learning_rate": learning_rate,
            **provenance(),
            "converged": sum(r["converged"] for r in runs),
            "median_sequences": statistics.median(sequences),
            "worst_sequences": max(sequences),
            "median_seconds": statistics.median(r["seconds"] for r in runs),
            "longer_median_wrong_bits": {
                name: statistics.median(r["longer"][name]["wrong_bits"] for r in runs)
                for name in setting.longer
            },
            "runs": runs,
        }
        if not arguments.print_only:
            path = RESULTS / f"{arguments.task}_{arguments.model}.json"
            path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
