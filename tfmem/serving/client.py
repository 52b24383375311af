"""Acts through a policy server, carrying the policy's memory. Imports no TensorFlow."""

from typing import Any

import numpy as np
import requests

from tfmem.errors import TfmemError
from tfmem.serving import wire

_DTYPES = {
    "DT_FLOAT": "float32",
    "DT_DOUBLE": "float64",
    "DT_HALF": "float16",
    "DT_INT8": "int8",
    "DT_INT16": "int16",
    "DT_INT32": "int32",
    "DT_INT64": "int64",
    "DT_UINT8": "uint8",
    "DT_UINT16": "uint16",
    "DT_UINT32": "uint32",
    "DT_UINT64": "uint64",
    "DT_BOOL": "bool",
}


class ServerError(TfmemError):
    """The server could not be reached or refused a request; one line says which and why.

    Attributes:
      status: the HTTP status, or None when there was no answer.
    """

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


class PolicyClient:
    """A policy served over TF Serving's REST API, by `tfmem serve` or TF Serving itself.

    Example:
      >>> client = PolicyClient("http://127.0.0.1:8501", "repeat_previous")
      >>> with client.session() as session:
      ...     action = session.act(observation)

    Args:
      url: the server, such as `http://127.0.0.1:8501`.
      name: the model's name there.
      version: the version to use; by default the newest at the time a session starts.
      timeout_s: seconds to wait for an answer.
    """

    def __init__(self, url: str, name: str, *, version: int | None = None, timeout_s: float = 10.0):
        self._model_url = f"{url.rstrip('/')}/v1/models/{name}"
        self._name = name
        self._version = version
        self._timeout_s = timeout_s
        self._http = requests.Session()

    def __enter__(self) -> "PolicyClient":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def status(self) -> list[dict[str, Any]]:
        """TF Serving's `model_version_status`: version, state and status of each version."""
        return self._get("model_version_status", self._request("GET", self._model_url))

    def session(self) -> "Session":
        """A session for one episode after another, with the version pinned and a memory of its own."""
        return Session(self.pinned())

    def pinned(self) -> "PinnedPolicy":
        """The policy at one version: while the server keeps that version, whatever else it rolls out."""
        suffix = "" if self._version is None else f"/versions/{self._version}"
        metadata = self._request("GET", f"{self._model_url}{suffix}/metadata")
        signatures = self._get("metadata", metadata)["signature_def"]["signature_def"]
        if "step" not in signatures:
            raise ServerError(f"model {self._name!r} has no signature 'step': it is not a tfmem export")
        version = int(metadata["model_spec"]["version"])
        step = signatures["step"]
        return PinnedPolicy(self, version, _specs(step["inputs"]), _specs(step["outputs"]))

    def predict(self, signature: str, inputs: dict[str, Any], *, version: int) -> dict[str, Any]:
        """Calls a signature with column-form inputs, arrays or nested lists by name.

        Returns:
          The outputs as nested lists by name; without its name where a signature has a single one.

        Raises:
          ServerError: when the server does not answer with a prediction.
        """
        body = {
            "signature_name": signature,
            "inputs": {name: np.asarray(value).tolist() for name, value in inputs.items()},
        }
        url = f"{self._model_url}/versions/{version}:predict"
        return self._get("outputs", self._request("POST", url, json=body))

    def _get(self, key: str, answer: Any) -> Any:
        if not isinstance(answer, dict) or key not in answer:
            raise ServerError(f"{self._model_url} does not answer as TF Serving does: no {key!r}")
        return answer[key]

    def _request(self, method: str, url: str, **kwargs: Any) -> Any:
        try:
            response = self._http.request(method, url, timeout=self._timeout_s, **kwargs)
        except requests.RequestException as error:
            raise ServerError(f"no answer from {url}: {_root_cause(error)}") from error
        try:
            answer = response.json()
        except requests.JSONDecodeError as error:
            raise ServerError(
                f"{url} answered {response.status_code} without JSON", response.status_code
            ) from error
        if response.status_code != 200:
            reason = answer.get("error") if isinstance(answer, dict) else None
            raise ServerError(
                f"{url} answered {response.status_code}: {reason or 'no reason given'}",
                response.status_code,
            )
        return answer


class PinnedPolicy:
    """One version of a served policy, with the interface of `tfmem.agents.MemoryPolicy`.

    Attributes:
      version: the version.
      inputs: dtype and shape without the batch axis of every input of `step`, by name.
      outputs: the same of every output.
    """

    def __init__(
        self,
        client: PolicyClient,
        version: int,
        inputs: dict[str, dict[str, Any]],
        outputs: dict[str, dict[str, Any]],
    ):
        self._client = client
        self.version = version
        self.inputs = inputs
        self.outputs = outputs

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

    def initial_state(self, batch_size: int) -> dict[str, np.ndarray]:
        """Zeros in the state's form: the model puts its own initial memory in place where `is_first`."""
        return {
            name: np.zeros([batch_size, *spec["shape"]], spec["dtype"])
            for name, spec in self.state_specs.items()
        }

    def step(
        self, observation: Any, is_first: Any, state: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Acts once for a batch; see `tfmem.agents.MemoryPolicy.step`.

        Raises:
          ServerError: when the server does not answer with an action.
        """
        inputs = {**wire.flatten_observation(observation), wire.IS_FIRST: is_first, **state}
        outputs = self._client.predict("step", inputs, version=self.version)
        next_state = {
            name: np.asarray(outputs[name], spec["dtype"]) for name, spec in self.state_specs.items()
        }
        action = np.asarray(outputs[wire.ACTION], np.int32)
        return action, np.asarray(outputs[wire.Q_VALUES], np.float32), next_state


class Session:
    """One actor's episodes through a pinned policy, memory carried along.

    Attributes:
      q_values: of the latest step, `[actions]`; None before the first.
    """

    def __init__(self, policy: PinnedPolicy):
        self._policy = policy
        self.q_values: np.ndarray | None = None
        self.reset()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.reset()

    @property
    def version(self) -> int:
        """The pinned version."""
        return self._policy.version

    def reset(self) -> None:
        """Forgets: the next observation is an episode's first."""
        self._state = self._policy.initial_state(1)
        self._is_first = True

    def act(self, observation: Any) -> int:
        """The greedy action on the next observation of the episode.

        Args:
          observation: one observation, without a batch axis.

        Raises:
          ServerError: when the server does not answer; the memory is then as it was before.
        """
        batch = _map(lambda part: np.asarray(part)[np.newaxis], observation)
        action, q_values, state = self._policy.step(batch, [self._is_first], self._state)
        self._state, self._is_first, self.q_values = state, False, q_values[0]
        return int(action[0])


def _map(function, nest):
    if isinstance(nest, dict):
        return {key: _map(function, part) for key, part in nest.items()}
    if isinstance(nest, tuple):
        return tuple(_map(function, part) for part in nest)
    return function(nest)


def _specs(inputs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """TensorInfo in JSON by name to dtype and shape without the batch axis."""
    return {
        name: {
            "dtype": _DTYPES[info["dtype"]],
            "shape": [int(dim["size"]) for dim in info["tensor_shape"].get("dim", [])][1:],
        }
        for name, info in inputs.items()
    }


def _root_cause(error: BaseException) -> str:
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__
