"""Which acts make one set of texts from another? One per file, each fenced by what the file held."""

import hashlib

from veilig.agent.patching import PatchError
from veilig.core.action import Action, DeleteFile, PatchFile, TextEdit, WriteFile


def changes(before: dict[str, str | None], after: dict[str, str | None]) -> list[Action]:
    """The acts that make one set of texts from another. Raises PatchError when nothing changes."""
    found: list[Action] = []
    for path, text in after.items():
        old = before.get(path)
        if text is None:
            found.append(DeleteFile(path, sha256(old or "")))
        elif old is None:
            found.append(WriteFile(path, text))
        elif text != old:
            start, end, new = _span(old, text)
            found.append(PatchFile(path, sha256(old), (TextEdit(start, end, new),)))
    if not found:
        raise PatchError("nothing would change")
    return found


def _span(old: str, new: str) -> tuple[int, int, str]:
    """The smallest single replacement that makes `new` of `old`."""
    start = 0
    most = min(len(old), len(new))
    while start < most and old[start] == new[start]:
        start += 1
    end = 0
    while end < most - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return start, len(old) - end, new[start : len(new) - end]


def sha256(text: str) -> str:
    """SHA-256 (hex) of a text as files hold it."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
