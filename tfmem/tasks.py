"""The algorithmic tasks of Graves et al., "Neural Turing Machines" (2014), as batches for Keras.

Each task draws batches of one length and has an oracle that answers from the inputs alone. A batch fits
`model.fit(batch.inputs, batch.targets, sample_weight=batch.mask)` and needs no TensorFlow.

Example:
  >>> task = Copy()
  >>> batch = task.sample(np.random.default_rng(0), batch_size=32, length=20)
  >>> wrong_bits(task.oracle(batch.inputs), batch)
  0.0
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tfmem.errors import require


class Batch(NamedTuple):
    """Sequences of one length: what is shown, what is to be answered, and where an answer counts."""

    inputs: np.ndarray  # [B, T, features] float32
    targets: np.ndarray  # [B, T, outputs] float32, 0 or 1
    mask: np.ndarray  # [B, T] float32, 1 where the targets count


def wrong_bits(probabilities: np.ndarray, batch: Batch) -> float:
    """The mean number of wrong bits in a sequence.

    Args:
      probabilities: `[B, T, outputs]`; a bit is 1 where its probability is above ½.
      batch: the batch that was answered.
    """
    wrong = (np.asarray(probabilities) > 0.5) != (batch.targets > 0.5)
    return float((wrong * batch.mask[..., np.newaxis]).sum() / len(wrong))


def batches(
    sample: Callable[..., Batch], rng: np.random.Generator, *, batch_size: int, **sizes: Sequence[int]
) -> Iterator[tuple[np.ndarray, ...]]:
    """Batches without end for `model.fit`, each of sizes drawn from those given.

    Example:
      >>> train = batches(Copy().sample, np.random.default_rng(0), batch_size=32, length=range(1, 21))
      >>> inputs, targets, mask = next(train)

    Args:
      sample: a task's method of that name.
      rng: draws sizes and sequences.
      batch_size: sequences in a batch.
      **sizes: for each size that `sample` takes, those to draw from.
    """
    while True:
        chosen = {name: int(rng.choice(list(choices))) for name, choices in sizes.items()}
        yield tuple(sample(rng, batch_size=batch_size, **chosen))


def _answers(features: np.ndarray, start: int, answer: np.ndarray) -> Batch:
    """A batch whose answers `[B, n, outputs]` begin at step `start`; `features` is padded to their end."""
    size, length, width = len(answer), start + answer.shape[1], features.shape[-1]
    inputs = np.zeros([size, length, width], np.float32)
    inputs[:, : features.shape[1]] = features
    targets = np.zeros([size, length, answer.shape[-1]], np.float32)
    targets[:, start:] = answer
    mask = np.zeros([size, length], np.float32)
    mask[:, start:] = 1
    return Batch(inputs, targets, mask)


@dataclass(frozen=True)
class _BitTask:
    """Vectors of bits and two channels besides are shown; vectors of bits are to be answered."""

    bits: int = 8

    @property
    def features(self) -> int:
        """Width of the inputs."""
        return self.bits + 2

    @property
    def outputs(self) -> int:
        """Width of the targets."""
        return self.bits


@dataclass(frozen=True)
class Copy(_BitTask):
    """Repeat a sequence of random bits after it has ended.

    Inputs are the bits, a channel that marks the start and one that marks the end; the answer follows.
    """

    def sample(self, rng: np.random.Generator, *, batch_size: int, length: int) -> Batch:
        """`batch_size` sequences of `length` vectors of bits."""
        require(length >= 1, "length", length, "at least 1")
        bits = rng.integers(0, 2, [batch_size, length, self.bits])
        shown = np.zeros([batch_size, length + 2, self.features])
        shown[:, 0, self.bits] = 1
        shown[:, 1:-1, : self.bits] = bits
        shown[:, -1, self.bits + 1] = 1
        return _answers(shown, length + 2, bits)

    def oracle(self, inputs: np.ndarray) -> np.ndarray:
        """The right answer, `[B, T, outputs]`."""
        end = int(inputs[0, :, self.bits + 1].argmax())
        answer = np.zeros([*inputs.shape[:2], self.outputs])
        answer[:, end + 1 :] = inputs[:, 1:end, : self.bits]
        return answer


@dataclass(frozen=True)
class RepeatCopy(_BitTask):
    """Repeat a sequence of random bits several times, then say that it is over.

    The bits stand between two marks in one channel. At the second mark another channel shows the number of
    repeats, less the mean and divided by the standard deviation of the numbers from 1 to `most_repeats`, as
    Graves et al. do. The answer's last channel is 1 after the last repeat.
    """

    most_repeats: int = 10  # at least 2

    def __post_init__(self):
        require(self.most_repeats >= 2, "most_repeats", self.most_repeats, "at least 2")

    @property
    def _mean_and_deviation(self) -> tuple[float, float]:
        """Of a number drawn uniformly from 1 to n: (n + 1) / 2 and √((n² − 1) / 12)."""
        return (self.most_repeats + 1) / 2, ((self.most_repeats**2 - 1) / 12) ** 0.5

    @property
    def outputs(self) -> int:
        """Width of the targets."""
        return self.bits + 1

    def sample(self, rng: np.random.Generator, *, batch_size: int, length: int, repeats: int) -> Batch:
        """`batch_size` sequences of `length` vectors of bits, to be repeated `repeats` times."""
        require(length >= 1, "length", length, "at least 1")
        require(repeats >= 1, "repeats", repeats, "at least 1")
        bits = rng.integers(0, 2, [batch_size, length, self.bits])
        shown = np.zeros([batch_size, length + 2, self.features])
        shown[:, 0, self.bits] = 1
        shown[:, 1:-1, : self.bits] = bits
        mean, deviation = self._mean_and_deviation
        shown[:, -1, self.bits] = 1
        shown[:, -1, self.bits + 1] = (repeats - mean) / deviation
        return _answers(shown, length + 2, self._answer(bits, repeats))

    def _answer(self, bits: np.ndarray, repeats: int) -> np.ndarray:
        length = bits.shape[1]
        answer = np.zeros([len(bits), length * repeats + 1, self.outputs])
        answer[:, :-1, :-1] = np.tile(bits, [1, repeats, 1])
        answer[:, -1, -1] = 1
        return answer

    def oracle(self, inputs: np.ndarray) -> np.ndarray:
        """The right answer, `[B, T, outputs]`."""
        end = int(inputs[0, :, self.bits].nonzero()[0][1])
        mean, deviation = self._mean_and_deviation
        repeats = round(float(inputs[0, end, self.bits + 1]) * deviation + mean)
        answer = np.zeros([*inputs.shape[:2], self.outputs])
        answer[:, end + 1 :] = self._answer(inputs[:, 1:end, : self.bits], repeats)
        return answer


@dataclass(frozen=True)
class AssociativeRecall(_BitTask):
    """Name the item that followed the one asked for.

    An item is `item_length` vectors of bits after a delimiter; the query repeats one item, but the last,
    between delimiters of another channel. Items of one sequence are all different.
    """

    bits: int = 6
    item_length: int = 3

    def sample(self, rng: np.random.Generator, *, batch_size: int, items: int) -> Batch:
        """`batch_size` sequences of `items` items."""
        size = self.item_length * self.bits
        require(2 <= items <= 2**size, "items", items, f"between 2 and {2**size}")
        codes = np.stack([rng.choice(2**size, items, replace=False) for _ in range(batch_size)])
        flat = (codes[..., np.newaxis] >> np.arange(size)) & 1
        bits = flat.reshape(batch_size, items, self.item_length, self.bits)
        asked = rng.integers(0, items - 1, batch_size)
        each, step = np.arange(batch_size), self.item_length + 1
        shown = np.zeros([batch_size, step * (items + 1) + 1, self.features])
        for i in range(items + 1):
            item = bits[:, i] if i < items else bits[each, asked]
            shown[:, step * i, self.bits + (i == items)] = 1
            shown[:, step * i + 1 : step * (i + 1), : self.bits] = item
        shown[:, -1, self.bits + 1] = 1
        return _answers(shown, shown.shape[1], bits[each, asked + 1])

    def oracle(self, inputs: np.ndarray) -> np.ndarray:
        """The right answer, `[B, T, outputs]`."""
        step = self.item_length + 1
        query = int(inputs[0, :, self.bits + 1].argmax())
        shown = inputs[:, :query, : self.bits].reshape(len(inputs), -1, step, self.bits)[:, :, 1:]
        asked = inputs[:, query + 1 : query + step, : self.bits]
        matches = (shown == asked[:, np.newaxis]).all((-1, -2)).argmax(-1)
        answer = np.zeros([*inputs.shape[:2], self.outputs])
        answer[:, query + step + 1 :] = shown[np.arange(len(inputs)), matches + 1]
        return answer


@dataclass(frozen=True)
class PrioritySort(_BitTask):
    """Answer with the vectors of highest priority, highest first.

    Inputs are the bits, the priority in [-1, 1), and a channel that marks the end.
    """

    def sample(self, rng: np.random.Generator, *, batch_size: int, items: int, answers: int) -> Batch:
        """`batch_size` sequences of `items` vectors; the `answers` first by priority are asked for."""
        require(1 <= answers <= items, "answers", answers, f"between 1 and items = {items}")
        bits = rng.integers(0, 2, [batch_size, items, self.bits])
        shown = np.zeros([batch_size, items + 1, self.features])
        shown[:, :-1, : self.bits] = bits
        # float32 from the start, so that the inputs order as the answers do.
        priority = rng.uniform(-1, 1, [batch_size, items]).astype(np.float32)
        shown[:, :-1, self.bits] = priority
        shown[:, -1, self.bits + 1] = 1
        order = np.argsort(-priority, axis=1, kind="stable")[:, :answers]
        return _answers(shown, items + 1, np.take_along_axis(bits, order[..., np.newaxis], axis=1))

    def oracle(self, inputs: np.ndarray) -> np.ndarray:
        """The right answer, `[B, T, outputs]`."""
        end = int(inputs[0, :, self.bits + 1].argmax())
        answers = inputs.shape[1] - end - 1
        order = np.argsort(-inputs[:, :end, self.bits], axis=1, kind="stable")[:, :answers]
        answer = np.zeros([*inputs.shape[:2], self.outputs])
        answer[:, end + 1 :] = np.take_along_axis(
            inputs[:, :end, : self.bits], order[..., np.newaxis], axis=1
        )
        return answer
