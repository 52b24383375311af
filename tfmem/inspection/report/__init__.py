"""Episodes as a page to look at: one HTML file, offline, with everything under one scrubber."""

from tfmem.inspection.report.contents import Episode, Fact, Report, Table
from tfmem.inspection.report.page import Written, write_page
from tfmem.inspection.report.stories import comparison_report, memory_report

__all__ = [
    "Episode",
    "Fact",
    "Report",
    "Table",
    "Written",
    "comparison_report",
    "memory_report",
    "write_page",
]
