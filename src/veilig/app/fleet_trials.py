"""How does a trial of an evaluation become part of a fleet's record, and how is a run brought together again?

A trial has a ledger of its own, in its world. The fleet's ledger holds that it was made, and the digest of
its result: what lies in the store is believed only when it is that.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

from veilig import __version__
from veilig.app.fleet_hold import Held
from veilig.app.fleet_session import STATES, Came, Ledgers
from veilig.app.wiring import Setting, operator_policy
from veilig.core.canonical import JSON
from veilig.core.errors import ProviderError, UsageError
from veilig.core.ledger import Ledger
from veilig.core.session import Left, fold
from veilig.home import LEDGER_VARIABLE, find_home
from veilig.providers.fleet.copies import Copies
from veilig.providers.fleet.entries import Shown, State
from veilig.providers.fleet.queue import Queue
from veilig.providers.fleet.store import open_store

KIND: Final = "trial"
LOOK_S: Final = 0.5
RESULT: Final = "result.json"


@dataclass(frozen=True, slots=True)
class Made:
    """A trial that was made: how it went in one line, the folder of its result, and on what machine."""

    summary: str
    folder: Path
    machine: str


@dataclass(frozen=True, slots=True)
class Kept:
    """One trial of a run as the fleet has it. folder: its files, None while there are none; why: then.

    recorded: what the ledger says of it.
    """

    session: str
    options: Mapping[str, Any]
    queued_at: float
    folder: Path | None = None
    why: str = ""
    recorded: Mapping[str, Any] = field(default_factory=dict[str, Any])


async def record_trial(
    held: Held, setting: Setting, told: Mapping[str, Any], make: Callable[[Setting], Awaitable[Made]]
) -> Came:
    """Make a trial under the lease and record it; one that was recorded is not made again.

    make: gets the worker's setting without the fleet's ledger and lease, for they are not the trial's. A
    worker that is told to leave drops it: it begins anew elsewhere. Raises Left, LeaseLost, LedgerError.
    """
    session, home = held.taken.session, find_home(setting.environment)
    ledger = await asyncio.to_thread(home.open_ledger, operator_policy(home, setting))
    try:
        fenced = await asyncio.to_thread(held.fence, ledger)
        view = await asyncio.to_thread(lambda: fold(session, ledger.events(session=session)))
        if view.ended in STATES:
            return Came(STATES[view.ended], view.summary)
        await asyncio.to_thread(held.bring)
        await _begin(fenced, session, told, again=bool(view.kind))
        environment = {k: v for k, v in setting.environment.items() if k != LEDGER_VARIABLE}
        apart = replace(setting, environment=environment, hold=None, session="")
        made = await _unless_left(held, make(apart))
        await held.kept()
        result: dict[str, JSON] = {
            "sha256": _sha256(made.folder / RESULT), "machine": made.machine, "veilig": __version__,
        }  # fmt: skip
        body: dict[str, JSON] = {"state": "done", "summary": made.summary, "result": result}
        await fenced.submit(lambda tx: tx.append("session.ended", session, body))
        return Came(State.DONE, made.summary)
    finally:
        await asyncio.to_thread(ledger.close)


async def _begin(ledger: Ledger, session: str, told: Mapping[str, Any], *, again: bool) -> None:
    options: dict[str, JSON] = dict(told)
    body: dict[str, JSON] = {"policy": "", "veilig": __version__}
    more: dict[str, JSON] = {
        "kind": KIND, "actor": f"agent:{KIND}", "source": str(told.get("suite", "")), "options": options,
    }  # fmt: skip
    name = "session.resumed" if again else "session.started"
    body |= {"in_doubt": ""} if again else more
    await ledger.submit(lambda tx: tx.append(name, session, body))


async def _unless_left(held: Held, work: Awaitable[Made]) -> Made:
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK_S)
            if held.leaving() and not task.done():
                raise Left(f"trial {held.taken.session!r} was left", fix="it begins anew elsewhere")
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait({task})


def kept_trials(url: str, store: str, prefix: str, setting: Setting, out: Path) -> list[Kept]:
    """Every trial of a run as queue, store and ledger have it; what the store has is laid out below `out`.

    prefix: that of the run's sessions. Blocks. Raises ProviderError, LedgerError; UsageError for no run.
    """
    rows = asyncio.run(_rows(url, prefix))
    if not rows:
        raise UsageError(
            f"no run has trials named {prefix}...", fix="`veilig queue eval` says its run's name"
        )
    ledgers = Ledgers(setting, url)
    try:
        return [_kept(one, tree, store, ledgers.of(one.org), out) for one, tree in rows]
    finally:
        ledgers.close()


async def _rows(url: str, prefix: str) -> list[tuple[Shown, str]]:
    async with Queue.open(url) as queue:
        shown = await queue.shown(prefix, limit=1_000_000)
        return [(one, await queue.tree(one.session)) for one in shown]


def _kept(one: Shown, tree: str, store: str, ledger: Ledger, out: Path) -> Kept:
    options = cast(dict[str, Any], one.work.get("options", {}))
    bare = Kept(one.session, options, one.queued_at)
    if one.state is not State.DONE:
        return replace(bare, why=f"it is {one.state}" + (f": {one.note}" if one.note else ""))
    ends = list(ledger.events(session=one.session, names=("session.ended",)))
    recorded = cast(dict[str, Any], ends[-1].body["result"]) if ends else dict[str, Any]()
    if not recorded or not tree:
        return replace(bare, why="the ledger has no record of it" if not recorded else "the store has it not")
    folder = out / one.session
    try:
        Copies(open_store(store), folder).restore(tree)
    except ProviderError as error:
        return replace(bare, why=f"{error.what}: {error.why}")
    places = sorted(folder.glob(f"run/trials/*/{RESULT}"))
    if len(places) != 1 or _sha256(places[0]) != recorded["sha256"]:
        return replace(bare, why="its result in the store is not the one that the ledger recorded")
    return replace(bare, folder=places[0].parent, recorded=recorded)


def _sha256(place: Path) -> str:
    return hashlib.sha256(place.read_bytes()).hexdigest()
