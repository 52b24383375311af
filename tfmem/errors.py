"""What tfmem raises for its users: every message is one line that says what to change."""


class TfmemError(Exception):
    """The base of what tfmem raises; the command line prints its message and exits non-zero."""


class InvalidInput(TfmemError, ValueError):
    """What the user gave does not fit; the message names it, what was expected and what to change."""


def require(condition: bool, name: str, value: object, expected: str) -> None:
    """Raises `InvalidInput` naming the field, what it was and what it must be, unless `condition`."""
    if not condition:
        raise InvalidInput(f"{name} must be {expected}, not {value!r}")
