"""The one form in which tfmem says that something given to it does not fit."""


class InvalidInput(ValueError):
    """What the user gave does not fit; the message is one line that names it and what to change."""


def require(condition: bool, name: str, value: object, expected: str) -> None:
    """Raises `InvalidInput` naming the field, what it was and what it must be, unless `condition`."""
    if not condition:
        raise InvalidInput(f"{name} must be {expected}, not {value!r}")
