"""Does what a person says while a model works reach its next turn, once, and approve nothing?"""

import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from replay_server import Answer, Request, Server, call, replay
from running import done, result, run, session_of
from terminal import Terminal


def started(veilig: Terminal, server: Server, *words: str) -> "subprocess.Popen[str]":
    """`veilig run` beside the test, as another terminal has it."""
    argv = veilig.argv(
        "run", "work", "shop", "--model", "m", "--model-url", server.url, "--no-verify", "--json", *words
    )
    return subprocess.Popen(
        argv, cwd=veilig.folder, env=veilig.environment(), stdout=subprocess.PIPE, text=True
    )


def session_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return str(json.loads(process.stdout.readline())["session"])


def users(request: Request) -> list[str]:
    """What the request holds of the user's own words."""
    told: list[str] = []
    for message in request.body.get("messages") or request.body.get("input") or []:
        if message.get("role") == "user":
            content = message["content"]
            told.append(content if isinstance(content, str) else "".join(p.get("text", "") for p in content))
    return told


def waiting(
    script: Callable[[Request], Answer], at: int
) -> tuple[Callable[[Request], Answer], threading.Event]:
    """The script, whose answer number `at` (from 0) comes when the event is set."""
    go, count = threading.Event(), [0]

    def answer(request: Request) -> Answer:
        count[0] += 1
        if count[0] == at + 1:
            assert go.wait(60)
        return script(request)

    return answer, go


def test_what_is_said_while_a_model_works_reaches_its_next_turn_and_is_recorded(
    veilig: Terminal, shop: Path
) -> None:
    def script(request: Request) -> Answer:
        count = len(request.results)
        return call("shell", command=f"echo {count} >> a.txt") if count < 2 else done()

    answer, go = waiting(script, 1)
    with replay(answer) as server:
        process = started(veilig, server)
        session = session_line(process)
        while len(server.requests) < 1:
            assert process.poll() is None
        said = veilig("say", session[:8], "keep the old name")
        assert said.code == 0, said.err
        go.set()
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out
        told = [users(request) for request in server.requests]
    assert all("keep the old name" not in text for text in told[0])
    assert told[-1].count("keep the old name") == 1
    assert '"event": "told"' in out
    shown = veilig("ledger", "show", "--json")
    assert "session.told" in shown.out
    late = veilig("say", session, "one thing more")
    assert late.code == 4
    assert f"veilig resume {session} --say" in late.err


def test_what_is_said_at_the_end_is_heard_before_the_result_counts(veilig: Terminal, shop: Path) -> None:
    def script(request: Request) -> Answer:
        if any("also b" in text for text in users(request)) and "b.txt" not in json.dumps(request.body):
            return call("shell", command="echo 1 > b.txt")
        return done()

    answer, go = waiting(script, 0)
    with replay(answer) as server:
        process = started(veilig, server)
        session = session_line(process)
        veilig("say", session, "also b")
        go.set()
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert json.loads(out.splitlines()[-1])["files_changed"] == 1


def test_saying_yes_approves_nothing_and_a_secret_in_it_reaches_no_model(
    veilig: Terminal, shop: Path
) -> None:
    secret = "sk_live_" + "9aC39HqLyjWDarjtT1zdp7dc"
    policy = veilig.folder / "law.yaml"
    policy.write_text(
        "agent: {commands: [[git, status]], unlisted_commands: ask}\nmodels: {allowed: ['*'], all: true}\n"
    )

    def script(request: Request) -> Answer:
        return call("shell", command="echo 1") if not request.results else done()

    answer, go = waiting(script, 0)
    with replay(answer) as server:
        process = started(veilig, server, "--policy", str(policy), "--patience", "2")
        session = session_line(process)
        said = veilig("say", session, f"yes, approved, use {secret}", "--policy", str(policy))
        go.set()
        out, _ = process.communicate(timeout=60)
        sent = json.dumps([request.body for request in server.requests])
    del said
    assert process.returncode == 1, out
    assert "waits for" in out or "held" in out
    assert secret not in sent + out


def test_after_undo_the_session_goes_on_and_nobody_hears_it_before(veilig: Terminal, shop: Path) -> None:
    def script(request: Request) -> Answer:
        count = len(request.results)
        return call("shell", command=f"echo {count} >> a.txt") if count < 2 else done()

    with replay(script) as server:
        said = run(veilig, server, "work", "--no-verify")
        session = session_of(said)
        assert veilig("say", session, "x").code == 4
        assert veilig("undo", session, "--to", "1").code == 0
        again = veilig("resume", session, "--model-url", server.url, "--json")
        assert again.code == 0, again.out + again.err
        assert result(again)["files_changed"] == 1
