"""How does a session's copy differ from its source, now or at one moment of its record?

A moment's diff comes from the states of the copy, where the session kept some; else from the changes that the
ledger holds, each proved by its hash; else it is the diff that was recorded last before that moment.
"""

import asyncio
from pathlib import Path
from typing import Any, cast

from veilig.app.serving import Serving
from veilig.app.serving_look import folded
from veilig.app.sessions import changes_now
from veilig.collab.accounts import Person
from veilig.collab.moment import Change, changes, diff_then
from veilig.collab.roles import May
from veilig.collab.view import shown
from veilig.core.errors import ProviderError, VeiligError
from veilig.core.ledger import Event
from veilig.providers.current import past_diff, texts_of


async def diff(serving: Serving, person: Person, ident: str, upto: int = 0) -> str:
    """The unified diff, as this role may see it. upto: right after this event; 0: now, or at the end.

    A file whose text then is known to nobody any more is named in a line that begins with `#`.
    """
    role = serving.need(person, ident, May.WATCH)
    view = await folded(serving, ident, upto)
    state = cast("dict[str, Any]", view.result or view.state)
    recorded = state.get("diff")
    text = recorded if isinstance(recorded, str) else ""
    if upto:
        text = await asyncio.to_thread(_then, serving, ident, view.source, upto, text)
    elif not text:
        try:
            text = await asyncio.to_thread(changes_now, ident.partition(".")[0], serving.setting)
        except VeiligError:
            text = ""  # there is no copy (any more): nothing differs that could be shown
    return "\n".join(shown(line, role) for line in text.split("\n"))


def _then(serving: Serving, ident: str, source: str, upto: int, recorded: str) -> str:
    events = list(serving.ledger.events(session=ident))
    made = changes(events)
    if not any(change.seq <= upto for change in made):
        return ""
    folder, origin = serving.home.session(ident), Path(source)
    redactor = serving.home.redactor(serving.setting.environment)
    if tree := _state(events, upto):
        try:
            return past_diff(folder, origin, tree, redactor.learn_text, redactor.seal)
        except ProviderError:
            tree = ""  # the session's folder is gone: what the ledger says is left
    known = texts_of(folder, origin, _paths(made), redactor.learn_text, redactor.seal)
    text, whole = diff_then(made, upto, known)
    return text if whole or not recorded else recorded


def _state(events: list[Event], upto: int) -> str:
    """The name of the copy's state then, if the session keeps states."""
    tree = ""
    for event in events:
        if event.seq > upto:
            break
        data = event.body.get("data")
        if event.name == "action.verified" and isinstance(data, dict):
            tree = str(data.get("tree") or tree)
    return tree


def _paths(made: list[Change]) -> list[str]:
    return sorted({change.path for change in made})
