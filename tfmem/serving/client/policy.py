"""A served policy by its inputs and outputs, apart from the calls that run it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfmem.errors import InvalidInput
from tfmem.serving import wire
from tfmem.serving.client.dtypes import DTYPES
from tfmem.serving.client.errors import ServerError

# By kind of type, the kinds that can stand for it: integers for numbers, never numbers for integers.
_KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "fiu"}


class ServedPolicy:
    """One version of a served policy.

    Attributes:
      name: of the model.
      version: the version.
      inputs: dtype and shape without the batch axis of every input of `step`, by name.
      outputs: the same of every output.
      explained: the same of what the signature `explain` has beside them.

    Args:
      name: of the model.
      metadata: what the server says of the version, in the JSON values of the REST API.

    Raises:
      ServerError: when it is not the metadata of an exported policy.
    """

    def __init__(self, name: str, metadata: dict[str, Any]):
        self.name = name
        try:
            signatures = metadata["metadata"]["signature_def"]["signature_def"]
            if "step" not in signatures:
                raise ServerError(f"model {name!r} has no signature 'step': it is not a tfmem export", 200)
            self.version = int(metadata["model_spec"]["version"])
            self.inputs = _specs(signatures["step"]["inputs"])
            self.outputs = _specs(signatures["step"]["outputs"])
            explain = _specs(signatures.get("explain", signatures["step"])["outputs"])
            self.explained = {name: spec for name, spec in explain.items() if name not in self.outputs}
            self._tells_initial_state = "initial_state" in signatures
        except (KeyError, TypeError, ValueError) as error:
            raise ServerError(f"the metadata of {name!r} is not TF Serving's: {error!r}", 200) from error

    @property
    def actions(self) -> int:
        """The number of actions."""
        return self.outputs[wire.Q_VALUES]["shape"][0]

    @property
    def observation(self) -> dict[str, dict[str, Any]]:
        """The inputs that are parts of the observation."""
        return {name: spec for name, spec in self.inputs.items() if wire.is_observation(name)}

    @property
    def state_specs(self) -> dict[str, dict[str, Any]]:
        """The inputs that are parts of the state."""
        return {name: spec for name, spec in self.inputs.items() if wire.is_state(name)}

    @property
    def fingerprint(self) -> str:
        """Of the state's specs; see `tfmem.serving.wire.fingerprint`."""
        return wire.fingerprint(self.state_specs)

    def blank_state(self, batch_size: int) -> dict[str, np.ndarray]:
        """Zeros in the state's form: the model puts its own initial memory in place where `is_first`."""
        return {
            name: np.zeros([batch_size, *spec["shape"]], spec["dtype"])
            for name, spec in self.state_specs.items()
        }

    def step_inputs(
        self, observation: Any, is_first: Any, state: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The inputs of `step` in the types that it takes.

        Raises:
          InvalidInput: when a part is missing, not expected, or of another type or shape.
        """
        given = {**wire.flatten_observation(observation), wire.IS_FIRST: is_first, **state}
        if set(given) != set(self.inputs):
            missing, extra = sorted(set(self.inputs) - set(given)), sorted(set(given) - set(self.inputs))
            raise InvalidInput(
                f"the inputs do not fit {self.name!r}: missing {missing}, not expected {extra}"
            )
        return {name: _as_spec(name, given[name], spec) for name, spec in self.inputs.items()}

    def read_outputs(self, outputs: Any) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Action, Q-values and next state of `step`'s outputs.

        Raises:
          ServerError: when they are not what the metadata promised.
        """
        arrays = self._arrays(outputs, self.outputs)
        state = {name: arrays[name] for name in self.state_specs}
        return arrays[wire.ACTION], arrays[wire.Q_VALUES], state

    def read_explained(
        self, outputs: Any
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The same of `explain`'s outputs, and those that `step` has not, by name."""
        return *self.read_outputs(outputs), self._arrays(outputs, self.explained)

    def read_initial_state(self, outputs: Any) -> dict[str, np.ndarray]:
        """The state of `initial_state`'s outputs, which are one array where the state is."""
        outputs = outputs if isinstance(outputs, Mapping) else dict.fromkeys(self.state_specs, outputs)
        return self._arrays(outputs, self.state_specs)

    def _arrays(self, outputs: Any, specs: dict[str, dict[str, Any]]) -> dict[str, np.ndarray]:
        try:
            return {name: _as_spec(name, outputs[name], spec) for name, spec in specs.items()}
        except (InvalidInput, KeyError, IndexError) as error:
            raise ServerError(
                f"the answer of {self.name!r} does not fit its metadata: {error}", 200
            ) from error


def _specs(infos: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """TensorInfo in JSON by name to dtype and shape without the batch axis."""
    unknown = sorted(name for name, info in infos.items() if info["dtype"] not in DTYPES)
    if unknown:
        raise ServerError(f"the client does not know the types of {unknown}: use one of {list(DTYPES)}", 200)
    return {
        name: {
            "dtype": DTYPES[info["dtype"]].numpy,
            "shape": [int(dim["size"]) for dim in info["tensor_shape"].get("dim", [])][1:],
        }
        for name, info in infos.items()
    }


def _as_spec(name: str, value: Any, spec: dict[str, Any]) -> np.ndarray:
    """A batch in the spec's type, if that changes no integer."""
    dtype = np.dtype(spec["dtype"])
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidInput(f"{name} must be a rectangular array") from error
    shape = ["batch", *spec["shape"]]
    if array.ndim == 0 or list(array.shape[1:]) != shape[1:]:
        raise InvalidInput(f"{name} must have the shape {shape}, not {list(array.shape)}")
    if array.dtype.kind not in _KINDS[dtype.kind]:
        raise InvalidInput(f"{name} must be of type {dtype.name}, not {array.dtype.name}")
    cast = array.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(cast, array):
        raise InvalidInput(f"{name} has values outside of {dtype.name}")
    return cast
