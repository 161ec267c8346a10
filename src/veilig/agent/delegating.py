"""How does a model hand a part of its task to a child session, and what does it hear of it?"""

from dataclasses import replace
from typing import Any, cast

from veilig.agent.run_state import Draft, Json, Origin, RunOptions
from veilig.agent.tools import TEXT, WHOLE, Wish, spec
from veilig.core.action import StartSession
from veilig.core.limits import DELEGATE_STEPS
from veilig.core.message import ToolSpec
from veilig.core.provider import Outcome
from veilig.core.session import View

PROOF_MAX = 12
PATHS_MAX = 40
TOOL = spec(
    "delegate",
    "Let a sub-agent do one part, here in this copy, with a conversation of its own; you get its summary. "
    "Say all that it needs to know.",
    ("task",),
    task=TEXT,
    tokens=WHOLE,
    steps=WHOLE,
)
PART = (
    "You do one part of a larger task for another agent, in the copy that it works in, too. It sees nothing "
    "of this but what you say in finish: what you did or found, where (file:line), and how you know."
)


def delegation(wish: Wish) -> StartSession:
    """The act of a call. Raises InvalidAction."""
    steps = wish.whole("steps", DELEGATE_STEPS, 1, 100_000)
    return StartSession(wish.text("task"), steps, wish.whole("tokens", 0, 0, 10**9))


def offered(options: RunOptions) -> dict[str, ToolSpec]:
    """The tool, where this session may start others."""
    return {TOOL.name: TOOL} if options.delegates > 0 else {}


def child_options(parent: RunOptions, task: str, origin: Origin) -> RunOptions:
    """A child asks the same model; what is brought back, checked and demanded at the end is its parent's."""
    return replace(
        parent,
        task=task,
        origin=origin,
        delegates=parent.delegates - 1,
        deliver="",
        check=(),
        schema="",
        images=(),
        hooks=tuple(hook for hook in parent.hooks if hook.on == "after_edit"),
    )


def child_told(view: View) -> str:
    """What the parent's model hears of a child that has ended: data, as every tool's answer."""
    result = cast(dict[str, Any], view.result)
    lines = [view.summary or "it says nothing"]
    lines += [f"wrong: {one}" for one in cast(list[str], result.get("wrong") or [])[:PROOF_MAX]]
    if proof := cast(list[str], result.get("proof") or [])[:PROOF_MAX]:
        lines.append(f"proven: {'; '.join(proof)}")
    if paths := edited_paths(result):
        lines.append(f"changed: {', '.join(paths[:PATHS_MAX])}")
    lines.append(f"[child {view.id}: {view.ended}, {result.get('turns', 0)} answers, {view.steps} steps]")
    return "\n".join(lines)


def edited_paths(result: dict[str, Any]) -> list[str]:
    """What a session changed, as it knows itself."""
    files = cast(dict[str, dict[str, Any]], result.get("files") or {})
    return sorted(path for path, did in files.items() if did.get("edited"))


def edited(now: Draft) -> bool:
    """Whether this session changed anything; a child is not judged by what its parent did."""
    return any(cast(Json, did).get("edited") for did in cast(Json, now["files"]).values())


def with_child(usage: Json, outcome: Outcome) -> Json:
    """What was used, with what a child used."""
    more = cast(dict[str, Any], outcome.data.get("usage") or {})
    total = dict(usage)
    for name in ("tokens_in", "tokens_cached", "tokens_out", "cost_usd"):
        total[name] = cast(float, usage[name]) + more.get(name, 0)
    total["price_known"] = bool(usage["price_known"]) and bool(more.get("price_known", True))
    return total
