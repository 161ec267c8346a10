"""Does a session work in a world that is not ours as at home? Law, gate, ledger, secrets as handles."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from veilig.agent.trajectory import trajectory
from veilig.app import Setting
from veilig.app.far import FarResult, InTrial, Model, Said, run_there
from veilig.app.trials import Place, open_world
from veilig.core.errors import ProviderError
from veilig.core.message import Message, Stop, ToolCall, ToolSpec
from veilig.core.provider import Outcome
from veilig.home import find_home

pytestmark = pytest.mark.outside_gate  # the harness stands the world up, as an evaluation does

RULES = """
mode: propose
agent:
  commands: [{argv: [echo, "**"]}]
  unlisted_commands: deny
  paths: {read: ["**"], write: ["ok/**"], deny: [".env"]}
models: {allowed: ["*"], all: true}
"""
SECRET = "-".join(("sk", "ant", "api03", "Zq8" * 12, "AA"))


class Script:
    """A model that says what it is told to, and remembers what it was asked."""

    def __init__(self, *answers: dict[str, dict[str, object]] | str) -> None:
        self.answers = list(answers)
        self.heard: list[list[Message]] = []
        self.tools: list[str] = []

    async def __call__(self, messages: Sequence[Message], tools: Sequence[ToolSpec], most: int) -> Said:
        self.heard.append(list(messages))
        self.tools = [tool.name for tool in tools]
        answer = self.answers.pop(0)
        if isinstance(answer, str):
            return Said(answer, (), Stop.DONE, "scripted", 100, 40, 10)
        calls = tuple(
            ToolCall(f"c{len(self.heard)}{name}", name, json.dumps(given)) for name, given in answer.items()
        )
        return Said("", calls, Stop.CALLS, "scripted", 100, 40, 10)

    def results(self) -> str:
        return "\n".join(m.text for m in self.heard[-1] if m.role == "tool")


class Quiet:
    def began(self, session: str, law: str) -> None: ...
    def wall(self, wall: object) -> None: ...
    def proposed(self, action: object) -> None: ...
    def observed(self, action: object, outcome: Outcome) -> None: ...


async def work(tmp_path: Path, script: Script, policy: str = "", files: dict[str, str] | None = None):
    """The session's end, its events, and the folder the world saw as /app."""
    root = tmp_path / "world"
    (root / "app").mkdir(parents=True)
    tmp_path.chmod(0o755)
    for name, text in (files or {}).items():
        (root / "app" / name).write_text(text)
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {"VEILIG_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    if policy:
        (tmp_path / "veilig.yaml").write_text(policy)
    setting = Setting(str(tmp_path / "veilig.yaml") if policy else None, environment=environment)
    async with await open_world(root, [Place(root / "app", "/app", True)], wall_s=120) as world:
        there = InTrial(world, "/app", {"TASK": "one"})
        ended = await run_there("do it", there, Model("test:script", script), setting, Quiet(), empty)
        alive = await world.run(
            ("bash", "-c", "cat /app/beat 2>/dev/null; pgrep -fc 'sleep 777'"), cwd="/app", timeout_s=30
        )
        with find_home(environment).open_ledger(create=False) as ledger:
            events = list(ledger.events(session=ended.session))
    return ended, events, root / "app", alive.stdout.decode()


async def test_a_session_reads_edits_runs_and_ends_in_the_other_world(tmp_path: Path):
    script = Script(
        {
            "read": {"path": "a.txt"},
            "shell": {"command": "echo $TASK; pwd; cat nothing; (sleep 777 >/dev/null &)"},
        },
        {"edit": {"path": "a.txt", "old": "one", "new": "two\n" + "x" * 100_000}},
        {"edit": {"path": "deep/b.txt", "old": "", "new": "fresh\n"}},
        {"shell": {"command": "head -c 9000000 /dev/zero | tr '\\0' y; exit 7", "timeout_s": 30}},
        {"shell": {"command": "sleep 60", "timeout_s": 1}},
        {"finish": {"summary": "all done"}},
    )
    ended, events, app, alive = await work(tmp_path, script, files={"a.txt": "one\n"})
    assert (ended.finish.ok, ended.finish.summary) == (True, "all done")
    assert (app / "a.txt").read_text() == "two\n" + "x" * 100_000 + "\n"
    assert (app / "deep/b.txt").read_text() == "fresh\n"
    assert alive.strip() == "1"  # what was started goes on after the session
    said = script.results()
    assert "1\tone" in said
    assert "one\n/app\n" in said
    assert "[exit 7]" in said
    assert "stopped after 1 s" in said
    stood = next(e.body for e in events if e.name == "wall.stood")
    assert stood["wall"] == "a trial behind bubblewrap"
    acts = [e.body["action"]["kind"] for e in events if e.name == "action.proposed"]  # type: ignore[index]
    assert acts[0] == "workspace.open"
    assert "file.patch" in acts
    told = trajectory(ended.session, events)
    assert told["final_metrics"]["total_prompt_tokens"] == 600  # type: ignore[index]
    assert "private copy" not in script.heard[0][0].text


async def test_what_the_policy_refuses_does_not_happen_there(tmp_path: Path):
    script = Script(
        {"shell": {"command": "touch made"}},
        {"shell": {"command": "echo fine"}},
        {"edit": {"path": "no.txt", "old": "", "new": "x"}},
        {"edit": {"path": "ok/yes.txt", "old": "", "new": "x\n"}},
        "I am done",
    )
    _, events, app, _ = await work(tmp_path, script, RULES)
    assert not (app / "made").exists()
    assert not (app / "no.txt").exists()
    assert (app / "ok/yes.txt").exists()
    assert script.results().count("refused") == 2
    assert sum(e.name == "action.refused" for e in events) == 2


async def test_a_secret_in_a_file_there_is_a_handle_for_the_model_and_stays_itself_in_the_file(
    tmp_path: Path,
):
    script = Script(
        {"read": {"path": "conf.ini"}},
        {"edit": {"path": "conf.ini", "old": "port=1", "new": "port=2"}},
        {"shell": {"command": "cat conf.ini"}},
        "done",
    )
    _, events, app, _ = await work(tmp_path, script, files={"conf.ini": f"port=1\napi_key={SECRET}\n"})
    assert (app / "conf.ini").read_text() == f"port=2\napi_key={SECRET}\n"
    assert SECRET not in json.dumps([m.to_json() for heard in script.heard for m in heard])
    assert SECRET not in json.dumps([dict(e.body) for e in events], default=str)


class Nowhere:
    """A world of which nobody knows anything."""

    name = "nowhere"
    enforces: frozenset[str] = frozenset()

    async def exec(self, argv: Sequence[str], *, env: object, timeout_s: float) -> FarResult:
        raise AssertionError("nothing may be done there")


async def test_a_policy_that_wants_more_of_a_wall_than_is_known_refuses_to_begin(tmp_path: Path):
    law = tmp_path / "veilig.yaml"
    law.write_text("mode: propose\nsandbox: {require: [network]}\nmodels: {allowed: ['*'], all: true}\n")
    setting = Setting(str(law), environment={"VEILIG_HOME": str(tmp_path / "home")})
    with pytest.raises(ProviderError, match="wants a wall that enforces network"):
        await run_there("x", Nowhere(), Model("test:x", Script("x")), setting, Quiet(), tmp_path)
