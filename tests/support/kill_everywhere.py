"""Kill a scripted session with SIGKILL at every point, resume it, print what world and ledger say.

    python kill_everywhere.py FOLDER [--blind]

Points: inside a transaction after each append, after each commit, before and after each act. Each N
runs in a fresh folder in a forked process that dies at its Nth point; another process resumes it.
--blind: the provider cannot tell what happened (in doubt stays in doubt). Prints one JSON line per N.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from kernel import AGENT, Script, World
from veilig.core.ledger import Ledger, Tx
from veilig.core.ledger_verify import verify
from veilig.core.session import Budget, Session

ACTS = 5


class Bomb:
    """Counts points and kills the process at the Nth."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.seen = 0

    def point(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


BOMB = Bomb(0)


class KillingTx:
    """A transaction with a point after each append."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def append(self, *args: Any) -> Any:
        event = self._tx.append(*args)
        BOMB.point()
        return event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)


class KillingLedger(Ledger):
    """A ledger with points inside and after each transaction."""

    async def submit(self, fn: Callable[[Any], Any], *, durable: bool = True) -> Any:
        value = await super().submit(lambda tx: fn(KillingTx(tx)), durable=durable)
        BOMB.point()
        return value


class KillingWorld(World):
    def open(self) -> None:
        self.ledger = KillingLedger.open(
            self.folder / "ledger.db", anchor_dir=self.folder / "anchors", clock=self.clock
        )


def work(folder: Path, *, resume: bool, blind: bool) -> None:
    world = KillingWorld(folder)
    world.services.before_act = BOMB.point
    world.services.after_act = BOMB.point
    world.services.can_look = not blind
    session = Session(
        "s1",
        gate=world.gate(),
        ledger=world.ledger,
        planner=Script(ACTS),
        actor=AGENT,
        budget=Budget(),
        policy=lambda: "p",
    )
    last = world.ledger.last("s1")
    if last is not None and last.name == "session.ended":
        pass  # the kill came after the last word: there is nothing to resume
    elif resume and last is not None:
        asyncio.run(session.resume("test"))
    else:
        asyncio.run(session.run("script", "/", {}, "test"))
    world.ledger.close()


def in_child(at: int, folder: Path, *, resume: bool, blind: bool) -> int:
    """Exit status of a forked process that dies at point `at` (0: never)."""
    pid = os.fork()
    if pid == 0:
        BOMB.at, BOMB.seen = at, 0
        code = 1
        try:
            work(folder, resume=resume, blind=blind)
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def main() -> None:
    top, blind = Path(sys.argv[1]), "--blind" in sys.argv
    at = 0
    while True:
        at += 1
        folder = top / f"{at:03}"
        folder.mkdir(parents=True)
        first = in_child(at, folder, resume=False, blind=blind)
        killed = os.WIFSIGNALED(first)
        second = in_child(0, folder, resume=True, blind=blind) if killed else 0
        events = [e.name for e in World(folder).ledger.events()]
        acts = [line for i in range(3) for line in World(folder).services.acts(f"svc-{i}")]
        checked = verify(folder / "ledger.db", folder / "anchors")
        line = {"at": at, "killed": killed, "resumed": second, "acts": sorted(acts), "last": events[-1]}
        print(json.dumps({**line, "doubted": events.count("action.doubted"), "events": checked.events}))
        if not killed:
            return


if __name__ == "__main__":
    main()
