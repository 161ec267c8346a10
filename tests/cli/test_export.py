"""Do viewers elsewhere see a session as it was? Spans live and afterwards, a trajectory, every event."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from collector import attributes, collector
from replay_server import Answer, Call, call, replay
from running import done, run, session_of
from terminal import Said, Terminal

SCRIPT = [
    call("shell", command="echo hi; exit 3"),
    Answer(text="Reading both.", calls=(Call("read", {"path": "cart.py"}), Call("no_such_tool", {"x": 1}))),
    Answer(calls=(Call("read", '{"path": '),)),
    done("looked"),
]


def worked(veilig: Terminal, **environment: str) -> Said:
    with replay(SCRIPT) as server:
        words = ("--model", "openai:scripted", "--model-url", server.url, "--no-verify")
        said = veilig("run", "look around", "shop", *words, **environment)
    assert said.code == 0, said.out + said.err
    return said


def exported(veilig: Terminal, session: str, *words: str) -> Any:
    return veilig("sessions", "export", session, *words).json


def spans(document: Any) -> list[dict[str, Any]]:
    (resource,) = document["resourceSpans"]
    (scope,) = resource["scopeSpans"]
    return scope["spans"]


def test_spans_reach_a_collector_while_a_session_runs_and_are_those_exported_afterwards(
    veilig: Terminal, shop: Path
) -> None:
    with collector() as found:
        session = session_of(worked(veilig, OTEL_EXPORTER_OTLP_ENDPOINT=found.url))
    assert set(found.paths) == {"/v1/traces"}
    (root,) = found.named("invoke_agent")
    assert attributes(root)["gen_ai.conversation.id"] == session
    assert attributes(root)["gen_ai.usage.input_tokens"] > 0
    assert attributes(root)["veilig.state"] == "done"
    turns, chats, tools = found.named("turn"), found.named("chat "), found.named("execute_tool command.run")
    assert len(turns) == len(chats) == 4
    assert {t.parent_span_id for t in turns} == {root.span_id}
    assert [c.parent_span_id for c in chats] == [t.span_id for t in turns]
    chat = attributes(chats[0])
    assert chat["gen_ai.operation.name"] == "chat"
    assert chat["gen_ai.provider.name"] == "openai"
    assert chat["gen_ai.request.model"] == "openai:scripted"
    assert chat["gen_ai.response.finish_reasons"] == ["tool_calls"]
    assert chat["server.address"].startswith("127.0.0.1")
    (tool,) = tools
    assert tool.parent_span_id == turns[0].span_id
    said = attributes(tool)
    assert said["gen_ai.tool.name"] == "command.run"
    assert (said["veilig.verdict"], said["process.exit.code"], said["error.type"]) == ("allow", 3, "failed")
    assert tool.status.code == 2
    assert "echo hi" not in str(found.spans), "what was done is told only on demand"
    after = spans(exported(veilig, session, "--format", "otlp"))
    assert {s["spanId"] for s in after} == {s.span_id.hex() for s in found.spans}
    assert {s["traceId"] for s in after} == {root.trace_id.hex()}
    whole = str(exported(veilig, session, "--format", "otlp", "--content"))
    assert "echo hi" in whole
    assert "gen_ai.output.messages" in whole


@pytest.mark.parametrize("status", [400, 503, 0], ids=["refused", "overloaded", "absent"])
def test_a_collector_that_does_not_answer_costs_a_line_and_nothing_else(
    veilig: Terminal, shop: Path, status: int
) -> None:
    with collector(status or 200) as found:
        url = found.url if status else "http://127.0.0.1:9"
        begun_s = time.monotonic()
        said = worked(veilig, OTEL_EXPORTER_OTLP_ENDPOINT=url)
    assert said.err.count("telemetry: spans were not sent") == 1
    assert time.monotonic() - begun_s < 60
    assert len(spans(exported(veilig, session_of(said), "--format", "otlp"))) > 8


def test_a_trajectory_has_every_answer_with_its_calls_results_and_tokens(
    veilig: Terminal, shop: Path
) -> None:
    session = session_of(worked(veilig))
    told = exported(veilig, session, "--format", "atif")
    assert told["schema_version"] == "ATIF-v1.8"
    assert [s["source"] for s in told["steps"]] == ["system", "user", "agent", "agent", "agent", "agent"]
    assert [s["step_id"] for s in told["steps"]] == [1, 2, 3, 4, 5, 6]
    shell, both, broken, last = told["steps"][2:]
    assert shell["tool_calls"][0]["arguments"] == {"command": "echo hi; exit 3"}
    assert "[exit 3]" in shell["observation"]["results"][0]["content"]
    assert both["message"] == "Reading both."
    asked = [one["tool_call_id"] for one in both["tool_calls"]]
    assert [one["source_call_id"] for one in both["observation"]["results"]] == asked
    assert broken["tool_calls"][0]["arguments"] == {"malformed": '{"path": '}
    assert last["tool_calls"][0]["function_name"] == "finish"
    final = told["final_metrics"]
    assert final["total_steps"] == 6
    assert final["total_prompt_tokens"] == sum(s["metrics"]["prompt_tokens"] for s in told["steps"][2:])
    assert "total_cost_usd" not in final, "a price that nobody knows is not said"


def test_a_trajectory_fits_harbors_own_model_where_that_is_installed(veilig: Terminal, shop: Path) -> None:
    trajectories = pytest.importorskip("harbor.models.trajectories")
    session = session_of(worked(veilig))
    found = trajectories.Trajectory.model_validate(exported(veilig, session, "--format", "atif"))
    assert found.session_id == session


def test_what_a_person_took_back_is_not_in_the_trajectory(veilig: Terminal, shop: Path) -> None:
    script = [
        call("shell", command="echo wrong"),
        done("first"),
        call("shell", command="echo right"),
        done("second"),
    ]
    with replay(script) as server:
        session = session_of(run(veilig, server, "go", "--no-verify"))
        said = veilig("undo", session, "--to", "1", "--say", "otherwise", "--model-url", server.url)
        assert said.code == 0, said.out + said.err
    told = exported(veilig, session, "--format", "atif")
    text = json.dumps(told)
    assert "echo wrong" not in text
    assert "echo right" in text
    assert "otherwise" in text
    assert "taken back" in told["notes"] or "took back" in told["notes"]
    runs = [s for s in spans(exported(veilig, session, "--format", "otlp")) if s["name"].startswith("invoke")]
    assert len({s["spanId"] for s in runs}) == 2, "each time that it was at work is a run of its own"


def test_the_events_can_be_written_to_a_file_and_a_session_without_a_model_is_told_by_its_acts(
    veilig: Terminal, shop: Path
) -> None:
    veilig("audit", "shop")
    place = veilig.folder / "out.json"
    said = veilig("sessions", "export", "audit", "--out", str(place))
    assert said.code == 0, said.err
    names = [event["name"] for event in json.loads(place.read_text())["events"]]
    assert names[0] == "session.started"
    assert names[-1] == "session.ended"
    told = exported(veilig, "audit", "--format", "atif")
    assert {step.get("llm_call_count", 0) for step in told["steps"]} == {0}
    assert "audit.scan" in [step["message"] for step in told["steps"]]
    assert veilig("sessions", "export", "audit", "--format", "atif", "--content").code == 2


def test_without_a_collector_no_telemetry_is_loaded(veilig: Terminal) -> None:
    heavy = "('opentelemetry', 'textual')"
    code = f"import sys; import veilig.app.sessions; print([m for m in sys.modules if m.startswith({heavy})])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
