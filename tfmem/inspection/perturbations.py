"""What can be taken from a policy's memory before a step: one slot, one past input, or everything."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfmem.inspection.summary import ATTENTION, READS, WRITES, written_share
from tfmem.inspection.trace import Arrays

# In place of a slot or an input: there is none to take.
NONE = -1
# A slot counts as written when at least this share of its content is from the episode.
WRITTEN = 0.5
# A head looks back when at least this share of what it reads was there before the step.
REMEMBERED = 0.5


@dataclass(frozen=True)
class Steps:
    """B steps of a policy with slots, inputs of the recent past, both, or neither.

    Attributes:
      before: the states that they began with, by name `[B, ...]`.
      after: the states that they ended with.
      written: `[B, N]`, the share of each slot's content that was written before the step; `[B, 0]` without
        slots.
    """

    before: Arrays
    after: Arrays
    written: np.ndarray

    def remembered_reads(self) -> np.ndarray:
        """How much each head reads, `[B, R, N]`, of what each slot held before the step: reads come after the
        step's own writes, so of a slot that these replace by a share u they see `1 − u`.
        """
        return self.after[READS] * (1.0 - written_share(self.after[WRITES]))[:, np.newaxis]

    def past_attention(self) -> np.ndarray:
        """Attention to inputs before this step's, `[B, K-1]`; -1 where there was none in the episode yet."""
        return np.where(self.before["past_valid"] > 0, self.after[ATTENTION][:, :-1], -1.0)


@dataclass(frozen=True)
class Perturbation:
    """Takes something from the state before a step.

    Attributes:
      part: the part of the state that it takes a row of; None for all of it.
      target: which row, `[B]` int, `NONE` where there is nothing to take.
    """

    part: str | None
    target: Callable[[Steps], np.ndarray]

    def take(self, before: Arrays, target: np.ndarray, initial: Arrays) -> dict[str, np.ndarray]:
        """The states `before` with the rows `target` put to what they are in `initial`, by name `[...]`."""
        taken = {name: np.array(part) for name, part in before.items()}
        (steps,) = np.nonzero(target != NONE)
        if self.part is not None:
            taken[self.part][steps, target[steps]] = initial[self.part][target[steps]]
        else:
            for name, part in taken.items():
                part[steps] = initial[name]
        return taken


def perturbations(initial: Arrays) -> dict[str, Perturbation]:
    """Those that a policy's memory, by its initial state, allows.

    | name | takes |
    | --- | --- |
    | `most_read` | the slot that the read heads together read most |
    | `most_read_by_I` | the same of read head I, from 0; nothing while it reads what the step itself writes |
    | `least_read` | of the slots that were written, the one that they read least |
    | `most_attended`, `least_attended` | the past input that is attended to most, or least |
    | `everything` | the whole memory |

    An erased slot has its initial content, a masked input counts as none. What is read most goes by
    `Steps.remembered_reads`, so that a head that reads what the step itself writes does not decide it; what
    is read least by the plain weights, as a slot may keep more of its content under a write than they say.
    """
    found: dict[str, Perturbation] = {}
    if {READS, WRITES, "memory"} <= set(initial):
        found["most_read"] = Perturbation("memory", _most_read)
        for head in range(len(initial[READS])):
            found[f"most_read_by_{head}"] = Perturbation("memory", _most_read_by(head))
        found["least_read"] = Perturbation("memory", _least_read)
    if {ATTENTION, "past_valid"} <= set(initial):
        found["most_attended"] = Perturbation("past_valid", _most_attended)
        found["least_attended"] = Perturbation("past_valid", _least_attended)
    return found | {"everything": Perturbation(None, _everything)}


def _most_read(steps: Steps) -> np.ndarray:
    return steps.remembered_reads().sum(axis=1).argmax(axis=1)


def _most_read_by(head: int) -> Callable[[Steps], np.ndarray]:
    def target(steps: Steps) -> np.ndarray:
        remembered = steps.remembered_reads()[:, head]
        looks_back = remembered.sum(axis=1) >= REMEMBERED * steps.after[READS][:, head].sum(axis=1)
        return np.where(looks_back, remembered.argmax(axis=1), NONE)

    return target


def _least_read(steps: Steps) -> np.ndarray:
    read = np.where(steps.written >= WRITTEN, steps.after[READS].sum(axis=1), np.inf)
    return np.where(np.isfinite(read.min(axis=1)), read.argmin(axis=1), NONE)


def _most_attended(steps: Steps) -> np.ndarray:
    attention = steps.past_attention()
    return np.where(attention.max(axis=1) >= 0, attention.argmax(axis=1), NONE)


def _least_attended(steps: Steps) -> np.ndarray:
    attention = steps.past_attention()
    least = np.where(attention >= 0, attention, np.inf).argmin(axis=1)
    return np.where(attention.max(axis=1) >= 0, least, NONE)


def _everything(steps: Steps) -> np.ndarray:
    return np.zeros(len(next(iter(steps.before.values()))), int)
