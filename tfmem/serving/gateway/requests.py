"""The bodies of the gateway's requests; every function raises `InvalidInput` for what does not fit."""

import json
import re
from typing import Any

from tfmem.errors import InvalidInput
from tfmem.serving.gateway.session_service import Act
from tfmem.serving.gateway.sessions import Choice

SESSION_ID = r"[A-Za-z0-9_.-]{1,128}"
_MAX_BATCH = 1024
_FORMS = {int: "a whole number", str: "a string", list: "a list"}


def read_start(text: bytes) -> tuple[Choice, str | None]:
    """What a session is started with: the choice of a model and version, and an id if one is given."""
    body = _object(_parse(text), {"model": str}, {"version": int, "label": str, "session_id": str})
    session_id = body.pop("session_id", None)
    if session_id is not None:
        _require_session_id(session_id)
    for name in body.keys() & {"model", "label"}:
        # What is not printable, such as half a character, has no form in a request to the server.
        if not (0 < len(body[name]) <= 256 and body[name].isprintable()):
            raise InvalidInput(f"{name} must be 1 to 256 printable characters")
    if "version" in body and "label" in body:
        raise InvalidInput("give a version or a label, not both")
    if not 0 <= body.get("version", 0) < 2**63:
        raise InvalidInput("version must be a whole number from 0 to 2^63 - 1")
    return Choice(**body), session_id


def read_act(session_id: str, text: bytes) -> Act:
    """One step of a session."""
    return Act(session_id=session_id, **_object(_parse(text), {"observation": object}, {"step": int}))


def read_acts(text: bytes) -> list[Act | InvalidInput]:
    """Steps of several sessions; what is wrong with one of them stands in its place."""
    entries = _object(_parse(text), {"sessions": list}, {})["sessions"]
    if len(entries) > _MAX_BATCH:
        raise InvalidInput(f"sessions may have up to {_MAX_BATCH} entries, not {len(entries)}")
    return [_read_entry(entry) for entry in entries]


def _read_entry(entry: Any) -> Act | InvalidInput:
    try:
        act = Act(**_object(entry, {"session_id": str, "observation": object}, {"step": int}))
        _require_session_id(act.session_id)
    except InvalidInput as error:
        return error
    return act


def _require_session_id(session_id: str) -> None:
    if not re.fullmatch(SESSION_ID, session_id):
        raise InvalidInput("session_id must be 1 to 128 letters, digits, '_', '-' or '.'")


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is not JSON: {error}") from error


def _object(value: Any, required: dict[str, type], optional: dict[str, type]) -> dict[str, Any]:
    """The fields of a JSON object, each of its type."""
    expected = required | optional
    if not isinstance(value, dict) or not required.keys() <= value.keys() <= expected.keys():
        may_have = f", and perhaps {', '.join(optional)}" if optional else ""
        raise InvalidInput(f"expected a JSON object with {', '.join(required)}{may_have}, and nothing else")
    for name, field in value.items():
        # True is an int in Python.
        if not isinstance(field, expected[name]) or (expected[name] is int and isinstance(field, bool)):
            raise InvalidInput(f"{name} must be {_FORMS[expected[name]]}")
    return value
