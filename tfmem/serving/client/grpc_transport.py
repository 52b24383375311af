"""gRPC, blocking and for asyncio."""

from pathlib import Path
from typing import Any

import grpc

from tfmem.serving.client.errors import TIMED_OUT, ServerError
from tfmem.serving.client.grpc_messages import GrpcRequest
from tfmem.serving.client.server import Server

# What google/rpc/code.proto says that each code is in HTTP; 500 for the others.
_HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: TIMED_OUT,
}

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),  # a batch of memories may be larger than the usual 4 MB
    # Look for a server that is gone as often as the client's own retries do.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class GrpcTransport:
    """Sends requests and waits for their responses."""

    def __init__(self, server: Server):
        self._server = server
        self._channel = open_channel(grpc, server)

    def send(self, request: GrpcRequest, timeout_s: float) -> Any:
        """The response's message; `ServerError` for any other end."""
        try:
            return _method(self._channel, request)(
                request.message, timeout=timeout_s, metadata=list(self._server.headers.items())
            )
        except grpc.RpcError as error:
            raise _server_error(self._server, request, error) from error

    def close(self) -> None:
        """Closes the connections."""
        self._channel.close()


class AsyncGrpcTransport:
    """Sends requests and awaits their responses. Belongs to the event loop that it is made in."""

    def __init__(self, server: Server):
        self._server = server
        self._channel = open_channel(grpc.aio, server)

    async def send(self, request: GrpcRequest, timeout_s: float) -> Any:
        """See `GrpcTransport.send`."""
        try:
            return await _method(self._channel, request)(
                request.message, timeout=timeout_s, metadata=list(self._server.headers.items())
            )
        except grpc.RpcError as error:
            raise _server_error(self._server, request, error) from error

    async def close(self) -> None:
        """Closes the connections."""
        await self._channel.close()


def open_channel(library: Any, server: Server) -> Any:
    """A channel of `grpc` or of `grpc.aio`, encrypted where the server's URL says so."""
    if not server.is_secure:
        return library.insecure_channel(server.target, options=_OPTIONS)
    certificates = None if server.ca_file is None else Path(server.ca_file).read_bytes()
    return library.secure_channel(
        server.target, grpc.ssl_channel_credentials(root_certificates=certificates), options=_OPTIONS
    )


def _method(channel: Any, request: GrpcRequest) -> Any:
    return channel.unary_unary(
        request.method,
        request_serializer=type(request.message).SerializeToString,
        response_deserializer=request.response.FromString,
    )


def _server_error(server: Server, request: GrpcRequest, error: Any) -> ServerError:
    code, url = error.code(), f"{server.url.rstrip('/')}{request.method}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ServerError(f"no answer from {url} in time; a larger timeout_s waits longer", TIMED_OUT)
    reason = " ".join((error.details() or "no reason given").split())
    return ServerError(f"{url} answered {code.name}: {reason}", _HTTP_STATUS.get(code, 500))
