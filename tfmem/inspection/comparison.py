"""Two policies on the same episodes."""

from dataclasses import dataclass

import numpy as np

from tfmem.environments import GymnasiumEnvironment
from tfmem.errors import require
from tfmem.inspection.trace import Explained, Trace, trace


@dataclass(frozen=True)
class Comparison:
    """Two policies, A and B, on episodes of E seeds.

    Attributes:
      seeds: `[E]` int.
      returns: `[E, 2]`, of A and of B.
      first_difference: `[E]` int, the first step at which their actions differ; -1 where they never do. Where
        an environment depends on its seed and the actions alone, both have seen the same up to that step.
    """

    seeds: np.ndarray
    returns: np.ndarray
    first_difference: np.ndarray

    @property
    def mean_returns(self) -> tuple[float, float]:
        """Of A and of B."""
        a, b = self.returns.mean(axis=0)
        return float(a), float(b)


def compare(
    a: Explained,
    b: Explained,
    environment: GymnasiumEnvironment,
    *,
    seeds: range,
    max_steps: int | None = None,
) -> Comparison:
    """Plays the episodes of `seeds` with both policies.

    Args:
      a: the one policy; see `trace`.
      b: the other; it must fit the same environment.
      environment: one environment.
      seeds: of the episodes.
      max_steps: episodes are cut after so many.

    Raises:
      InvalidInput: when there is no seed, or as `trace` does.

    Example:
      >>> comparison = compare(before, after, environment, seeds=range(10))
      >>> comparison.mean_returns, comparison.first_difference
    """
    require(len(seeds) >= 1, "seeds", seeds, "at least one")
    returns, first = [], []
    for seed in seeds:
        episodes = [
            trace(policy, environment, seed=seed, gamma=1.0, max_steps=max_steps) for policy in (a, b)
        ]
        returns.append([episode.total_reward for episode in episodes])
        first.append(first_difference(*episodes))
    return Comparison(np.asarray(seeds), np.asarray(returns), np.asarray(first))


def first_difference(a: Trace, b: Trace) -> int:
    """The first step at which two episodes have another action, or one has ended; -1 where there is none."""
    length = min(len(a), len(b))
    differ = np.flatnonzero(a.action[:length] != b.action[:length])
    if differ.size:
        return int(differ[0])
    return -1 if len(a) == len(b) else length
