"""What of a fleet's queue and store does nobody need any more? Shown first, then removed.

Rows go before pieces: whoever is killed in between leaves pieces that nobody names, and the next look
finds them. Nothing goes that a session which waits, works or may be resumed needs, or a kept result.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from veilig.app.fleet_session import Ledgers
from veilig.app.wiring import Setting
from veilig.core.errors import ProviderError, UsageError
from veilig.core.session import fold
from veilig.providers.fleet.pruning import Attic, Over
from veilig.providers.fleet.store import YOUNG_S, Store, open_store

OLDER_S_MIN = 3600.0


@dataclass(slots=True)
class Pruned:
    """What went, or would go. left: (session, why) of what is old and stays."""

    sessions: Counter[str] = field(default_factory=Counter[str])  # state -> how many
    campaigns: int = 0
    contents: int = 0
    pieces: int = 0
    size_bytes: int = 0
    left: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def prune(url: str, store: str, older_s: float, setting: Setting, *, apply: bool) -> Pruned:
    """Remove what ended `older_s` ago, with its pieces; without `apply` only say so.

    Raises UsageError, ProviderError and LedgerError before anything is removed, where it is not known what
    is needed. A piece younger than a day stays in any case.
    """
    if older_s < OLDER_S_MIN:
        raise UsageError("that is too young", why="somebody may still look at it", fix="at least 1h")
    attic, place = Attic(url), open_store(store)
    try:
        orgs, told = attic.orgs(), Pruned()
        going = _over(attic.over(older_s), url, setting, told)
        before = datetime.fromtimestamp(time.time() - older_s, UTC).isoformat(timespec="seconds")
        campaigns = {org: attic.campaigns(org, before) for org in orgs}
        told.campaigns = sum(len(names) for names in campaigns.values())
        if apply:
            attic.forget(going, older_s)
            for org, names in campaigns.items():
                attic.drop_campaigns(org, names)
        told.contents = sum(attic.contents(org, older_s, drop=apply) for org in orgs)
        needed = set(_pieces(attic, place, [] if apply else going))
        for org, names in campaigns.items():
            needed.update(bytes.fromhex(name) for name in attic.reports(org, names))
        _sweep(place, needed, told, apply=apply)
        return told
    finally:
        attic.close()


def _over(found: list[Over], url: str, setting: Setting, told: Pruned) -> list[str]:
    """Those whose end the ledger knows, or that never began; the others could be gone on with."""
    going, ledgers = list[str](), Ledgers(setting, url)
    try:
        for one in found:
            if one.state != "done":
                ledger = ledgers.of(one.org)
                view = fold(one.session, ledger.events(session=one.session))
                if view.kind and not view.ended:
                    told.left.append((one.session, f"{one.state}, and can be resumed"))
                    continue
            going.append(one.session)
            told.sessions[one.state] += 1
    finally:
        ledgers.close()
    return going


def _pieces(attic: Attic, store: Store, leaving: list[str]) -> Iterator[bytes]:
    """Every piece that a session names. Raises ProviderError where a list of them cannot be read."""
    known = set[str]()
    for session, tree in attic.trees(leaving):
        if tree in known:
            continue
        known.add(tree)
        try:
            listed: dict[str, Any] = json.loads(store.get(tree))
        except (ProviderError, ValueError) as error:
            raise ProviderError(
                f"nothing is removed: the copy of {session!r} cannot be read", why=str(error),
                fix="see that --store is the workers'; or cancel that session",
            ) from error  # fmt: skip
        yield bytes.fromhex(tree)
        for row in listed["rows"]:
            if row[1] == "f":
                yield bytes.fromhex(row[4])


def _sweep(store: Store, needed: set[bytes], told: Pruned, *, apply: bool) -> None:
    before = time.time() - YOUNG_S
    for piece in store.pieces():
        if bytes.fromhex(piece.name) in needed or piece.modified >= before:
            continue
        if not apply or store.drop(piece.name, before):
            told.pieces += 1
            told.size_bytes += piece.size_bytes
