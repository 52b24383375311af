"""Which failures are tried again, and when.

Every call of a policy server is a pure function of its inputs, the memory being one of them, so that one
whose answer was lost may be sent again.
"""

import time
from typing import Any

import tenacity

from tfmem.serving.client.errors import ServerError

ATTEMPTS = 5
# Not reached, too many requests, unavailable. Bad input stays bad; and after a timeout no time is left.
_WORTH_ANOTHER_TRY = (None, 429, 503)


def options(timeout_s: float) -> dict[str, Any]:
    """Arguments of tenacity's `Retrying` and `AsyncRetrying`: at most `ATTEMPTS` within the time."""
    return {
        "retry": tenacity.retry_if_exception(_worth_another_try),
        # Random and up to twice as long each time: clients refused together do not return together.
        "wait": tenacity.wait_random_exponential(multiplier=0.1, max=1.0),
        "stop": tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_before_delay(timeout_s),
        "reraise": True,
    }


def _worth_another_try(error: BaseException) -> bool:
    return isinstance(error, ServerError) and error.status in _WORTH_ANOTHER_TRY


class Deadline:
    """The time that is left of `timeout_s` for a call and its retries."""

    def __init__(self, timeout_s: float):
        self._end = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """The seconds left, more than zero: transports take zero for no limit."""
        return max(1e-3, self._end - time.monotonic())
