"""Votes and standing permissions from another terminal: what counts, what is refused, and where it turns."""

import asyncio
import getpass
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from kernel import AGENT, World
from terminal import Said, Terminal
from veilig.core.action import Action, RestartService, RunCommand
from veilig.core.actor import Actor
from veilig.core.clock import SystemClock
from veilig.core.gate import Gate
from veilig.core.policy_model import ApprovalNeed
from veilig.core.provider import Found, Outcome, Permit, Status, Verdict

RESTART = RestartService("web", "1")
# core/ledger_file.py opens and closes the ledger's file itself, which drops this process's SQLite locks:
# another process that closes the ledger then takes the write-ahead log away. Remove the marks with that.
ME = getpass.getuser()


@pytest.fixture
def world(veilig: Terminal) -> Iterator[World]:
    """A gate in this process whose ledger is that of the terminal."""
    world = World(veilig.home, clock=cast(Any, SystemClock()))
    world.rules.verdict["web"] = Verdict.ASK
    yield world
    world.ledger.close()


async def asked(world: World, act: Action = RESTART, actor: Actor = AGENT) -> str:
    """The id of the question that this act raises."""
    outcome = await world.gate().submit(act, actor)
    assert outcome.status is Status.HELD
    return str(outcome.data["approval"])


async def test_a_yes_from_another_terminal_lets_a_waiting_act_happen_once(
    veilig: Terminal, world: World
) -> None:
    waiting = asyncio.create_task(world.gate(patience_s=15).submit(RESTART, AGENT))
    while not (listed := (await asyncio.to_thread(veilig, "approvals", "--json")).json):
        await asyncio.sleep(0.05)
    assert world.services.acts("web") == []
    said = await asyncio.to_thread(veilig, "approvals", "approve", listed[0]["approval"], "--reason", "fine")
    assert said.code == 0, said.err
    assert (await waiting).ok
    assert world.services.acts("web") == ["1"]
    assert veilig("approvals").out == "nothing waits for people\n"
    again = veilig("approvals", "approve", listed[0]["approval"])
    assert (again.code, "spent" in again.err) == (4, True)


async def test_a_no_is_final_for_the_act_and_for_the_next_question(veilig: Terminal, world: World) -> None:
    one = await asked(world)
    assert veilig("approvals", "deny", one, "--reason", "not now").code == 0
    assert (await world.gate().submit(RESTART, AGENT)).status is Status.REFUSED
    assert veilig("approvals", "approve", one).code == 4
    assert world.services.acts("web") == []


async def test_show_says_what_why_who_and_how_long(veilig: Terminal, world: World) -> None:
    one = await asked(world)
    out = veilig("approvals", "show", one[:4]).out
    for part in (one, "open", "expires in", "the test says so", "1 person", "agent:test", "service: web", ME):
        assert part in out
    told = veilig("approvals", "show", one, "--json").json
    assert (told["state"], told["proposer"], told["expires_s"] <= 1800) == ("open", "agent:test", True)


async def test_the_proposer_cannot_approve_their_own_act(veilig: Terminal, world: World) -> None:
    one = await asked(world, actor=Actor(ME))
    said = veilig("approvals", "approve", one)
    assert (said.code, "the proposer never approves" in said.err) == (4, True)


async def test_a_role_that_the_policy_gives_turns_a_refused_vote_into_a_good_one(
    veilig: Terminal, world: World
) -> None:
    world.rules.needs = (ApprovalNeed("database_actions", frozenset({"dba"})),)
    one = await asked(world)
    said = veilig("approvals", "approve", one)
    assert (said.code, "dba" in said.err) == (4, True)
    law = veilig.folder / "law.yaml"
    law.write_text(f"collaboration: {{roles: {{dba: [{ME}]}}}}\n")
    assert veilig("approvals", "approve", one, "--policy", str(law)).code == 0


async def test_one_person_is_one_voice_of_two(veilig: Terminal, world: World) -> None:
    world.rules.needs = (ApprovalNeed("changes", frozenset({"owner"}), quorum=2),)
    one = await asked(world)
    said = veilig("approvals", "approve", one)
    assert (said.code, "still needs 2 people" in said.out) == (0, True)
    assert veilig("approvals", "approve", one).code == 4
    assert (await world.gate().submit(RESTART, AGENT)).status is Status.HELD


async def test_what_was_asked_before_a_reboot_is_expired(veilig: Terminal) -> None:
    world = World(veilig.home)  # its clock is of another boot than the machine's
    world.rules.verdict["web"] = Verdict.ASK
    one = await asked(world)
    world.ledger.close()
    assert veilig("approvals", "--json").json == []
    assert veilig("approvals", "list", "--all", "--json").json[0]["state"] == "expired"
    assert veilig("approvals", "approve", one).code == 4


async def test_a_secret_in_a_reason_does_not_reach_the_ledger(veilig: Terminal, world: World) -> None:
    token = "gh" + "p_" + "0zBANMAAcNPMMcv7FQw4U5K95EhDN03EebTy"
    one = await asked(world)
    assert veilig("approvals", "deny", one, "--reason", f"leaks {token}").code == 0
    votes = [e.body for e in world.ledger.events(names=("approval.voted",))]
    assert [str(v["reason"]).startswith("leaks ‹secret:") for v in votes] == [True]
    assert token not in str(votes)


