"""How is the result of a fix shown? One line per problem, the proof, and what to do next."""

from collections.abc import Mapping
from typing import Any

from veilig.agent.fix_model import BY_MODEL
from veilig.agent.fix_state import FIXED, PROPOSED, UNFIXED, not_looked_at
from veilig.cli.style import Style, cut, printable

_COLOUR = {FIXED: "good", PROPOSED: "warn", UNFIXED: "bad"}
TITLE_WIDTH = 44
PLACE_WIDTH = 26


def _part(result: Mapping[str, Any], key: str) -> dict[str, Any]:
    return result.get(key) or {}


def exit_code(result: Mapping[str, Any]) -> str:
    """ok, left, incomplete or refused."""
    problems = result.get("problems", [])
    if not result["ok"]:
        return "refused"
    if any(p["status"] != FIXED for p in problems):
        return "left"
    return "incomplete" if not_looked_at(result) else "ok"


def render(result: Mapping[str, Any], style: Style, *, explain: bool = False) -> str:
    """The report for a terminal."""
    lines = [_audited(result), ""]
    problems = result.get("problems", [])
    for number, problem in enumerate(problems, 1):
        lines += _problem(number, problem, style, explain=explain)
    if problems:
        lines.append("")
    lines += _closing(result, style)
    return "\n".join(line.rstrip() for line in lines)


def _audited(result: Mapping[str, Any]) -> str:
    scan = _part(result, "scan")
    problems = result.get("problems", [])
    weak = sum(p["kind"] == "weakness" for p in problems)
    pins = sum(p["kind"] == "dependency" for p in problems)
    left = len(not_looked_at(result))
    parts = [
        counted(int(scan.get("files", 0)), "file"),
        counted(weak, "weakness"),
        counted(pins, "vulnerable pin"),
        f"{left} not looked at",
    ]
    return f"audit   {', '.join(parts)}"


def counted(number: int, what: str) -> str:
    """`1 file`, `2 files`, `2 weaknesses`."""
    if number == 1:
        return f"1 {what}"
    return f"{number} {what}{'es' if what.endswith('s') else 's'}"


def _problem(number: int, problem: Mapping[str, Any], style: Style, *, explain: bool) -> list[str]:
    place = f"{problem['path']}:{problem['line']}" if problem["path"] else "-"
    status = style(_COLOUR.get(problem["status"], "dim"), f"{problem['status']:<10}")
    said = problem["fix"] or problem["why"]
    title = cut(printable(problem["title"]), TITLE_WIDTH)
    lines = [f"{number:>2}  {title:<{TITLE_WIDTH}}  {place:<{PLACE_WIDTH}}  {status} {printable(said)[:160]}"]
    if problem["fix"] and problem["why"]:
        lines.append(f"    {style('dim', cut(printable(problem['why']), 140))}")
    if explain:
        lines += [f"      {style('dim', line)}" for line in _explained(problem)]
    return lines


def _explained(problem: Mapping[str, Any]) -> list[str]:
    lines = [printable(problem["message"])[:200]] if problem["message"] else []
    lines += [
        f"{s['path']}:{s['line']}  {s['what']}:  {printable(str(s['text']))[:90]}" for s in problem["flow"]
    ]
    reasons = [*problem.get("reasons", []), *[""] * 5]
    lines += [
        f"suspected {path}:{line}  {score / 1000:.2f}  {printable(why)}".rstrip()
        for (path, line, score), why in zip(problem["lines"][:5], reasons, strict=False)
    ]
    if problem["proof"]:
        lines.append(f"proof: {'; '.join(problem['proof'])}")
    if problem["tried"]:
        lines.append(f"{problem['tried']} repairs tried")
    return lines


def _closing(result: Mapping[str, Any], style: Style) -> list[str]:
    lines = [f"note    {printable(note)[:220]}" for note in result.get("notes", [])]
    lines += [f"skipped {printable(text)[:200]}" for text in not_looked_at(result)]
    warning = _part(result, "scan").get("advisories", {}).get("warning", "")
    if warning:
        lines.append(f"data    {warning}")
    proof = _proof(result)
    used = _part(result, "tokens")
    tokens = int(used.get("tokens_in", 0)) + int(used.get("tokens_out", 0))
    seconds = f"{result['seconds']} s, {tokens} tokens"
    theirs = [p for p in result.get("problems", []) if p["status"] == FIXED and p["fix"].startswith(BY_MODEL)]
    if theirs:
        seconds += f", {round(used.get('tokens_out', 0) / len(theirs))} out for each patch of the model's"
    if proof:
        lines.append(f"proof   {proof}     {seconds}")
    else:
        lines.append(f"result  {result['summary']}     {seconds}")
    lines.append(_next(result, style))
    return lines


def _proof(result: Mapping[str, Any]) -> str:
    final, rescan = _part(result, "final"), _part(result, "rescan")
    if not rescan:
        return ""
    parts: list[str] = []
    if final.get("total"):
        bad = sum(outcome in ("failed", "error") for outcome in final.get("nonpassing", {}).values())
        parts.append(f"{final['passed']} tests passed" + (f", {bad} still fail" if bad else ""))
    elif final.get("runner") == "command":
        parts.append(f"the test command ended with {final.get('exit_code')}")
    else:
        broken = any(p["id"] == "test:runner" for p in result.get("problems", []))
        parts.append("no test could run" if broken else "no tests to run")
    left = sum(p["status"] != FIXED for p in result.get("problems", []))
    parts.append("re-scan clean" if not left else f"{left} left for you")
    parts.append("fresh process, nothing outside the copy")
    return ", ".join(parts)


def _next(result: Mapping[str, Any], style: Style) -> str:
    ledger = f"ledger {result['events']} events, session {result['session']}"
    if result.get("applied"):
        return f"done    {result['applied']}     {ledger}"
    if result.get("approval"):
        steps = f"veilig approvals show {result['approval']}   then   veilig resume {result['session']}"
        return f"held    {printable(result['summary'])[:120]}\nnext    {style('bold', steps)}     {ledger}"
    if not result["ok"]:
        return f"stop    {printable(result['summary'])[:200]}     {ledger}"
    if result.get("files_changed"):
        source = result.get("source", "")
        return (
            f"next    {style('bold', f'veilig fix {source} --apply')}   or   --branch fix/veilig     {ledger}"
        )
    return f"next    nothing to bring back     {ledger}"


def markdown(result: Mapping[str, Any]) -> str:
    """The report as Markdown, with the diff."""
    rows = [
        f"| {n} | {_cell(p['title'])} | `{p['path']}:{p['line']}` | {p['status']} | "
        f"{_cell(p['fix'] or p['why'])} |"
        for n, p in enumerate(result.get("problems", []), 1)
    ]
    proofs = [
        f"- {_cell(p['title'])}: {'; '.join(p['proof'])}" for p in result.get("problems", []) if p["proof"]
    ]
    parts = [
        f"# veilig fix: {result['summary']}",
        f"Wall: {result['wall']}. Law: {result['law']}. {_audited(result)}.",
        "| # | problem | place | status | what |\n|---|---|---|---|---|\n" + "\n".join(rows),
        "## Proof\n\n" + ("\n".join(proofs) or "nothing was fixed") + f"\n\n{_proof(result)}",
        f"## Diff\n\n```diff\n{result.get('diff', '')}```" if result.get("diff") else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|")
