"""Does the screen work in a real terminal of 80 by 24, and what is there without one or its extra?"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pane import pane
from replay_server import Answer, Request, call, replay
from running import done
from terminal import Said, Terminal


@pytest.mark.slow
def test_in_a_real_terminal_a_task_is_typed_asked_about_stopped_and_left(
    veilig: Terminal, shop: Path
) -> None:
    law = veilig.folder / "law.yaml"
    law.write_text(
        "agent: {commands: [[git, status]], unlisted_commands: ask}\nmodels: {allowed: ['*'], all: true}\n"
    )

    def script(request: Request) -> Answer:
        count = len(request.results)
        return (
            call("shell", command=f"echo step {count}; sleep {0 if count < 1 else 60}")
            if count < 2
            else done()
        )

    with replay(script) as server:
        words = ("run", "-i", "shop", "--model", "m", "--model-url", server.url, "--policy", str(law))
        with pane(veilig.argv(*words), veilig.folder, veilig.environment()) as terminal:
            terminal.until("no session yet", "F1 help")
            terminal.types("make it green")
            shown = terminal.until("asks", "echo step 0", "allow once")
            assert "expires in" in shown
            assert "deny" in shown
            terminal.until("echo step 0")
            time.sleep(0.7)  # keys of a question count when it has stood for a moment
            terminal.keys("a")
            terminal.until("exit 0", "echo step 1", "allow once")
            time.sleep(0.7)
            terminal.keys("d")
            terminal.until("why not?")
            terminal.types("it takes too long")
            terminal.until("refused", "done")
            terminal.keys("F3")
            terminal.until("nothing was changed")
            terminal.keys("C-q")
            left = terminal.until("exit 0", "proof")
    assert "session run-" in left
    assert "veilig resume run-" in left


@pytest.mark.slow
def test_ctrl_c_stops_and_gives_the_terminal_back_with_the_way_to_go_on(veilig: Terminal, shop: Path) -> None:
    with replay([call("shell", command="sleep 60")]) as server:
        words = ("run", "--interactive", "wait", "shop", "--model", "m", "--model-url", server.url)
        with pane(veilig.argv(*words), veilig.folder, veilig.environment()) as terminal:
            terminal.until("runs", "sleep 60", "...")
            terminal.keys("C-c")
            terminal.until("/resume to go on")
            terminal.keys("C-c")
            left = terminal.until("exit 130")
    assert "interrupted; next: veilig resume run-" in left


@pytest.mark.slow
def test_at_a_plain_question_ctrl_c_leaves_and_a_vote_from_elsewhere_counts(
    veilig: Terminal, shop: Path
) -> None:
    law = veilig.folder / "law.yaml"
    law.write_text(
        "agent: {commands: [[git, status]], unlisted_commands: ask}\nmodels: {allowed: ['*'], all: true}\n"
    )
    with replay(
        lambda request: done() if len(request.results) else call("shell", command="echo step")
    ) as server:
        words = ("run", "go", "shop", "--no-verify", "--model", "m", "--model-url", server.url)
        with pane(veilig.argv(*words, "--policy", str(law)), veilig.folder, veilig.environment()) as terminal:
            terminal.until("[y]es, [n]o")
            (asked,) = veilig("approvals", "--json", "--policy", str(law)).json
            assert veilig("approvals", "approve", asked["approval"], "--policy", str(law)).code == 0
            terminal.until("answered elsewhere", "exit 0", "done")
        with pane(veilig.argv(*words, "--policy", str(law)), veilig.folder, veilig.environment()) as terminal:
            terminal.until("[y]es, [n]o")
            terminal.keys("C-c")
            terminal.until("interrupted; next: veilig resume run-", "exit 130")


def test_without_the_extra_it_says_so_and_shows_the_plain_view(veilig: Terminal, shop: Path) -> None:
    with replay([done("nothing to do")]) as server:
        argv = veilig.argv("run", "-i", "look", "shop", "--model", "m", "--model-url", server.url)
        hidden = (
            "import runpy, sys; sys.modules['textual'] = None; "
            "runpy.run_module('veilig.cli.main', run_name='__main__')"
        )
        with pane([argv[0], "-c", hidden, *argv[3:]], veilig.folder, veilig.environment()) as terminal:
            text = terminal.until("exit 0")
    assert "veilig[tui]" in text
    assert "nothing to do" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run",), "there is no task"),
        (("run", "-i", "shop"), "needs a terminal"),
        (("run", "--interactive", "task", "shop", "--json"), "needs a terminal"),
    ],
)
def test_where_nobody_sits_the_screen_is_refused(
    inside: Callable[..., Said], shop: Path, words: tuple[str, ...], said: str
) -> None:
    result = inside(*words)
    assert result.code == 2
    assert said in result.err
