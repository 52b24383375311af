"""One version of a model, loaded, with its signatures callable on JSON values."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2


class BadRequest(Exception):
    """The inputs do not fit the signature; the message is for the caller."""


class Servable:
    """A SavedModel in a version folder.

    Attributes:
      version: the folder's number.
    """

    def __init__(self, path: Path):
        self.version = int(path.name)
        self._model = tf.saved_model.load(str(path))  # keeps the variables alive
        self._signatures = self._model.signatures
        proto = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        self._signature_defs = dict(proto.meta_graphs[0].signature_def)

    def metadata(self) -> dict[str, Any]:
        """The signatures in TF Serving's JSON form."""
        return {
            name: json_format.MessageToDict(
                definition,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            for name, definition in self._signature_defs.items()
        }

    def predict(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answers the JSON of a predict request, in row form (`instances`) or column form (`inputs`).

        Raises:
          BadRequest: when the request does not fit.
        """
        name = request.get("signature_name") or "serving_default"
        if not isinstance(name, str) or name not in self._signatures:
            raise BadRequest(f'Serving signature name: "{name}" not found in signature def')
        if ("instances" in request) == ("inputs" in request):
            raise BadRequest("a request must have exactly one of 'instances' (rows) and 'inputs' (columns)")
        unknown = set(request) - {"signature_name", "instances", "inputs"}
        if unknown:
            raise BadRequest(f"unknown keys in the request: {', '.join(sorted(unknown))}")
        specs = self._signatures[name].structured_input_signature[1]
        if "instances" in request:
            columns = _columns_of_rows(request["instances"], set(specs))
        else:
            columns = _named(request["inputs"], set(specs), "inputs")
        inputs = {key: _to_tensor(key, columns[key], spec) for key, spec in specs.items()}
        _require_one_batch(inputs)
        outputs = {key: _to_json(value) for key, value in self._signatures[name](**inputs).items()}
        single = next(iter(outputs)) if len(outputs) == 1 else None
        if "inputs" in request:
            return {"outputs": outputs[single] if single else outputs}
        if single:
            return {"predictions": outputs[single]}
        keys = sorted(outputs)
        rows = zip(*(outputs[key] for key in keys), strict=True)
        return {"predictions": [dict(zip(keys, row, strict=True)) for row in rows]}


def _named(value: Any, names: set[str], where: str) -> dict[str, Any]:
    """A value by input names; with a single input the name may be left out."""
    if isinstance(value, dict) and not (set(value) == {"b64"} and names != {"b64"}):
        missing, extra = names - set(value), set(value) - names
        if missing or extra:
            raise BadRequest(
                f"{where} do not fit the signature: missing {sorted(missing)}, not expected {sorted(extra)}"
            )
        return value
    if len(names) != 1:
        raise BadRequest(f"{where} must be an object with the keys {sorted(names)}")
    return {next(iter(names)): value}


def _columns_of_rows(rows: Any, names: set[str]) -> dict[str, Any]:
    if not isinstance(rows, list) or not rows:
        raise BadRequest("'instances' must be a list with at least one instance")
    named = [_named(row, names, "instances") for row in rows]
    return {name: [row[name] for row in named] for name in names}


def _decode_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode_bytes(item) for item in value]
    if isinstance(value, dict) and set(value) == {"b64"}:
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (TypeError, ValueError) as error:
            raise BadRequest("a value of 'b64' must be a string in base64") from error
    return value


def _to_tensor(name: str, value: Any, spec: tf.TensorSpec) -> tf.Tensor:
    kinds = {"b": "b", "i": "iu", "u": "iu", "f": "fiu", "O": "OSU"}
    try:
        is_string = spec.dtype == tf.string
        array = np.asarray(_decode_bytes(value), object) if is_string else np.asarray(value)
    except ValueError as error:
        raise BadRequest(f"input {name!r} is not a rectangular array") from error
    kind = "O" if is_string else np.dtype(spec.dtype.as_numpy_dtype).kind
    if array.size and array.dtype.kind not in kinds[kind]:
        raise BadRequest(f"input {name!r} must be of type {spec.dtype.name}")
    if kind in "iu" and array.size and not spec.dtype.min <= array.min() <= array.max() <= spec.dtype.max:
        raise BadRequest(f"input {name!r} has values outside of {spec.dtype.name}")
    if not spec.shape.is_compatible_with(array.shape):
        shape = ["batch" if size is None else size for size in spec.shape.as_list()]
        raise BadRequest(f"input {name!r} must have the shape {shape}, not {list(array.shape)}")
    return tf.constant(array, spec.dtype)


def _require_one_batch(inputs: dict[str, tf.Tensor]) -> None:
    sizes = {name: value.shape[0] for name, value in inputs.items() if value.shape.rank}
    if len(set(sizes.values())) > 1:
        raise BadRequest(f"the inputs' batch sizes differ: {sizes}")


def _to_json(value: tf.Tensor) -> Any:
    array = value.numpy()
    if value.dtype == tf.string:
        return np.vectorize(lambda b: {"b64": base64.b64encode(b).decode()}, otypes=[object])(array).tolist()
    return array.tolist()
