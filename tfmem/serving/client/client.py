"""The blocking client."""

from typing import Any

import numpy as np
import tenacity

from tfmem.serving import wire
from tfmem.serving.client.base import ClientBase
from tfmem.serving.client.call import Answer, Call
from tfmem.serving.client.errors import NOT_FOUND, ServerError
from tfmem.serving.client.memory import Memory
from tfmem.serving.client.policy import ServedPolicy
from tfmem.serving.client.requests_transport import RequestsTransport
from tfmem.serving.client.retrying import Deadline, options
from tfmem.serving.client.server import Server
from tfmem.serving.client.snapshot import Snapshot


class PolicyClient(ClientBase):
    """A policy on a server that speaks TF Serving's REST or gRPC: `tfmem serve`, or TF Serving itself.

    A call that meets a server that is away, full or unavailable is tried again within its time.

    Example:
      >>> client = PolicyClient("grpc://127.0.0.1:8500", "repeat_previous")
      >>> with client.session() as session:
      ...     action = session.act(observation)

    Args:
      url: the server, such as `http://127.0.0.1:8501` for REST or `grpc://127.0.0.1:8500` for gRPC; `https://`
        and `grpcs://` with TLS.
      name: the model's name there.
      version: the version to use; by default the newest at the time a session starts.
      label: in place of a version: the one that has this label at the time a session starts.
      timeout_s: seconds that a call may take, together with its retries.
      token: a bearer token to send along.
      ca_file: certificates (PEM) to check the server's against; by default the usual ones.

    Raises:
      InvalidInput: when one of them cannot be right, or a library for this kind of server is missing.
    """

    def _make_transport(self, server: Server) -> Any:
        if not server.is_grpc:
            return RequestsTransport(server)
        from tfmem.serving.client.grpc_transport import GrpcTransport

        return GrpcTransport(server)

    def __enter__(self) -> "PolicyClient":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def status(self) -> list[dict[str, Any]]:
        """TF Serving's `model_version_status`: version, state and status of each version."""
        return self._run(self._api.status())

    def session(self) -> "Session":
        """A session for one episode after another, with the version pinned and a memory of its own."""
        return Session(self, self.pinned())

    def resume(self, snapshot: bytes) -> "Session":
        """The session that `snapshot` was saved from, on the version that its memory is of.

        Raises:
          InvalidInput: when the snapshot is of another model, version or form of state than is served here.
          VersionGone: when its version is no longer served.
        """
        saved = self._read(snapshot)
        try:
            policy = self._pinned(version=saved.version, label=None)
        except ServerError as error:
            if error.status != NOT_FOUND:
                raise
            raise saved.gone() from error
        return Session(self, policy, snapshot=saved)

    def pinned(self) -> "PinnedPolicy":
        """The policy at one version: while the server keeps that version, whatever else it rolls out."""
        return self._pinned(version=self._version, label=self._label)

    def predict(self, signature: str, inputs: dict[str, Any], *, version: int) -> Any:
        """Calls a signature with arrays or nested lists by name.

        Returns:
          The outputs as arrays by name; the array alone where a signature has a single output.

        Raises:
          ServerError: when the server does not answer with a prediction.
        """
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        return self._run(self._api.predict(signature, arrays, version=version))

    def _pinned(self, *, version: int | None, label: str | None) -> "PinnedPolicy":
        metadata = self._run(self._api.metadata(version=version, label=label))
        return PinnedPolicy(self, self._name, metadata)

    def _run(self, call: Call[Answer]) -> Answer:
        deadline = Deadline(self._timeout_s)

        def attempt() -> Answer:
            return call.read(self._transport.send(call.request, deadline.left_s()))

        return tenacity.Retrying(**options(self._timeout_s))(attempt)


class PinnedPolicy(ServedPolicy):
    """One version of a served policy, with the interface of `tfmem.agents.MemoryPolicy`."""

    def __init__(self, client: PolicyClient, name: str, metadata: dict[str, Any]):
        super().__init__(name, metadata)
        self._client = client

    def step(
        self, observation: Any, is_first: Any, state: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Acts once for a batch; see `tfmem.agents.MemoryPolicy.step`.

        Raises:
          InvalidInput: when the observation or the state does not fit the policy.
          ServerError: when the server does not answer with an action.
        """
        inputs = self.step_inputs(observation, is_first, state)
        return self.read_outputs(self._client.predict("step", inputs, version=self.version))

    def explain(
        self, observation: Any, is_first: Any, state: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """As `step`, and what else can be shown of it; see `tfmem.agents.MemoryPolicy.explain`."""
        inputs = self.step_inputs(observation, is_first, state)
        return self.read_explained(self._client.predict("explain", inputs, version=self.version))

    def initial_state(self, batch_size: int) -> dict[str, np.ndarray]:
        """The state at an episode's start, as the model tells it; zeros where it does not, which do as well
        where `is_first`.
        """
        if not self._tells_initial_state:
            return self.blank_state(batch_size)
        inputs = {wire.BATCH: np.zeros([batch_size], np.int32)}
        return self.read_initial_state(self._client.predict("initial_state", inputs, version=self.version))


class Session(Memory[PinnedPolicy]):
    """One actor's episodes through a pinned policy, memory carried along. For one thread at a time."""

    def __init__(self, client: PolicyClient, policy: PinnedPolicy, *, snapshot: Snapshot | None = None):
        super().__init__(policy, snapshot=snapshot)
        self._client = client

    def act(self, observation: Any) -> int:
        """The greedy action on the next observation of the episode.

        Args:
          observation: one observation, without a batch axis.

        Raises:
          InvalidInput: when the observation does not fit the policy.
          ServerError: when the server does not answer; the memory is then as it was before.
          VersionGone: when the version is no longer served; the session is then at an episode's start, on the
            version that a new session would have.
        """
        try:
            return self._advance(self._policy.step(*self._step_arguments(observation)))
        except ServerError as error:
            if error.status != NOT_FOUND:
                raise
            raise self._move(self._client.pinned()) from error
