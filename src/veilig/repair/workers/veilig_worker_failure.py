"""What does an exception say about where the defect is?"""

from __future__ import annotations

import linecache
import os
from typing import TYPE_CHECKING, Any

from veilig_worker_project import relative

if TYPE_CHECKING:
    from types import TracebackType

TEXT_CHARS_MAX = 8000  # an assertion on two long lists still shows where they differ
FRAMES_MAX = 60  # both ends of a recursion
CHAIN_MAX = 4


def failure(error: BaseException, root: str) -> dict[str, Any]:
    """Type, message, project frames (outermost first) of the exception and of what caused it."""
    shown: BaseException | None = _leaf(error)
    record = _one(_leaf(error), root)
    causes: list[dict[str, Any]] = []
    seen = {id(error)}
    while len(causes) < CHAIN_MAX:
        assert shown is not None
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)
        if shown is None or id(shown) in seen:
            break
        seen.add(id(shown))
        causes.append(_one(shown, root))
    record["causes"] = causes
    return record


def frames(trace: TracebackType | None, root: str) -> list[dict[str, Any]]:
    """The traceback's frames inside the project, outermost first."""
    result: list[dict[str, Any]] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        path = relative(os.path.abspath(code.co_filename), root)  # noqa: PTH100
        if not code.co_filename.startswith("<") and not os.path.isabs(path):  # noqa: PTH117
            text = linecache.getline(code.co_filename, trace.tb_lineno).strip()
            result.append(
                {"path": path, "line": trace.tb_lineno, "function": code.co_name, "text": text[:300]}
            )
        trace = trace.tb_next
    if len(result) > FRAMES_MAX:
        result = result[: FRAMES_MAX // 2] + result[-FRAMES_MAX // 2 :]
    return result


def _one(error: BaseException, root: str) -> dict[str, Any]:
    record: dict[str, Any] = {
        "exception": type(error).__name__,
        "bases": [base.__name__ for base in type(error).__mro__[1:-1]],
        "message": _text(error)[:TEXT_CHARS_MAX],
        "frames": frames(error.__traceback__, root),
        "path": "",
        "line": 0,
    }
    if record["frames"]:
        record["path"], record["line"] = record["frames"][-1]["path"], record["frames"][-1]["line"]
    if isinstance(error, SyntaxError) and error.filename:
        record["path"] = relative(os.path.abspath(error.filename), root)  # noqa: PTH100
        record["line"], record["column"] = error.lineno or 0, error.offset or 0
    if isinstance(error, (ImportError, NameError)) and getattr(error, "name", None):
        record["name"] = str(error.name)
    if isinstance(error, KeyError) and error.args:
        record["key"] = repr(error.args[0])[:200]
    return record


def _leaf(error: BaseException) -> BaseException:
    # A task group wraps what really failed; its first member tells more than the group.
    members = getattr(error, "exceptions", None)
    while isinstance(members, tuple) and members and isinstance(members[0], BaseException):
        error = members[0]
        members = getattr(error, "exceptions", None)
    return error


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as trouble:  # noqa: BLE001  (a project's own __str__ may fail; that is worth saying)
        return f"<the message could not be read: {type(trouble).__name__}>"
