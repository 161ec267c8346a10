"""What can the terminal, a page or an evaluation ask for? Sessions and votes, wired below.

A name is looked up when it is asked for: the gateway, which runs no session, need not load the planners.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from veilig.app.fetching import fetch_advisories, fetch_feed
    from veilig.app.people import grant, ledger_now, revoke, vote, votes_on
    from veilig.app.sessions import (
        bring_back,
        changes_now,
        changes_since,
        find_session,
        fork,
        moments,
        resume,
        rewind,
        run_audit,
        run_explain,
        run_fix,
        run_review,
        run_task,
        say,
        tell,
    )
    from veilig.app.wiring import Ended, Setting, Watcher, find_advisories, operator_policy, terms

_PLACES = {
    **dict.fromkeys(("fetch_advisories", "fetch_feed"), "fetching"),
    **dict.fromkeys(("grant", "ledger_now", "revoke", "vote", "votes_on"), "people"),
    **dict.fromkeys(("bring_back", "changes_now", "changes_since", "find_session", "fork"), "sessions"),
    **dict.fromkeys(("moments", "resume", "rewind", "run_audit", "run_explain", "run_fix"), "sessions"),
    **dict.fromkeys(("run_review", "run_task", "say", "tell"), "sessions"),
    **dict.fromkeys(("Ended", "Setting", "Watcher"), "wiring"),
    **dict.fromkeys(("find_advisories", "operator_policy", "terms"), "wiring"),
}

__all__ = [
    "Ended",
    "Setting",
    "Watcher",
    "bring_back",
    "changes_now",
    "changes_since",
    "fetch_advisories",
    "fetch_feed",
    "find_advisories",
    "find_session",
    "fork",
    "grant",
    "ledger_now",
    "moments",
    "operator_policy",
    "resume",
    "revoke",
    "rewind",
    "run_audit",
    "run_explain",
    "run_fix",
    "run_review",
    "run_task",
    "say",
    "tell",
    "terms",
    "vote",
    "votes_on",
]


def __getattr__(name: str) -> Any:
    """The function or class of that name, from the module that has it."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = found
    return found
