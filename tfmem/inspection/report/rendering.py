"""The page's text: its template, with Bokeh's plots and the episodes' values in it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bokeh.document import Document
from bokeh.resources import Resources
from jinja2 import Environment, PackageLoader

from tfmem.inspection.report import plots, views
from tfmem.inspection.report.contents import Report
from tfmem.inspection.report.material import Material, aside
from tfmem.networks.memory_q_network import FORBIDDEN, REGION_ATTENTION

_OF_AN_OBSERVATION = "observation"


def bokeh_javascript() -> str:
    """Bokeh's core in JavaScript, without its widgets, tables and WebGL."""
    return "\n".join(Resources(mode="inline", components=["bokeh"], log_level="error").js_raw)


def render(report: Report, materials: Sequence[Material], *, library: str, arrays: str | None) -> str:
    """The page.

    Args:
      report: what to show.
      materials: of its episodes.
      library: Bokeh's JavaScript.
      arrays: name of the file with all arrays, where there is one.
    """
    steps = max(len(episode.trace) for episode in report.episodes)
    over_time = views.timelines(report.episodes, plots.time_range(steps))
    bars = [views.q_bars(i, episode) for i, episode in enumerate(report.episodes)]
    memories = [
        # Without memory an episode may last much longer: these pictures have their own episode's length.
        (episode, list(views.memory_sections(i, episode, plots.time_range(len(episode.trace)))))
        for i, episode in enumerate(report.episodes)
        if episode.detailed
    ]
    sections = [over_time, *(section for _, found in memories for section in found)]
    all_views = [*bars, *(view for section in sections for view in section.views)]
    colours = plots.EPISODES[: len(report.episodes)]
    document = Document()
    for view in all_views:
        document.add_root(view.plot)
    told = {
        "steps": steps,
        "episodes": [_episode(*pair) for pair in zip(report.episodes, materials, strict=True)],
        "views": [{"name": view.name, **view.filled} for view in all_views],
        "document": document.to_json(deferred=False),
        "palettes": plots.PALETTES,
        "forbidden": FORBIDDEN,
    }
    environment = Environment(
        loader=PackageLoader("tfmem.inspection.report", "template"), autoescape=True, trim_blocks=True
    )
    return environment.get_template("page.html").render(
        report=report,
        steps=steps,
        episodes=list(zip(report.episodes, materials, bars, colours, strict=True)),
        over_time=over_time,
        memories=memories,
        thinned={episode.name: one.thinned for episode, one in zip(report.episodes, materials, strict=True)},
        arrays=arrays,
        library=library,
        told=_for_script(told),
        label=label,
        overlay=REGION_ATTENTION,
        aside=aside,
    )


def label(name: str) -> str:
    """A part of the observation, or of the state, in words."""
    part = name.removeprefix(f"{_OF_AN_OBSERVATION}_").replace("_", " ")
    return f"part {part}" if part.isdigit() else part


def _episode(episode: Any, material: Material) -> dict[str, Any]:
    return {
        "name": episode.name,
        "steps": len(episode.trace),
        "arrays": {name: asdict(one) for name, one in material.arrays.items()},
        "pictures": {name: asdict(one) for name, one in material.pictures.items()},
        "observation": [{"name": name, "label": label(name)} for name in material.observation],
    }


def _for_script(value: Any) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(value, separators=(",", ":")).replace("</", "<\\/").replace("<!--", "<\\!--")
