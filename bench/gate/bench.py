"""What does the gate add to one action? Plain, walled, and through gate and ledger: one table of one run."""

import argparse
import asyncio
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from veilig.core.action import Action, ReadFile, RestartService, RunCommand
from veilig.core.action_json import digest
from veilig.core.actor import Actor, ActorKind
from veilig.core.clock import SystemClock
from veilig.core.gate import Gate
from veilig.core.gate_case import Law
from veilig.core.ledger import Ledger
from veilig.core.policy import Facts, Policy, builtin_policy, decide, parse
from veilig.core.provider import Found, Outcome, Permit, Provider, must_fit
from veilig.core.redact import Redactor
from veilig.providers.box import Box, Terms
from veilig.providers.copying import copy_tree
from veilig.providers.sandbox.wall import Bounds
from veilig.providers.work import WorkProvider
from veilig.providers.workspace import Workspace

AGENT = Actor("agent:bench", ActorKind.AGENT)
TRUE = shutil.which("true") or "/bin/true"
GATE_CPU_MS_MAX = 1.0  # gate and ledger, per action
DECISION_US_MAX = 50.0  # one decision with 100 rules
INNER = "from inside.box import main"  # how the box's first process is started


class Nothing:
    """Performs file.read by doing nothing, so that only the way there is measured."""

    kinds = frozenset({"file.read"})

    def __init__(self, clock: SystemClock) -> None:
        self._clock = clock

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        must_fit(permit, digest(action), self._clock.boottime_s())
        return Outcome(True, "nothing")

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        del action, permit
        return outcome

    async def inspect(self, action: Action) -> Found:
        del action
        return Found.NOT_DONE


