"""Which views an episode gets, and what the page fills them with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from bokeh.models import Range1d

from tfmem.inspection.report import plots
from tfmem.inspection.report.contents import Episode

# Below it a Q-value stands for an action that is not allowed.
NOT_ALLOWED = -1e9


@dataclass(frozen=True)
class View:
    """A plot and how the page fills it.

    Attributes:
      name: of the plot.
      title: a few words above it.
      plot: the Bokeh figure.
      filled: what the page's script is told: the kind of view, whose arrays, which of them.
    """

    name: str
    title: str
    plot: Any
    filled: dict[str, Any]


@dataclass(frozen=True)
class Section:
    """Views of one kind of one episode, under a heading and one sentence.

    Attributes:
      anchor: its id in the page.
      heading: its heading.
      about: one sentence that says what the views show.
      views: the plots.
      numbers: `(episode, array)` whose values at the step the section tells in a table, by their axes' names.
    """

    anchor: str
    heading: str
    about: str
    views: Sequence[View]
    numbers: dict[str, Any] | None = field(default=None)


def timelines(episodes: Sequence[Episode], x_range: Range1d) -> Section:
    """Return, reward and TD error over time, the episodes in the same plots."""
    names = [episode.name for episode in episodes]
    views = []
    for array, title in (
        ("return_so_far", "Return so far"),
        ("reward", "Reward"),
        ("td_error", "TD error"),
    ):
        filled = {"kind": "lines", "array": array, "episodes": list(range(len(episodes)))}
        plot = plots.timeline(f"line-{array}", x_range, title.lower(), names)
        views.append(View(f"line-{array}", title, plot, filled))
    return Section(
        "over-time",
        "Over time",
        "The return is the sum of the rewards so far; the TD error is by how much the reward and what the "
        "policy then expected were better than it had expected.",
        views,
    )


def q_bars(index: int, episode: Episode) -> View:
    """The Q-values at the step."""
    values = episode.trace.q_values
    allowed = values[values > NOT_ALLOWED]
    name = f"q-{index}"
    plot = plots.bars(
        name,
        actions=values.shape[1],
        colour=plots.EPISODES[index],
        low=float(allowed.min()),
        high=float(allowed.max()),
    )
    return View(name, "Q-values", plot, {"kind": "bars", "episode": index, "array": "q_values"})


def memory_sections(index: int, episode: Episode, x_range: Range1d) -> Iterator[Section]:
    """What an episode shows of attention and memory, as far as its policy has any."""
    state = episode.trace.state
    attention = state.get("attention")
    if attention is not None and attention.ndim == 2:
        yield _attention(index, attention, x_range)
    if "read_weights" in state:
        yield _heads(
            *(index, "read_weights", state["read_weights"], x_range, "What it reads"),
            "Each picture is one read head: a column is a step, a row a slot of the memory, and the stronger "
            "the colour, the more of that slot the head reads.",
        )
    if "write_weights" in state:
        yield _heads(
            *(index, "write_weights", state["write_weights"], x_range, "What it writes"),
            "Each picture is one write head: the stronger the colour, the more of that slot is written over "
            "at that step.",
        )
    if "memory" in state:
        yield _memory(index, state["memory"])
    for name in ("hidden", "cell"):
        if name in state and state[name].ndim == 2:
            yield _units(index, name, state[name], x_range)


def _attention(index: int, values: np.ndarray, x_range: Range1d) -> Section:
    name = f"attention-{index}"
    plot = plots.heat_map(
        name, x_range, rows=values.shape[1], label="steps ago", low=0, high=_greatest(values)
    )
    filled = {
        "kind": "heat",
        "episode": index,
        "array": "attention",
        "head": 0,
        "newest_last": True,
        "row": "{} steps ago",
    }
    return Section(
        f"attention-section-{index}",
        "Attention over the past",
        "A column is a step, a row is how many steps ago something was seen, and the stronger the colour, "
        "the more the policy attends to it.",
        [View(name, "Attention", plot, filled)],
        {"episode": index, "array": "attention", "row": "steps ago", "column": "weight", "newest_last": True},
    )


def _heads(index: int, array: str, values: np.ndarray, x_range: Range1d, heading: str, about: str) -> Section:
    heads, slots = values.shape[1:]
    views = []
    for head in range(heads):
        name = f"{array}-{index}-{head}"
        plot = plots.heat_map(name, x_range, rows=slots, label="slot", low=0, high=_greatest(values))
        filled = {"kind": "heat", "episode": index, "array": array, "head": head, "row": "slot {}"}
        views.append(View(name, f"Head {head + 1}", plot, filled))
    numbers = {"episode": index, "array": array, "row": "slot", "column": "head", "rows_last": True}
    return Section(f"{array}-section-{index}", heading, about, views, numbers)


def _memory(index: int, values: np.ndarray) -> Section:
    slots, width = values.shape[1:]
    name = f"memory-{index}"
    limit = _greatest(np.abs(values))
    plot = plots.matrix(name, rows=slots, columns=width, low=-limit, high=limit)
    filled = {"kind": "matrix", "episode": index, "array": "memory"}
    numbers = {"episode": index, "array": "memory", "row": "slot", "column": "component"}
    return Section(
        f"memory-section-{index}",
        "What is in memory",
        "The memory after the step: a row is a slot, and its colours are the numbers stored there, blue "
        "above zero and orange below.",
        [View(name, "Memory at this step", plot, filled)],
        numbers,
    )


def _units(index: int, array: str, values: np.ndarray, x_range: Range1d) -> Section:
    limit = _greatest(np.abs(values))
    name = f"{array}-{index}"
    plot = plots.heat_map(name, x_range, rows=values.shape[1], label="unit", low=-limit, high=limit)
    filled = {"kind": "heat", "episode": index, "array": array, "head": 0, "row": "unit {}"}
    return Section(
        f"{array}-section-{index}",
        f"The LSTM's {array} state",
        "A column is a step and a row one of the numbers that the policy carries along, blue above zero and "
        "orange below.",
        [View(name, array.capitalize(), plot, filled)],
        {"episode": index, "array": array, "row": "unit", "column": "value"},
    )


def _greatest(values: np.ndarray) -> float:
    return float(values.max()) or 1.0
