"""Does clearing a fleet take what is over, and never what a session or a kept result still needs?"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crew import Crew
from veilig.app import fleet
from veilig.app.fleet_pruning import Pruned, prune
from veilig.app.wiring import Setting
from veilig.core.canonical import JSON
from veilig.core.errors import UsageError, VeiligError
from veilig.providers.fleet.copies import Copies
from veilig.providers.fleet.store import YOUNG_S, FolderStore, open_store
from veilig.stores.address import Address, parse_place
from veilig.stores.opening import open_ledger

pytestmark = pytest.mark.outside_gate

DAY_S = 86400.0


def aged(file: Path, at: float) -> None:
    os.utime(file, (at, at))


class Yard:
    """Sessions of every state, each with a copy in the store; all of it is old."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.trees: dict[str, str] = {}
        store = open_store(str(crew.store))
        for name in ("done", "recent", "failed", "cancelled", "queued", "source"):
            place = crew.folder / "copies" / name
            place.mkdir(parents=True)
            (place / "mine").write_text(name)
            (place / "shared").write_text("the same everywhere")
            self.trees[name] = Copies(store, place).save().tree
        works = [fleet.Work("run", session=name) for name in self.trees if name != "source"]
        works.append(fleet.Work("run", {"source": f"tree:{self.trees['source']}"}, session="source"))
        fleet.enqueue_all(crew.url, works)
        for name in ("done", "failed", "cancelled", "recent"):
            state = "done" if name == "recent" else name
            days = 1 if name == "recent" else 40
            crew.sql(
                f"UPDATE veilig_fleet.fleet_session SET state = '{state}', "
                f"ended_at = now() - {days} * interval '1 day' WHERE session = '{name}'",
            )
        for name, tree in self.trees.items():
            if name != "source":
                crew.sql(f"UPDATE veilig_fleet.fleet_session SET tree = '{tree}' WHERE session = '{name}'")
        crew.sql("SET search_path = veilig_fleet; UPDATE procrastinate_jobs SET status = 'succeeded' "
                 "WHERE args->>'session' IN ('done', 'recent', 'failed', 'cancelled')")  # fmt: skip
        self.report = store.put(b"what was found")
        self.rubbish = [store.put(f"of nobody {n}".encode()) for n in range(4)]
        self.old()
        self.young = store.put(b"somebody is about to name it")

    def old(self) -> None:
        for file in self.crew.store.glob("??/*"):
            aged(file, time.time() - 2 * YOUNG_S)

    def begun(self, session: str) -> None:
        """The ledger knows that it began, and not that it ended."""
        place = parse_place(self.crew.url)
        assert isinstance(place, Address)
        with open_ledger(place, anchor_dir=self.crew.folder / "anchors") as ledger:
            body: dict[str, JSON] = {"kind": "run", "source": "/x", "actor": "agent:run", "options": {},
                    "policy": "p", "veilig": "1"}  # fmt: skip
            ledger.transact(lambda tx: tx.append("session.started", session, body))

    def prune(self, *, apply: bool) -> Pruned:
        environment = self.crew.environment("pruner")
        setting = Setting(environment=environment)
        return prune(self.crew.url, str(self.crew.store), 30 * DAY_S, setting, apply=apply)

    def comes_back(self, name: str) -> bool:
        out = self.crew.folder / f"back-{name}-{time.monotonic_ns()}"
        try:
            Copies(open_store(str(self.crew.store)), out).restore(self.trees[name])
        except VeiligError:
            return False
        return (out / "mine").read_text() == name and (out / "shared").exists()

    def names(self) -> set[str]:
        return {file.name for file in self.crew.store.glob("??/*")}

    def queued(self) -> set[str]:
        return {job.session for job in fleet.jobs(self.crew.url)}


def dying(at: int) -> Callable[[FolderStore, str, float], bool]:
    """Removes as ever, and dies in the middle of one."""
    drop, count = FolderStore.drop, iter(range(100))

    def drops(store: FolderStore, name: str, before: float) -> bool:
        if next(count) == at:
            file = store.folder / name[:2] / name
            file.rename(file.with_name(f".{name}.going"))
            raise KeyboardInterrupt
        return drop(store, name, before)

    return drops


def test_what_is_over_goes_and_what_is_needed_stays_however_often_it_is_killed(crew: Crew) -> None:
    yard = Yard(crew)
    yard.begun("failed")
    crew.sql(
        "INSERT INTO veilig_fleet.fleet_content (org, key, session, campaign, label, result, report) "
        f"VALUES ('main', 'k', 's', 'c', 'l', '{{}}', '{yard.report}')",
    )
    before = yard.names()
    shown = yard.prune(apply=False)
    assert (dict(shown.sessions), shown.left) == (
        {"done": 1, "cancelled": 1}, [("failed", "failed, and can be resumed")],
    )  # fmt: skip
    assert (yard.names(), yard.queued()) == (before, {*yard.trees})
    # Killed at every piece: what is left is whole, and the next look finds the rest.
    for at in range(4):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(FolderStore, "drop", dying(min(at, 1)))
            yard.prune(apply=True)
        assert all(yard.comes_back(name) for name in ("recent", "failed", "queued", "source"))
    yard.prune(apply=True)
    again = yard.prune(apply=True)
    assert (again.pieces, dict(again.sessions)) == (0, {})
    assert yard.queued() == {"recent", "failed", "queued", "source"}
    assert [yard.comes_back(name) for name in ("recent", "failed", "queued", "source")] == [True] * 4
    assert [yard.comes_back(name) for name in ("done", "cancelled")] == [False] * 2
    left = yard.names()
    assert {yard.report, yard.young} <= left
    assert not left & {*yard.rubbish}
    assert shown.pieces == len(before) - len(left)  # it went as it was shown
    jobs = "SELECT count(*) FROM veilig_fleet.procrastinate_jobs"
    assert crew.number(jobs) == 4
    told = crew("pruner", "queue", "prune", "--older-than", "30d", "--store", str(crew.store), "--json")
    assert told.code == 0, told.err
    assert (told.json["pieces"], told.json["applied"]) == (0, False)


def test_what_cannot_be_seen_is_not_taken_for_rubbish(crew: Crew) -> None:
    yard = Yard(crew)
    for file in crew.store.glob(f"??/{yard.trees['queued']}"):
        file.unlink()
    before = yard.names()
    with pytest.raises(VeiligError, match="nothing is removed"):
        yard.prune(apply=True)
    assert yard.names() == before
    crew.sql(
        "CREATE ROLE only_theirs", "INSERT INTO veilig_fleet.fleet_bound VALUES ('theirs', 'only_theirs')"
    )
    fleet.enqueue(crew.url, fleet.Work("run", org="theirs"))
    with pytest.raises(UsageError, match="may not see"):
        yard.prune(apply=True)


def test_a_piece_that_somebody_puts_again_outlives_a_look_that_has_begun(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    name = store.put(b"old")
    file = tmp_path / name[:2] / name
    aged(file, 0)
    before = time.time() - YOUNG_S
    FolderStore(tmp_path).put(b"old")  # another worker, between look and removal
    assert (store.drop(name, before), store.get(name)) == (False, b"old")
    aged(file, before - 1)
    assert (store.drop(name, before), file.exists()) == (True, False)
    far = open_store("memory://prune")
    there = far.put(b"x")
    assert [piece.name for piece in far.pieces()] == [there]
    assert (far.drop(there, time.time() - 60), far.drop(there, time.time() + 60)) == (False, True)
    assert json.dumps([p.name for p in far.pieces()]) == "[]"
