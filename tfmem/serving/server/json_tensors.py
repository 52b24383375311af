"""TF Serving's JSON and arrays: rows (`instances`) and columns (`inputs`), bytes as base64."""

import base64
import json
from typing import Any

import numpy as np
import orjson
import tensorflow as tf

from tfmem.serving.server.request_error import bad_request
from tfmem.serving.server.servable import Signature

# The kinds of JSON's numbers that an array of a kind may come from.
_FITS = {"b": "b", "i": "iu", "u": "iu", "f": "fiu", "O": "OSU"}


def read_inputs(request: dict[str, Any], signature: Signature) -> dict[str, np.ndarray]:
    """The inputs of a predict request as arrays.

    Raises:
      RequestError: when the request does not fit the signature.
    """
    if ("instances" in request) == ("inputs" in request):
        raise bad_request("a request must have exactly one of 'instances' (rows) and 'inputs' (columns)")
    unknown = set(request) - {"signature_name", "instances", "inputs"}
    if unknown:
        raise bad_request(f"unknown keys in the request: {', '.join(sorted(unknown))}")
    names = set(signature.inputs)
    if "instances" in request:
        columns = _columns_of_rows(request["instances"], names)
    else:
        columns = _named(request["inputs"], names, "inputs")
    inputs = {
        name: _to_array(name, columns[name], np.dtype(spec.dtype.as_numpy_dtype))
        for name, spec in signature.inputs.items()
    }
    signature.check({name: (tf.as_dtype(value.dtype), value.shape) for name, value in inputs.items()})
    return inputs


def parse(text: bytes) -> Any:
    """JSON, in which `NaN`, `Infinity` and `-Infinity` are numbers.

    Raises:
      ValueError: when it is none.
      RecursionError: when it is too deep.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # strict, and many times faster
        return json.loads(text)


def write_outputs(request: dict[str, Any], outputs: dict[str, np.ndarray]) -> bytes:
    """The answer to a predict request, in the form of the request, as JSON."""
    if all(np.isfinite(value).all() for value in outputs.values() if value.dtype.kind == "f"):
        values = {name: _to_json(value) for name, value in outputs.items()}
        # What is no plain array to orjson comes back to `_to_lists`.
        return orjson.dumps(_in_form(request, values), option=orjson.OPT_SERIALIZE_NUMPY, default=_to_lists)
    # What is no number in JSON, TF Serving writes as Python does.
    values = {name: _to_lists(_to_json(value)) for name, value in outputs.items()}
    return json.dumps(_in_form(request, values)).encode()


def _in_form(request: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    single = next(iter(values)) if len(values) == 1 else None
    if "inputs" in request:
        return {"outputs": values[single] if single else values}
    if single:
        return {"predictions": values[single]}
    rows = zip(*values.values(), strict=True)
    return {"predictions": [dict(zip(values, row, strict=True)) for row in rows]}


def _named(value: Any, names: set[str], where: str) -> dict[str, Any]:
    """A value by input names; with a single input the name may be left out."""
    if isinstance(value, dict) and not (set(value) == {"b64"} and names != {"b64"}):
        missing, extra = names - set(value), set(value) - names
        if missing or extra:
            raise bad_request(
                f"{where} do not fit the signature: missing {sorted(missing)}, not expected {sorted(extra)}"
            )
        return value
    if len(names) != 1:
        raise bad_request(f"{where} must be an object with the keys {sorted(names)}")
    return {next(iter(names)): value}


def _columns_of_rows(rows: Any, names: set[str]) -> dict[str, Any]:
    if not isinstance(rows, list) or not rows:
        raise bad_request("'instances' must be a list with at least one instance")
    named = [_named(row, names, "instances") for row in rows]
    return {name: [row[name] for row in named] for name in names}


def _decode_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode_bytes(item) for item in value]
    if isinstance(value, dict) and set(value) == {"b64"}:
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (TypeError, ValueError) as error:
            raise bad_request("a value of 'b64' must be a string in base64") from error
    return value


def _to_array(name: str, value: Any, dtype: np.dtype) -> np.ndarray:
    try:
        array = np.asarray(_decode_bytes(value), object) if dtype.kind == "O" else np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise bad_request(f"input {name!r} is not a rectangular array") from error
    if array.size and array.dtype.kind not in _FITS[dtype.kind]:
        raise bad_request(f"input {name!r} must be of type {dtype.name}")
    if dtype.kind in "iu" and array.size:
        bounds = np.iinfo(dtype)
        if not bounds.min <= array.min() <= array.max() <= bounds.max:
            raise bad_request(f"input {name!r} has values outside of {dtype.name}")
    with np.errstate(over="ignore"):  # a number too large for a float becomes infinity
        return array.astype(dtype)


def _to_json(array: np.ndarray) -> np.ndarray:
    """An array that can be written: bytes as base64."""
    if array.dtype.kind == "O":
        return np.vectorize(lambda b: {"b64": base64.b64encode(b).decode()}, otypes=[object])(array)
    return array


def _to_lists(value: Any) -> Any:
    return value.tolist()
