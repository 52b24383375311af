"""The page's plots, without their data: the page has every array once and fills the plots itself.

A plot's parts are found by name: `NAME`, its source `NAME:data` (of the i-th line `NAME:data:i`), its cursor
`NAME:cursor`, its colours `NAME:colours`.
"""

from collections.abc import Sequence
from typing import Any

from bokeh.models import BasicTicker, ColumnDataSource, HoverTool, LinearColorMapper, Range1d
from bokeh.models.annotations import Span
from bokeh.palettes import interp_palette
from bokeh.plotting import figure

# One for each episode; both can be told from white and from black.
EPISODES = ("#3b82f6", "#f97316")
# By the page's mode, from nothing to much, and from negative to positive.
PALETTES = {
    "light": {
        "amount": interp_palette(("#ffffff", "#bfdbfe", "#3b82f6", "#1e3a8a", "#0b1437"), 256),
        "signed": interp_palette(("#9a3412", "#fb923c", "#ffffff", "#60a5fa", "#1e3a8a"), 256),
    },
    "dark": {
        "amount": interp_palette(("#141a24", "#1e3a8a", "#3b82f6", "#7dd3fc", "#f0f9ff"), 256),
        "signed": interp_palette(("#fdba74", "#c2410c", "#141a24", "#2563eb", "#93c5fd"), 256),
    },
}


def time_range(steps: int) -> Range1d:
    """The axis of plots over time: a column for each step."""
    return Range1d(start=-0.5, end=steps - 0.5)


def timeline(name: str, x_range: Range1d, label: str, names: Sequence[str]) -> Any:
    """Lines over time, one for each of `names`."""
    plot = _figure(name, height=150, x_range=x_range, x_axis_label="step", y_axis_label=label)
    for i, line in enumerate(names):
        source = ColumnDataSource(data={"x": [], "y": []}, name=f"{name}:data:{i}")
        plot.step(
            "x", "y", source=source, mode="center", color=EPISODES[i], line_width=2 - 0.5 * i, name=line
        )
    plot.add_tools(HoverTool(tooltips=[("", "$name"), ("step", "@x"), (label, "@y")], mode="vline"))
    _add_cursor(plot, name)
    return plot


def heat_map(name: str, x_range: Range1d, *, rows: int, label: str, low: float, high: float) -> Any:
    """Time by `rows`."""
    plot = _figure(
        name,
        height=170,
        x_range=x_range,
        y_range=Range1d(start=-0.5, end=rows - 0.5),
        x_axis_label="step",
        y_axis_label=label,
    )
    _add_image(plot, name, low, high, [("step", "$x{0}"), (label, "$y{0}"), ("value", "@image{0.0000}")])
    _add_cursor(plot, name)
    return plot


def matrix(name: str, *, rows: int, columns: int, label: str, low: float, high: float) -> Any:
    """A memory at one step; `label` says what a row of it is."""
    plot = _figure(
        name,
        height=max(180, min(420, 6 * rows)),
        x_range=Range1d(start=-0.5, end=columns - 0.5),
        y_range=Range1d(start=-0.5, end=rows - 0.5),
        x_axis_label="component",
        y_axis_label=label,
    )
    _add_image(plot, name, low, high, [(label, "$y{0}"), ("component", "$x{0}"), ("value", "@image{0.0000}")])
    return plot


def bars(name: str, *, actions: int, colour: str, low: float, high: float) -> Any:
    """A bar for each action's Q-value, and the chosen one filled."""
    room = 0.05 * (high - low) or 1.0
    plot = _figure(
        name,
        height=190,
        x_range=Range1d(start=-0.6, end=actions - 0.4),
        y_range=Range1d(start=min(low, 0) - room, end=max(high, 0) + room),
        x_axis_label="action",
        y_axis_label="Q-value",
    )
    plot.xaxis.ticker = BasicTicker(min_interval=1, num_minor_ticks=0)
    source = ColumnDataSource(data={"x": [], "top": [], "alpha": []}, name=f"{name}:data")
    plot.vbar(
        "x",
        0.7,
        "top",
        source=source,
        line_color=colour,
        fill_color=colour,
        fill_alpha="alpha",
        line_width=1.5,
    )
    plot.add_tools(HoverTool(tooltips=[("action", "@x"), ("Q-value", "@top{0.0000}")]))
    return plot


def _figure(name: str, **options) -> Any:
    plot = figure(
        name=name,
        tools="",
        toolbar_location=None,
        sizing_mode="stretch_width",
        min_border_left=52,
        min_border_right=8,
        background_fill_color=None,
        border_fill_color=None,
        **options,
    )
    plot.axis.minor_tick_line_color = None
    plot.axis.axis_label_text_font_style = "normal"
    plot.axis.axis_label_text_font_size = "11px"
    plot.axis.major_label_text_font_size = "11px"
    return plot


def _add_image(plot: Any, name: str, low: float, high: float, tooltips: list[tuple[str, str]]) -> None:
    kind = "signed" if low < 0 else "amount"
    colours = LinearColorMapper(
        palette=PALETTES["light"][kind], low=low, high=high, name=f"{name}:colours", tags=[kind]
    )
    source = ColumnDataSource(data={"image": [], "dw": [], "dh": []}, name=f"{name}:data")
    plot.image("image", x=-0.5, y=-0.5, dw="dw", dh="dh", source=source, color_mapper=colours)
    plot.grid.visible = False
    plot.add_tools(HoverTool(tooltips=tooltips))


def _add_cursor(plot: Any, name: str) -> None:
    plot.add_layout(
        Span(dimension="height", location=0, line_color="#ef4444", line_width=1.5, name=f"{name}:cursor")
    )
