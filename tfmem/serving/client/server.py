"""Where a server is, and how to be let in."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tfmem.errors import InvalidInput
from tfmem.serving.bearer import authorization, check_token

_SCHEMES = ("http", "https", "grpc", "grpcs")


@dataclass(frozen=True)
class Server:
    """The address of a policy server.

    Attributes:
      url: `http://`, `https://`, `grpc://` or `grpcs://`, with host and port.
      token: a bearer token to send along.
      ca_file: certificates (PEM) to check the server's against; by default the usual ones.

    Raises:
      InvalidInput: when one of them cannot be right.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            known = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
            if self.is_grpc:  # a port of its own, and nothing after it
                known = known and parts.port is not None and not parts.path.strip("/")
        except ValueError:  # a port that is none
            known = False
        if not known:
            raise InvalidInput(
                f"the server {self.url!r} must be a URL such as http://127.0.0.1:8501 for REST or"
                " grpc://127.0.0.1:8500 for gRPC (https:// and grpcs:// with TLS)"
            )
        check_token(self.token)
        if self.ca_file is not None and not self.is_secure:
            raise InvalidInput(f"ca_file needs TLS: use https:// or grpcs:// in place of {self.url}")
        if self.ca_file is not None and not Path(self.ca_file).is_file():
            raise InvalidInput(f"ca_file must be a file of certificates: there is no {self.ca_file}")

    @property
    def is_grpc(self) -> bool:
        """Whether the server is spoken to over gRPC."""
        return urlsplit(self.url).scheme in ("grpc", "grpcs")

    @property
    def is_secure(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.url).scheme in ("https", "grpcs")

    @property
    def target(self) -> str:
        """Host and port."""
        return urlsplit(self.url).netloc

    @property
    def headers(self) -> dict[str, str]:
        """What goes along with every request; names in lower case, as gRPC wants them."""
        return {} if self.token is None else {"authorization": authorization(self.token)}
