"""The algorithmic tasks: sequences until a layer solves them, then sequences longer than any it has seen.

    python benchmarks/algorithmic_tasks.py copy scan_ntm
    python benchmarks/algorithmic_tasks.py copy ntm_cell
    python benchmarks/algorithmic_tasks.py copy lstm
    python benchmarks/algorithmic_tasks.py repeat_copy ntm_cell_lstm
    python benchmarks/algorithmic_tasks.py associative_recall scan_ntm_stack

128 slots of 20 numbers (40 in the stack), 100 controller units; batches of sequences of one length, 32 unless
`TUNED` says otherwise. A run has converged when the mean over its latest 3,200 sequences is below 0.01 wrong
bits a sequence; the sequences counted include those. Then, but for repeat copy, it trains on 20,000 more,
during which the learning rate falls to 0 and, in copy, ScanNTM's temperature from 1 to .25. It answers longer
ones before and after that. Ten seeds share the compiled step and start from weights and optimiser state of
their own; seconds do not count compiling.

Writes benchmarks/results/<task>_<model>.json after every seed, and in the end draws all models on the task to
docs/images/<task>.png.
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
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from machine import provenance

from tfmem.layers import NTMCell, ScanNTM
from tfmem.tasks import AssociativeRecall, Batch, Copy, RepeatCopy

RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parent.parent / "docs" / "images"
SLOTS, WIDTH, STACK_WIDTH, UNITS, LSTM_UNITS = 128, 20, 40, 100, 256
WINDOW = 3_200
SOLVED = 0.01


@dataclass(frozen=True)
class Setting:
    """A task, its training batches, one of each shape, and the longer ones of the test."""

    task: Copy | RepeatCopy | AssociativeRecall
    train: Callable[[np.random.Generator, int], Batch]  # from a generator and the size of a batch
    shapes: Callable[[np.random.Generator, int], list[Batch]]
    longer: dict[str, dict]
    budget: int = 100_000  # sequences to converge in
    after: int = 20_000  # sequences to train on after it has converged
    lowest_temperature: float = 1.0  # of ScanNTM, by then


COPY, REPEAT, RECALL = Copy(), RepeatCopy(), AssociativeRecall()
# A fixed choice of lengths, so that each is compiled once.
COPY_LENGTHS = (1, 2, 3, 5, 8, 12, 16, 20)
# Repeat copy comes in 100 shapes; steps after the answer fill up to the next of these.
REPEAT_STEPS = (16, 28, 44, 68, 113)


def repeat_copy(rng: np.random.Generator, size: int, length: int, repeats: int) -> Batch:
    """A batch filled up to the next of `REPEAT_STEPS`."""
    batch = REPEAT.sample(rng, batch_size=size, length=length, repeats=repeats)
    steps = batch.mask.shape[1]
    more = next(s for s in REPEAT_STEPS if s >= steps) - steps
    return Batch(*(np.pad(z, [(0, 0), (0, more), (0, 0)][: z.ndim]) for z in batch))


SETTINGS = {
    "copy": Setting(
        task=COPY,
        train=lambda rng, size: COPY.sample(rng, batch_size=size, length=int(rng.choice(COPY_LENGTHS))),
        shapes=lambda rng, size: [COPY.sample(rng, batch_size=size, length=n) for n in COPY_LENGTHS],
        longer={f"length {n}": {"length": n} for n in (40, 80, 120)},
        lowest_temperature=0.25,
    ),
    "repeat_copy": Setting(
        task=REPEAT,
        train=lambda rng, size: repeat_copy(rng, size, int(rng.integers(1, 11)), int(rng.integers(1, 11))),
        shapes=lambda rng, size: [repeat_copy(rng, size, n, n) for n in (2, 4, 5, 7, 10)],
        longer={
            "length 20, 10 times": {"length": 20, "repeats": 10},
            "length 10, 20 times": {"length": 10, "repeats": 20},
        },
        after=0,  # its learning rate has fallen already
    ),
    "associative_recall": Setting(
        task=RECALL,
        train=lambda rng, size: RECALL.sample(rng, batch_size=size, items=int(rng.integers(2, 7))),
        shapes=lambda rng, size: [RECALL.sample(rng, batch_size=size, items=n) for n in range(2, 7)],
        longer={f"{n} items": {"items": n} for n in (6, 12, 20)},
        budget=200_000,
    ),
}


def ntm(**arguments) -> tf.keras.layers.Layer:
    return tf.keras.layers.RNN(NTMCell(SLOTS, WIDTH, UNITS, **arguments), return_sequences=True)


MODELS = {
    "scan_ntm": lambda: [ScanNTM(SLOTS, WIDTH, read_heads=("forward", "forward"), controller_units=UNITS)],
    # What came before, read by heads that lag behind, is what the second looks up by.
    "scan_ntm_stack": lambda: [
        ScanNTM(SLOTS, STACK_WIDTH, read_heads=("forward",) * 8, controller_units=UNITS),
        ScanNTM(SLOTS, STACK_WIDTH, read_heads=("content", "forward"), controller_units=UNITS),
    ],
    "ntm_cell": lambda: [ntm()],
    # Of several read heads one can look ahead, and see where the sequence ends.
    "ntm_cell_lstm": lambda: [ntm(controller="lstm", read_heads=3)],
    "lstm": lambda: [tf.keras.layers.LSTM(LSTM_UNITS, return_sequences=True)],
}


class Tuned(NamedTuple):
    """What was chosen for a model on a task; docs/learning.md says how."""

    learning_rate: float
    batch: int = 32
    clip: float = 10.0  # of the gradient's norm
    # From half of this many sequences on the learning rate falls, to a fifth of itself near their end.
    falls_by: int | None = None
    momentum: float | None = None  # of a running mean of the weights, which answers in their place
    xla: bool = True


UNTUNED = Tuned(2e-3)
TUNED = {
    ("copy", "scan_ntm"): Tuned(3e-3),
    ("copy", "ntm_cell"): Tuned(2e-3, batch=16),
    ("copy", "lstm"): Tuned(3e-3, xla=False),  # with it, twenty times slower
    ("associative_recall", "scan_ntm_stack"): Tuned(3e-3),
    ("repeat_copy", "ntm_cell_lstm"): Tuned(2e-3, batch=4, clip=1.0, falls_by=40_000, momentum=0.995),
}


def make_model(name: str, task) -> tf.keras.Model:
    inputs = y = tf.keras.Input([None, task.features])
    for layer in MODELS[name]():
        y = tf.nest.flatten(layer(y))[0]
    return tf.keras.Model(inputs, tf.keras.layers.Dense(task.outputs)(y))


class Learner:
    """A model and its compiled step, set back to the start of a seed by `restart`."""

    def __init__(self, name: str, setting: Setting, tuned: Tuned):
        self._name, self.setting, self.tuned = name, setting, tuned
        self.model = make_model(name, setting.task)
        self.answering = make_model(name, setting.task) if tuned.momentum else self.model
        self.optimizer = tf.keras.optimizers.Adam(tuned.learning_rate, global_clipnorm=tuned.clip)
        self.optimizer.build(self.model.trainable_variables)
        self._compiled_step = tf.function(self._step, jit_compile=tuned.xla)
        self.answer = tf.function(self.answering, jit_compile=tuned.xla)
        for batch in setting.shapes(np.random.default_rng(0), tuned.batch):  # before anything is timed
            self._update(batch)

    def restart(self, seed: int) -> None:
        for model in (self.model, self.answering):
            tf.keras.utils.set_random_seed(seed)
            model.set_weights(make_model(self._name, self.setting.task).get_weights())
        for variable in self.optimizer.variables:
            variable.assign(tf.zeros_like(variable))
        self.set_learning_rate(1.0)

    def set_learning_rate(self, share: float) -> None:
        self.optimizer.learning_rate.assign(share * self.tuned.learning_rate)

    def set_temperature(self, temperature: float) -> None:
        for layer in self.model.layers:
            if isinstance(layer, ScanNTM):
                layer.temperature.assign(temperature)

    def _step(self, batch: Batch) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = self.model(batch.inputs)
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(batch.targets, logits)
            counted = entropy * batch.mask[..., tf.newaxis]
            loss = tf.reduce_sum(counted) / tf.reduce_sum(batch.mask) / logits.shape[-1]
        answer = self.answering(batch.inputs) if self.tuned.momentum else logits
        gradients = tape.gradient(loss, self.model.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))
        if self.tuned.momentum:
            for mean, weight in zip(self.answering.weights, self.model.weights, strict=True):
                mean.assign_add((1.0 - self.tuned.momentum) * (weight - mean))
        wrong = tf.cast((answer > 0) != (batch.targets > 0.5), tf.float32)
        return tf.reduce_mean(tf.reduce_sum(wrong * batch.mask[..., tf.newaxis], axis=[1, 2]))

    def _update(self, batch: Batch) -> float:
        return float(self._compiled_step(Batch(*map(tf.constant, batch))))

    def train(self, rng: np.random.Generator) -> float:
        """One update on new sequences; the wrong bits of a sequence."""
        return self._update(self.setting.train(rng, self.tuned.batch))


def converge(learner: Learner, rng: np.random.Generator) -> dict:
    batch, falls_by = learner.tuned.batch, learner.tuned.falls_by
    window = WINDOW // batch
    recent: collections.deque[float] = collections.deque(maxlen=window)
    curve, sequences, started, solved = [], 0, time.perf_counter(), False
    while sequences < learner.setting.budget and not solved:
        if falls_by:
            learner.set_learning_rate(min(1.0, max(0.2, 2.0 * (1.0 - sequences / falls_by))))
        recent.append(learner.train(rng))
        sequences += batch
        if sequences % (WINDOW // 2) == 0:
            curve.append([sequences, round(statistics.mean(list(recent)[-window // 2 :]), 4)])
        solved = len(recent) == window and statistics.mean(recent) < SOLVED
    seconds = round(time.perf_counter() - started, 1)
    return {"converged": solved, "sequences": sequences, "seconds": seconds, "curve": curve}


def settle(learner: Learner, rng: np.random.Generator) -> None:
    """Trains on while the learning rate falls; the temperature does so for half of the time."""
    updates = learner.setting.after // learner.tuned.batch
    for i in range(updates):
        learner.set_learning_rate(1 - i / updates)
        learner.set_temperature(max(learner.setting.lowest_temperature, 1 - 2 * i / updates))
        learner.train(rng)


def test(learner: Learner, seed: int) -> dict[str, dict[str, float]]:
    """Wrong bits of a sequence, and the share of sequences without any, on 10 batches of 32 of each kind."""
    rng, results = np.random.default_rng(1_000_000 + seed), {}
    for name, arguments in learner.setting.longer.items():
        wrong = []
        for _ in range(10):
            batch = learner.setting.task.sample(rng, batch_size=32, **arguments)
            logits = learner.answer(tf.constant(batch.inputs)).numpy()
            bits = ((logits > 0) != (batch.targets > 0.5)) * batch.mask[..., np.newaxis]
            wrong.append(bits.sum((1, 2)))
        wrong = np.concatenate(wrong)
        results[name] = {
            "wrong_bits": round(float(wrong.mean()), 4),
            "right": round(float((wrong == 0).mean()), 4),
        }
    return results


def run(learner: Learner, seed: int) -> dict:
    learner.restart(seed)
    rng = np.random.default_rng(seed)
    result = {"seed": seed, **converge(learner, rng)}
    result["longer_when_converged"] = test(learner, seed)
    settle(learner, rng)
    result["longer"] = test(learner, seed)
    return result


def draw(task: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for i, model in enumerate(m for m in MODELS if (RESULTS / f"{task}_{m}.json").exists()):
        runs = json.loads((RESULTS / f"{task}_{model}.json").read_text())["runs"]
        for j, one in enumerate(runs):
            label = f"{model}, {len(runs)} seeds" if j == 0 else None
            axes.plot(*zip(*one["curve"], strict=True), color=f"C{i}", alpha=0.6, lw=1.2, label=label)
    axes.axhline(SOLVED, color="black", lw=0.8, ls=":")
    axes.set_yscale("symlog", linthresh=SOLVED)
    axes.set(xlabel="sequences", ylabel="wrong bits a sequence", title=f"{task}: every seed", ylim=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right")
    figure.savefig(IMAGES / f"{task}.png", dpi=130)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", choices=SETTINGS)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, help="for tuning")
    parser.add_argument("--batch", type=int, help="for tuning")
    parser.add_argument("--print-only", action="store_true", help="write no result, for tuning")
    arguments = parser.parse_args()
    tf.get_logger().setLevel("ERROR")  # a trace for each length is meant
    setting = SETTINGS[arguments.task]
    tuned = TUNED.get((arguments.task, arguments.model), UNTUNED)
    chosen = {"learning_rate": arguments.learning_rate, "batch": arguments.batch}
    tuned = tuned._replace(**{name: value for name, value in chosen.items() if value})
    learner = Learner(arguments.model, setting, tuned)
    runs = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        runs.append(run(learner, seed))
        print({k: v for k, v in runs[-1].items() if k != "curve"}, flush=True)
        sequences = [r["sequences"] for r in runs]
        content = {
            "task": arguments.task,
            "model": arguments.model,
            **tuned._asdict(),
            **provenance(),
            "converged": sum(r["converged"] for r in runs),
            "median_sequences": statistics.median(sequences),
            "worst_sequences": max(sequences),
            "median_seconds": statistics.median(r["seconds"] for r in runs),
            **{
                f"longer_median_{figure}": {
                    name: statistics.median(r["longer"][name][figure] for r in runs)
                    for name in setting.longer
                }
                for figure in ("wrong_bits", "right")
            },
            "runs": runs,
        }
        if not arguments.print_only:
            path = RESULTS / f"{arguments.task}_{arguments.model}.json"
            path.write_text(json.dumps(content, indent=1) + "\n")
    if not arguments.print_only:
        draw(arguments.task)


if __name__ == "__main__":
    main()
