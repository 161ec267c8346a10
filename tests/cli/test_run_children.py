"""A model hands parts of its task to child sessions: what they share, what bounds them, what a crash does."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replay_server import Answer, Request, call, replay
from running import done, result, run, session_of
from terminal import Terminal

PART = "You do one part of a larger task"


def talk(request: Request) -> str:
    """Everything that is said in a request, as text."""
    return json.dumps(request.body)


def family(child: Callable[[Request], Answer | str], *parent: Answer) -> Callable[[Request], Answer | str]:
    """A script for the parent, told apart from its children by what they are told."""
    turns = iter(parent)

    def script(request: Request) -> Answer | str:
        return child(request) if PART in talk(request) else next(turns)

    return script


def timeline(veilig: Terminal, session: str) -> list[dict[str, Any]]:
    return veilig("sessions", "show", session, "--json").json["timeline"]


def test_a_part_is_done_by_a_child_in_the_same_copy_and_its_summary_comes_back(
    veilig: Terminal, shop: Path
) -> None:
    def child(request: Request) -> Answer:
        assert "make the whole shop better" not in talk(request), "its parent's conversation is not its own"
        if request.results:
            return call("finish", summary="total() is right now", evidence="cart.py:2")
        return call("edit", path="cart.py", old="items[1:]", new="items")

    script = family(
        child, call("delegate", task="mend total()", steps=20), call("shell", command="cat cart.py"), done()
    )
    with replay(script) as server:
        said = run(veilig, server, "make the whole shop better", "--json")
        parent = [r for r in server.requests if PART not in talk(r)]
    assert said.code == 0, said.out[-2000:] + said.err
    told = parent[1].results[-1][1]
    assert told.startswith("total() is right now\ncart.py:2")
    assert "proven: 1 tests pass; the audit of the changed lines is clean" in told
    assert "changed: cart.py" in told
    assert "for i in items)" in parent[2].results[-1][1], "what it changed is in the parent's copy"
    end = result(said)
    session = end["session"]
    assert end["usage"]["tokens_in"] > 0
    assert "cart.py" in end["diff"]
    listed = {row["session"]: row for row in veilig("sessions", "--json").json}
    assert (listed[session]["parent"], listed[f"{session}.1"]["parent"]) == ("", session)
    acts = [(a["kind"], a["verdict"], a["outcome"]) for a in timeline(veilig, session)]
    assert ("session.start", "allow", "done") in acts
    assert {a["kind"] for a in timeline(veilig, f"{session}.1")} >= {"model.ask", "file.patch", "tests.run"}
    shown = veilig("sessions").out
    assert shown.index(session) < shown.index(f"  {session}.1")
    assert veilig("ledger", "verify").code == 0


def test_a_child_that_only_looks_is_not_judged_by_what_its_parent_did(veilig: Terminal, shop: Path) -> None:
    script = family(
        lambda request: call("finish", summary="it adds prices"),
        call("shell", command="echo '# x' >> cart.py"),
        call("delegate", task="what does total() do?"),
        call("finish", summary="left", done=False),
    )
    with replay(script) as server:
        said = run(veilig, server, "look")
    session = session_of(said)
    assert [a["kind"] for a in timeline(veilig, f"{session}.1")] == [
        "file.read",
        "skills.list",
        "model.ask",
        "workspace.diff",
    ]


def test_a_child_uses_its_parents_budget_and_has_one_of_its_own(veilig: Terminal, shop: Path) -> None:
    policy = veilig.folder / "operator.yaml"
    policy.write_text(
        "agent: {commands: [{argv: ['**'], all: true}], budgets: {steps: 30}}\n"
        "models: {allowed: [scripted]}\n"
    )
    script = family(
        lambda request: call("shell", command=f"echo {len(request.results)}"),
        call("delegate", task="count", steps=9),
        call("delegate", task="count on", steps=1000),
        done(),
    )
    with replay(script) as server:
        said = run(veilig, server, "count", "--json", "--policy", str(policy), "--no-verify")
        parent = [r for r in server.requests if PART not in talk(r)]
    first = parent[1].results[-1][1]
    assert first.startswith("not done: step budget used: 9 of 9")
    session = json.loads(said.out.splitlines()[0])["session"]
    rows = {row["session"]: row for row in veilig("sessions", "--json", "--policy", str(policy)).json}
    assert rows[f"{session}.1"]["steps"] == 9
    assert rows[f"{session}.2"]["steps"] <= 30 - 9
    assert said.code == 1
    assert "step budget used" in result(said)["summary"], "the parent has none left either"


def test_a_child_may_be_given_few_tokens(veilig: Terminal, shop: Path) -> None:
    script = family(
        lambda request: call("shell", command=f"echo {len(request.results)}"),
        call("delegate", task="count", tokens=1),
        done(),
    )
    with replay(script) as server:
        said = run(veilig, server, "count", "--json", "--no-verify")
        told = server.requests[-1].results[-1][1]
    assert said.code == 0
    assert told.startswith("not done: token budget used: ")
    assert " of 1\n" in told


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        pytest.param("{sessions: 1}", "1 were started, the bound is 1", id="one too many"),
        pytest.param("{verdict: deny}", "there is no tool 'delegate'", id="denied: not offered"),
        pytest.param("{depth: 0}", "there is no tool 'delegate'", id="no depth: not offered"),
    ],
)
def test_how_many_there_are_is_bounded_by_the_policy(
    veilig: Terminal, shop: Path, rules: str, why: str
) -> None:
    policy = veilig.folder / "operator.yaml"
    policy.write_text(f"agent: {{delegates: {rules}}}\nmodels: {{allowed: [scripted]}}\n")
    script = family(
        lambda request: call("finish", summary="seen"),
        call("delegate", task="look"),
        call("delegate", task="look again"),
        done(),
    )
    with replay(script) as server:
        run(veilig, server, "x", "--policy", str(policy))
        told = [text for request in server.requests for _, text in request.results]
    assert any(why in text for text in told), told


def test_a_child_starts_no_other_where_nothing_says_so(veilig: Terminal, shop: Path) -> None:
    policy = veilig.folder / "operator.yaml"
    policy.write_text("agent: {delegates: {depth: 2}}\nmodels: {allowed: [scripted]}\n")

    def child(request: Request) -> Answer:
        if "go deeper" in talk(request) and not request.results:
            return call("delegate", task="the bottom")
        return call("finish", summary="up again")

    for words, count in ((("--policy", str(policy)), 2), ((), 1)):
        with replay(family(child, call("delegate", task="go deeper"), done())) as server:
            session = session_of(run(veilig, server, "x", *words))
        names = {r["session"] for r in veilig("sessions", "--json").json if r["session"].startswith(session)}
        assert len(names) == 1 + count, names


def test_a_killed_parent_goes_on_with_its_child_and_repeats_nothing(veilig: Terminal, shop: Path) -> None:
    def child(request: Request) -> Answer:
        count = len(request.results)
        return (
            call("shell", command=f"echo {count} >> done.txt; sleep 0.2") if count < 5 else done("five lines")
        )

    turns = iter(
        [call("shell", command="echo first > a.txt"), call("delegate", task="append five lines"), done()]
    )
    with replay(lambda r: child(r) if PART in talk(r) else next(turns)) as server:
        argv = veilig.argv("run", "x", "shop", "--model", "m", "--model-url", server.url, "--no-verify")
        process = subprocess.Popen(
            argv, cwd=veilig.folder, env=veilig.environment(), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        session = process.stdout.readline().split()[1]
        while len(server.requests) < 5:
            time.sleep(0.01)
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        alone = veilig("resume", f"{session}.1")
        assert (alone.code, f"veilig resume {session}" in alone.err) == (4, True), alone.err
        said = veilig("resume", session, "--json", "--model-url", server.url)
        told = server.requests[-1].results[-1][1]
    assert said.code == 0, said.out[-3000:] + said.err
    assert told.startswith("five lines")
    lines = [x[1:] for x in result(said)["diff"].splitlines() if x.startswith("+") and x[1:].isdigit()]
    assert lines == sorted(set(lines), key=int), "no finished command ran twice"
    rows = [r["session"] for r in veilig("sessions", "--json").json]
    assert rows == [session, f"{session}.1"], "the same child was gone on with"
    starts = [a for a in timeline(veilig, session) if a["kind"] == "session.start"]
    assert [a["outcome"] for a in starts] == ["in doubt: not_done", "done"]


def test_a_child_that_waits_for_people_holds_its_parent_and_goes_on_when_they_said_yes(
    veilig: Terminal, shop: Path
) -> None:
    policy = veilig.folder / "operator.yaml"
    policy.write_text(
        "agent: {commands: [[python, '**'], {argv: [make, '**'], verdict: ask}], unlisted_commands: ask}\n"
        "models: {allowed: [scripted]}\n"
    )

    def child(request: Request) -> Answer:
        return done("asked") if request.results else call("shell", command="make nothing")

    turns = iter([call("delegate", task="make it"), done()])
    with replay(lambda r: child(r) if PART in talk(r) else next(turns)) as server:
        said = run(veilig, server, "x", "--policy", str(policy), "--json", "--no-verify")
        held = result(said)
        session = held["session"]
        assert held["approval"]
        yes = veilig("approvals", "approve", held["approval"], "--policy", str(policy))
        assert yes.code == 0, yes.err
        again = veilig("resume", session, "--policy", str(policy), "--json", "--model-url", server.url)
    assert again.code == 0, again.out + again.err
    rows = veilig("sessions", "--json", "--policy", str(policy)).json
    assert [r["state"] for r in rows] == ["done", "done"]


def test_after_an_undo_a_part_is_delegated_anew(veilig: Terminal, shop: Path) -> None:
    def child(request: Request) -> Answer:
        return done("again") if request.results else call("shell", command="echo x >> a.txt; wc -l < a.txt")

    turns = iter([call("delegate", task="append"), done(), call("delegate", task="append"), done()])
    with replay(lambda r: child(r) if PART in talk(r) else next(turns)) as server:
        session = session_of(run(veilig, server, "x", "--no-verify"))
        words = ("--to", "1", "--say", "once more", "--model-url", server.url)
        again = veilig("undo", session, *words)
    assert again.code == 0, again.out + again.err
    rows = [r["session"] for r in veilig("sessions", "--json").json]
    assert rows == [session, f"{session}.1", f"{session}.2"]
    assert "+x\n" in veilig("resume", session, "--diff").out
    assert "+x\n+x" not in veilig("resume", session, "--diff").out, "what the first child did was undone"
