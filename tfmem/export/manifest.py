"""What an export says about itself, as JSON beside the model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tf_agents.specs import tensor_spec

from tfmem.errors import InvalidInput
from tfmem.serving import wire

# TF Serving ignores what it does not know in `assets.extra`.
MANIFEST_PATH = Path("assets.extra") / "tfmem.json"
FORMAT = 1


def describe_spec(spec: tf.TypeSpec) -> dict[str, Any]:
    """A spec as JSON values: dtype, shape and, where there are any, bounds."""
    described: dict[str, Any] = {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
    if isinstance(spec, tensor_spec.BoundedTensorSpec):
        described |= _bound("minimum", spec.minimum, spec.dtype.min)
        described |= _bound("maximum", spec.maximum, spec.dtype.max)
    return described


def describe_specs(specs: Mapping[str, tf.TypeSpec]) -> dict[str, dict[str, Any]]:
    """Specs by name as JSON values."""
    return {name: describe_spec(spec) for name, spec in specs.items()}


def _bound(name: str, value: np.ndarray, extreme: float) -> dict[str, Any]:
    """A bound by its name: one number where it is the same everywhere, nothing where it bounds nothing."""
    if np.all(value == extreme) or not np.all(np.isfinite(value)):
        return {}
    same = np.all(value == value.flat[0])
    return {name: value.flat[0].item() if same else value.tolist()}


def make_manifest(
    *,
    observation_spec,
    state_spec: dict[str, tf.TensorSpec],
    actions: int,
    name: str,
    version: int,
    batch_sizes: tuple[int, ...],
    precision: dict[str, Any],
    environment: dict[str, Any],
    run: dict[str, Any],
) -> dict[str, Any]:
    """The manifest of an export; its form is described in docs/export.md."""
    state = describe_specs(state_spec)
    return {
        "format": FORMAT,
        "name": name,
        "version": version,
        "observation": describe_specs(wire.flatten_observation(observation_spec)),
        "action": {"dtype": "int32", "count": actions, "space": environment.get("action_space")},
        "state": state,
        "fingerprint": wire.fingerprint(state),
        "batch_sizes": list(batch_sizes),
        "precision": precision,
        "environment": environment,
        "run": run,
    }


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the export in the version folder `path`; `InvalidInput` where there is none."""
    file = path / MANIFEST_PATH
    if not file.exists():
        raise InvalidInput(f"{path} is not a version folder of a tfmem export: there is no {MANIFEST_PATH}")
    return json.loads(file.read_text())
