"""Writes a policy as the next version of a served model."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tf_agents.specs import tensor_spec

from tfmem.agents import MemoryPolicy
from tfmem.errors import TfmemError, require
from tfmem.export import check
from tfmem.export.agreement import TOLERANCE, Agreement, ExportMismatch, require_min_agreement
from tfmem.export.lint import lint
from tfmem.export.manifest import MANIFEST_PATH, make_manifest
from tfmem.export.precision import PRECISIONS, with_half_weights
from tfmem.export.signatures import ExportedPolicy
from tfmem.export.warmup import BATCH_SIZES, require_batch_sizes, write_warmup
from tfmem.serving import wire

# Steps and batch of the comparison that every export has to pass.
CHECK_STEPS = 32
CHECK_BATCH = 3


class ExportRefused(TfmemError):
    """The export has what a stock server does not take; nothing was written."""


@dataclass(frozen=True)
class Export:
    """A finished export.

    Attributes:
      path: its version folder.
      version: its number.
      fingerprint: of the state's spec; see `tfmem.serving.wire.fingerprint`.
      agreement: with the policy, where the precision is not the policy's own.
    """

    path: Path
    version: int
    fingerprint: str
    agreement: Agreement | None = None


def export_policy(
    policy: MemoryPolicy,
    base: str | os.PathLike[str],
    *,
    batch_sizes: tuple[int, ...] = BATCH_SIZES,
    environment: dict[str, Any] | None = None,
    run: dict[str, Any] | None = None,
    precision: str = "float32",
    min_agreement: float = 1.0,
) -> Export:
    """Exports a policy to `base/<next version>` and checks that it acts as the policy does.

    The export is written beside its place, read for what a stock server does not take (`lint`), loaded in a
    process that has TensorFlow alone, where its warm-up requests are answered, and compared with the policy
    over random observations, action by action, with its memory carried along. Only then is it renamed into
    place, so a server that watches the folder never sees a part or a wrong one, and no version is ever
    overwritten.

    Args:
      policy: what to export.
      base: the model's folder, `…/NAME`; NAME is what it is served as.
      batch_sizes: those that a server batches requests to, increasing; each signature is warmed up at each.
      environment: where the policy belongs; goes into the manifest.
      run: where it comes from and how well it did; goes into the manifest.
      precision: what the weights are held in, `"float32"` or `"float16"`. An export in float16
        computes in float32 all the same and has the same inputs and outputs; the rounded policy is compared
        with the given one first.
      min_agreement: the least share of steps in which an export in float16 must act as the policy does.

    Returns:
      The new version.

    Raises:
      InvalidInput: when the batch sizes are no increasing ones, or there is no such precision or agreement.
      ExportRefused: when a stock server would not take the export; names the first finding.
      ExportMismatch: when the reloaded export differs, or cannot answer its warm-up requests, or float16
        agrees less often than it must; names the first difference.
    """
    require_batch_sizes(batch_sizes)
    require(precision in PRECISIONS, "precision", precision, " or ".join(PRECISIONS))
    require_min_agreement(min_agreement)
    agreement = None
    if precision == "float16":
        policy, agreement = with_half_weights(policy, min_agreement=min_agreement)
    base = Path(base).resolve()
    base.mkdir(parents=True, exist_ok=True)
    observation_spec = policy.network.input_tensor_spec
    with tempfile.TemporaryDirectory(prefix=".export-", dir=base) as staging:
        model = Path(staging) / "model"
        module = ExportedPolicy(policy, observation_spec)
        tf.saved_model.save(module, str(model), signatures=module.signatures())
        # SavedModel leaves an empty folder for assets, which a repository would not keep.
        shutil.rmtree(model / "assets", ignore_errors=True)
        if findings := lint(model):
            more = f" (and {len(findings) - 1} more)" if findings[1:] else ""
            raise ExportRefused(f"a stock server does not take the export: {findings[0]}{more}")
        write_warmup(
            model,
            name=base.name,
            observation=wire.flatten_observation(observation_spec),
            batch_sizes=batch_sizes,
        )
        _compare(policy, model, Path(staging))
        version = _next_version(base)
        manifest = make_manifest(
            observation_spec=observation_spec,
            state_spec=dict(policy.network.state_spec or {}),
            actions=policy.actions,
            name=base.name,
            version=version,
            batch_sizes=batch_sizes,
            precision={"weights": precision, **(asdict(agreement) if agreement else {})},
            environment=environment or {},
            run=run or {},
        )
        (model / MANIFEST_PATH).write_text(json.dumps(manifest, indent=2) + "\n")
        path = base / str(version)
        model.rename(path)
    return Export(path=path, version=version, fingerprint=manifest["fingerprint"], agreement=agreement)


def _next_version(base: Path) -> int:
    versions = [int(entry.name) for entry in base.iterdir() if entry.name.isdigit()]
    return max(versions, default=0) + 1


def _random_batch(spec: tf.TensorSpec, rng: np.random.Generator) -> np.ndarray:
    """`CHECK_BATCH` random values within the spec's bounds; standard normal where it has none."""
    shape = [CHECK_BATCH, *spec.shape]
    bounded = isinstance(spec, tensor_spec.BoundedTensorSpec)
    if spec.dtype.is_integer and bounded:
        low, high = (np.asarray(bound, np.int64) for bound in (spec.minimum, spec.maximum))
        return rng.integers(low, high, shape, endpoint=True).astype(spec.dtype.as_numpy_dtype)
    values = rng.normal(size=shape)
    if bounded:
        values = np.clip(values, spec.minimum, spec.maximum)
    return values.astype(spec.dtype.as_numpy_dtype)


