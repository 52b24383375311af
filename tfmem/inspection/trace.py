"""One episode of a policy as arrays: what it saw, did and expected, and its memory at every step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tfmem.environments import GymnasiumEnvironment
from tfmem.errors import require
from tfmem.serving import wire

Arrays = Mapping[str, np.ndarray]


class Explained(Protocol):
    """What tracing asks of a policy, in this process or behind a server."""

    def initial_state(self, batch_size: int) -> dict[str, Any]:
        """The state at an episode's start."""

    def explain(self, observation: Any, is_first: Any, state: Any) -> tuple[Any, Any, Any, Any]:
        """`(action, q_values, next state, what else the signature `explain` gives, by name)`."""


@dataclass(frozen=True)
class Trace:
    """An episode of T steps; step t is what was seen, then the action, then the reward for it.

    Attributes:
      observation: by the names of the wire, `[T, ...]` each.
      frames: pictures that the environment renders of what was seen, `[T, height, width, 3]` uint8; None
        where it renders none.
      action: `[T]` int32.
      q_values: `[T, actions]`, of what was seen.
      reward: `[T]`, for the action.
      td_error: `[T]`, `r_t + γ max_a Q_{t+1}(a) − Q_t(a_t)`, the future 0 after a termination.
      state: by name `[T, ...]`, after the step: `memory [T, N, D]`, `read_weights [T, R, N]`,
        `write_weights [T, W, N]`, `attention [T, K]` over the last K inputs, oldest first, or what else the
        policy remembers.
      initial_state: by name `[...]`, before the first step.
      explained: what else the policy shows of a step, by name `[T, ...]`.
      truncated: whether the episode was cut rather than ended.
    """

    observation: Arrays
    frames: np.ndarray | None
    action: np.ndarray
    q_values: np.ndarray
    reward: np.ndarray
    td_error: np.ndarray
    state: Arrays
    initial_state: Arrays
    explained: Arrays
    truncated: bool

    def __len__(self) -> int:
        return len(self.action)

    @property
    def total_reward(self) -> float:
        """The episode's return, undiscounted."""
        return float(self.reward.sum())


def trace(
    policy: Explained,
    environment: GymnasiumEnvironment,
    *,
    seed: int,
    gamma: float,
    max_steps: int | None = None,
    ablate_memory: bool = False,
) -> Trace:
    """Plays one greedy episode and keeps everything.

    Args:
      policy: what acts: `tfmem.agents.MemoryPolicy`, what `tfmem.export.load_policy` gives, or one behind a
        server.
      environment: of several, such as the players of one game, the first's episode is kept.
      seed: of the episode.
      gamma: discount of the TD errors.
      max_steps: the episode is cut after so many.
      ablate_memory: put the initial memory in place of the carried one at every step.

    Raises:
      InvalidInput: when there is no step to play.
    """
    require(max_steps is None or max_steps >= 1, "max_steps", max_steps, "at least 1")
    environment.seed(seed)
    time_step = environment.reset()
    state = policy.initial_state(environment.batch_size)
    initial_state = {name: np.asarray(part)[0] for name, part in state.items()}
    rows: list[dict[str, Any]] = []
    frames: list[Any] = []
    while not time_step.is_last()[0] and len(rows) != max_steps:
        frames.append(environment.render())
        is_first = time_step.is_first() | ablate_memory
        action, q_values, state, explained = policy.explain(time_step.observation, is_first, state)
        seen = time_step.observation
        time_step = environment.step(np.asarray(action))
        rows.append(
            {
                "observation": wire.flatten_observation(seen),
                "action": action,
                "q_values": q_values,
                "reward": time_step.reward,
                "state": dict(state),
                "explained": dict(explained),
            }
        )
    # What comes after a cut is worth what the policy expects of it.
    _, after, _, _ = policy.explain(time_step.observation, time_step.is_first() | ablate_memory, state)
    terminated = bool(time_step.is_last()[0] and not time_step.discount[0])
    episode = _stack(rows)
    future = np.append(
        episode["q_values"].max(axis=1)[1:], 0.0 if terminated else np.max(np.asarray(after)[0])
    )
    taken = np.take_along_axis(episode["q_values"], episode["action"][:, np.newaxis], axis=1)[:, 0]
    return Trace(
        **episode,
        frames=None if frames[0] is None else np.stack(frames),
        td_error=episode["reward"] + gamma * future - taken,
        initial_state=initial_state,
        truncated=not terminated,
    )


def _stack(rows: list[Any]) -> Any:
    """Rows of nested dicts of `[B, ...]` as nested dicts of the first one's `[T, ...]`."""
    if isinstance(rows[0], Mapping):
        return {name: _stack([row[name] for row in rows]) for name in rows[0]}
    return np.stack([np.asarray(row)[0] for row in rows])
