"""The names that a policy's inputs and outputs have on the wire. No TensorFlow here.

| name | what |
| --- | --- |
| `observation`, or `observation_KEY` for each part of a Dict or Tuple observation | `[B, ...]` |
| `is_first` | `[B]` bool |
| `action`, `q_values` | `[B]`, `[B, actions]` |
| anything else | a part of the state, under the same name as input and output |
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from tfmem.errors import InvalidInput

OBSERVATION = "observation"
IS_FIRST = "is_first"
ACTION = "action"
Q_VALUES = "q_values"
BATCH = "batch"


def flatten_observation(observation: Any) -> dict[str, Any]:
    """The parts of a nested observation by their names on the wire.

    Example:
      >>> flatten_observation({"camera": 1, "speed": (2, 3)})
      {'observation_camera': 1, 'observation_speed_0': 2, 'observation_speed_1': 3}

    Raises:
      InvalidInput: when two parts come to the same name.
    """
    flat: dict[str, Any] = {}

    def visit(path: str, part: Any) -> None:
        if isinstance(part, Mapping):
            children = [(key, part[key]) for key in sorted(part)]
        elif isinstance(part, tuple):
            children = list(enumerate(part))
        else:
            if path in flat:
                raise InvalidInput(f"two parts of the observation have the name {path!r}; rename one")
            flat[path] = part
            return
        for key, child in children:
            visit(f"{path}_{re.sub(r'[^0-9A-Za-z]', '_', str(key))}", child)

    visit(OBSERVATION, observation)
    return flat


def is_observation(name: str) -> bool:
    """Whether a name is that of a part of the observation."""
    return name == OBSERVATION or name.startswith(OBSERVATION + "_")


def is_state(name: str) -> bool:
    """Whether a name is that of a part of the state."""
    return name not in (IS_FIRST, ACTION, Q_VALUES, BATCH) and not is_observation(name)


def fingerprint(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """A short hash of specs: a state fits a model when their fingerprints are equal.

    Args:
      parts: `{"dtype": …, "shape": […]}` by name, without the batch axis.
    """
    canonical = json.dumps(
        {name: [spec["dtype"], list(spec["shape"])] for name, spec in parts.items()},
        sort_keys=True,
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
