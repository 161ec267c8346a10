"""Kill a model's session with SIGKILL at many points, resume it, print what its ledger says.

    python kill_run.py FOLDER URL EVERY

Points: before, inside (after each append) and after every transaction of the ledger, in the session and in
its child. Each EVERY-th is tried, in a fresh folder, in a forked process that dies there; another process
resumes it. URL: a server that plays the model; what it says depends on the conversation alone. Prints one
JSON line per point.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).parent))

import veilig.stores.opening
from veilig.agent.run_state import RunOptions
from veilig.app import Setting, resume, run_task
from veilig.core.ledger import Ledger
from veilig.core.ledger_verify import verify
from veilig.core.policy import builtin_policy


class Bomb:
    """Counts points and kills the process at the Nth."""

    def __init__(self) -> None:
        self.at = 0
        self.seen = 0

    def point(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


BOMB = Bomb()


class KillingTx:
    """A transaction with a point after each append."""

    def __init__(self, tx: Any) -> None:
        self._tx = tx

    def append(self, *args: Any) -> Any:
        event = self._tx.append(*args)
        BOMB.point()
        return event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)


class KillingLedger(Ledger):
    """A ledger with points before, inside and after each transaction."""

    async def submit(self, fn: Callable[[Any], Any], *, durable: bool = True) -> Any:
        BOMB.point()
        value = await super().submit(lambda tx: fn(KillingTx(tx)), durable=durable)
        BOMB.point()
        return value


class Silent:
    """Nobody watches."""

    def __getattr__(self, name: str) -> Any:
        if name in ("began", "wall", "proposed", "observed"):
            return lambda *_: None
        raise AttributeError(name)


def work(folder: Path, url: str, session: str) -> str:
    """Start the session, or go on with it; its state at the end."""
    environment = {**os.environ, "VEILIG_HOME": str(folder / "home"), "HOME": str(folder)}
    setting = Setting(environment=environment, model_url=url)
    watcher: Any = Silent()
    if session:
        ended = asyncio.run(resume(session, setting, watcher, None))
    else:
        options = RunOptions(str(folder / "shop"), "work", "scripted", verify=False)
        ended = asyncio.run(run_task(options, setting, watcher, None))
    return "done" if ended.finish.ok else ended.finish.summary


def in_child(at: int, folder: Path, url: str, session: str) -> int:
    """Exit status of a forked process that dies at point `at` (0: never)."""
    pid = os.fork()
    if pid == 0:
        BOMB.at, BOMB.seen = at, 0
        code = 1
        try:
            code = 0 if work(folder, url, session) == "done" else 3
            if not at:
                (folder / "points").write_text(str(BOMB.seen))
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def prepared(folder: Path) -> Path:
    """A project of its own."""
    (folder / "shop").mkdir(parents=True)
    (folder / "shop" / "cart.py").write_text("x = 1\n")
    return folder


def told(folder: Path) -> dict[str, Any]:
    """What the ledger says: the sessions, the commands that finished, and what was in doubt."""
    with Ledger.open(folder / "home" / "ledger.db", anchor_dir=folder / "home" / "anchors") as ledger:
        events = list(ledger.events())
    body_of = [(e.name, cast(dict[str, Any], e.body)) for e in events]
    proposed: dict[str, Any] = {b["ref"]: b["action"] for name, b in body_of if name == "action.proposed"}
    finished = [b["ref"] for name, b in body_of if name in ("action.verified", "action.failed")]
    doubted = [b["ref"] for name, b in body_of if name == "action.doubted" and b["found"] == "unknown"]
    commands = [proposed[r]["argv"][-1] for r in finished if proposed[r]["kind"] == "command.run"]
    ends = {e.session: cast(dict[str, Any], e.body) for e in events if e.name == "session.ended"}
    checked = verify(folder / "home" / "ledger.db", folder / "home" / "anchors")
    return {
        "sessions": sorted({e.session for e in events if e.name == "session.started"}),
        "states": {s: str(body["state"]) for s, body in ends.items()},
        "diff": next((str(b["result"].get("diff", "")) for s, b in ends.items() if "." not in s), ""),
        "commands": commands,
        "doubted": [proposed[ref]["argv"][-1] for ref in doubted if proposed[ref]["kind"] == "command.run"],
        "events": checked.events,
    }


def main() -> None:
    top, url, every = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    setattr(veilig.stores.opening, "Ledger", KillingLedger)  # noqa: B010  # what opens every ledger from here on
    builtin_policy()
    whole = prepared(top / "whole")
    assert in_child(0, whole, url, "") == 0, "the session does not even run undisturbed"
    points = int((whole / "points").read_text())
    print(json.dumps({"at": 0, "points": points, "resumed": 0, **told(whole)}), flush=True)
    for at in range(1, points + 1, every):
        folder = prepared(top / f"{at:04}")
        killed = os.WIFSIGNALED(in_child(at, folder, url, ""))
        before = told(folder)["sessions"] if (folder / "home" / "ledger.db").exists() else []
        status = in_child(0, folder, url, before[0]) if killed and before else -1
        line = {"at": at, "killed": killed, "begun": bool(before), "resumed": status}
        print(json.dumps({**line, **(told(folder) if before else {})}), flush=True)


if __name__ == "__main__":
    main()
