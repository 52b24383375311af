"""An export as a LiteRT model, for robots and homes without TensorFlow."""

import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import ConverterError

from tfmem.export.export import CHECK_TOLERANCE, ExportMismatch
from tfmem.export.manifest import read_manifest
from tfmem.serving import wire

# Steps of the comparison, the first of an episode; the others are so now and then.
STEPS = 100


@dataclass(frozen=True)
class LiteRTExport:
    """A finished conversion.

    Attributes:
      path: the file.
      size: its bytes.
      worst_q_difference: the largest difference of a Q-value from the original's.
    """

    path: Path
    size: int
    worst_q_difference: float


def export_litert(version_folder: str | os.PathLike[str], file: str | os.PathLike[str]) -> LiteRTExport:
    """Converts an export's `step` for one actor to LiteRT, and compares the two action by action.

    The file has the one signature `step` with the export's names, at batch size 1 and in its precision, with
    LiteRT's own operations. Both play the same random observations, each with its own memory.

    Args:
      version_folder: an export, `BASE/NAME/VERSION`.
      file: what to write; replaced if there is one.

    Returns:
      What was written.

    Raises:
      InvalidInput: when `version_folder` holds no export.
      ExportMismatch: when LiteRT cannot run the policy or acts otherwise; nothing was written.

    Example:
      >>> export_litert("saved_models/repeat_previous/1", "recall.tflite").size
      183024
    """
    manifest = read_manifest(Path(version_folder))
    module = _OneActor(version_folder)
    content = _convert(module)
    worst = _compare(module, content, manifest)
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return LiteRTExport(path=file, size=len(content), worst_q_difference=worst)


class _OneActor(tf.Module):
    """`step` at batch size 1, over an export's own variables."""

    def __init__(self, version_folder: str | os.PathLike[str]):
        super().__init__()
        self._model = tf.saved_model.load(os.fspath(version_folder))
        step = self._model.signatures["step"]
        specs = step.structured_input_signature[1]
        self.step = tf.function(lambda **inputs: step(**inputs), autograph=False).get_concrete_function(
            **{name: tf.TensorSpec([1, *spec.shape[1:]], spec.dtype, name) for name, spec in specs.items()}
        )


def _convert(module: _OneActor) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        # By way of a SavedModel, which keeps the signature's names.
        tf.saved_model.save(module, folder, signatures={"step": module.step})
        try:
            return tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["step"]).convert()
        except ConverterError as error:
            reason = str(error).splitlines()[0]
            raise ExportMismatch(f"LiteRT cannot run the policy: {reason}") from error


def _compare(module: _OneActor, content: bytes, manifest: dict[str, Any]) -> float:
    """The largest difference of a Q-value; raises `ExportMismatch` where an action is worth less."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # says that a package of its own is to replace it
        runner = tf.lite.Interpreter(model_content=content).get_signature_runner("step")
    rng = np.random.default_rng(0)
    # Zeros, as a client starts with: the first step puts the policy's own memory in place.
    state = {name: np.zeros([1, *spec["shape"]], spec["dtype"]) for name, spec in manifest["state"].items()}
    other_state = dict(state)
    worst = 0.0
    for t in range(STEPS):
        inputs = {name: _random(spec, rng) for name, spec in manifest["observation"].items()}
        inputs[wire.IS_FIRST] = np.asarray([t == 0 or rng.random() < 0.1])
        own = module.step(**{name: tf.constant(value) for name, value in {**inputs, **state}.items()})
        other = runner(**inputs, **other_state)
        state, other_state = ({name: answer[name] for name in state} for answer in (own, other))
        q_values = own[wire.Q_VALUES].numpy()[0]
        worst = max(worst, float(np.abs(other[wire.Q_VALUES][0] - q_values).max()))
        best, picked = (q_values[answer[wire.ACTION][0]] for answer in (own, other))
        if not np.isclose(picked, best, rtol=CHECK_TOLERANCE, atol=CHECK_TOLERANCE):
            raise ExportMismatch(
                f"LiteRT's action at step {t} is worth {picked:.3g}, the policy's {best:.3g}"
            )
    return worst


def _random(spec: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    """A random part of an observation of batch size 1; integers without bounds are bytes."""
    shape, dtype = [1, *spec["shape"]], np.dtype(spec["dtype"])
    low, high = spec.get("minimum"), spec.get("maximum")
    if dtype.kind in "iu":
        low, high = 0 if low is None else low, 255 if high is None else high
        return rng.integers(low, high, shape, endpoint=True).astype(dtype)
    values = rng.normal(size=shape)
    return (values if low is None and high is None else np.clip(values, low, high)).astype(dtype)
