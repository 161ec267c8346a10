"""How is one session of the queue driven to its end, on whatever machine? Started, or resumed.

The copy comes from the store, what happened from the ledger: nothing of the machine that drove it before is
needed.
"""

import asyncio
import contextlib
import hashlib
import hmac
import os
import platform
import stat
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from veilig.agent.audit_plan import AuditOptions
from veilig.agent.explain import ExplainOptions
from veilig.agent.fix_state import FixOptions
from veilig.agent.job import JOBS
from veilig.agent.review import ReviewOptions
from veilig.agent.run_state import RunOptions
from veilig.app.driver import Silent
from veilig.app.fleet_heal import LATER_S as HEAL_LATER_S
from veilig.app.fleet_heal import drive_shard, is_healing
from veilig.app.fleet_hold import Held
from veilig.app.fleet_options import need_ordinary
from veilig.app.sessions import run_audit, run_explain, run_fix, run_review, run_task
from veilig.app.wiring import Ended, Setting, Wired, operator_policy
from veilig.core.errors import (
    Fenced,
    LedgerError,
    LedgerTampered,
    ProviderError,
    SessionError,
    UsageError,
    VeiligError,
)
from veilig.core.ledger import Ledger
from veilig.core.lock import SessionLock
from veilig.core.session import Left, fold
from veilig.home import LEDGER_VARIABLE, Home, find_home
from veilig.providers.fleet.copies import Copies
from veilig.providers.fleet.entries import LeaseLost, State
from veilig.providers.fleet.queue import plain
from veilig.providers.fleet.store import Store
from veilig.providers.fleet.taking import lost

TREE: Final = "tree:"  # a source that lies in the store
STATES: Final = {"done": State.DONE, "failed": State.FAILED, "held": State.HELD}
NOTE_CHARS: Final = 300
LATER_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Came:
    """What became of a session that was driven: QUEUED when it can go on, after `delay_s`.

    free: it counts as no try, although a note says why it was left.
    """

    state: State
    note: str = ""
    delay_s: float = 0.0
    free: bool = False


type Handler = Callable[[Held, Setting], Awaitable[Came]]

_START: Final[Mapping[str, Callable[[dict[str, Any], Setting], Awaitable[Ended]]]] = {
    "audit": lambda o, s: run_audit(AuditOptions.from_json(o), s, Silent()),
    "explain": lambda o, s: run_explain(ExplainOptions.from_json(o), s, Silent()),
    "fix": lambda o, s: run_fix(FixOptions.from_json(o), s, Silent(), None),
    "review": lambda o, s: run_review(ReviewOptions.from_json(o), s, Silent()),
    "run": lambda o, s: run_task(RunOptions.from_json(o), s, Silent(), None),
}


@dataclass(frozen=True, slots=True)
class Site:
    """What the sessions of one worker have in common.

    sources: where trees of the store are laid out; on every machine at the same path: the record names it.
    """

    home: Home
    store: Store
    sources: Path
    ledgers: "Ledgers"
    handlers: Mapping[str, Handler]


class Ledgers:
    """The ledgers of the orgs whose sessions are driven here, opened once each, to read from.

    `database` names them all; where the environment or the policy names one ledger, it is everybody's.
    """

    def __init__(self, setting: Setting, database: str) -> None:
        self._setting = setting
        self._policy = operator_policy(find_home(setting.environment), setting)
        elsewhere = self._policy.elsewhere
        one = setting.environment.get(LEDGER_VARIABLE) or elsewhere.ledger_store or elsewhere.ledger_path
        self._database = "" if one else plain(database)
        self._open: dict[str, Ledger] = {}
        self._guard = threading.Lock()

    def setting(self, org: str) -> Setting:
        """The worker's setting, with the ledger of this org."""
        if not self._database:
            return self._setting
        mark = "&" if "?" in self._database else "?"
        environment = {**self._setting.environment, LEDGER_VARIABLE: f"{self._database}{mark}org={org}"}
        return replace(self._setting, environment=environment)

    def identity(self) -> str:
        """What all workers of a fleet must have in common: with two ledgers, both would do every act.

        A file is one machine's, whatever it is a copy of. Raises LedgerError; blocks.
        """
        if self._database:
            return "of each org, in the fleet's database"
        ledger = self.of("")
        return ledger.id if ledger.far else f"{ledger.id} in a file of {platform.node()}"

    def elsewhere(self) -> str:
        """The address of the one ledger that was named, where that is a database; else empty."""
        place = find_home(self._setting.environment).place(self._policy)
        return "" if self._database or isinstance(place, Path) else place.conninfo

    def of(self, org: str) -> Ledger:
        """The ledger of this org. Raises LedgerError; blocks."""
        key = org if self._database else ""
        with self._guard:
            if key not in self._open:
                home = find_home(self.setting(org).environment)
                self._open[key] = home.open_ledger(self._policy)
            return self._open[key]

    def close(self) -> None:
        """All of them."""
        with self._guard:
            for ledger in self._open.values():
                ledger.close()
            self._open.clear()


