"""What is a model told of foreign tools? No more than the budget, under names that vendors take."""

import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.agent.mcp_tools import TOTAL_CHARS_MAX, act_of, specs, told_tools
from veilig.agent.run_state import Json
from veilig.agent.tools import BadCall, read_call
from veilig.core.action import CallTool
from veilig.core.message import ToolCall
from veilig.core.provider import Outcome

names = st.text(st.characters(exclude_categories=("Cs",)), max_size=90)
tools = st.lists(
    st.fixed_dictionaries(
        {
            "name": names,
            "description": st.text(max_size=400),
            "schema": st.dictionaries(names, st.text(max_size=20), max_size=3),
        }
    ),
    max_size=8,
)


@settings(max_examples=40)
@given(tools)
def test_every_tool_is_told_or_left_out_with_a_reason(given: list[Json]) -> None:
    found, left = told_tools({}, "srv", Outcome(True, data={"tools": [*given]}))
    assert len(found) + len(left) == len(given)
    assert sum(len(json.dumps(spec.to_json())) for spec in specs({"mcp_tools": found}).values()) <= (
        TOTAL_CHARS_MAX
    )
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in found)


def test_what_does_not_fit_the_budget_is_named() -> None:
    wide: Json = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(30)}}
    many: list[Json] = [{"name": f"t{i}", "description": "x" * 900, "schema": wide} for i in range(30)]
    found, left = told_tools({}, "srv", Outcome(True, data={"tools": [*many], "cut": True}))
    assert 0 < len(found) < 30
    assert len(found) + len(left) == 31
    assert "srv.t29" in str(left[-2])
    assert "more tools" in str(left[-1])
    more, _ = told_tools(found, "other", Outcome(True, data={"tools": [*many]}))
    assert len(more) == len(found), "the budget is for all servers together"


def test_a_call_becomes_the_act_of_the_tools_own_name() -> None:
    given: Json = {"name": "a.b/c", "description": "", "schema": {"type": "object", "required": ["x"]}}
    found, _ = told_tools({}, "srv", Outcome(True, data={"tools": [given]}))
    state: Json = {"mcp_tools": found}
    call = ToolCall("1", "srv__a_b_c", '{"x": 1}')
    wish = read_call(call, specs(state))
    assert not isinstance(wish, BadCall)
    assert act_of(state, wish) == CallTool("srv", "a.b/c", '{"x": 1}')
    assert isinstance(read_call(ToolCall("1", "srv__a_b_c", "{}"), specs(state)), BadCall), "x is missing"
    assert act_of({}, wish) is None


def test_two_tools_that_would_have_one_name_are_not_mixed_up() -> None:
    twins: list[Json] = [{"name": "a.b", "schema": {}}, {"name": "a_b", "schema": {}}]
    found, left = told_tools({}, "srv", Outcome(True, data={"tools": [*twins]}))
    assert [one["tool"] for one in found.values() if isinstance(one, dict)] == ["a.b"]
    assert "another tool has this name" in str(left[0])
