"""What does work look like from two terminals? Plays it with a scripted model and writes the how-to page.

`.venv/bin/python docs/demo.py` writes docs/how-to/two-terminals.md: every command is typed into a real terminal
(tmux) and what stands there is pasted. `tests/docs/test_demo.py` plays it again and compares.
"""

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "how-to" / "two-terminals.md"
sys.path.insert(0, str(ROOT / "tests" / "support"))

from pane import Pane, pane  # noqa: E402  # lives with the tests
from replay_server import Answer, Request, call, replay  # noqa: E402

PROMPT = "$ "
WIDTH = 112
WAIT_S = 240.0  # a busy machine takes its time
LAW = """\
agent:
  commands: [[git, status]]
  unlisted_commands: ask
models: {allowed: ["*"], all: true}
"""
CART = "def total(items):\n    return sum(i.price for i in items[1:])\n"
TEST = (
    "from types import SimpleNamespace as S\nfrom cart import total\n\n\n"
    "def test_total():\n    assert total([S(price=2), S(price=3)]) == 5\n"
)
HEAD = """\
# Work from two terminals

<!-- Written by docs/demo.py with a scripted model: `.venv/bin/python docs/demo.py`. Do not edit. -->

One terminal lets a model work; another one watches, answers its questions, speaks to it, takes steps back and picks the
work up after a crash. Everything below was typed into real terminals and is what stood there; only the model is a script.
The policy allows no command unasked:

```yaml
{law}```
"""


@dataclass
class Terminal:
    """A shell in a terminal, and what was typed into it since the last time."""

    name: str
    pane: Pane
    lines: list[str] = field(default_factory=list[str])

    def begin(self, command: str) -> None:
        """Type a command, and do not wait for its end."""
        self.pane.keys("C-l")
        while self.pane.text().strip() != PROMPT.strip():
            time.sleep(0.02)
        self.pane.clear()  # what was cleared from the screen stands in its history
        self.pane.types(command)

    def shown(self) -> str:
        """What stands there since the last command was typed, that command first."""
        lines = self.pane.text(history=True).rstrip().splitlines()
        while (
            len(lines) > 1 and lines[0].strip() == PROMPT.strip()
        ):  # drawn again while the screen was cleared
            del lines[0]
        return "\n".join(lines)

    def run(self, command: str) -> str:
        """Type a command; what it printed, after its end."""
        self.begin(command)
        return self.ended()

    def ended(self) -> str:
        """What stands there when the shell is back."""
        late_s = time.monotonic() + WAIT_S
        while time.monotonic() < late_s:
            text = self.shown()
            if text.endswith("\n" + PROMPT.rstrip()):
                return text.removesuffix("\n" + PROMPT.rstrip())
            time.sleep(0.1)
        raise AssertionError(f"{self.name} did not come back:\n{self.shown()}")


def script(request: Request) -> Answer:
    """What the model does: five small steps, then three others when it was told to keep the name."""
    said, count = str(request.body), len(request.results)
    steps = [
        call("read", path="cart.py"),
        call("edit", path="cart.py", old="items[1:]", new="items"),
        call("edit", path="cart.py", old="def total", new="def sum_of"),
        call("shell", command="python -m pytest -q"),
    ]
    if "keep the name total" in said:  # from its third answer on
        tests = "python -m pytest -q"
        steps[2:] = [call("shell", command=f"sleep 3; {tests}"), call("shell", command=tests)]
    summary = "The first item was left out of the sum."
    return steps[count] if count < len(steps) else call("finish", summary=summary)


@contextmanager
def terminals(folder: Path, url: str) -> Generator[tuple[Terminal, Terminal]]:
    """Two terminals in a folder with a project, a policy and `veilig` on the path."""
    shop = folder / "shop"
    (shop / "tests").mkdir(parents=True)
    (shop / "cart.py").write_text(CART)
    (shop / "tests" / "test_cart.py").write_text(TEST)
    (shop / "conftest.py").write_text("")
    (folder / "law.yaml").write_text(LAW)
    (folder / "bin").mkdir()
    ours = folder / "bin" / "veilig"
    ours.write_text(f'#!/bin/sh\nexec {sys.executable} -m veilig.cli.main "$@"\n')
    ours.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("VEILIG_", "XDG_"))}
    environment = kept | {
        "PATH": f"{folder / 'bin'}:{kept['PATH']}",
        "HOME": str(folder),
        "VEILIG_HOME": str(folder / "state"),
        "VEILIG_POLICY": str(folder / "law.yaml"),
        "VEILIG_MODEL": "scripted",
        "VEILIG_MODEL_URL": url,
        "NO_COLOR": "1",
    }
    shell = ["env", f"PS1={PROMPT}", "bash", "--norc", "--noprofile", "-i"]
    with ExitStack() as stack:
        both = [stack.enter_context(pane(shell, folder, environment, (WIDTH, 40))) for _ in range(2)]
        first, second = (Terminal(name, one) for name, one in zip(("first", "second"), both, strict=True))
        for one in (first, second):
            one.pane.until(PROMPT.rstrip())
        yield first, second


