"""Is the diff of a moment the one that was, whatever text of a file is still there?"""

import hashlib
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.collab.moment import changes, diff_then
from veilig.repair.edit import edits_between, unified

PATH = "shop/cart.py"
TEXT = st.none() | st.text("ab\n\u2039\u203a#", max_size=12)


@dataclass
class Event:
    seq: int
    name: str
    body: dict[str, Any]


def sha(text: str | None) -> str:
    return "" if text is None else hashlib.sha256(text.encode()).hexdigest()


def act(seq: int, old: str | None, new: str | None, kind: str, path: str = PATH) -> list[Event]:
    """One change as the gate and the provider of files record it."""

    def spans(old: str | None, new: str | None) -> list[Any]:
        return [[e.start, e.end, e.replacement] for e in edits_between(path, old or "", new or "")]

    action: dict[str, Any] = {"kind": kind, "path": path, "before": sha(old)}
    if kind == "file.patch":
        action["edits"] = spans(old, new)
    if kind == "file.write":
        action["content"] = new
    data = {"before": sha(old), "after": sha(new), "undo": spans(new, old)}
    ref = f"r{seq}"
    return [
        Event(seq, "action.proposed", {"ref": ref, "action": action}),
        Event(seq + 1, "action.verified", {"ref": ref, "status": "done", "data": data}),
    ]


def story(texts: list[str | None]) -> list[Event]:
    """Each text follows the one before, by a patch, a whole text or a deletion."""
    events: list[Event] = []
    for at, (old, new) in enumerate(zip(texts, texts[1:], strict=False)):
        kind = "file.delete" if new is None else "file.write" if old is None or at % 2 else "file.patch"
        events += act(2 * at, old, new, kind)
    return events


def diff_of(old: str | None, new: str | None) -> str:
    return unified({} if old is None else {PATH: old}, {} if new is None else {PATH: new})


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, min_size=2, max_size=6), st.data())
def test_every_moment_follows_from_one_text_that_is_still_there(texts: list[str | None], data: Any) -> None:
    one = data.draw(st.sampled_from([texts[0], texts[-1]]))
    at = data.draw(st.integers(0, len(texts) - 1))
    made = changes(story(texts))
    known = {PATH: [] if one is None else [one]}
    found, whole = diff_then(made, 2 * at - 1, known)
    if whole:
        assert found == diff_of(texts[0], texts[at])
    else:
        assert found.count("\n# ") == 1, "what is not known is said"
    if one is not None or at == 0:
        assert whole, "edits and their undoing lead from one known text to all others"


def test_a_text_with_another_hash_is_never_taken_for_the_one_that_was() -> None:
    made = changes(act(1, "a\n", "b\n", "file.patch"))
    assert diff_then(made, 0, {PATH: ["a\n"]}) == ("", True)
    assert diff_then(made, 2, {PATH: ["b\n"]}) == (diff_of("a\n", "b\n"), True)
    for lie in (["x\n"], []):
        found, whole = diff_then(made, 2, {PATH: lie})
        assert not whole
        assert found.startswith(f"diff --git a/{PATH} b/{PATH}\n# changed")


def test_what_programs_changed_is_named_and_a_refused_change_is_none() -> None:
    ran = [
        Event(1, "action.proposed", {"ref": "c", "action": {"kind": "command.run", "argv": ["make"]}}),
        Event(2, "action.verified", {"ref": "c", "status": "done", "data": {"changed": ["out.txt"]}}),
    ]
    found, whole = diff_then(changes(ran), 2, {"out.txt": ["made\n"]})
    assert (found.splitlines()[0], whole) == ("diff --git a/out.txt b/out.txt", False)
    refused = act(1, "a\n", "b\n", "file.patch")
    refused[1].body["status"] = "failed"
    assert changes(refused) == []
