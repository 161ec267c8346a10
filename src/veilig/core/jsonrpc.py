"""What does one line of JSON-RPC 2.0 say? The words that MCP and ACP are made of, read and written.

Both protocols send one JSON object per line and name their parameters; batches are gone from both.
Source: the JSON-RPC 2.0 specification; MCP and ACP, transports.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from veilig.core.errors import VeiligError

LINE_BYTES_MAX = 16 << 20  # a prompt with a picture fits; a peer that sends more is not understood
PARSE_ERROR, INVALID_REQUEST, NO_SUCH_METHOD, INVALID_PARAMS = -32700, -32600, -32601, -32602
INTERNAL_ERROR = -32603

type Id = str | int
type Object = Mapping[str, Any]


class RpcError(VeiligError):
    """An error as it goes over the wire: `code` for programs, the text for people."""

    def __init__(self, what: str, *, code: int = INTERNAL_ERROR, why: str = "", fix: str = "") -> None:
        super().__init__(what, why=why, fix=fix)
        self.code = code


class BadLine(RpcError):
    """A line that is no message; `id` is what can be answered to, None when there is nothing."""

    def __init__(self, what: str, *, code: int, id: Id | None = None) -> None:  # noqa: A002
        super().__init__(what, code=code)
        self.id = id


@dataclass(frozen=True, slots=True)
class Call:
    """A request that wants an answer."""

    id: Id
    method: str
    params: Object = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Notice:
    """Something said without waiting for an answer."""

    method: str
    params: Object = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a call of ours: a result, or an error as (code, text)."""

    id: Id
    result: Any = None
    error: tuple[int, str] | None = None


def parse(line: bytes) -> Call | Notice | Reply:
    """The message of one line. Raises BadLine for anything else, with the code to answer."""
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadLine("this is no JSON", code=PARSE_ERROR) from error
    if not isinstance(value, dict):
        raise BadLine("a message is one JSON object", code=INVALID_REQUEST)
    given = cast(dict[str, Any], value)
    name = given.get("id")
    known: Id | None = name if isinstance(name, str | int) and not isinstance(name, bool) else None
    if given.get("jsonrpc") != "2.0":
        raise BadLine("this is not JSON-RPC 2.0", code=INVALID_REQUEST, id=known)
    if "method" not in given:
        return _reply(given, known)
    method: Any = given["method"]
    params: Any = given.get("params") or {}
    if not isinstance(method, str) or ("id" in given and known is None):
        raise BadLine("a method and an id are names", code=INVALID_REQUEST, id=known)
    named = members(params)
    if named is None:
        raise BadLine(f"{method}: parameters are given by name", code=INVALID_PARAMS, id=known)
    return Notice(method, named) if known is None else Call(known, method, named)


def members(value: object) -> dict[str, Any] | None:
    """The members of a JSON object, None when it is something else."""
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


def _reply(given: dict[str, Any], known: Id | None) -> Reply:
    if known is None or ("result" in given) == ("error" in given):
        raise BadLine("this is neither a call nor an answer", code=INVALID_REQUEST, id=None)
    if "result" in given:
        return Reply(known, given["result"])
    told = members(given["error"]) or {}
    code = told.get("code")
    text = str(told.get("message", given["error"]))
    return Reply(known, error=(code if isinstance(code, int) else INTERNAL_ERROR, text))


def call_line(call: Call | Notice) -> bytes:
    """A call or notice as one line."""
    body: dict[str, Any] = {"jsonrpc": "2.0", "method": call.method, "params": dict(call.params)}
    return _line({**body, "id": call.id} if isinstance(call, Call) else body)


def result_line(to: Id, result: Any) -> bytes:
    """The answer to call `to`."""
    return _line({"jsonrpc": "2.0", "id": to, "result": result})


def error_line(to: Id | None, error: VeiligError) -> bytes:
    """An error as the answer to call `to`; None when the call could not be read."""
    code = error.code if isinstance(error, RpcError) else INTERNAL_ERROR
    return _line({"jsonrpc": "2.0", "id": to, "error": {"code": code, "message": str(error)}})


def _line(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
