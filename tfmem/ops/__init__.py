"""Pure tensor functions: attention scores, addressing, read and write, linear recurrences.

No variables and no layers live here; `tfmem.layers` builds on these functions.
"""

from tfmem import _keras  # noqa: F401  before TF-Agents and TensorFlow Probability
from tfmem.ops.addressing import advance, advance_sequence
from tfmem.ops.attention import additive_scores, attend, dot_product_scores, masked_softmax
from tfmem.ops.chunked import chunked_read
from tfmem.ops.content_addressing import content_weights, interpolate, sharpen, shift
from tfmem.ops.lstm import lstm
from tfmem.ops.memory import erase_and_add, read, write
from tfmem.ops.recurrence import linear_recurrence
from tfmem.ops.unroll import unroll
from tfmem.ops.usage import least_used, track_usage

__all__ = [
    "additive_scores",
    "advance",
    "advance_sequence",
    "attend",
    "chunked_read",
    "content_weights",
    "dot_product_scores",
    "erase_and_add",
    "interpolate",
    "least_used",
    "linear_recurrence",
    "lstm",
    "masked_softmax",
    "read",
    "sharpen",
    "shift",
    "track_usage",
    "unroll",
    "write",
]