async def drive(held: Held, site: Site) -> Came:
    """Start or resume, and say what became of it. Raises LeaseLost or is cancelled without a lease."""
    try:
        held.begin()
        return await _drive(held, site)
    except Left:
        return Came(State.CANCELLED, "cancelled") if held.cancelled else Came(State.QUEUED)
    except (LeaseLost, Fenced):
        raise
    except VeiligError as error:
        if held.gone:  # what else went wrong is the trouble that cost it
            raise lost(held.taken.session) from error
        if error.retry_after_s is not None or isinstance(error, LedgerError):
            if isinstance(error, LedgerTampered):
                return Came(State.FAILED, error.what)
            # Nobody died of it: a full disk or a server that is away fails no session, however long it lasts.
            note = f"{error.what}: {error.why}"[:NOTE_CHARS]
            return Came(State.QUEUED, note, error.retry_after_s or LATER_S, free=True)
        return Came(State.FAILED, f"{error.what}: {error.why}"[:NOTE_CHARS])
    finally:
        held.end()
        await asyncio.to_thread(_clear, site.home, held.taken.session)


async def _drive(held: Held, site: Site) -> Came:
    taken = held.taken
    need_ordinary(taken.kind, taken.work["options"])
    setting = replace(site.ledgers.setting(taken.org), session=taken.session, hold=held)
    if handler := site.handlers.get(taken.kind):
        return await handler(held, setting)
    if is_healing(taken.kind):
        over = await drive_shard(held, setting)
        state, delay_s = (State.QUEUED, HEAL_LATER_S) if over.later else (State.DONE, 0.0)
        return Came(state, over.note[:NOTE_CHARS], delay_s, free=True)
    ledger = await asyncio.to_thread(site.ledgers.of, taken.org)
    view = await asyncio.to_thread(lambda: fold(taken.session, ledger.events(session=taken.session)))
    if view.ended in ("done", "failed"):  # the worker before died between its end and telling the queue
        return Came(STATES[view.ended], view.summary[:NOTE_CHARS])
    options = dict[str, Any](taken.work["options"])
    await asyncio.to_thread(_lay_out, held, site, options)
    if view.kind:
        job = JOBS[view.kind](dict[str, Any](view.options))
        ended = await Wired(taken.session, job, setting, Silent(), None).go(resume=True)
    else:
        ended = await _START[taken.kind](options, setting)
    return await asyncio.to_thread(_came, ledger, ended)


def _lay_out(held: Held, site: Site, options: dict[str, Any]) -> None:
    """Bring copy and source to this machine. Raises SessionError (later) while a process here drives it."""
    held.bring()
    source = str(options.get("source", ""))
    if source.startswith(TREE):
        options["source"] = str(laid_out(site.store, site.sources, source.removeprefix(TREE)))
    elif not Path(source).is_dir():
        raise SessionError(
            f"there is no folder {source!r} on this machine",
            why="work of a fleet names a folder that every worker can reach, or a tree of the store",
            fix="queue it with --upload",
        )


def laid_out(store: Store, sources: Path, tree: str) -> Path:
    """The folder in which this tree of the store lies, made when missing. Raises ProviderError."""
    need_own(sources)
    place = sources / tree[:32]
    if not place.is_dir():
        fresh = sources / f".{tree[:32]}.{os.urandom(4).hex()}"
        Copies(store, fresh).restore(tree)
        with contextlib.suppress(OSError):  # somebody else was as fast: it is the same
            fresh.rename(place)
    if not place.is_dir():
        raise ProviderError(f"cannot make {place}", why="the folder could not be renamed", retry_after_s=2.0)
    return place


def need_own(sources: Path) -> None:
    """Raises ProviderError when somebody else could put projects there."""
    try:
        sources.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = sources.lstat()
    except OSError as error:
        raise ProviderError(f"cannot make {sources}", why=str(error), fix="give --sources") from error
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o022:
        raise ProviderError(
            f"{sources} is not a folder of this user alone", why="others could change projects in it",
            fix="remove it, or give --sources",
        )  # fmt: skip


def _clear(home: Home, session: str) -> None:
    """Remove this machine's folder of a session, unless a process drives it here: the store has its copy."""
    folder = home.session(session)
    if folder.is_dir():
        with contextlib.suppress(VeiligError), SessionLock(folder):
            home.remove_session(session)


def _came(ledger: Ledger, ended: Ended) -> Came:
    ends = [e.body["state"] for e in ledger.events(session=ended.session, names=("session.ended",))]
    state, note = str(ends[-1]) if ends else "", ended.finish.summary[:NOTE_CHARS]
    return Came(STATES.get(state, State.FAILED), note if state in STATES else f"{state}: {note}")


def default_sources() -> Path:
    """Where trees are laid out when nobody says it: the same for this user on every machine."""
    return Path(f"/var/tmp/veilig-sources-{os.geteuid()}")  # noqa: S108  # checked to be ours alone


def key_print(home: Home, environment: Mapping[str, str]) -> str:
    """A fingerprint of the key that names secrets: handles of a session must be the same everywhere."""
    home.redactor(environment)  # makes the key when there is none
    key = (home.path / "keys" / "redact.key").read_bytes()
    return hmac.new(key, b"veilig fleet", hashlib.sha256).hexdigest()[:32]


def need_kind(kind: str, handlers: Mapping[str, Handler]) -> None:
    """Raises UsageError for a kind of session that cannot be driven here."""
    if kind not in _START and kind not in handlers and not is_healing(kind):
        raise UsageError(f"{kind!r} is no kind of session", fix=f"one of {', '.join([*_START, *handlers])}")
