"""Greedy evaluation of anything that acts like `tfmem.agents.MemoryPolicy`."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tfmem.environments import EnvironmentFailed, GymnasiumEnvironment
from tfmem.errors import require

# Where an episode has not ended it never will: a greedy policy does the same for ever. The Arcade Learning
# Environment cuts its games after 27,000 steps of four frames.
ENDLESS = 30_000


class EndlessEpisode(EnvironmentFailed):
    """A greedy policy's episode does not end, and the environment does not cut it."""


class Policy(Protocol):
    """What evaluation asks of a policy; see `tfmem.agents.MemoryPolicy`."""

    def initial_state(self, batch_size: int) -> dict[str, Any]:
        """The state at an episode's start."""

    def step(self, observation: Any, is_first: Any, state: Any) -> tuple[Any, Any, Any]:
        """`(action, q_values, next state)`."""


@dataclass(frozen=True)
class Evaluation:
    """Returns of the evaluated episodes, in the order of their seeds, and every action of each."""

    returns: np.ndarray  # [episodes]
    actions: list[np.ndarray]  # [steps of the episode] each

    @property
    def mean_return(self) -> float:
        """The mean over the episodes."""
        return float(np.mean(self.returns))

    @property
    def std_return(self) -> float:
        """The standard deviation over the episodes."""
        return float(np.std(self.returns))


def evaluate(
    policy: Policy,
    environment: GymnasiumEnvironment,
    *,
    episodes: int,
    seed: int,
    ablate_memory: bool = False,
) -> Evaluation:
    """Plays `episodes` whole episodes greedily.

    Episode i starts from environment seed `seed + i`, however many environments run side by side, so two
    policies, or one in process and behind a server, meet the same episodes.

    Args:
      policy: what acts.
      environment: a batch of environments; as many episodes run at a time.
      episodes: how many.
      seed: of the first episode.
      ablate_memory: put the initial memory in place of the carried one at every step.

    Raises:
      EndlessEpisode: when an episode has not ended after 30,000 steps.
    """
    require(episodes >= 1, "episodes", episodes, "at least 1")
    returns: list[float] = []
    actions: list[np.ndarray] = []
    while len(returns) < episodes:
        environment.seed(seed + len(returns))
        round_returns, round_actions = _one_episode_each(policy, environment, ablate_memory)
        returns += round_returns
        actions += round_actions
    return Evaluation(np.asarray(returns[:episodes]), actions[:episodes])


def _one_episode_each(policy, environment, ablate_memory) -> tuple[list[float], list[np.ndarray]]:
    size = environment.batch_size
    time_step = environment.reset()
    state = policy.initial_state(size)
    total = np.zeros(size)
    running = np.ones(size, bool)
    chosen: list[np.ndarray] = []
    lengths = np.zeros(size, int)
    while running.any():
        if len(chosen) == ENDLESS:
            raise EndlessEpisode(
                f"an episode has not ended after {ENDLESS} steps; limit it by the environment's argument "
                "max_episode_steps, or where it is registered"
            )
        is_first = time_step.is_first() | ablate_memory
        action, _, state = policy.step(time_step.observation, is_first, state)
        action = np.asarray(action)
        chosen.append(action)
        time_step = environment.step(action)
        total += np.where(running, time_step.reward, 0.0)
        lengths += running
        running &= ~time_step.is_last()
    by_step = np.stack(chosen)
    return list(total), [by_step[:length, i] for i, length in enumerate(lengths)]
