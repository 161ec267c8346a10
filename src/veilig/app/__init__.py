"""What can the terminal, a page or an evaluation ask for? Sessions, votes and walls, wired below."""

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
from veilig.app.walls import walls
from veilig.app.wiring import Ended, Setting, Watcher, find_advisories, operator_policy, terms

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
    "walls",
]
