"""Episodes as a page to look at: one HTML file, offline, with everything under one scrubber."""

from tfmem.inspection.report.contents import Episode, Fact, Report, Table
from tfmem.inspection.report.page import Written, write_page

__all__ = ["Episode", "Fact", "Report", "Table", "Written", "write_page"]
