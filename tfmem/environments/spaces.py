"""Gymnasium spaces as TF-Agents specs, and batches of their elements as arrays.

| space | spec |
| --- | --- |
| Discrete | bounded integer scalar, counted from 0 whatever its start |
| MultiDiscrete | bounded integers |
| MultiBinary | bounded int8 |
| Box | bounded array of its dtype; int8 for bool |
| Dict, Tuple | dict, tuple of the above |
"""

import math
from functools import singledispatch
from typing import Any

import numpy as np
import tensorflow as tf
from gymnasium import spaces
from tf_agents.specs import array_spec

from tfmem.errors import InvalidInput, require


@singledispatch
def observation_spec(space: spaces.Space, name: str = "observation") -> Any:
    """The TF-Agents spec of an observation space; raises `InvalidInput` naming a part that has none."""
    raise InvalidInput(
        f"{name} is a {type(space).__name__} space, which has no fixed-size array form; "
        "tfmem takes Discrete, MultiDiscrete, MultiBinary, Box, Dict and Tuple"
    )


@observation_spec.register
def _(space: spaces.Discrete, name: str = "observation"):
    return array_spec.BoundedArraySpec((), np.int64, 0, int(space.n) - 1, name)


@observation_spec.register
def _(space: spaces.MultiDiscrete, name: str = "observation"):
    return array_spec.BoundedArraySpec(space.shape, np.int64, 0, space.nvec - 1, name)


@observation_spec.register
def _(space: spaces.MultiBinary, name: str = "observation"):
    return array_spec.BoundedArraySpec(space.shape, np.int8, 0, 1, name)


@observation_spec.register
def _(space: spaces.Box, name: str = "observation"):
    if space.dtype == np.bool_:
        return array_spec.BoundedArraySpec(space.shape, np.int8, 0, 1, name)
    return array_spec.BoundedArraySpec(space.shape, space.dtype, space.low, space.high, name)


@observation_spec.register
def _(space: spaces.Dict, name: str = "observation"):
    return {key: observation_spec(part, f"{name}.{key}") for key, part in space.spaces.items()}


@observation_spec.register
def _(space: spaces.Tuple, name: str = "observation"):
    return tuple(observation_spec(part, f"{name}.{i}") for i, part in enumerate(space.spaces))


def require_numbers(spec: Any) -> None:
    """Raises `InvalidInput` where an observation has no part, or one of its parts has no number."""
    parts = tf.nest.flatten(spec)
    require(bool(parts), "the observation space", "an empty one", "of one part at least")
    for part in parts:
        require(0 not in part.shape, f"{part.name}'s shape", tuple(part.shape), "of one number at least")


def float_parts(spec: Any) -> dict[int, array_spec.ArraySpec]:
    """The parts of a spec, by their place in it, that are floating-point numbers."""
    parts = enumerate(tf.nest.flatten(spec))
    return {i: part for i, part in parts if np.issubdtype(part.dtype, np.floating)}


def require_finite(parts: dict[int, array_spec.ArraySpec], observation: Any) -> None:
    """Raises `InvalidInput` naming a number of `float_parts` that is not finite: no weight survives it."""
    flat = tf.nest.flatten(observation) if parts else []
    for i, part in parts.items():
        finite = np.isfinite(flat[i])
        if not finite.all():
            raise InvalidInput(f"{part.name} must be of finite numbers, not {flat[i][~finite][0]}")


def bounded_parts(spec: Any) -> dict[int, array_spec.BoundedArraySpec]:
    """The parts of a spec, by their place in it, whose whole numbers have closer bounds than their type."""
    parts = {}
    for i, part in enumerate(tf.nest.flatten(spec)):
        if isinstance(part, array_spec.BoundedArraySpec) and np.issubdtype(part.dtype, np.integer):
            least, most = np.iinfo(part.dtype).min, np.iinfo(part.dtype).max
            if np.any(part.minimum > least) or np.any(part.maximum < most):
                parts[i] = part
    return parts


def require_inside(parts: dict[int, array_spec.BoundedArraySpec], observation: Any) -> None:
    """Raises `InvalidInput` naming whole numbers that are outside of the bounds of `bounded_parts`.

    One-hot codes and the replay, which stores them in the smallest type, would take them for other numbers.
    """
    flat = tf.nest.flatten(observation) if parts else []
    for i, part in parts.items():
        outside = (flat[i] < part.minimum) | (flat[i] > part.maximum)
        if outside.any():
            raise InvalidInput(
                f"{part.name} must be inside of its space's bounds, {np.min(part.minimum)} to "
                f"{np.max(part.maximum)}, not {flat[i][outside][0]}"
            )


@singledispatch
def to_observation(space: spaces.Space, batch: Any) -> Any:
    """A batch of a vector environment's observations in the form of `observation_spec(space)`."""
    return np.asarray(batch, np.int8 if space.dtype == np.bool_ else space.dtype)


@to_observation.register
def _(space: spaces.Discrete, batch):
    return np.asarray(batch, np.int64) - int(space.start)


@to_observation.register
def _(space: spaces.MultiDiscrete, batch):
    return np.asarray(batch, np.int64) - np.asarray(space.start, np.int64)


@to_observation.register
def _(space: spaces.Dict, batch):
    return {key: to_observation(part, batch[key]) for key, part in space.spaces.items()}


@to_observation.register
def _(space: spaces.Tuple, batch):
    return tuple(to_observation(part, batch[i]) for i, part in enumerate(space.spaces))


# A Q-network has an output for each action.
MOST_ACTIONS = 2**16


@singledispatch
def action_count(space: spaces.Space) -> int:
    """The number of actions of an action space as one discrete choice; `InvalidInput` where it has none."""
    raise InvalidInput(
        f"the action space is {space}; a Q-network needs Discrete or MultiDiscrete actions, "
        "so discretise them with a wrapper"
    )


@action_count.register
def _(space: spaces.Discrete):
    return _few_enough(int(space.n))


@action_count.register
def _(space: spaces.MultiDiscrete):
    return _few_enough(math.prod(map(int, space.nvec.reshape(-1))))


def _few_enough(actions: int) -> int:
    require(actions <= MOST_ACTIONS, "the number of (joint) actions", actions, f"at most {MOST_ACTIONS}")
    return actions


def action_grid(space: spaces.Space) -> tuple[int, ...]:
    """How many values each component of an action has, in C order, those with one left out.

    () where that leaves a single choice.
    """
    values = space.nvec[space.nvec > 1] if isinstance(space, spaces.MultiDiscrete) else ()
    return tuple(map(int, values)) if len(values) > 1 else ()


@singledispatch
def to_action(space: spaces.Space, choice: np.ndarray) -> np.ndarray:
    """Discrete choices `[B]` from 0 as a batch of the action space's own actions."""
    raise NotImplementedError(type(space))


@to_action.register
def _(space: spaces.Discrete, choice):
    return np.asarray(choice, space.dtype) + space.start


@to_action.register
def _(space: spaces.MultiDiscrete, choice):
    components = np.stack(np.unravel_index(np.asarray(choice), space.nvec.reshape(-1)), axis=-1)
    return components.reshape(np.shape(choice) + space.shape).astype(space.dtype) + space.start
