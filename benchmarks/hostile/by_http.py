"""Hostile HTTP."""

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hostile.junk import INFINITY, NAN, TEXTS, mixed


@dataclass(frozen=True)
class HttpRequest:
    """Bytes for a connection of their own.

    Attributes:
      kind: what was done to them.
      data: the bytes.
      whole: whether an answer is to be waited for; the connection is dropped otherwise.
    """

    kind: str
    data: bytes
    whole: bool = True


def http_requests(model: str, inputs: dict[str, np.ndarray], *, seed: int) -> Iterator[HttpRequest]:
    """HTTP requests without end.

    Args:
      model: one that is served, with a signature `step`.
      inputs: what `step` takes.
      seed: of the generator.
    """
    rng = random.Random(seed)
    columns = {name: value.tolist() for name, value in inputs.items()}
    path = f"/v1/models/{model}:predict"

    def valid() -> dict[str, Any]:
        body: dict[str, Any] = {"signature_name": "step"}
        if rng.random() < 0.5:
            return {**body, "inputs": dict(columns)}
        size = len(columns["is_first"])
        return {**body, "instances": [{k: v[i] for k, v in columns.items()} for i in range(size)]}

    def mutated() -> HttpRequest:
        body: Any = json.loads(json.dumps(valid()))
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            body = _mutate_json(rng, body)
        return _post("mutated JSON", path, json.dumps(body).encode())

    def spliced() -> HttpRequest:
        text = bytearray(json.dumps(valid()).encode())
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(text))
            text[at : at + rng.randint(0, 4)] = rng.randbytes(rng.randint(0, 4))
        return _post("spliced bytes", path, bytes(text))

    def truncated() -> HttpRequest:
        text = json.dumps(valid()).encode()
        return _post("truncated JSON", path, text[: rng.randrange(len(text))])

    def shaped() -> HttpRequest:
        """Values that are large, deep or odd in the place of a whole input."""
        name = rng.choice(sorted(columns))
        value = rng.choice(
            (
                "[" * 100_000,
                "[" * 60 + "1" + "]" * 60,
                "[" * 900 + "]" * 900,
                '{"a":' * 2000 + "1" + "}" * 2000,
                "9" * 10_000,
                "1e400",
                "-1e308",
                "[NaN, Infinity, -Infinity]",
                "[[1, 2], [3]]",
                "[true, 1, null]",
                "[" + "1," * 100_000 + "1]",
                '[{"b64": "AAAA"}]',
                '[{"b64": "***"}]',
                '{"b64": 7}',
                '["\\ud800"]',
                '"\ud7ff"',
                "[" + "[]," * 1000 + "[]]",
            )
        )
        body = json.dumps({"signature_name": "step", "inputs": {**columns, name: "HERE"}})
        return _post("odd values", path, body.replace('"HERE"', value).encode())

    def addressed() -> HttpRequest:
        version = rng.choice(("0", "-1", "1.0", "9" * 18, "9" * 400, "٣", "1e3", "x", "", "%31", "1%00"))
        label = rng.choice(("stable", "%2F", "%00", "%ff%fe", "a" * 4000, "..", "%F0%9F%99%82", "{}", "%"))
        name = rng.choice((model, "nothing", "%2e%2e", "a" * 7000, "%C3%28", "", ":", "*"))
        where = rng.choice(("", f"/versions/{version}", f"/labels/{label}"))
        action = rng.choice(
            ("", "/metadata", ":predict", ":classify", ":regress", ":", "/", "?a=b", "#", "//")
        )
        root = rng.choice(("/v1/models/", "/v1/models/", "/v1/models/", "/v2/models/", "/", "//", "/v1/"))
        method = rng.choice(("GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"))
        line = f"{method} {root}{name}{where}{action} HTTP/1.1"
        return HttpRequest("odd address", _http(line, b"{}"))

    def raw_line() -> HttpRequest:
        line = rng.choice(
            (
                "GET",
                "GET / HTTP/9.9",
                "GET http://[bad/ HTTP/1.1",
                "OPTIONS * HTTP/1.1",
                "CONNECT a:1 HTTP/1.1",
                "GET /%zz HTTP/1.1",
                "G\x01T / HTTP/1.1",
                "POST " + "/" * 20_000 + " HTTP/1.1",
                "PRI * HTTP/2.0",
                "\x16\x03\x01\x02",
            )
        )
        return HttpRequest("odd request line", _http(line, rng.randbytes(rng.randint(0, 40))))

    def headers() -> HttpRequest:
        header = rng.choice(
            (
                "X-Large: " + "x" * 100_000,
                "\r\n".join(f"X-{i}: {i}" for i in range(2000)),
                "Content-Encoding: gzip",
                "Content-Encoding: deflate",
                "Content-Encoding: nothing",
                "Expect: miracles",
                "Content-Type: \xff",
                "Content-Type: application/json; charset=nothing",
                "Authorization: Bearer \xff\xfe",
                "Host: [bad",
                "No colon here",
                "Cookie: " + ";" * 1000,
                "Upgrade: websocket\r\nConnection: upgrade",
                "Content-Length: 5",
                "Range: bytes=9-1",
                ": empty",
            )
        )
        return HttpRequest("odd header", _http(f"POST {path} HTTP/1.1", json.dumps(valid()).encode(), header))

    def lengths() -> HttpRequest:
        text = json.dumps(valid()).encode()
        length = rng.choice(
            (
                *("Content-Length: -1", "Content-Length: x", "Content-Length: 10"),
                *(f"Content-Length: {2**70}", "Content-Length: 1000000", f"Content-Length: {2**40}"),
                "Transfer-Encoding: chunked",
            )
        )
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode()
        return HttpRequest("wrong length", head + text, whole=False)

    def chunks() -> HttpRequest:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        tail = rng.choice((b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n", b"2\r\n{}0\r\n\r\n", b"f" * 40 + b"\r\n{}"))
        return HttpRequest("odd chunks", head + tail)

    def noise() -> HttpRequest:
        return HttpRequest("noise", rng.randbytes(rng.randint(1, 300)) + b"\r\n\r\n", whole=False)

    kinds: list[tuple[int, Callable[[], HttpRequest]]] = [
        *((8, mutated), (4, spliced), (2, truncated), (4, shaped), (4, addressed), (1, raw_line)),
        *((3, headers), (1, lengths), (1, chunks), (1, noise)),
    ]
    yield from mixed(rng, kinds)


def _http(line: str, body: bytes, *headers: str) -> bytes:
    head = [line, "Host: x", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode("utf-8", "surrogatepass") + body


def _post(kind: str, path: str, body: bytes) -> HttpRequest:
    return HttpRequest(kind, _http(f"POST {path} HTTP/1.1", body))


def _mutate_json(rng: random.Random, value: Any) -> Any:
    """The value with something in it, at any depth, that does not belong there."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(sorted(value))
        change = rng.random()
        if change < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if change < 0.2:
            return {**value, rng.choice(TEXTS): _junk(rng)}
        return {**value, key: _mutate_json(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.75:
        at = rng.randrange(len(value))
        change = rng.random()
        if change < 0.1:
            return value[:at] + value[at + 1 :]
        if change < 0.2:
            return [*value, value[at]]
        return [*value[:at], _mutate_json(rng, value[at]), *value[at + 1 :]]
    return _junk(rng)


def _junk(rng: random.Random) -> Any:
    return rng.choice(
        (
            *(None, True, False, 0, -1, 1.5, -0.0, NAN, INFINITY, -INFINITY, 1e308, "x", "", [], {}, [[]]),
            *(2**31, 2**63, 2**64, -(2**63) - 1, 10**400, "NaN", "\ud800", "é\0🙂", [[1], [1, 2]], [None]),
            *({"b64": ""}, {"b64": base64.b64encode(rng.randbytes(9)).decode()}, {"b64": "*"}, {"b64": None}),
            *({"observation": {}}, [0] * 1000, "x" * 10_000, {"": {"": {"": []}}}),
        )
    )
