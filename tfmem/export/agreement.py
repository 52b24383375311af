"""How often a converted policy acts as the original does, each with its own memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfmem.errors import TfmemError, require
from tfmem.serving import wire

# Values may differ by rounding between processes, and actions where their Q-values are as close as that.
TOLERANCE = 1e-4
# Steps of a comparison, and how often one begins an episode: rounding adds up in a memory that is kept long.
STEPS = 1000
FIRST = 0.02

Step = Callable[..., Mapping[str, Any]]
Specs = Mapping[str, Mapping[str, Any]]


class ExportMismatch(TfmemError):
    """What was exported or converted does not act as the policy does; nothing was written."""


@dataclass(frozen=True)
class Agreement:
    """What a comparison found.

    Attributes:
      agreement: the share of steps in which both pick the same action, or one that is worth the same.
      worst_q_difference: the largest difference of a Q-value from the original's.
    """

    agreement: float
    worst_q_difference: float


def require_min_agreement(min_agreement: float) -> None:
    """Raises `InvalidInput` unless this can be the least agreement that is accepted."""
    require(0 <= min_agreement <= 1, "min_agreement", min_agreement, "a share from 0 to 1")


def compare(
    original: Step, converted: Step, *, observation: Specs, state: Specs, what: str, min_agreement: float
) -> Agreement:
    """Steps both through the same random observations, each with its own memory carried along.

    Args:
      original: the signature `step` for one actor, a function of its inputs by name.
      converted: the same of what was made from it.
      observation: the manifest's, for random ones.
      state: the manifest's.
      what: the converted one's name in errors.
      min_agreement: the least share of steps in which it must act as the original does.

    Returns:
      How close they are.

    Raises:
      ExportMismatch: when they agree less often than that, or a Q-value is no number.
    """
    rng = np.random.default_rng(0)
    # Zeros, as a client starts with: the first step puts the policy's own memory in place.
    own_state = {name: np.zeros([1, *spec["shape"]], spec["dtype"]) for name, spec in state.items()}
    other_state = dict(own_state)
    actions, q_values = [], []
    for t in range(STEPS):
        inputs = {name: _random(spec, rng) for name, spec in observation.items()}
        inputs[wire.IS_FIRST] = np.asarray([t == 0 or rng.random() < FIRST])
        own = original(**{name: tf.constant(value) for name, value in {**inputs, **own_state}.items()})
        other = converted(**inputs, **other_state)
        own_state, other_state = ({name: answer[name] for name in state} for answer in (own, other))
        actions.append([answer[wire.ACTION][0] for answer in (own, other)])
        q_values.append([answer[wire.Q_VALUES][0] for answer in (own, other)])
    own_values, other_values = np.asarray(q_values).swapaxes(0, 1)
    worst = float(np.abs(other_values - own_values).max())
    if not np.isfinite(worst):
        raise ExportMismatch(f"{what} has Q-values that are no numbers; take a higher precision")
    # What the two actions are worth to the original.
    best, picked = np.take_along_axis(own_values, np.asarray(actions), axis=1).T
    same = np.isclose(picked, best, rtol=TOLERANCE, atol=TOLERANCE)
    agreement = float(same.mean())
    if agreement < min_agreement:
        t = int(np.argmin(same))
        raise ExportMismatch(
            f"{what} acts as the original in {agreement:.1%} of {STEPS} steps, not in {min_agreement:.1%}: "
            f"its action at step {t} is worth {picked[t]:.3g}, the original's {best[t]:.3g}; "
            "allow it by min_agreement, or take a higher precision where there is one"
        )
    return Agreement(agreement=agreement, worst_q_difference=worst)


def _random(spec: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
    """A random part of an observation of batch size 1; integers without bounds are bytes."""
    shape, dtype = [1, *spec["shape"]], np.dtype(spec["dtype"])
    low, high = spec.get("minimum"), spec.get("maximum")
    if dtype.kind in "iu":
        low, high = 0 if low is None else low, 255 if high is None else high
        return rng.integers(low, high, shape, endpoint=True).astype(dtype)
    values = rng.normal(size=shape)
    return (values if low is None and high is None else np.clip(values, low, high)).astype(dtype)
