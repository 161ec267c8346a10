"""What did the files look like at one moment of a session? Worked out from the changes that it recorded.

Each recorded change says what it was made for and what came of it (SHA-256), how it is done, and how it is
taken back. From one text of a file that is still known, the others follow in both directions; a text is
believed only when its hash is the recorded one. Texts are as a planner saw them: secrets are handles.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from veilig.repair.edit import Edit, EditError, apply, unified

UNKNOWN: Final = "?"  # in the place of a hash: programs changed it, or the record does not say
_CHANGES: Final = ("file.patch", "file.write", "file.delete")


class Recorded(Protocol):
    """One event of the ledger."""

    @property
    def seq(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def body(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one file. before, after: SHA-256, "" for no file. content: the whole new text, if given.
    edits lead from the one text to the other, undo back.
    """

    seq: int
    path: str
    before: str = UNKNOWN
    after: str = UNKNOWN
    edits: tuple[Edit, ...] = ()
    undo: tuple[Edit, ...] = ()
    content: str | None = None


def changes(events: Iterable[Recorded]) -> list[Change]:
    """The changes of files that were made, in order."""
    proposed: dict[str, Mapping[str, Any]] = {}
    found: list[Change] = []
    for event in events:
        ref = str(event.body.get("ref", ""))
        if event.name == "action.proposed":
            proposed[ref] = cast(Mapping[str, Any], event.body["action"])
        elif event.name == "action.verified" and event.body.get("status") == "done" and ref in proposed:
            action, data = proposed[ref], cast(Mapping[str, Any], event.body.get("data") or {})
            if action["kind"] in _CHANGES:
                found.append(_change(event.seq, action, data))
            else:
                others = cast("list[Any]", data.get("changed") or [])
                found += [Change(event.seq, str(path)) for path in others if isinstance(path, str)]
    return found


def _change(seq: int, action: Mapping[str, Any], data: Mapping[str, Any]) -> Change:
    path = str(action["path"])
    return Change(
        seq,
        path,
        str(data.get("before", UNKNOWN)),
        str(data.get("after", UNKNOWN)),
        _edits(path, action.get("edits")),
        _edits(path, data.get("undo")),
        cast(str, action["content"]) if action["kind"] == "file.write" else None,
    )


def _edits(path: str, given: Any) -> tuple[Edit, ...]:
    return tuple(Edit(path, int(start), int(end), str(text)) for start, end, text in given or ())


def diff_then(made: Iterable[Change], upto: int, known: Mapping[str, Iterable[str]]) -> tuple[str, bool]:
    """(the diff from the source to the copy right after event `upto`, whether no text of it is missing).

    known: texts that each file has, or had at some time. A file whose text then does not follow is named.
    """
    of: dict[str, list[Change]] = {}
    for change in made:
        of.setdefault(change.path, []).append(change)
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    lost: list[str] = []
    for path, some in sorted(of.items()):
        then = [change for change in some if change.seq <= upto]
        if not then:
            continue
        texts = _texts(some, known.get(path, ()))
        first, last = then[0].before, then[-1].after
        if first == last != UNKNOWN:
            continue
        if first not in texts or last not in texts:
            lost.append(f"diff --git a/{path} b/{path}\n# changed; the text it had then is not kept\n")
            continue
        for side, text in ((before, texts[first]), (after, texts[last])):
            if text is not None:
                side[path] = text
    return unified(before, after) + "".join(lost), not lost


def _texts(some: list[Change], known: Iterable[str]) -> dict[str, str | None]:
    """Every text of one file that follows from what is known, by its hash; None: the file was not there."""
    texts: dict[str, str | None] = {"": None}
    for text in (*known, *(change.content for change in some if change.content is not None)):
        texts[_sha(text)] = text
    fresh = True
    while fresh:
        fresh = False
        for change in some:
            for was, becomes, edits in (
                (change.before, change.after, change.edits),
                (change.after, change.before, change.undo),
            ):
                if was not in texts or becomes in texts or becomes == UNKNOWN:
                    continue
                text = _applied(texts[was] or "", edits)
                if text is not None and _sha(text) == becomes:
                    texts[becomes] = text
                    fresh = True
    return texts


def _applied(text: str, edits: tuple[Edit, ...]) -> str | None:
    try:
        return apply(text, edits)
    except EditError:
        return None  # of another text with the same name: it does not follow


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
