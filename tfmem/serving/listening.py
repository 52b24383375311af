"""How the servers listen: address, TLS, and the token that they ask for."""

import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tfmem.errors import InvalidInput, require
from tfmem.serving.bearer import check_token, is_authorized

TOKEN_REQUIRED = "a valid bearer token is required"
# Whoever only asks whether a server is well needs no token.
_FREE = ("/healthz", "/readyz")


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where a server listens, and whom it lets in.

    Attributes:
      host: address to listen on.
      tls_certificate: PEM file; with it, and its key, every port speaks TLS.
      tls_key: PEM file.
      token: a bearer token that requests must carry, except for health and readiness.

    Raises:
      InvalidInput: when there is a certificate without its key, or a token that no header can carry.
    """

    host: str = "127.0.0.1"
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    token: str | None = field(default=None, repr=False)

    def __post_init__(self):
        pair = (self.tls_certificate, self.tls_key)
        require(None not in pair or pair == (None, None), "TLS", pair, "a certificate and its key")
        check_token(self.token)


@contextlib.asynccontextmanager
async def http_server(
    application: web.Application, listening: Listening, port: int, *, option: str, drain_s: float
) -> AsyncIterator[str]:
    """An application that listens; gives its URL. At the end, running requests are finished first.

    Args:
      application: it does without a check of tokens, which is added.
      listening: how.
      port: 0 for any that is free.
      option: the command line's name for the port.
      drain_s: how long requests that are being answered get at the end.

    Raises:
      InvalidInput: when the address is taken, or the certificate cannot be used.
    """
    if listening.token is not None:
        application.middlewares.insert(0, _token_required(listening.token))
    tls = _tls(listening)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=drain_s)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, listening.host, port, ssl_context=tls).start()
        except OSError as error:
            raise InvalidInput(
                f"cannot listen on {listening.host}:{port}: {error.strerror}; change --host or {option}"
            ) from error
        yield f"{'http' if tls is None else 'https'}://{listening.host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _token_required(token: str) -> Any:
    @web.middleware
    async def check(request: web.Request, handler) -> web.StreamResponse:
        # Headers may be bytes of any kind, which aiohttp keeps as lone surrogates.
        given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if request.path in _FREE or is_authorized(given, token):
            return await handler(request)
        return web.json_response(
            {"error": TOKEN_REQUIRED}, status=401, headers={"WWW-Authenticate": "Bearer"}
        )

    return check


def _tls(listening: Listening) -> ssl.SSLContext | None:
    if listening.tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(listening.tls_certificate, listening.tls_key)
    except (OSError, ssl.SSLError) as error:
        pair = f"{listening.tls_certificate} and {listening.tls_key}"
        raise InvalidInput(f"{pair} cannot be used for TLS: {error}") from error
    return context
