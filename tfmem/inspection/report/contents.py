"""What a report says, before it becomes a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tfmem.inspection.trace import Trace


@dataclass(frozen=True)
class Episode:
    """An episode in a report.

    Attributes:
      name: a few words, such as "With memory".
      trace: what happened.
      detailed: also show what was attended to, read and written, and the memory.
      asides: a number more to tell of each step, `[T]`, by a few words that say what it is.
    """

    name: str
    trace: Trace
    detailed: bool = True
    asides: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Fact:
    """A figure of the summary: its name, its value as text, and one sentence that says what it means."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Table:
    """A table of a report, under its heading and one sentence; cells are text."""

    heading: str
    about: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Report:
    """What a page shows.

    Attributes:
      title: the page's heading.
      about: one sentence below it: which policy, where, from which seed.
      episodes: beside each other, under one scrubber.
      facts: the summary.
      tables: below the episodes, such as causal evidence.
    """

    title: str
    about: str
    episodes: Sequence[Episode]
    facts: Sequence[Fact] = ()
    tables: Sequence[Table] = ()
