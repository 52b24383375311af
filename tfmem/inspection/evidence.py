"""Whether the picture is true: what a policy does once what it reads, or does not read, is taken from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfmem.environments import GymnasiumEnvironment
from tfmem.inspection.perturbations import NONE, Perturbation, Steps, perturbations
from tfmem.inspection.summary import ATTENTION, WRITES, written_share
from tfmem.inspection.trace import Arrays, Explained, Trace

# Steps that are asked for at a time: as many as an export is warmed up for.
BATCH = 64


@dataclass(frozen=True)
class Effect:
    """What changes when something is taken from memory before a step, at each of T steps by itself.

    Attributes:
      target: `[T]` int, the slot, or the place in the window of past inputs, oldest first; -1 where there
        was nothing to take, and so nothing changed.
      q_change: `[T]`, `max_a |Q'(a) − Q(a)|`.
      chosen_change: `[T]`, `Q'(a) − Q(a)` of the action a that the policy had chosen.
      action: `[T]` int32, the greedy action without what was taken.
      action_changed: `[T]` bool, whether that is another one.
      regret: `[T]`, `Q(a) − Q(a')`, what the policy with its memory whole expects to lose by that; near 0
        where actions do not matter.
      attended: `[T]` int, the place in the window, this step's input last, that is then attended to most:
        with hard attention, what would have been selected. None without attention.
      total_reward: the return of an episode, of the same seed, in which it is taken at every step; each
        action is chosen without it, and the memory carried on is whole. None where that was not played.
    """

    target: np.ndarray
    q_change: np.ndarray
    chosen_change: np.ndarray
    action: np.ndarray
    action_changed: np.ndarray
    regret: np.ndarray
    attended: np.ndarray | None
    total_reward: float | None

    @property
    def rate(self) -> float:
        """The share of steps, of those with something to take, where the action changes."""
        return float(self.action_changed[self.target != NONE].mean())

    @property
    def mean_q_change(self) -> float:
        """The mean of `q_change` over the same steps."""
        return float(self.q_change[self.target != NONE].mean())

    @property
    def mean_regret(self) -> float:
        """The mean of `regret` over the same steps."""
        return float(self.regret[self.target != NONE].mean())


def evidence(
    episode: Trace,
    policy: Explained,
    environment: GymnasiumEnvironment,
    *,
    seed: int,
    play: bool = True,
) -> dict[str, Effect]:
    """Redoes each step of an episode with something taken from its memory.

    Args:
      episode: a trace of `policy` in `environment`, its memory not ablated.
      policy: what acted.
      environment: where.
      seed: of the episode.
      play: also play an episode for each perturbation, for its return.

    Returns:
      The effects by the names of `tfmem.inspection.perturbations`, without those that found nothing to take.
      The attended place of an episode as it was is `episode.state["attention"].argmax(axis=1)`.

    Example:
      >>> effects = evidence(episode, policy, environment, seed=0)
      >>> effects["most_read"].rate, effects["least_read"].rate
    """
    before = {
        name: np.concatenate([episode.initial_state[name][np.newaxis], after[:-1]])
        for name, after in episode.state.items()
    }
    effects: dict[str, Effect] = {}
    if not before:
        return effects
    steps = Steps(before, episode.state, _written_before(episode.state))
    whole = _redo(policy, environment, episode, before)
    for name, perturbation in perturbations(episode.initial_state).items():
        target = perturbation.target(steps)
        target[0] = NONE  # an episode starts from the initial state, whatever is given
        if (target == NONE).all():
            continue
        taken = perturbation.take(before, target, episode.initial_state)
        total_reward = None
        if play:
            # An episode that was cut is compared with one of the same length.
            max_steps = len(episode) if episode.truncated else None
            total_reward = _play(
                policy, environment, perturbation, episode.initial_state, seed=seed, max_steps=max_steps
            )
        effects[name] = _effect(target, whole, _redo(policy, environment, episode, taken), total_reward)
    return effects


def _written_before(state: Arrays) -> np.ndarray:
    """The share of each slot's content that was written before each step, `[T, N]`."""
    left = np.cumprod(1.0 - _replaced(state), axis=0)
    return 1.0 - np.concatenate([np.ones_like(left[:1]), left[:-1]])


def _replaced(state: Arrays) -> np.ndarray:
    """The share of each slot that a step's writes replace, `[B, N]`; `[B, 0]` without slots."""
    return written_share(state[WRITES]) if WRITES in state else np.zeros([len(next(iter(state.values()))), 0])


def _redo(policy, environment, episode: Trace, before: Arrays) -> Mapping[str, np.ndarray]:
    """Every step of an episode from other states, `[T, ...]`: Q-values, actions, attention."""
    is_first = np.arange(len(episode)) == 0
    parts: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(episode), BATCH):
        chunk = slice(start, start + BATCH)
        observation = tf.nest.pack_sequence_as(
            environment.observation_spec(), [part[chunk] for part in episode.observation.values()]
        )
        state = {name: tf.constant(part[chunk]) for name, part in before.items()}
        action, q_values, after, _ = policy.explain(observation, is_first[chunk], state)
        attention = after.get(ATTENTION, np.zeros([len(action), 0]))
        parts.append((np.asarray(action), np.asarray(q_values), np.asarray(attention)))
    joined = (np.concatenate(part) for part in zip(*parts, strict=True))
    return dict(zip(("action", "q_values", "attention"), joined, strict=True))


def _effect(target, whole, taken, total_reward: float | None) -> Effect:
    change = taken["q_values"] - whole["q_values"]
    steps = np.arange(len(target))
    chosen, other = whole["action"], taken["action"]
    return Effect(
        target=target,
        q_change=np.abs(change).max(axis=1),
        chosen_change=change[steps, chosen],
        action=other,
        action_changed=other != chosen,
        regret=whole["q_values"][steps, chosen] - whole["q_values"][steps, other],
        attended=taken["attention"].argmax(axis=1) if taken["attention"].size else None,
        total_reward=total_reward,
    )


def _play(
    policy: Explained,
    environment: GymnasiumEnvironment,
    perturbation: Perturbation,
    initial: Arrays,
    *,
    seed: int,
    max_steps: int | None,
) -> float:
    """The return of an episode in which every action is chosen without what is then taken."""
    environment.seed(seed)
    time_step = environment.reset()
    before: dict[str, Any] = {
        name: np.repeat(part[np.newaxis], environment.batch_size, axis=0) for name, part in initial.items()
    }
    unwritten = np.ones_like(_replaced(before))
    total_reward, step = 0.0, 0
    while not time_step.is_last()[0] and step != max_steps:
        seen = time_step.observation, time_step.is_first()
        action, _, after, _ = policy.explain(*seen, before)
        after = {name: np.asarray(part) for name, part in after.items()}
        if step:
            target = perturbation.target(Steps(before, after, 1.0 - unwritten))
            taken = perturbation.take(before, target, initial)
            action, _, _, _ = policy.explain(*seen, {n: tf.constant(part) for n, part in taken.items()})
        unwritten = unwritten * (1.0 - _replaced(after))
        time_step = environment.step(np.asarray(action))
        total_reward, step, before = total_reward + float(time_step.reward[0]), step + 1, after
    return total_reward
