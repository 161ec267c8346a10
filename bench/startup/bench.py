"""How fast does veilig start, and how fast does it remember? Start-up, import, fold of a long session."""

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from veilig.core.action import Action, ReadFile
from veilig.core.actor import Actor, ActorKind
from veilig.core.clock import SystemClock
from veilig.core.gate import Gate
from veilig.core.gate_case import Law
from veilig.core.ledger import Ledger
from veilig.core.policy_model import Decision, Finding
from veilig.core.provider import Found, Outcome, Permit, Verdict
from veilig.core.redact import Redactor
from veilig.core.session import fold

VERSION_CPU_S_MAX = 0.15
IMPORT_MS_MAX = 100.0
FOLD_S_MAX = 0.5
EVENTS = 10_000
STATE = {
    "stage": "change",
    "problems": [{"id": f"p{i}", "title": "t" * 60, "proof": ["x" * 40]} for i in range(10)],
}


class Nothing:
    """Performs file.read by answering with a page of text."""

    kinds = frozenset({"file.read"})

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        del action
        permit.emit("log", b"one line of output\n")
        return Outcome(True, "some text\n" * 40)

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        del action, permit
        return outcome

    async def inspect(self, action: Action) -> Found:
        del action
        return Found.NOT_DONE


def child_cpu_s(argv: list[str], rounds: int) -> tuple[float, float]:
    """Median CPU and wall seconds of a command."""
    cpus: list[float] = []
    walls: list[float] = []
    for _ in range(rounds):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        walls.append(time.perf_counter() - started)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(cpus), statistics.median(walls)


def import_ms(rounds: int) -> float:
    """Median CPU ms of `import veilig` in a fresh interpreter, whose own start is not counted."""
    code = "import time; t = time.process_time(); import veilig; print(time.process_time() - t)"
    argv = [sys.executable, "-c", code]
    took = [
        float(subprocess.run(argv, check=True, capture_output=True, text=True).stdout) for _ in range(rounds)
    ]
    return statistics.median(took) * 1000


async def fill(ledger: Ledger, events: int) -> None:
    """A session with that many events, written by the gate as a session writes them."""
    actor = Actor("agent:bench", ActorKind.AGENT)
    decision = Decision(Verdict.ALLOW, "bench", (Finding(Verdict.ALLOW, "bench", "measured"),))
    gate = Gate(
        session="long",
        ledger=ledger,
        law=Law(lambda *_: decision, lambda: "0" * 64, lambda *_: False),
        providers=[Nothing()],
        redactor=Redactor(b"k" * 32),
        clock=SystemClock(),
    )
    start = {"kind": "fix", "source": "/s", "actor": actor.id, "options": {}, "policy": "p", "veilig": "0"}
    await ledger.submit(lambda tx: tx.append("session.started", "long", start))
    turn = 0
    while ledger.size() < events:
        turn += 1
        await gate.submit(ReadFile(f"src/m{turn % 50}.py"), actor, note={**STATE, "turn": turn})


def fold_s(place: Path) -> tuple[float, int]:
    """Median CPU seconds to read the session back, and its number of events."""
    with Ledger.open(place, anchor_dir=place.parent / "anchors") as ledger:
        asyncio.run(fill(ledger, EVENTS))
        count = sum(1 for _ in ledger.events("long"))
        took: list[float] = []
        for _ in range(5):
            started = time.process_time()
            view = fold("long", ledger.events("long"))
            took.append(time.process_time() - started)
        if view.last is None or view.last.outcome is None:
            raise SystemExit("the fold lost the last turn")
    return statistics.median(took), count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    veilig = Path(sys.executable).parent / "veilig"
    print(f"load {os.getloadavg()[0]:.1f}, medians of {args.rounds}\n")
    empty_s, _ = child_cpu_s([sys.executable, "-c", "pass"], args.rounds)
    version_s, wall_s = child_cpu_s([str(veilig), "--version"], args.rounds)
    imported_ms = import_ms(args.rounds)
    with tempfile.TemporaryDirectory() as folder:
        folded_s, count = fold_s(Path(folder) / "l.db")
    print(f"python -c pass         {empty_s:7.3f} s CPU")
    print(
        f"veilig --version       {version_s:7.3f} s CPU             "
        f"(target <= {VERSION_CPU_S_MAX} s); wall {wall_s:.3f} s"
    )
    print(f"import veilig          {imported_ms:7.1f} ms CPU            (target <= {IMPORT_MS_MAX:.0f} ms)")
    print(f"resume {count:,} events  {folded_s:7.3f} s CPU             (target <= {FOLD_S_MAX} s)")
    return int(version_s > VERSION_CPU_S_MAX or imported_ms > IMPORT_MS_MAX or folded_s > FOLD_S_MAX)


if __name__ == "__main__":
    sys.exit(main())