@pytest.mark.parametrize("prefix", ["zz", ""])
async def test_a_vote_names_one_question(veilig: Terminal, world: World, prefix: str) -> None:
    await asked(world)
    await asked(world, RestartService("web", "2"))
    assert veilig("approvals", "approve", prefix).code == 4


# --- standing permissions ------------------------------------------------------------------------------


class Commands:
    """Says that every command ran."""

    kinds = frozenset({"command.run"})

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        return Outcome(True, action.target)

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        return outcome

    async def inspect(self, action: Action) -> Found:
        return Found.UNKNOWN


def gate(world: World, session: str = "s1") -> Gate:
    world.rules.verdict |= {"make": Verdict.ASK, "rm": Verdict.DENY}
    world.rules.grantable = True
    return Gate(
        session=session,
        ledger=world.ledger,
        law=world.rules.law(),
        providers=[Commands()],
        redactor=world.redactor,
        clock=world.clock,
    )


def given(said: Said) -> str:
    assert said.code == 0, said.err
    return str(said.json["grant"])


async def test_a_standing_permission_answers_its_question_until_it_is_revoked(
    veilig: Terminal, world: World
) -> None:
    one = given(veilig("grants", "give", "command.run", "make", "test", "--for", "1h", "--json"))
    doors = gate(world)
    assert (await doors.submit(RunCommand(("make", "test")), AGENT)).ok
    assert (await doors.submit(RunCommand(("make", "install")), AGENT)).status is Status.HELD
    assert (await doors.submit(RunCommand(("rm", "x")), AGENT)).status is Status.REFUSED
    assert one in veilig("grants").out
    assert veilig("grants", "revoke", one[:5], "--reason", "done").code == 0
    assert (await doors.submit(RunCommand(("make", "test")), AGENT)).status is Status.HELD
    assert veilig("grants", "revoke", one).code == 4
    assert veilig("grants").out == "no standing permission holds\n"


async def test_a_permission_for_one_session_holds_in_no_other(veilig: Terminal, world: World) -> None:
    body = {"kind": "fix", "actor": "a", "source": "/", "options": {}, "policy": "p", "veilig": "0"}
    await world.ledger.submit(lambda tx: tx.append("session.started", "s1", dict(body)))
    given(veilig("grants", "give", "command.run", "make", "**", "--session", "s1", "--json"))
    assert (await gate(world, "s1").submit(RunCommand(("make", "a")), AGENT)).ok
    assert (await gate(world, "s2").submit(RunCommand(("make", "a")), AGENT)).status is Status.HELD


async def test_a_permission_for_a_folder_holds_in_no_other(veilig: Terminal, world: World) -> None:
    given(veilig("grants", "give", "command.run", "make", "**", "--for", "1h", "--in", "docs", "--json"))
    inside, outside = RunCommand(("make", "a"), cwd="docs"), RunCommand(("make", "a"))
    assert (await gate(world).submit(inside, AGENT)).ok
    assert (await gate(world).submit(outside, AGENT)).status is Status.HELD
    reach = replace(inside, hosts=("example.org",))
    assert (await gate(world).submit(reach, AGENT)).status is not Status.DONE


@pytest.mark.parametrize(
    "words",
    [
        ("service.restart", "web", "--for", "1h"),
        ("database.change", "db", "--for", "1h"),
        ("container.scale_up", "web", "--for", "1h"),
        ("policy.edit", "/srv", "--for", "1h"),
        ("model.ask", "big", "--for", "1h"),
        ("world.end", "now", "--for", "1h"),
        ("command.run", "**", "--for", "1h"),
        ("command.run", "*", "x", "--for", "1h"),
        ("file.write", "*", "--for", "1h"),
        ("file.write", "[a-z]*", "--for", "1h"),
        ("file.write", "./*", "--for", "1h"),
        ("file.write", "a.py", "b.py", "--for", "1h"),
        ("command.run", "ls", "--for", "86401s"),
        ("command.run", "ls", "--for", "2d"),
        ("command.run", "ls", "--session", "nobody"),
    ],
    ids=" ".join,
)
def test_what_must_be_asked_each_time_gets_no_standing_permission(
    inside: Callable[..., Said], world: World, words: tuple[str, ...]
) -> None:
    said = inside("grants", "give", *words)
    assert said.code == 4, said.out
    assert inside("grants", "--json").json == []


@pytest.mark.parametrize("lasts", ["0s", "-1h", "1", "1w", "", "1.5h"])
def test_what_is_no_duration_is_refused_with_2(inside: Callable[..., Said], world: World, lasts: str) -> None:
    assert inside("grants", "give", "command.run", "ls", f"--for={lasts}").code == 2


@pytest.mark.parametrize("lasts", ["86400s", "24h", "1d"])
def test_a_day_is_the_longest_permission(inside: Callable[..., Said], world: World, lasts: str) -> None:
    assert inside("grants", "give", "command.run", "ls", "--for", lasts).code == 0


@pytest.mark.parametrize("folder", ["/etc", "../x", "a/../../x"])
def test_a_permission_stays_inside_the_project(
    inside: Callable[..., Said], world: World, folder: str
) -> None:
    assert inside("grants", "give", "command.run", "ls", "--for", "1h", "--in", folder).code == 2


def test_the_folder_of_the_ledger_is_closed_to_others(veilig: Terminal, world: World) -> None:
    veilig("grants", "give", "command.run", "ls", "--for", "1h", "--reason", "x")
    assert Path(veilig.home / "keys" / "redact.key").stat().st_mode & 0o077 == 0
