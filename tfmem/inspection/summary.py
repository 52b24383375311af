"""How sharp a policy's attention, reads and writes are, which slots they use, and how far back they reach."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tfmem.inspection.trace import Arrays, Trace

# The parts of a state that are weights: over slots by head, and over the last inputs.
READS, WRITES, ATTENTION = "read_weights", "write_weights", "attention"


@dataclass(frozen=True)
class Reach:
    """How many steps ago what was looked at came in, for T steps and H heads.

    Attributes:
      mean: `[T, H]`, the mean distance in steps, over what came in during the episode; NaN where a head saw
        nothing of it.
      likeliest: `[T, H]` int, the distance with the greatest share; -1 where there is none.
      histogram: `[H, T]`, the share of all that a head saw in the episode at each distance 0 … T-1. Rows sum
        to at most 1: the rest was there from the start.
    """

    mean: np.ndarray
    likeliest: np.ndarray
    histogram: np.ndarray


@dataclass(frozen=True)
class Summary:
    """An episode's weights in numbers; what the policy does not have is missing.

    Attributes:
      entropy: in nats, by name: `read_weights [T, R]`, `write_weights [T, W]`, `attention [T]`.
      usage: the share of a head's weight that each slot got, by name: `read_weights [R, N]`,
        `write_weights [W, N]`; rows sum to 1.
      reads: how far back the read heads reach, by `read_reach`.
      attention: how far back attention reaches, with one head.
    """

    entropy: Arrays
    usage: Arrays
    reads: Reach | None
    attention: Reach | None


def summarize(episode: Trace) -> Summary:
    """Entropy, usage and reach of an episode.

    Example:
      >>> summary = summarize(trace(policy, environment, seed=0, gamma=0.99))
      >>> summary.reads.mean[-1]  # how far back each read head looks at the end
    """
    weights = {name: episode.state[name] for name in (READS, WRITES, ATTENTION) if name in episode.state}
    slotted = READS in weights and WRITES in weights
    return Summary(
        entropy={name: entropy(part) for name, part in weights.items()},
        usage={name: usage(part) for name, part in weights.items() if name != ATTENTION},
        reads=read_reach(weights[READS], weights[WRITES]) if slotted else None,
        attention=attention_reach(weights[ATTENTION]) if ATTENTION in weights else None,
    )


def entropy(weights: np.ndarray) -> np.ndarray:
    """`−Σ_i p_i log p_i` in nats of weights `[..., N]`, scaled to sum to 1; `[...]`, from 0 to `log N`."""
    total = weights.sum(axis=-1, keepdims=True, dtype=np.float64)
    shares = np.divide(weights, total, out=np.zeros(weights.shape), where=total > 0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logs).sum(axis=-1)


def usage(weights: np.ndarray) -> np.ndarray:
    """The share of each head's weight over an episode that each slot got: `[T, H, N]` to `[H, N]`."""
    by_slot = weights.sum(axis=0, dtype=np.float64)
    return by_slot / by_slot.sum(axis=-1, keepdims=True)


def written_share(write_weights: np.ndarray) -> np.ndarray:
    """What write heads j replace of slot i, `u_i = 1 − Π_j (1 − w_ji)`: `[..., W, N]` to `[..., N]`.

    What heads erase is not in a policy's state, so each is taken to erase as much as it adds.
    """
    return 1.0 - np.prod(1.0 - write_weights.astype(np.float64), axis=-2)


def provenance(write_weights: np.ndarray) -> Iterator[np.ndarray]:
    """When the content of each slot was written, after each step.

    With the share u that a step's writes replace (`written_share`),

        P_t[i, t] = u_ti
        P_t[i, s] = (1 − u_ti) P_{t-1}[i, s]        for s < t

    The rest of a row, `1 − Σ_s P_t[i, s]`, is the initial content. This is an approximation: weights say
    where was written, not how much of it was erased or how large the added numbers are.

    Args:
      write_weights: `[T, W, N]`.

    Yields:
      `P_t [N, t + 1]` for each step t; a view that the next step changes.
    """
    steps, _, slots = write_weights.shape
    shares = np.zeros([slots, steps])
    for t, replaced in enumerate(written_share(write_weights)):
        shares[:, :t] *= 1.0 - replaced[:, np.newaxis]
        shares[:, t] = replaced
        yield shares[:, : t + 1]


def read_reach(read_weights: np.ndarray, write_weights: np.ndarray) -> Reach:
    """How far back reads reach: at distance d, a head's read of step t has the share

        ρ_t[d] = Σ_i a_ti P_t[i, t − d]

    with `provenance`'s P. Reads come after the step's writes, so distance 0 is what the step itself wrote.

    Args:
      read_weights: a, `[T, R, N]`.
      write_weights: `[T, W, N]`.
    """
    by_step = zip(read_weights.astype(np.float64), provenance(write_weights), strict=True)
    return _reach([(reads @ written)[:, ::-1] for reads, written in by_step])


def attention_reach(attention: np.ndarray) -> Reach:
    """How far back attention `[T, K]` over the last K inputs, the oldest first, reaches; with one head."""
    rows = [row[np.newaxis, ::-1][:, : t + 1] for t, row in enumerate(attention.astype(np.float64))]
    return _reach(rows)


def _reach(shares: list[np.ndarray]) -> Reach:
    """Of shares `[H, distances]` for each step, the nearest first."""
    steps, heads = len(shares), len(shares[0])
    mean = np.full([steps, heads], np.nan)
    likeliest = np.full([steps, heads], -1)
    histogram = np.zeros([heads, steps])
    for t, row in enumerate(shares):
        total = row.sum(axis=1)
        some = total > 0
        mean[t, some] = row[some] @ np.arange(row.shape[1]) / total[some]
        likeliest[t, some] = row[some].argmax(axis=1)
        histogram[:, : row.shape[1]] += row
    return Reach(mean=mean, likeliest=likeliest, histogram=histogram / steps)
