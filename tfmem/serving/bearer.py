"""Bearer tokens: what clients send, and servers ask for."""

import hmac

from tfmem.errors import InvalidInput


def check_token(token: str | None) -> None:
    """Raises `InvalidInput` for a token that no header can carry; None is none."""
    if token is None:
        return
    if not (token and token.isascii() and token.isprintable() and token == token.strip()):
        raise InvalidInput("token must be printable ASCII text on one line")


def authorization(token: str) -> str:
    """The header `Authorization` that carries a token."""
    return f"Bearer {token}"


def is_authorized(header: bytes, token: str) -> bool:
    """Whether a header carries this token; how long that takes tells nothing of the token."""
    return hmac.compare_digest(header, authorization(token).encode())
