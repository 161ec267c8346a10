"""Does the full screen show a session as it is, and do its keys do what they say?"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from replay_server import Answer, Request, Server, call, replay
from running import CART, done
from terminal import Terminal
from veilig.agent.run_state import RunOptions
from veilig.app import Setting
from veilig.cli.screen import question
from veilig.cli.screen.app import WorkScreen
from veilig.home import find_home

ASKS = "agent: {commands: [[git, status]], unlisted_commands: ask}\nmodels: {allowed: ['*'], all: true}\n"


@asynccontextmanager
async def screen(
    veilig: Terminal, server: Server, *, law: str = "", size: tuple[int, int] = (80, 24)
) -> AsyncGenerator[Pilot[Any]]:
    """The screen on the shop, with the scripted model."""
    policy = None
    if law:
        (veilig.folder / "law.yaml").write_text(law)
        policy = str(veilig.folder / "law.yaml")
    environment = veilig.environment()
    setting = Setting(policy, patience_s=60.0, environment=environment, model_url=server.url)
    options = RunOptions(str(veilig.folder / "shop"), "", "scripted", verify=False)
    app = WorkScreen(setting, find_home(environment), options)
    async with app.run_test(size=size) as pilot:
        yield pilot
        app.action_leave()
        while app._exit is False:
            await asyncio.sleep(0.02)


def app_of(pilot: Pilot[Any]) -> WorkScreen:
    assert isinstance(pilot.app, WorkScreen)
    return pilot.app


async def until(pilot: Pilot[Any], holds: Callable[[], object], seconds: float = 60) -> None:
    """Wait until it holds."""
    for _ in range(int(seconds / 0.05)):
        if holds():
            await pilot.pause()
            return
        await pilot.pause(0.05)
    raise AssertionError(text_of(pilot))


def text_of(pilot: Pilot[Any]) -> str:
    """What stands on the screen, as a person reads it."""
    svg = pilot.app.export_screenshot()
    rows: dict[float, list[tuple[float, str]]] = {}
    import html

    for match in re.finditer(r'<text [^>]*?x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>', svg):
        rows.setdefault(float(match[2]), []).append((float(match[1]), html.unescape(match[3])))
    lines = ["".join(text for _, text in sorted(row)) for _, row in sorted(rows.items())]
    return "\n".join(lines).replace("\u00a0", " ")


async def types(pilot: Pilot[Any], text: str) -> None:
    line = pilot.app.query_one("#line", Input)
    line.focus()
    line.value = text
    await pilot.press("enter")


def rows(pilot: Pilot[Any]) -> list[tuple[str, str, str, str]]:
    return [(r.word, r.what, r.verdict, r.end) for r in app_of(pilot).shown.rows]


def ended(pilot: Pilot[Any]) -> Callable[[], object]:
    return lambda: app_of(pilot).shown.ended and not app_of(pilot).work.busy


async def test_a_task_is_typed_and_its_acts_stand_there_with_verdict_and_rule(
    veilig: Terminal, shop: Path
) -> None:
    script = [
        call("plan", steps=[{"step": "look", "done": True}, {"step": "mend"}]),
        call("shell", command="echo [bold]hi[/bold]; exit 3"),
        call("edit", path="cart.py", old="items[1:]", new="items"),
        done("mended"),
    ]
    with replay(script) as server:
        async with screen(veilig, server) as pilot:
            await types(pilot, "mend it")
            await until(pilot, ended(pilot))
            await pilot.pause(0.2)
            shown = text_of(pilot)
            found = rows(pilot)
            await types(pilot, "/plan")
            plan = text_of(pilot)
            await pilot.press("f3")
            await pilot.pause(0.2)
            diff = text_of(pilot)
    assert ("runs", "echo [bold]hi[/bold]; exit 3", "allow", "exit 3") in found
    assert ("edits", "cart.py", "allow", "ok") in found
    assert found[-1] == ("ends", "mended", "", "done")
    assert "allow" in shown
    assert "exit 3" in shown
    assert "context" in shown
    assert "done" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "open  mend" in plan
    assert "-    return sum(i.price for i in items[1:])" in diff
    assert "+    return sum(i.price for i in items)" in diff


async def test_a_question_shows_what_would_happen_and_the_keys_answer_it(
    veilig: Terminal, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(question, "ARMED_AFTER_S", 1000.0)
    script = [
        call("shell", command="touch one"),
        call("shell", command="touch two"),
        call("shell", command="touch three; ls"),
        done(),
    ]
    with replay(script) as server:
        async with screen(veilig, server, law=ASKS) as pilot:
            app = app_of(pilot)
            await types(pilot, "go")
            await until(pilot, lambda: app.question.request)
            await pilot.press("a")  # too early to be meant
            assert app.question.request is not None
            shown = text_of(pilot)
            monkeypatch.setattr(question, "ARMED_AFTER_S", 0.0)
            await pilot.press("a")
            await until(pilot, lambda: app.question.request and "two" in str(app.question.request.action))
            await pilot.press("d")
            await types(pilot, "not two")
            await until(pilot, lambda: app.question.request and "three" in str(app.question.request.action))
            app.query_one("#line", Input).value = "half a word"
            asked = veilig("approvals", "--json", "--policy", str(veilig.folder / "law.yaml")).json
            await asyncio.to_thread(
                veilig,
                "approvals",
                "approve",
                asked[0]["approval"],
                "--policy",
                str(veilig.folder / "law.yaml"),
            )
            await until(pilot, ended(pilot))
            found = rows(pilot)
            told = [text for request in server.requests for _, text in request.results]
    for part in ("asks", "touch one", "once", "expires in", "deny", "why"):
        assert part in shown, shown
    assert ("runs", "touch one", "ask", "exit 0") in found
    assert ("runs", "touch two", "ask", "refused") in found
    assert ("runs", "touch three; ls", "ask", "exit 0") in found, "the yes came from another terminal"
    assert any("not two" in text or "denied" in text for text in told)


async def test_what_is_typed_while_it_works_is_heard_and_never_answers_a_question(
    veilig: Terminal, shop: Path
) -> None:
    def script(request: Request) -> Answer:
        count = len(request.results)
        return call("shell", command=f"echo {count}; sleep 0.3") if count < 3 else done()

    with replay(script) as server:
        async with screen(veilig, server) as pilot:
            await types(pilot, "go")
            await until(pilot, lambda: len(server.requests) >= 1)
            await types(pilot, "a and yes")
            await until(pilot, ended(pilot))
            found = rows(pilot)
        sent = [str(request.body) for request in server.requests]
    assert any(word == "hears" and "a and yes" in what for word, what, _, _ in found)
    assert "a and yes" not in sent[0]
    assert "a and yes" in sent[-1]


async def test_undo_takes_files_and_conversation_back_and_apply_asks_first(
    veilig: Terminal, shop: Path
) -> None:
    script = [
        call("edit", path="cart.py", old="items[1:]", new="items"),
        done(),
        call("edit", path="cart.py", old="items[1:]", new="items[0:]"),
        done(),
    ]
    with replay(script) as server:
        async with screen(veilig, server) as pilot:
            app = app_of(pilot)
            await types(pilot, "mend it")
            await until(pilot, ended(pilot))
            await types(pilot, "/undo 2")
            await until(pilot, lambda: any(word == "undone" for word, *_ in rows(pilot)))
            await until(pilot, lambda: not app.work.busy)
            assert app.work.changes() == ""
            await types(pilot, "use a slice")
            await until(pilot, lambda: app.shown.ended == "done" and len(server.requests) == 4)
            assert "items[0:]" in app.work.changes()
            await until(pilot, lambda: not app.work.busy)
            await types(pilot, "/apply")
            await until(pilot, lambda: app.question.request)
            asked = app.question.request
            assert asked is not None
            assert "+    return sum(i.price for i in items[0:])" in asked.preview
            assert (shop / "cart.py").read_text() == CART
            await pilot.pause(0.6)
            await pilot.press("a")
            await until(pilot, lambda: "items[0:]" in (shop / "cart.py").read_text())
        for request in server.requests:
            calls = [one for message in request.body["messages"] for one in message.get("tool_calls") or ()]
            assert len(calls) == len(request.results), "every call is answered, as vendors demand"


async def test_stop_stops_and_says_how_to_go_on_and_going_on_repeats_nothing(
    veilig: Terminal, shop: Path
) -> None:
    def script(request: Request) -> Answer:
        count = len(request.results)
        return (
            call("shell", command=f"echo {count} >> n.txt; sleep {0 if count else 30}")
            if count < 2
            else done()
        )

    with replay(script) as server:
        async with screen(veilig, server) as pilot:
            app = app_of(pilot)
            await types(pilot, "go")
            await until(pilot, lambda: any(r[0] == "runs" and r[2] for r in rows(pilot)))
            await pilot.press("ctrl+c")
            await until(pilot, lambda: not app.work.busy)
            await until(pilot, lambda: "/resume to go on" in text_of(pilot))
            await types(pilot, "/resume")
            await until(pilot, ended(pilot))
            told = [text for request in server.requests for _, text in request.results]
    assert any("look whether it took effect" in text for text in told)


async def test_a_wide_terminal_shows_more_and_what_was_said_after_the_end_goes_on(
    veilig: Terminal, shop: Path
) -> None:
    long = "echo " + "x" * 60
    with replay([call("shell", command=long), done(), done("again")]) as server:
        async with screen(veilig, server, size=(160, 40)) as pilot:
            app = app_of(pilot)
            await types(pilot, "go")
            await until(pilot, ended(pilot))
            await until(pilot, lambda: long in text_of(pilot))
            await pilot.resize_terminal(80, 24)
            await until(pilot, lambda: long not in text_of(pilot) and "echo xxx" in text_of(pilot))
            await types(pilot, "once more")
            await until(pilot, lambda: app.shown.summary == "again")
        calls = [one for m in server.requests[2].body["messages"] for one in m.get("tool_calls") or ()]
        assert len(calls) == len(server.requests[2].results) == 2


async def test_what_a_child_session_does_stands_there_too(veilig: Terminal, shop: Path) -> None:
    def script(request: Request) -> Answer:
        if "look at the cart" in str(request.body["messages"][1]):
            return done("seen") if request.results else call("shell", command="echo inside")
        return done() if request.results else call("delegate", task="look at the cart")

    with replay(script) as server:
        async with screen(veilig, server) as pilot:
            await types(pilot, "go")
            await until(pilot, ended(pilot))
            await until(pilot, lambda: ("runs", "echo inside", "allow", "exit 0") in rows(pilot))
            marks = [r.mark for r in app_of(pilot).shown.rows if r.what == "echo inside"]
    assert marks[0].startswith(".")


@pytest.mark.parametrize("words", ["/undo 9", "/apply", "/nonsense", "/branch 'x"])
async def test_what_cannot_be_done_is_said_above_the_line(veilig: Terminal, shop: Path, words: str) -> None:
    with replay([done()]) as server:
        async with screen(veilig, server) as pilot:
            await types(pilot, words)
            await pilot.pause(0.2)
            shown = text_of(pilot)
    assert "there is no" in shown or "cannot be read" in shown