def _compare(policy: MemoryPolicy, model: Path, staging: Path) -> None:
    """Raises `ExportMismatch` unless `model`, reloaded without tfmem, acts as `policy` does."""
    rng = np.random.default_rng(0)
    observations = [
        tf.nest.map_structure(lambda spec: _random_batch(spec, rng), policy.network.input_tensor_spec)
        for _ in range(CHECK_STEPS)
    ]
    is_first = rng.random([CHECK_STEPS, CHECK_BATCH]) < 0.1
    initial = policy.initial_state(CHECK_BATCH)
    inputs: dict[str, Any] = {wire.IS_FIRST: is_first}
    for name in wire.flatten_observation(observations[0]):
        inputs[name] = np.stack([wire.flatten_observation(o)[name] for o in observations])
    inputs |= {f"state/{name}": part.numpy() for name, part in initial.items()}

    expected: dict[str, list[np.ndarray]] = {}
    state = initial
    for observation, first in zip(observations, is_first, strict=True):
        action, q_values, state = policy.step(observation, tf.constant(first), state)
        for name, value in {wire.ACTION: action, wire.Q_VALUES: q_values, **state}.items():
            expected.setdefault(name, []).append(value.numpy())

    inputs_path, outputs_path = staging / "inputs.npz", staging / "outputs.npz"
    np.savez(inputs_path, **inputs)
    source = Path(check.__file__).read_text()
    process = subprocess.run(
        # As text: run by its path, Python would look for modules in this folder first.
        [sys.executable, "-c", source, str(model), str(inputs_path), str(outputs_path)],
        capture_output=True,
        text=True,
        cwd=staging,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    if process.returncode != 0:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise ExportMismatch(f"the export does not run with TensorFlow alone: {last}")
    found = dict(np.load(outputs_path))
    foreign = found.pop("foreign").tolist()
    if foreign:
        raise ExportMismatch(f"loading the export imported {', '.join(foreign)}")
    q_values = np.stack(expected[wire.Q_VALUES])
    for name, values in expected.items():
        mine, other = np.stack(values), found[name]
        if name == wire.ACTION:  # compare what the two actions are worth
            mine, other = (np.take_along_axis(q_values, a[..., np.newaxis], axis=-1) for a in (mine, other))
        same = np.isclose(other, mine, rtol=TOLERANCE, atol=TOLERANCE)
        if not same.all():
            step = int(np.argwhere(~same)[0][0])
            raise ExportMismatch(f"the reloaded export's {name} differs at step {step}")
