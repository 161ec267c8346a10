"""Are tasks at a desktop set up, worked at and judged as they say, and is the rest refused by name?"""

import json
from pathlib import Path
from typing import Any

import pytest

from desktops import NEEDS_DESKTOP, Patient
from replay_server import replay
from veilig.app import Setting
from veilig.evals.agents import Ground, Report
from veilig.evals.desktop_example import read_example
from veilig.evals.desktop_judge import score, together
from veilig.evals.results import Ending, Trial
from veilig.evals.run import run_suite
from veilig.evals.runner import Terms
from veilig.evals.suite import find_suite, read_suite
from veilig.evals.task import TaskError

RULE: dict[str, Any] = {"type": "rule", "rules": {"expected": "x"}}
PLAIN: dict[str, Any] = {
    "id": "one",
    "snapshot": "any",
    "instruction": "Save /home/user/a.txt",
    "config": [{"type": "launch", "parameters": {"command": "mousepad '/home/user/a b.txt'"}}],
    "evaluator": {
        "func": "exact_match",
        "result": {"type": "vm_command_line", "command": ["cat", "/home/user/a.txt"]},
        "expected": RULE,
    },
}


def example(folder: Path, **changed: Any) -> Path:
    place = folder / "one.json"
    place.write_text(json.dumps(PLAIN | changed))
    return place


def judge(**changed: Any) -> dict[str, Any]:
    return {"evaluator": PLAIN["evaluator"] | changed}


def test_an_example_of_osworld_is_read_with_its_places_moved(tmp_path: Path):
    task = read_example(example(tmp_path))
    assert (task.name, task.instruction, task.agent) == ("one", "Save /user/a.txt", "desktop")
    assert task.programs == ("Xvfb", "xdotool", "openbox", "mousepad", "cat")
    assert [t.name for t in read_suite(tmp_path).tasks] == ["one"]


def test_every_task_of_the_suite_reads_and_there_are_enough():
    suite = find_suite("desktop-mini")
    assert len(suite.tasks) >= 6
    assert len({task.category for task in suite.tasks}) >= 4


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param(
            {"config": [{"type": "chrome_open_tabs", "parameters": {}}]}, "chrome_open_tabs", id="step"
        ),
        pytest.param(
            {"config": [{"type": "launch", "parameters": {"command": "x", "until": 1}}]}, "until", id="key"
        ),
        pytest.param({"config": [{"type": "sleep", "parameters": {"seconds": 1e9}}]}, "sleeps", id="sleep"),
        pytest.param({"config": [{"type": "launch", "parameters": {}}]}, "no command", id="no command"),
        pytest.param(
            {"config": [{"type": "launch", "parameters": {"command": "a 'b"}}]}, "cannot be read", id="quote"
        ),
        pytest.param(
            {
                "config": [
                    {"type": "download", "parameters": {"files": [{"url": "https://a/b", "path": "/x"}]}}
                ]
            },
            "would have to be fetched",
            id="network",
        ),
        pytest.param(judge(func="compare_pptx_files"), "compare_pptx_files", id="metric"),
        pytest.param(judge(result={"type": "vm_screenshot"}), "vm_screenshot", id="getter"),
        pytest.param(
            judge(expected={"type": "cloud_file", "path": "../x", "dest": "x"}), "fetched", id="outside"
        ),
        pytest.param(
            judge(expected={"type": "cloud_file", "path": "x", "dest": "x"}), "not beside", id="no file"
        ),
        pytest.param(judge(conj="xor"), "conj", id="conj"),
        pytest.param(judge(result=None), "no result", id="no result"),
        pytest.param({"proxy": True}, "proxy", id="proxy"),
        pytest.param({"evaluator": {}}, "no evaluator.func", id="no judge"),
        pytest.param({"instruction": " "}, "no instruction", id="no instruction"),
        pytest.param({"vm": 1}, "'vm' is not known", id="unknown key"),
    ],
)
def test_what_this_machine_cannot_do_is_refused_by_name(tmp_path: Path, changed: dict[str, Any], said: str):
    with pytest.raises(TaskError) as caught:
        read_example(example(tmp_path, **changed))
    assert said in str(caught.value)


JSON = b'{"a": {"b": [1, "two"]}}'
CSV = "n,v\nx,1\ny,2\n"


@pytest.mark.parametrize(
    ("func", "found", "wanted", "options", "expected"),
    [
        ("exact_match", "x", {"expected": "x"}, {}, 1.0),
        ("exact_match", "x\n", {"expected": "x"}, {}, 0.0),
        ("exact_match", None, {"expected": "x"}, {}, 0.0),
        ("literal_match", "X", {"expected": "x"}, {"ignore_case": True}, 1.0),
        ("match_in_list", "b", {"expected": ["a", "b"]}, {}, 1.0),
        ("is_in_list", "a\nb", {"expected": "b"}, {}, 1.0),
        ("is_in_list", "a\nbc", {"expected": "b"}, {}, 0.0),
        ("check_include_exclude", "one two", {"include": ["one"], "exclude": ["three"]}, {}, 1.0),
        ("check_include_exclude", "one two", {"include": ["one"], "exclude": ["two"]}, {}, 0.0),
        ("file_contains", b"one two", {"expected": ["one", "three"]}, {}, 0.0),
        ("file_contains", b"\xff", {"expected": ["one"]}, {}, 0.0),
        ("check_list", "one\ntwo", {"expect": ["^t"], "unexpect": ["^x"]}, {}, 1.0),
        ("check_json", JSON, {"expect": [{"key": ["a", "b", 1], "method": "eq", "ref": "two"}]}, {}, 1.0),
        ("check_json", JSON, {"expect": [{"key": ["a", "b", 0], "method": "gt", "ref": 1}]}, {}, 0.0),
        ("check_json", JSON, {"expect": [{"key": ["c"], "method": "eq", "ref": 1}]}, {}, 0.0),
        ("check_json", b"{", {"expect": []}, {}, 0.0),
        ("check_csv", CSV, {"expect": [{"n": "y", "v": 2}]}, {}, 1.0),
        ("check_csv", CSV, {"expect": [{"n": "y"}], "unexpect": [{"v": 1}]}, {}, 0.0),
        ("compare_csv", CSV, CSV.encode(), {}, 1.0),
        ("compare_csv", CSV + "\n", CSV, {}, 0.0),
        ("compare_csv", CSV + "\n", CSV, {"strict": False}, 1.0),
        ("compare_text_file", " a  b\n", b"a b", {"ignore_blanks": True}, 1.0),
        ("compare_text_file", "a b\n", b"a b", {}, 0.0),
    ],
)
def test_a_metric_says_what_osworld_means(func: str, found: Any, wanted: Any, options: Any, expected: float):
    assert score(func, found, wanted, options) == expected