def cpu_s(marker: str = "") -> float:
    """CPU of this process, its ended children, and of boxes (which are nobody's children to wait for)."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total + (_inner_cpu_s(marker) if marker else 0.0)


def _inner_cpu_s(marker: str) -> float:
    ticks = 0
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker.encode() in (entry / "cmdline").read_bytes():
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


async def measure(name: str, rounds: int, once: Callable[[], Awaitable[object]], marker: str = "") -> float:
    """One row; returns CPU ms per action: the median of ten batches where they are long enough to count."""
    for _ in range(5):
        await once()
    walls: list[float] = []
    batches: list[float] = []
    size = max(1, rounds // 10)
    for _ in range(10):
        before = cpu_s(marker)
        for _ in range(size):
            started = time.perf_counter()
            await once()
            walls.append(time.perf_counter() - started)
        batches.append((cpu_s(marker) - before) / size * 1000)
    cpu_ms = statistics.median(batches)
    median_ms, least_ms = statistics.median(walls) * 1000, min(walls) * 1000
    print(f"| {name:<44} | {median_ms:9.2f} | {least_ms:9.2f} | {cpu_ms:9.2f} |", flush=True)
    return cpu_ms


def policy(rules: int) -> Policy:
    """A policy with that many commands, services and denied globs; `true` is the last command it allows."""
    lines = ["mode: act", "autonomous_healing:", "  enabled: true", "  scope:", "    services:"]
    lines += [
        f'      - {{name: "group-{i}-*", actions: [restart], max_restarts_per_hour: 3}}' for i in range(rules)
    ]
    lines += [
        "agent:",
        "  commands:",
        *(f'    - [tool{i}, sub, "**"]' for i in range(rules)),
        f'    - ["{TRUE}"]',
    ]
    lines += ["  paths:", '    read: ["**"]', '    write: ["**"]', "    deny:"]
    lines += [f'      - "**/private{i}/*.key"' for i in range(rules)]
    return parse("\n".join(lines) + "\n")


def gate_of(ledger: Ledger, law: Policy, provider: Provider) -> Gate:
    """A gate as a session has it: this policy, this provider, a redactor that knows 50 secrets."""
    redactor = Redactor(b"k" * 32)
    for i in range(50):
        redactor.mark(f"not-a-real-secret-{i:03}-{'x' * 12}", f"S{i}")
    decided = lambda action, actor: decide(law, action, actor, Facts(now_wall_s=1.8e9))  # noqa: E731
    return Gate(
        session="bench",
        ledger=ledger,
        law=Law(decided, lambda: law.digest, lambda *_: False),
        providers=[provider],
        redactor=redactor,
        clock=SystemClock(),
    )


def decision_us(law: Policy, action: Action) -> float:
    """Median of 30 rounds of 200 decisions, in microseconds of CPU."""
    rounds: list[float] = []
    facts = Facts(now_wall_s=1.8e9)
    for _ in range(30):
        started = time.process_time()
        for _ in range(200):
            decide(law, action, AGENT, facts)
        rounds.append((time.process_time() - started) / 200 * 1e6)
    return statistics.median(rounds)


async def plain() -> object:
    return subprocess.run([TRUE], check=True)


async def bare() -> object:
    argv = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", TRUE]
    return subprocess.run(argv, check=True, stderr=subprocess.DEVNULL)


async def walled(folder: Path, law: Policy, rounds: int) -> float | None:
    """Rows (c) and (e): our box alone, and behind gate and ledger. Returns the CPU ms between them."""
    source = folder / "source"
    source.mkdir()
    workspace = Workspace(folder / "session", source)
    copy_tree(source, workspace.tree.root)

    async def stood(_: object) -> None:
        return None

    terms = Terms(("bubblewrap", "landlock"), frozenset(), Bounds())
    box = Box(workspace, Path(sys.executable), terms, stood)
    work = WorkProvider(workspace, box, SystemClock(), None)
    try:
        alone = await measure(
            "(c) our persistent sandbox", rounds, lambda: box.run([TRUE], timeout_s=10), INNER
        )
        with Ledger.open(folder / "e.db", anchor_dir=folder / "anchors") as ledger:
            gate = gate_of(ledger, law, work)
            action = RunCommand((TRUE,), timeout_s=10)
            first = await gate.submit(action, AGENT)
            if not first.ok:
                print(f"(e) was refused: {first.detail}")
                return None
            both = await measure(
                "(e) gate + ledger + our sandbox", rounds, lambda: gate.submit(action, AGENT), INNER
            )
    finally:
        await work.close()
    return both - alone


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="actions per row")
    parser.add_argument("--dir", type=Path, default=None, help="where to write: a real disk, not a tmpfs")
    args = parser.parse_args()
    builtin_policy()
    laws = {n: policy(n) for n in (10, 100)}
    print(f"load {os.getloadavg()[0]:.1f}, {args.rounds} actions per row, uid {os.geteuid()}, 100 rules\n")
    print("| per action                                   | median ms |    min ms |    CPU ms |")
    print("|----------------------------------------------|-----------|-----------|-----------|")
    with tempfile.TemporaryDirectory(dir=args.dir, prefix="veilig-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        await measure("(a) plain subprocess", args.rounds, plain)
        if shutil.which("bwrap"):
            await measure("(b) bwrap --unshare-all, one shot", args.rounds, bare)
        with Ledger.open(folder / "d.db", anchor_dir=folder / "anchors") as ledger:
            gate = gate_of(ledger, laws[100], Nothing(SystemClock()))
            cost_ms = await measure(
                "(d) gate + ledger, provider does nothing",
                args.rounds * 5,
                lambda: gate.submit(ReadFile("src/a/b.py"), AGENT),
            )
        between_ms = await walled(folder, laws[100], args.rounds)
    asked: list[Action] = [
        RunCommand((TRUE,), timeout_s=10),
        ReadFile("src/a/b.py"),
        RestartService("group-0-7"),
    ]
    decisions = {n: max(decision_us(law, action) for action in asked) for n, law in laws.items()}
    print(f"\ngate and ledger: {cost_ms:.2f} ms CPU per action (target <= {GATE_CPU_MS_MAX:.0f})", end="")
    print(f"; beside the sandbox {between_ms:.2f} ms" if between_ms is not None else "")
    said = ", ".join(f"{us:.1f} us with {n} rules" for n, us in decisions.items())
    print(f"decision, the slowest of {len(asked)} actions: {said} (target <= {DECISION_US_MAX:.0f} with 100)")
    return int(cost_ms > GATE_CPU_MS_MAX or decisions[100] > DECISION_US_MAX)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
