"""What does each level do to our own agent's acts?"""

import time
from pathlib import Path

import pytest

from gateways import POLICY, rules_of
from veilig.app import agent_ladder, cases
from veilig.app.access import Office, not_oneself
from veilig.app.agent_ladder import AgentLadder
from veilig.core.action import Action, AskModel, CallTool, ReadFile, RunCommand, WriteFile
from veilig.core.actor import Actor, ActorKind
from veilig.core.clock import SystemClock
from veilig.core.errors import ApprovalError
from veilig.core.ledger import Ledger
from veilig.core.provider import Verdict
from veilig.home import Home
from veilig.monitor.ladder import Level

AGENT = Actor("agent:run", ActorKind.AGENT)
ASK = AskModel("scripted", "[]", 10)
RUN = RunCommand(("ls",))
READ = ReadFile("a.py")
WRITE = WriteFile("a.py", "x = 1\n")
SCAN = RunCommand(("nmap", "-p-", "198.51.100.7"))


def ladder_on(ledger: Ledger, folder: Path, told: list[str]) -> AgentLadder:
    return AgentLadder(
        ledger, rules_of(POLICY), SystemClock(), person="root", model="scripted", home=Home(folder),
        tell=told.append,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("level", "denied"),
    [
        (Level.OBSERVE, ()),
        (Level.WARN, ()),
        (Level.THROTTLE, ()),
        (Level.REROUTE, (ASK,)),
        (Level.SUSPEND, (ASK, RUN, WRITE)),
    ],
)
async def test_each_level_denies_what_it_says_and_looking_stays_free(
    tmp_path: Path, level: Level, denied: tuple[Action, ...]
) -> None:
    told: list[str] = []
    with Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "a") as ledger:
        ladder = ladder_on(ledger, tmp_path, told)
        at = Office(ladder._desk, rules_of(POLICY), Actor("bob"), str)
        await cases.set_level(at, ladder.subject, level, 3600, "seen in the logs")
        for action in (ASK, RUN, READ, WRITE):
            await ladder.see(action, "run-1")
            opinion = ladder.judge(action, AGENT)
            assert (opinion is not None and opinion.verdict is Verdict.DENY) == (action in denied), action
            if opinion is not None:
                assert "seen in the logs" in opinion.why
        assert len(told) == (level is not Level.OBSERVE), "a level is said once"
        again = ladder_on(ledger, tmp_path, [])
        assert again.standing == ladder.standing, "a new session stands where the last one stood"


async def test_scans_climb_one_rung_each_and_an_authorised_host_none(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "a") as ledger:
        told: list[str] = []
        ladder = ladder_on(ledger, tmp_path, told)
        levels: list[Level] = []
        for _ in range(12):
            await ladder.see(SCAN, "run-1")
            levels.append(ladder.standing.level)
        assert levels[0] is Level.OBSERVE
        assert levels == sorted(levels, key=list(Level).index)
        assert levels[-1] in (Level.REROUTE, Level.THROTTLE)
        assert [t.split()[1] for t in told][:2] == ["warn", "throttle"]
        with pytest.raises(ApprovalError):
            not_oneself(Office(ladder._desk, rules_of(POLICY), Actor("root"), str), "root", "decide about")
        own = CallTool("shell", "run", '{"command": "nmap -sV 127.0.0.1"}')
        before = ladder.standing
        await ladder.see(own, "run-1")
        assert ladder.standing == before


async def test_throttle_makes_questions_wait_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_ladder, "THROTTLE_S", 0.3)
    with Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "a") as ledger:
        ladder = ladder_on(ledger, tmp_path, [])
        at = Office(ladder._desk, rules_of(POLICY), Actor("bob"), str)
        await cases.set_level(at, ladder.subject, Level.THROTTLE, 3600, "slow down")
        await ladder.see(ASK, "run-1")
        began = time.monotonic()
        await ladder.see(ASK, "run-1")
        assert time.monotonic() - began >= 0.25
