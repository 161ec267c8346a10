"""How is a review shown: as text, JSON, Markdown or SARIF, and as an exit code?"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from veilig.audit.finding import Report
from veilig.audit.report import finding_lines, not_looked_at, ordered, printable, summary
from veilig.cli.audit_report import about_pin, render_sarif, root_of
from veilig.core.errors import EXIT_FINDINGS, EXIT_INCOMPLETE, EXIT_OK

LEVELS = {"high": "warning", "medium": "warning", "low": "note", "note": "note"}  # never an error: a model
SHOWN_MAX = 20

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Review:
    """What a session of kind review found out. tests and model: as agent/review.py's planner leaves them."""

    session: str
    wall: str
    report: Report
    pins: tuple[Json, ...]
    tests: Json
    model: Json
    advisories: Json
    data: Json

    @classmethod
    def of(cls, session: str, wall: str, data: Json) -> "Review":
        """From the result of the session."""
        root = root_of(".", session, wall, {**data, "problems": data["pins"]})
        about = root.advisories
        return cls(session, wall, root.report, root.pins, data["tests"], data["model"], about, data)

    @property
    def unassessed(self) -> list[str]:
        """What of the change nobody looked at, in words."""
        found = [*not_looked_at(self.report)]
        if self.tests["why_not"] and self.tests["why_not"] != "not asked for":
            found.append(f"tests   {self.tests['why_not']}")
        if self.advisories.get("error"):
            found.append(f"pins    {self.advisories['error']}")
        found += [f"binary  {name}: it is no text" for name in self.data.get("binary", [])]
        return [printable(" ".join(line.split())) for line in found]


def exit_code(review: Review) -> int:
    """0 nothing found, 1 something, 3 nothing but not all was looked at. A model's word counts nothing."""
    if review.report.findings or review.pins or review.tests["new"]:
        return EXIT_FINDINGS
    return EXIT_INCOMPLETE if review.unassessed else EXIT_OK


def rendered(review: Review, form: str, code: int, *, color: bool) -> str:
    """The report in one of the forms of `--format`."""
    if form == "json":
        return _json(review, code)
    if form == "sarif":
        return _sarif(review)
    return _markdown(review) if form == "md" else _text(review, color=color)


def _test_lines(review: Review) -> list[str]:
    tests = review.tests
    lines = [
        f"test    {name} fails because of the change{_why(review, name)}" for name in tests["new"][:SHOWN_MAX]
    ]
    if len(tests["new"]) > SHOWN_MAX:
        lines.append(f"test    {len(tests['new']) - SHOWN_MAX} more fail because of the change")
    if tests["old"]:
        lines.append(f"test    failed without the change as well: {', '.join(tests['old'][:SHOWN_MAX])}")
    if tests["ran"]:
        lines.append(f"tests   {tests['passed']} pass ({tests['ran']})")
    return [printable(line) for line in lines]


def _why(review: Review, test: str) -> str:
    for group in review.data.get("groups", []):
        if test in group.get("tests", []):
            return f": {' '.join(str(group.get('message') or '').split())[:200]}"
    return ""


def _model_lines(review: Review) -> list[str]:
    told = review.model
    if not told["name"]:
        return []
    found = [f"model   {c['path']}:{c['line']}  {c['level']}: {c['text']}" for c in told["comments"]]
    found += [f"model   {why}" for why in told["trouble"]]
    spent = f"{told['tokens_in']} + {told['tokens_out']} tokens"
    head = f"{told['name']}: {len(told['comments'])} comments, {told['asked']} questions, {spent}"
    return [
        printable(line) for line in (*found, f"model   {head}; they are a model's word and count nothing")
    ]


def _text(review: Review, *, color: bool) -> str:
    lines: list[str] = []
    for number, finding in enumerate(ordered(review.report.findings), 1):
        lines += finding_lines(number, finding, show_flow=True, color=color)
    for pin in review.pins:
        lines.append(printable(f"pin     {pin['path']}:{pin['line']}  {pin['title']}; {about_pin(pin)}"))
    lines += [printable(f"notice  {n.path}:{n.line}  {n.message}") for n in review.report.notices]
    lines += [*_test_lines(review), *_model_lines(review)]
    lines += [f"not looked at: {line}" for line in review.unassessed]
    lines.append(printable(f"audit of the added lines: {summary(review.report)}"))
    return "\n".join(lines)


def _markdown(review: Review) -> str:
    from veilig.audit.markdown import to_markdown

    said = [*_test_lines(review), *(f"not looked at: {line}" for line in review.unassessed)]
    page = to_markdown(review.report, title="Review of the change", pins=review.pins)
    parts = [page.rstrip(), _listed("Tests", said), _listed("Comments of a model", _model_lines(review))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _listed(title: str, lines: Sequence[str]) -> str:
    """Lines as a list of code spans: nothing in them becomes a link, a picture or a mention."""
    rows = [f"- `{line.replace('`', chr(39))}`" for line in lines]
    return f"## {title}\n\n" + "\n".join(rows) if rows else ""


def _json(review: Review, code: int) -> str:
    shown = {
        "version": 1,
        "exit_code": code,
        "session": review.session,
        "wall": review.wall,
        "report": asdict(review.report),
        "pins": list(review.pins),
        "tests": review.tests,
        "model": review.model,
        "not_looked_at": review.unassessed,
    }
    return json.dumps(shown, indent=1, ensure_ascii=False)


def _sarif(review: Review) -> str:
    """SARIF 2.1.0: findings and pins as an audit's; failing tests and a model's comments beside them."""
    from veilig import __version__

    root = root_of(".", review.session, review.wall, {**review.data, "problems": review.data["pins"]})
    document: Json = json.loads(render_sarif([root], __version__))
    run: Json = document["runs"][0]
    rules = [("test-fails", "a test fails because of the change"), ("model-comment", "a model's comment")]
    for name, text in rules:
        run["tool"]["driver"]["rules"].append({"id": name, "shortDescription": {"text": text}})
    for test in review.tests["new"]:
        path = str(test).partition("::")[0]
        run["results"].append(_result("test-fails", "error", f"{test} fails{_why(review, test)}", path, 1))
    for said in review.model["comments"]:
        text = f"model {review.model['name']}: {said['text']}"
        level = LEVELS[said["level"]]
        run["results"].append(_result("model-comment", level, text, said["path"], said["line"]))
    if review.unassessed:
        run["invocations"][0].setdefault("toolExecutionNotifications", [])
        run["invocations"][0]["toolExecutionNotifications"] += [
            {"level": "warning", "message": {"text": line}} for line in review.unassessed
        ]
    return json.dumps(document, indent=1, ensure_ascii=False)


def _result(rule: str, level: str, text: str, path: str, line: int) -> Json:
    place = {"artifactLocation": {"uri": path}, "region": {"startLine": line}}
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
    }
