"""What a policy attended to, read and wrote: episodes as arrays, and what changes when memory is taken."""

from tfmem.inspection.evidence import Effect, evidence
from tfmem.inspection.summary import Reach, Summary, summarize
from tfmem.inspection.trace import Trace, trace

__all__ = ["Effect", "Reach", "Summary", "Trace", "evidence", "summarize", "trace"]
