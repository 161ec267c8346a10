"""The parts of a model's planner: calls, digests of old turns, forms of results, tasks that need no model."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.agent.compact import compacted, too_full
from veilig.agent.intent import intent
from veilig.agent.run_state import Draft, RunOptions, fresh, pick, shown
from veilig.agent.schema import misfit, read_schema
from veilig.agent.tools import TOOLS, BadCall, Wish, argv_of, read_call
from veilig.core.errors import UsageError
from veilig.core.message import Message, Role, ToolCall


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("git status", ("git", "status")),
        ("pytest -q tests/a.py", ("pytest", "-q", "tests/a.py")),
        ("ls *.py", ("bash", "-c", "ls *.py")),
        ("cd src && ls", ("bash", "-c", "cd src && ls")),
        ("cd src", ("bash", "-c", "cd src")),
        ("A=1 ls", ("bash", "-c", "A=1 ls")),
        ("echo 'a b'", ("bash", "-c", "echo 'a b'")),
        ("echo $HOME", ("bash", "-c", "echo $HOME")),
        ("ls ~", ("bash", "-c", "ls ~")),
        ("true # x", ("bash", "-c", "true # x")),
        ("a\nb", ("bash", "-c", "a\nb")),
    ],
)
def test_only_words_that_no_shell_would_change_reach_the_policy_as_words(
    command: str, argv: tuple[str, ...]
) -> None:
    assert argv_of(command) == argv


@given(st.text(max_size=60), st.sampled_from([tool.name for tool in TOOLS] + ["", "none"]))
def test_no_arguments_whatever_break_the_reading_of_a_call(arguments: str, name: str) -> None:
    assert isinstance(read_call(ToolCall("1", name, arguments)), Wish | BadCall)


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(TOOLS), st.dictionaries(st.text(max_size=8), JSONS, max_size=4), st.data())
def test_a_good_call_has_every_argument_of_its_type(
    tool: Any, extra: dict[str, Any], data: st.DataObject
) -> None:
    known = {name: data.draw(JSONS) for name in tool.parameters["properties"]}
    read = read_call(ToolCall("1", tool.name, json.dumps({**extra, **known})))
    if isinstance(read, Wish):
        for name in tool.parameters.get("required", []):
            assert read.arguments[name] is not None
        for name, rules in tool.parameters["properties"].items():
            value = read.arguments.get(name)
            types = {"string": str, "integer": int, "boolean": bool, "array": list}
            assert value is None or isinstance(value, types[rules["type"]])


def test_slips_with_one_meaning_are_mended() -> None:
    wish = read_call(ToolCall("1", "shell", '{"command": ["ls", "a b"], "timeout_s": "7"}'))
    assert wish == Wish("shell", {"command": "ls 'a b'", "timeout_s": 7})
    assert read_call(ToolCall("1", "shell", '"ls"')) == Wish("shell", {"command": "ls"})


def test_all_tools_and_the_first_words_fit_the_first_request() -> None:
    assert len(json.dumps([tool.to_json() for tool in TOOLS])) < 3000


@given(st.text("ab\n", max_size=200), st.integers(1, 30), st.integers(1, 30))
def test_picked_lines_are_the_lines_asked_for(text: str, start: int, lines: int) -> None:
    every = text.split("\n")
    every = every[:-1] if every and every[-1] == "" else every
    rows = [row for row in pick(text, start, lines).split("\n") if "\t" in row]
    assert rows == [f"{n}\t{line}" for n, line in enumerate(every, 1) if start <= n < start + lines]


def test_a_long_output_keeps_both_ends_and_says_where_the_rest_is() -> None:
    text = "\n".join(map(str, range(9000)))
    cut = shown(text, "ab12")
    assert len(cut) < 9000
    assert cut.startswith("0\n1\n")
    assert cut.endswith("8999")
    assert 'read path "#ab12"' in cut


def talk(turns: int) -> Draft:
    draft = Draft(fresh())
    draft.say(Message(Role.SYSTEM, "system"))
    draft.say(Message(Role.USER, "task"))
    for turn in range(turns):
        call = ToolCall(f"c{turn}", "shell", json.dumps({"command": f"step {turn}"}))
        draft.say(Message(Role.ASSISTANT, f"turn {turn}", calls=(call,)))
        draft.answer(call, "x" * 400)
    return draft


@given(st.integers(0, 60), st.integers(1000, 20_000))
def test_a_digest_keeps_the_beginning_and_whole_turns_and_fits(turns: int, window: int) -> None:
    draft = talk(turns)
    draft["plan"], draft["notes"] = [{"step": "one", "done": True}, {"step": "two"}], "use tabs"
    draft["commands"] = {"1": {"command": "make", "result": "exit 2"}}
    last = draft.messages()[-1]
    compacted(draft, window, draft.messages()[1], draft.messages()[0])
    after = draft.messages()
    assert [m.text for m in after[:2]] == ["system", "task"]
    assert "- [x] one\n- [ ] two" in after[2].text
    assert "use tabs" in after[2].text
    assert "make: exit 2" in after[2].text
    calls = {call.id for m in after for call in m.calls}
    assert {m.call for m in after if m.role is Role.TOOL} == calls, (
        "every result has its call, every call its result"
    )
    assert after[-1] == last or len(after) == 3
    assert (draft["sent"], draft["thread"]) == (0, "")
    assert not too_full(draft, max(window, 4000), 0)


def test_options_come_back_as_they_were_recorded() -> None:
    wanted = RunOptions(
        "/src", "task", "m", ("make", "test"), ("make",), "branch:x", 9, 8, verify=False, images=("a",)
    )
    assert RunOptions.from_json(json.loads(json.dumps(wanted.to_json()))) == wanted


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ({"a": 1, "b": ["x"]}, ""),
        ({"b": []}, "has no 'a'"),
        ({"a": True, "b": []}, "result.a is no integer"),
        ({"a": 1, "b": [2]}, "result.b[0] is no string"),
        ({"a": 1, "c": 2}, "has 'c'"),
        ({"a": 11}, "breaks maximum"),
        ([], "is no object"),
        (None, "is no object"),
    ],
)
def test_a_result_fits_its_form_or_it_is_said_why_not(value: object, wrong: str) -> None:
    schema = json.dumps(
        {
            "type": "object",
            "required": ["a"],
            "additionalProperties": False,
            "properties": {
                "a": {"type": "integer", "maximum": 10},
                "b": {"type": "array", "items": {"type": "string"}},
            },
        }
    )
    found = misfit(value, schema)
    assert (wrong in found) if wrong else found == ""


@pytest.mark.parametrize("text", ["[]", "{", '{"type": "colour"}', '{"properties": {"a": {"pattern": "x"}}}'])
def test_a_form_that_would_be_misread_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_schema(text)


@pytest.mark.parametrize(
    ("task", "only"),
    [
        ("make the failing tests pass", "tests"),
        ("fix the broken tests please", "tests"),
        ("which commit broke the build?", "tests"),
        ("fix all vulnerabilities", "audit"),
        ("upgrade the vulnerable packages", "audit"),
        ("fix the SQL injection in orders.py", "audit"),
        ("fix the config error", "config"),
        ("find the bug in `/app` and make the failing tests pass; do not change the tests", "tests"),
        ("why does `make test` fail?", "explain"),
        ("`make` fails. Which change broke it?", "explain"),
        ("restore `orders` from `journal`, which holds every change", None),
        ("why is `config.json` the way it is?", None),
        ("fix it", ""),
        ("repair the project", ""),
        ("add a login page", None),
        ("write tests for cart.py", None),
        ("refactor the failing tests", None),
        ("what does this project do?", None),
    ],
)
def test_what_needs_no_model_is_known_from_the_words(task: str, only: str | None) -> None:
    meant = intent(task)
    assert (meant.only if meant else None) == only
