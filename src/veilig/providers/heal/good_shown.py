"""What would a rollback change, for whoever decides on it? A diff of each file, from now to its good content.

Read only. A file that is not what the act believes is said, for the act would be refused. Contents are
sealed by the gate before anybody sees them.
"""

import difflib
import hashlib
from datetime import UTC, datetime
from pathlib import Path

from veilig.core.action import RollBack
from veilig.core.errors import ProviderError
from veilig.core.service import Service
from veilig.providers.heal.good import GoodStates

FILE_BYTES_MAX = 1 << 18  # larger ones are told by their size
LINES_PER_FILE = 60
LINES = 200


def shown(action: RollBack, service: Service, states: GoodStates) -> str:
    """Some lines: which state it is, which others are kept, and what becomes of each file."""
    known = states.kept(service)
    lines = [_which(action, [(state.digest, state.recorded_s) for state in known])]
    for path, now, then in action.files:
        lines += _file(path, now, then, service, states)
        if len(lines) > LINES:
            return "\n".join([*lines[:LINES], f"... {len(action.files)} files in all"])
    return "\n".join(lines)


def _which(action: RollBack, known: list[tuple[str, float]]) -> str:
    times = {
        digest: datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC") for digest, at_s in known
    }
    others = [at for digest, at in times.items() if digest != action.to]
    older = f"; also kept, of: {', '.join(others)}" if others else "; no other is kept"
    return f"back to the good state of {times.get(action.to, 'an unknown time')}{older}"


def _file(path: str, now: str, then: str, service: Service, states: GoodStates) -> list[str]:
    try:
        before = _read(path, now)
        after = states.content(service, then) if then else b""
    except (ProviderError, OSError) as error:
        why = error.what if isinstance(error, ProviderError) else error.strerror
        return [f"{path}: cannot be shown: {why}"]
    if not then:
        return [f"{path}: removed ({len(before)} bytes); it was not there when all was well"]
    texts = _text(before), _text(after)
    if texts[0] is None or texts[1] is None:
        return [f"{path}: {len(before)} bytes become the {len(after)} bytes it was well with"]
    label = f"{path} (now)" if now else "/dev/null"
    diff = difflib.unified_diff(texts[0], texts[1], label, f"{path} (good)", n=2, lineterm="")
    lines = [line.rstrip("\n") for line in diff]
    if len(lines) > LINES_PER_FILE:
        lines = [*lines[:LINES_PER_FILE], f"... {len(lines) - LINES_PER_FILE} more lines"]
    return lines or [f"{path}: only its mode changes"]


def _read(path: str, sha: str) -> bytes:
    if not sha:
        return b""
    place = Path(path)
    if place.is_symlink():
        raise ProviderError("it is a link")
    data = place.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha:
        raise ProviderError("it is not what it was when this was proposed")
    return data


def _text(data: bytes) -> list[str] | None:
    if len(data) > FILE_BYTES_MAX or b"\0" in data:
        return None
    try:
        return data.decode().splitlines(keepends=True)
    except UnicodeDecodeError:
        return None
