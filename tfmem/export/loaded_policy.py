"""An exported policy, read back."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfmem.errors import InvalidInput
from tfmem.export.manifest import read_manifest
from tfmem.serving import wire


class LoadedPolicy:
    """An exported policy with the interface of `tfmem.agents.MemoryPolicy`.

    Args:
      path: a version folder, `BASE/NAME/VERSION`.

    Raises:
      InvalidInput: when `path` holds no export of tfmem, or a damaged one.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.manifest = read_manifest(Path(path))
        try:
            self._model = tf.saved_model.load(os.fspath(path))  # keeps the variables alive
            self._step, self._explain = (self._model.signatures[name] for name in ("step", "explain"))
        except (OSError, KeyError, tf.errors.OpError) as error:
            raise InvalidInput(f"{path} is damaged: {str(error).splitlines()[0]}") from error
        self._initial_state = self._model.signatures.get("initial_state")

    @property
    def actions(self) -> int:
        """The number of actions."""
        return self.manifest["action"]["count"]

    @property
    def observation(self) -> dict[str, dict[str, Any]]:
        """dtype and shape of each part of the observation, by its name on the wire."""
        return self.manifest["observation"]

    def initial_state(self, batch_size: int) -> dict[str, tf.Tensor]:
        """The state at an episode's start, a dict of `[batch_size, ...]`."""
        if self._initial_state is None:
            return {}
        return self._initial_state(**{wire.BATCH: tf.zeros([batch_size], tf.int32)})

    def step(
        self, observation: Any, is_first: Any, state: dict[str, Any]
    ) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        """Acts once; see `tfmem.agents.MemoryPolicy.step`."""
        return self._run(self._step, observation, is_first, state)[:3]

    def explain(
        self, observation: Any, is_first: Any, state: dict[str, Any]
    ) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """As `step`, and what else can be shown of it; see `tfmem.agents.MemoryPolicy.explain`."""
        return self._run(self._explain, observation, is_first, state)

    def _run(self, signature, observation, is_first, state):
        specs = self.manifest["observation"]
        inputs = {
            name: tf.constant(np.asarray(part).astype(specs[name]["dtype"], casting="same_kind"))
            for name, part in wire.flatten_observation(observation).items()
        }
        outputs = signature(**inputs, **{wire.IS_FIRST: tf.convert_to_tensor(is_first, tf.bool)}, **state)
        action, q_values = outputs.pop(wire.ACTION), outputs.pop(wire.Q_VALUES)
        next_state = {name: outputs.pop(name) for name in self.manifest["state"]}
        return action, q_values, next_state, outputs


def load_policy(path: str | os.PathLike[str]) -> LoadedPolicy:
    """Loads the export in a version folder; see `LoadedPolicy`.

    Example:
      >>> policy = load_policy("saved_models/repeat_previous/1")
      >>> action, q_values, state = policy.step([2], [True], policy.initial_state(1))
    """
    return LoadedPolicy(path)