def test_a_rule_that_cannot_be_read_is_the_tasks_fault():
    with pytest.raises(TaskError):
        score("exact_match", "x", {"expect": "x"}, {})
    with pytest.raises(TaskError):
        score("check_accessibility_tree", "x", {"rules": [{"xpath": "."}]}, {})
    assert [together(s, c) for s, c in (([1, 0.5], "and"), ([1, 0.0], "and"), ([0.0, 1], "or"))] == [
        0.75,
        0,
        1,
    ]


async def tried(out: Path, agent: str, *tasks: str, model: str = "", url: str = "") -> dict[str, Trial]:
    suite = find_suite("desktop-mini", tasks)
    trials = await run_suite(suite, agent, Terms(out), setting=Setting(model_url=url), model=model, jobs=2)
    return {trial.task: trial for trial in trials}


EACH_KIND = ("carry-a-line", "close-one-window", "multiply", "sort-in-a-terminal", "set-the-volume")


@NEEDS_DESKTOP
@pytest.mark.parametrize(
    "tasks", [EACH_KIND, pytest.param((), marks=pytest.mark.long)], ids=["each kind", "all"]
)
async def test_the_oracle_clicks_its_way_through(tmp_path: Path, tasks: tuple[str, ...]):
    trials = await tried(tmp_path / "o", "oracle", *tasks)
    assert {t.task: t.detail for t in trials.values() if t.ending is not Ending.RESOLVED} == {}


@NEEDS_DESKTOP
@pytest.mark.parametrize("agent", ["none", "cheat"])
async def test_doing_nothing_and_cheating_solve_none(tmp_path: Path, agent: str):
    trials = await tried(tmp_path / agent, agent, "multiply", "set-the-volume")
    assert {t.ending for t in trials.values()} == {Ending.UNRESOLVED}, trials


@NEEDS_DESKTOP
@pytest.mark.long
@pytest.mark.parametrize("agent", ["none", "cheat"])
async def test_doing_nothing_and_cheating_solve_none_anywhere(tmp_path: Path, agent: str):
    trials = await tried(tmp_path / agent, agent)
    assert {t.ending for t in trials.values()} == {Ending.UNRESOLVED}, trials


@NEEDS_DESKTOP
async def test_a_model_solves_tasks_by_clicks_and_keys_alone_and_says_what_cannot_be_done(tmp_path: Path):
    model = Patient(
        {"do": "click", "on": 'text ""'},
        {"do": "key", "keys": "Ctrl+End"},
        {"do": "type", "text": "lamp,3,shelf 7\n"},
        {"do": "key", "keys": "ctrl+s"},
        {"do": "move", "on": 'frame "/user/stock.csv'},
    )
    with replay(model) as server:
        trials = await tried(tmp_path / "m", "embedded", "add-a-row", model="scripted", url=server.url)
        tools = server.requests[0].tools
    trial = trials["add-a-row"]
    assert (trial.ending, tools) == (Ending.RESOLVED, ["plan", "finish", "look", "desktop"]), trial
    assert trial.tokens_out > 0
    assert '"desktop"' in (tmp_path / "m/trials/add-a-row__1/agent/trajectory.json").read_text()
    with replay(Patient(end="there is no sound", possible=False)) as server:
        trials = await tried(tmp_path / "v", "embedded", "set-the-volume", model="scripted", url=server.url)
    assert trials["set-the-volume"].ending is Ending.RESOLVED, trials


@NEEDS_DESKTOP
@pytest.mark.long
@pytest.mark.parametrize("name", [task.name for task in find_suite("desktop-mini").tasks])
async def test_a_model_solves_every_task_by_the_clicks_and_keys_of_its_solution(tmp_path: Path, name: str):
    (task,) = find_suite("desktop-mini", (name,)).tasks
    steps = json.loads((task.solution / "acts.json").read_text())
    possible = steps != [{"do": "fail"}]
    with replay(Patient(*(steps if possible else []), end="as asked", possible=possible)) as server:
        (trial,) = (await tried(tmp_path, "embedded", name, model="scripted", url=server.url)).values()
    assert trial.ending is Ending.RESOLVED, trial


class Breaks:
    """Ends the desktop, so that nobody can judge."""

    async def run(self, instruction: str, environment: Ground) -> Report:
        del instruction
        await environment.exec("pkill -9 Xvfb; rm -rf /user/stock.csv; mkfifo /user/stock.csv")
        return Report("broken")


@NEEDS_DESKTOP
async def test_who_breaks_the_desktop_has_solved_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    trials = await tried(tmp_path / "b", "test_desktop:Breaks", "multiply")
    assert [t.ending for t in trials.values()] == [Ending.UNRESOLVED], trials
