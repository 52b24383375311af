"""Why a request was refused, in gRPC's status codes and in HTTP's."""

import grpc

# As TF Serving's REST API maps them.
HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class RequestError(Exception):
    """A request that is not answered.

    Attributes:
      code: the gRPC status.
      message: for the caller.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """The status that REST gives for it."""
        return HTTP_STATUS[self.code]


def bad_request(message: str) -> RequestError:
    """The inputs do not fit."""
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)
