"""An export as a LiteRT model, for robots and homes without TensorFlow."""

import json
import os
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import tensorflow as tf
from tensorflow.lite.python.convert import ConverterError

from tfmem.errors import require
from tfmem.export.agreement import STEPS, ExportMismatch, Step, compare, require_min_agreement
from tfmem.export.manifest import read_manifest

PRECISIONS = ("float32", "float16", "int8")


@dataclass(frozen=True)
class LiteRTExport:
    """A finished conversion.

    Attributes:
      path: the file.
      size: its bytes.
      precision: what the weights are held in.
      agreement: the share of steps in which it picks the original's action, or one that is worth the same.
      worst_q_difference: the largest difference of a Q-value from the original's.
    """

    path: Path
    size: int
    precision: str
    agreement: float
    worst_q_difference: float


def export_litert(
    version_folder: str | os.PathLike[str],
    file: str | os.PathLike[str],
    *,
    precision: str = "float32",
    min_agreement: float = 1.0,
) -> LiteRTExport:
    """Converts an export's `step` for one actor to LiteRT, and compares the two action by action.

    The file has the one signature `step` with the export's names and dtypes, at batch size 1, with LiteRT's
    own operations. Both play the same random observations, each with its own memory. What came of it is
    written beside the file, to `FILE.json`.

    Args:
      version_folder: an export, `BASE/NAME/VERSION`.
      file: what to write; replaced if there is one.
      precision: what to hold the weights in: `"float32"`, `"float16"`, or `"int8"`, where LiteRT rounds the
        inputs of large products too, to the range that it finds in each step.
      min_agreement: the least share of steps in which it must act as the export does.

    Returns:
      What was written.

    Raises:
      InvalidInput: when `version_folder` holds no export, or there is no such precision or agreement.
      ExportMismatch: when LiteRT cannot run the policy, or agrees less often; nothing was written.

    Example:
      >>> export_litert("saved_models/repeat_previous/1", "recall.tflite", precision="int8").size
      73160
    """
    require(precision in PRECISIONS, "precision", precision, " or ".join(PRECISIONS))
    require_min_agreement(min_agreement)
    manifest = read_manifest(Path(version_folder))
    module = _OneActor(version_folder)
    content = _convert(module, precision)
    found = compare(
        module.step,
        _runner(content),
        observation=manifest["observation"],
        state=manifest["state"],
        what=f"LiteRT in {precision}",
        min_agreement=min_agreement,
    )
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    origin = {key: manifest[key] for key in ("name", "version", "fingerprint")}
    described = {**origin, "precision": precision, **asdict(found), "steps": STEPS}
    file.with_name(f"{file.name}.json").write_text(json.dumps(described, indent=2) + "\n")
    return LiteRTExport(path=file, size=len(content), precision=precision, **asdict(found))


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


def _convert(module: _OneActor, precision: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        # By way of a SavedModel, which keeps the signature's names.
        tf.saved_model.save(module, folder, signatures={"step": module.step})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["step"])
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        try:
            return converter.convert()
        except ConverterError as error:
            reason = str(error).splitlines()[0]
            raise ExportMismatch(f"LiteRT cannot run the policy: {reason}") from error


def _runner(content: bytes) -> Step:
    """The signature `step` of a LiteRT model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # says that a package of its own is to replace it
        return tf.lite.Interpreter(model_content=content).get_signature_runner("step")
