"""What does not belong into requests of either protocol, and how kinds of it are mixed."""

import random
from collections.abc import Callable, Iterator
from typing import Any

NAN, INFINITY = float("nan"), float("inf")
HUGE = (2**31, 2**40, 2**62, 2**63 - 1)
TEXTS = ("", " ", "step\0", "../..", "é漢🙂", "a" * 5000, "%00", "{}", "-1", "None", "\u202e")


def mixed(rng: random.Random, kinds: list[tuple[int, Callable[[], Any]]]) -> Iterator[Any]:
    """Requests without end, of kinds with these weights."""
    weights = [weight for weight, _ in kinds]
    while True:
        ((_, make),) = rng.choices(kinds, weights)
        yield make()
