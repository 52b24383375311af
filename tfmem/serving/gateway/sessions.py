"""What a session is: the version it is pinned to, its memory and its last answer. No network, no TensorFlow.

A session changes only by `Session.after` and `Session.start`; both give a new one, so that a call that fails
on the way has changed nothing.
"""

import dataclasses
import json
import reprlib
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfmem.errors import InvalidInput, TfmemError
from tfmem.serving import wire


class SessionError(TfmemError):
    """A call on a session that was refused; one line says why.

    Attributes:
      status: the HTTP status of the refusal.
    """

    status: int

    def body(self) -> dict[str, Any]:
        """The refusal as JSON values."""
        return {"error": str(self)}


class StepOutOfOrder(SessionError):
    """The call is for another step than the session's next one or its last."""

    status = 412

    def __init__(self, given: int, expected: int):
        super().__init__(f"step {given} is out of order: the next step of this session is {expected}")
        self._expected = expected

    def body(self) -> dict[str, Any]:
        return {**super().body(), "step": self._expected}


class VersionGone(SessionError):
    """The version that a session is pinned to is no longer served."""

    status = 410


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """Which version of a model a session asks for: by number, by label, or else the newest."""

    model: str
    version: int | None = None
    label: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServedPolicy:
    """One version of a served policy: dtype and shape, without the batch axis, of its parts by name."""

    model: str
    version: int
    observation: Mapping[str, Mapping[str, Any]]
    state: Mapping[str, Mapping[str, Any]]

    @property
    def fingerprint(self) -> str:
        """A memory fits this version if it was made with the same fingerprint."""
        return wire.fingerprint(self.state)

    def encode_observation(self, observation: Any) -> dict[str, np.ndarray]:
        """An observation from JSON as arrays by name.

        Args:
          observation: a value, or values by their names on the wire.

        Raises:
          InvalidInput: when a name, type or shape does not fit.
        """
        parts = observation if isinstance(observation, dict) else {wire.OBSERVATION: observation}
        if set(parts) != set(self.observation):
            given = reprlib.repr(sorted(parts))
            raise InvalidInput(f"the observation must have the parts {sorted(self.observation)}, not {given}")
        return {name: _to_array(name, parts[name], spec) for name, spec in self.observation.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Session:
    """One actor's episode.

    Attributes:
      choice: what was asked for when the session was started; a reset asks for it again.
      version: the version that the episode is pinned to.
      fingerprint: of that version's state.
      step: how many steps of the episode have been answered, which is the number of the next one.
      answer: action and Q-values of the last answered step; empty before the first.
      state: the memory by name; empty before the first step.
    """

    choice: Choice
    version: int
    fingerprint: str
    step: int = 0
    answer: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    state: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @classmethod
    def start(cls, choice: Choice, policy: ServedPolicy) -> "Session":
        """A new episode, with fresh memory, on the version that `choice` came to."""
        return cls(choice=choice, version=policy.version, fingerprint=policy.fingerprint)

    def has_answered(self, step: int | None) -> bool:
        """Whether the stored answer is the one to this step; without a number it is the next step.

        Raises:
          StepOutOfOrder: when the step is neither the last nor the next.
        """
        if step is None or step == self.step:
            return False
        if step == self.step - 1:
            return True
        raise StepOutOfOrder(step, self.step)

    def inputs(self, policy: ServedPolicy, observation: Any) -> dict[str, np.ndarray]:
        """What `step` takes, without the batch axis.

        Raises:
          VersionGone: when the version's number now stands for a policy with other memory.
          InvalidInput: when the observation does not fit.
        """
        if policy.fingerprint != self.fingerprint:
            raise VersionGone(
                f"version {self.version} of model {self.choice.model!r} now has another kind of memory than "
                "this session's; reset the session to go on with fresh memory"
            )
        # The model puts its own initial memory in place where `is_first`.
        fresh = {name: np.zeros(spec["shape"], spec["dtype"]) for name, spec in policy.state.items()}
        is_first = np.asarray(self.step == 0)
        return {**policy.encode_observation(observation), wire.IS_FIRST: is_first, **fresh, **self.state}

    def after(self, policy: ServedPolicy, outputs: Mapping[str, np.ndarray]) -> "Session":
        """The session once `step` has given these outputs, without the batch axis."""
        return dataclasses.replace(
            self,
            step=self.step + 1,
            answer={name: outputs[name].tolist() for name in (wire.ACTION, wire.Q_VALUES)},
            state={name: outputs[name] for name in policy.state},
        )

    def to_bytes(self) -> bytes:
        """The session in a compact form: a length, that many bytes of JSON, and the memory as it is."""
        fields = dataclasses.asdict(dataclasses.replace(self, state={}))
        fields["state"] = {name: [part.dtype.name, part.shape] for name, part in self.state.items()}
        header = json.dumps(fields).encode()
        return b"".join(
            [_LENGTH.pack(len(header)), header, *(part.tobytes() for part in self.state.values())]
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Session":
        """The session that `to_bytes` wrote."""
        (length,) = _LENGTH.unpack_from(data)
        offset = _LENGTH.size + length
        fields = json.loads(data[_LENGTH.size : offset])
        state = {}
        for name, (dtype, shape) in fields["state"].items():
            part = np.frombuffer(data, dtype, int(np.prod(shape, dtype=int)), offset)
            state[name] = part.reshape(shape)
            offset += part.nbytes
        return cls(**{**fields, "choice": Choice(**fields["choice"]), "state": state})


_LENGTH = struct.Struct(">I")

# Which kinds of numbers in JSON an input of a kind takes.
_TAKES = {"b": "b", "i": "iu", "u": "iu", "f": "fiu"}


def _to_array(name: str, value: Any, spec: Mapping[str, Any]) -> np.ndarray:
    dtype, shape = np.dtype(spec["dtype"]), tuple(spec["shape"])
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidInput(f"{name} must be a rectangular array of shape {list(shape)}") from error
    if array.shape != shape:
        raise InvalidInput(f"{name} must have the shape {list(shape)}, not {list(array.shape)}")
    if array.size and array.dtype.kind not in _TAKES.get(dtype.kind, ""):
        raise InvalidInput(f"{name} must be of type {dtype.name}")
    if dtype.kind in "iu" and array.size:
        bounds = np.iinfo(dtype)
        if not bounds.min <= int(array.min()) <= int(array.max()) <= bounds.max:
            raise InvalidInput(f"{name} has values outside of {dtype.name}")
    with np.errstate(over="ignore"):  # a number too large for a float becomes infinity
        return array.astype(dtype)
