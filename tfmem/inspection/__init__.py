"""What a policy attended to, read and wrote: episodes as arrays, and what changes when memory is taken."""

from tfmem.inspection.comparison import Comparison, compare
from tfmem.inspection.evidence import Effect, evidence
from tfmem.inspection.figures import draw
from tfmem.inspection.summary import Reach, Summary, summarize
from tfmem.inspection.trace import Trace, trace

__all__ = [
    "Comparison",
    "Effect",
    "Reach",
    "Summary",
    "Trace",
    "compare",
    "draw",
    "evidence",
    "summarize",
    "trace",
]
