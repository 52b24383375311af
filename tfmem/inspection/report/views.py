"""Which views an episode gets, and what the page fills them with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from bokeh.models import Range1d

from tfmem.inspection.report import plots
from tfmem.inspection.report.contents import Episode
from tfmem.networks.memory_q_network import FORBIDDEN


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
    allowed = values[values > FORBIDDEN]
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
        yield _slots(
            *(index, "memory", state["memory"], "What is in memory", "Memory at this step", "slot"),
            "The memory after the step: a row is a slot, and its colours are the numbers stored there, blue "
            "above zero and orange below.",
        )
    if "action_slots" in state:
        yield _slots(
            *(index, "action_slots", state["action_slots"], "What each action found"),
            *("Slots of the actions at this step", "action"),
            "A row is an action, and its colours are what is kept of what was seen after it was last taken, "
            "blue above zero and orange below; the last number is 1 once it has been taken.",
        )
    for name in ("hidden", "cell"):
        if name in state and state[name].ndim == 2:
            yield _units(index, name, state[name], x_range)


def _attention(index: int, values: np.ndarray, x_range: Range1d) -> Section:
    view = _heat(index, "attention", values, x_range, title="Attention", row="{} steps ago", newest_last=True)
    return Section(
        f"attention-section-{index}",
        "Attention over the past",
        "A column is a step, a row is how many steps ago something was seen, and the stronger the colour, "
        "the more the policy attends to it.",
        [view],
        {"episode": index, "array": "attention", "row": "steps ago", "column": "weight", "newest_last": True},
    )


def _heads(index: int, array: str, values: np.ndarray, x_range: Range1d, heading: str, about: str) -> Section:
    views = [
        _heat(index, array, values, x_range, title=f"Head {head + 1}", row="slot {}", head=head)
        for head in range(values.shape[1])
    ]
    numbers = {"episode": index, "array": array, "row": "slot", "column": "head", "rows_last": True}
    return Section(f"{array}-section-{index}", heading, about, views, numbers)


def _slots(
    index: int, array: str, values: np.ndarray, heading: str, title: str, row: str, about: str
) -> Section:
    slots, width = values.shape[1:]
    name = f"{array}-{index}"
    limit = _greatest(np.abs(values))
    plot = plots.matrix(name, rows=slots, columns=width, label=row, low=-limit, high=limit)
    filled = {"kind": "matrix", "episode": index, "array": array}
    numbers = {"episode": index, "array": array, "row": row, "column": "component"}
    return Section(f"{array}-section-{index}", heading, about, [View(name, title, plot, filled)], numbers)


def _units(index: int, array: str, values: np.ndarray, x_range: Range1d) -> Section:
    view = _heat(index, array, values, x_range, title=array.capitalize(), row="unit {}", signed=True)
    return Section(
        f"{array}-section-{index}",
        f"The LSTM's {array} state",
        "A column is a step and a row one of the numbers that the policy carries along, blue above zero and "
        "orange below.",
        [view],
        {"episode": index, "array": array, "row": "unit", "column": "value"},
    )


def _heat(
    index: int,
    array: str,
    values: np.ndarray,
    x_range: Range1d,
    *,
    title: str,
    row: str,
    head: int = 0,
    signed: bool = False,
    newest_last: bool = False,
) -> View:
    """Time by the last axis of `values`; `row` names one of its rows, with `{}` for the number."""
    name = f"{array}-{index}-{head}"
    high = _greatest(np.abs(values) if signed else values)
    label = row.replace("{}", "").strip()
    plot = plots.heat_map(
        name, x_range, rows=values.shape[-1], label=label, low=-high if signed else 0, high=high
    )
    filled = {"kind": "heat", "episode": index, "array": array, "head": head, "row": row}
    return View(name, title, plot, filled | ({"newest_last": True} if newest_last else {}))


def _greatest(values: np.ndarray) -> float:
    return float(values.max()) or 1.0
