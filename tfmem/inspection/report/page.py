"""A report as one HTML file that needs nothing else."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfmem.errors import InvalidInput, require
from tfmem.inspection.report.contents import Report
from tfmem.inspection.report.material import every_array, gather

# Of the whole file.
MOST_BYTES = 5_000_000
# What is left of it for what is neither Bokeh nor an episode.
_SCAFFOLD = 250_000


@dataclass(frozen=True)
class Written:
    """What has been written.

    Attributes:
      page: the HTML file.
      arrays: the file of all arrays beside it, where the page does not hold every step of each; else None.
      bytes: of the page.
    """

    page: Path
    arrays: Path | None
    bytes: int


def write_page(report: Report, path: str | Path) -> Written:
    """Writes a report as one HTML file that works offline.

    The file takes at most 5 MB: what does not fit is thinned in time, which the page says, and then all
    arrays of the episodes lie beside it as `NAME.npz`, to which the page links.

    Args:
      report: what to show; one or two episodes.
      path: of the file.

    Raises:
      InvalidInput: when there are not one or two episodes, or Bokeh is not installed.

    Example:
      >>> write_page(Report("Recall", "Seed 0.", [Episode("With memory", episode)]), "recall.html")
    """
    require(len(report.episodes) in (1, 2), "the number of episodes", len(report.episodes), "1 or 2")
    try:
        from tfmem.inspection.report.rendering import bokeh_javascript, render
    except ModuleNotFoundError as error:
        package = (error.name or "bokeh").partition(".")[0]
        raise InvalidInput(f"a report needs {package}: pip install 'tfmem[report]'") from error
    library = bokeh_javascript()
    # An episode without details takes little: the other gets what it leaves.
    left = MOST_BYTES - len(library) - _SCAFFOLD
    materials = {}
    order = sorted(range(len(report.episodes)), key=lambda i: report.episodes[i].detailed)
    for done, i in enumerate(order):
        materials[i] = gather(report.episodes[i], budget=left // (len(order) - done))
        left -= materials[i].characters
    path = Path(path)
    thinned = any(material.thinned for material in materials.values())
    beside = path.with_suffix(".npz") if thinned else None
    if beside is not None:
        np.savez_compressed(beside, **every_array(report.episodes))
    text = render(
        report,
        [materials[i] for i in range(len(materials))],
        library=library,
        arrays=beside.name if beside else None,
    )
    path.write_text(text, encoding="utf-8")
    return Written(path, beside, len(text.encode()))