def asked(second: Terminal) -> tuple[str, str]:
    """The id of the question that waits, as soon as one does, and the list that names it."""
    late_s = time.monotonic() + WAIT_S
    while time.monotonic() < late_s:
        listed = second.run("veilig approvals")
        if found := re.search(r"^([0-9a-f]{8}) ", listed, re.MULTILINE):
            return found[1], listed
        time.sleep(0.3)
    raise AssertionError(f"no question came:\n{listed}")


def play(folder: Path, url: str) -> list[tuple[str, str, str]]:
    """The whole story: (what happens, which terminal, what stands there)."""
    story: list[tuple[str, str, str]] = []
    with terminals(folder, url) as (first, second):

        def tell(text: str, where: Terminal, shown: str) -> None:
            story.append((text, where.name, clean(shown, folder)))

        first.begin('veilig run "make the failing test pass" shop --patience 600 --no-verify')
        waits, listed = asked(second)
        tell(
            "A model works, until it wants to run a command. The session waits for people:",
            first,
            first.shown(),
        )
        tell("The other terminal sees what waits:", second, listed)
        shown = second.run(f"veilig approvals show {waits}")
        tell("and exactly what a yes would let happen:", second, shown)
        shown = second.run(f"veilig approvals approve {waits} --reason 'only the tests'")
        tell("One yes, for this act only:", second, shown)
        shown = first.ended()
        tell(
            "The session has gone on by itself and ends. Nothing has reached the project so far:",
            first,
            shown,
        )
        session = re.search(r"run-[0-9a-f]{8}", shown)
        assert session is not None
        shown = second.run(f"veilig undo {session[0]} --list")
        tell("It renamed the function, which nobody wanted. Its answers so far:", second, shown)
        shown = second.run(f"veilig undo {session[0]} --to 3")
        tell(
            "Three steps back: the rename, the test run and the end, files and conversation together:",
            second,
            shown,
        )
        first.begin(f'veilig resume {session[0]} --say "keep the name total" --patience 600')
        waits, _ = asked(second)
        pid = second.run(f"pgrep -f 'resume {session[0]}' | head -1").splitlines()[-1]
        second.run(f"veilig approvals approve {waits}")
        first.pane.until("answered elsewhere", "wall")
        time.sleep(1.0)  # the command sleeps three seconds: the blow falls into it
        shown = second.run(f"kill -9 {pid}")
        tell(
            "It goes on with a word of advice, and in the middle of the test run its process is killed:",
            first,
            first.ended(),
        )
        tell("", second, shown)
        shown = second.run("veilig sessions")
        tell("The record knows how far it came:", second, shown)
        first.begin(f"veilig resume {session[0]} --patience 600")
        tell(
            "Resuming repeats nothing that was finished. The test run was cut off, so the model is told to look "
            "whether it took effect before it repeats it:",
            first,
            finished(first, second),
        )
        shown = second.run(f"veilig resume {session[0]} --diff")
        tell("What came of it, and that nobody has touched the record:", second, shown)
        tell("", second, second.run("veilig ledger verify"))
    return story


def finished(first: Terminal, second: Terminal) -> str:
    """What stands in the first terminal at the end; further questions are answered with yes."""
    late_s = time.monotonic() + WAIT_S
    while time.monotonic() < late_s:
        text = first.shown()
        if text.endswith("\n" + PROMPT.rstrip()):
            return text.removesuffix("\n" + PROMPT.rstrip())
        found = re.search(r"^([0-9a-f]{8}) ", second.run("veilig approvals"), re.MULTILINE)
        if found is not None:
            second.run(f"veilig approvals approve {found[1]}")
        time.sleep(0.3)
    raise AssertionError(first.shown())


def clean(text: str, folder: Path) -> str:
    """The same text without the folder that it was played in."""
    return "\n".join(line.rstrip() for line in text.replace(str(folder), "~").splitlines())


def page(story: list[tuple[str, str, str]]) -> str:
    """The how-to page."""
    parts = [HEAD.format(law=LAW)]
    for text, where, shown in story:
        name = "First terminal" if where == "first" else "Second terminal"
        reason = "<!-- not run: played in two terminals by docs/demo.py -->"
        parts.append(f"{text}\n\n{name}:\n\n{reason}\n```console\n{shown}\n```\n".lstrip())
    return "\n".join(parts)


def record() -> str:
    """Play it in a fresh folder; the page."""
    folder = Path(tempfile.mkdtemp(prefix="demo-"))
    try:
        with replay(script) as server:
            return page(play(folder, server.url))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    PAGE.write_text(record())
    print(f"{PAGE.relative_to(ROOT)}: written")
