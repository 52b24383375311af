"""What a client raises about its server."""

from tfmem.errors import TfmemError

NOT_FOUND = 404
TIMED_OUT = 504


class ServerError(TfmemError):
    """The server could not be reached or refused a request; one line says which and why.

    Attributes:
      status: the HTTP status, for gRPC the one that its code stands for; 504 when time ran out. None when a
        server could not be reached over HTTP; gRPC does not tell that from 503.
    """

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


class VersionGone(ServerError):
    """The server no longer has the version that a memory belongs to, so the memory was given up."""
