"""What a session carries between calls, and the rules for it."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from tfmem.errors import InvalidInput
from tfmem.serving.client.errors import NOT_FOUND, VersionGone
from tfmem.serving.client.policy import ServedPolicy
from tfmem.serving.client.snapshot import Snapshot

Policy = TypeVar("Policy", bound=ServedPolicy)


class Memory(Generic[Policy]):
    """One actor's memory, of one version of a policy; what `Session` and `AsyncSession` have in common.

    Attributes:
      q_values: of the latest step, `[actions]`; None before the first.
    """

    def __init__(self, policy: Policy, *, snapshot: Snapshot | None = None):
        self._policy = policy
        self.q_values: np.ndarray | None = None
        self.reset()
        if snapshot is not None:
            self._restore(snapshot)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.reset()

    @property
    def version(self) -> int:
        """The pinned version."""
        return self._policy.version

    def reset(self) -> None:
        """Forgets: the next observation is an episode's first."""
        self._state = self._policy.blank_state(1)
        self._is_first = True

    def save(self) -> bytes:
        """The memory, the version it belongs to and the state's fingerprint, for a client's `resume`."""
        return Snapshot(
            model=self._policy.name,
            version=self.version,
            fingerprint=self._policy.fingerprint,
            is_first=self._is_first,
            state={name: part[0] for name, part in self._state.items()},
        ).to_bytes()

    def _restore(self, snapshot: Snapshot) -> None:
        if snapshot.fingerprint != self._policy.fingerprint:
            raise InvalidInput(
                f"the snapshot does not fit version {self.version} of {self._policy.name!r} on this server:"
                f" its fingerprint is {snapshot.fingerprint}, not {self._policy.fingerprint};"
                " start a new session"
            )
        self._state = {name: part[np.newaxis] for name, part in snapshot.state.items()}
        self._is_first = snapshot.is_first

    def _step_arguments(self, observation: Any) -> tuple[Any, list[bool], dict[str, np.ndarray]]:
        """Arguments of the policy's `step`: a batch of one."""
        batch = _map(lambda part: np.asarray(part)[np.newaxis], observation)
        return batch, [self._is_first], self._state

    def _advance(self, stepped: tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]) -> int:
        """Takes over what the policy's `step` came to; the action."""
        action, q_values, self._state = stepped
        self._is_first, self.q_values = False, q_values[0]
        return int(action[0])

    def _move(self, policy: Policy) -> VersionGone:
        """Starts over on `policy`; the error that says so."""
        gone, self._policy, self.q_values = self.version, policy, None
        self.reset()
        return VersionGone(
            f"version {gone} of {policy.name!r} is no longer served: the memory was reset, and the next act"
            f" starts an episode on version {policy.version}",
            NOT_FOUND,
        )


def _map(function, nest):
    if isinstance(nest, Mapping):
        return {key: _map(function, part) for key, part in nest.items()}
    if isinstance(nest, tuple):
        return tuple(_map(function, part) for part in nest)
    return function(nest)
