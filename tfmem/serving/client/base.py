"""What the blocking client and the one for asyncio have in common: their settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tfmem.errors import InvalidInput, require
from tfmem.serving.client.call import Api
from tfmem.serving.client.rest import RestApi
from tfmem.serving.client.server import Server
from tfmem.serving.client.snapshot import Snapshot


class ClientBase:
    """A model on a server, and how to reach it; see `tfmem.serving.PolicyClient` for the arguments."""

    def __init__(
        self,
        url: str,
        name: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float = 10.0,
        token: str | None = None,
        ca_file: str | None = None,
    ):
        require(timeout_s > 0, "timeout_s", timeout_s, "more than 0 seconds")
        if version is not None and label is not None:
            raise InvalidInput(f"give a version or a label, not both version={version} and label={label!r}")
        server = Server(url, token=token, ca_file=ca_file)
        self._name = name
        self._version = version
        self._label = label
        self._timeout_s = timeout_s
        self._api: Api
        if server.is_grpc:
            # gRPC, like aiohttp, is imported where it is used: REST does without.
            with _client_extra():
                from tfmem.serving.client.grpc_messages import GrpcApi
            self._api = GrpcApi(name)
        else:
            self._api = RestApi(server.url, name)
        with _client_extra():
            self._transport = self._make_transport(server)

    def _make_transport(self, server: Server) -> Any:
        raise NotImplementedError

    def _read(self, data: bytes) -> Snapshot:
        """A snapshot that a session of this client may go on from."""
        snapshot = Snapshot.from_bytes(data)
        if snapshot.model != self._name or self._version not in (None, snapshot.version):
            wanted = "" if self._version is None else f"version {self._version} of "
            raise InvalidInput(
                f"the snapshot is of version {snapshot.version} of {snapshot.model!r}, and this client is for"
                f" {wanted}{self._name!r}"
            )
        return snapshot


@contextmanager
def _client_extra() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise InvalidInput(f"this client needs {error.name}: pip install 'tfmem[client]'") from error
