"""How capable may a model be, at most, and what must then stand around it? An indicator for people who sign.

Every rule holds the upper end of a suite's interval against a threshold. Reached, or not run, raises the
level and names the safeguards that a deployment needs. The thresholds are ours, and a person decides.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from veilig.core.errors import UsageError
from veilig.core.policy_safeguards import SAFEGUARDS
from veilig.evals.tally import Tally

LEVELS = ("general", "high", "critical")
REPORT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Rule:
    """A score from which on a level can no longer be ruled out."""

    id: str
    suite: str
    threshold: float
    raises_to: str
    requires: tuple[str, ...]
    why: str


def read_rules(place: Path | None) -> tuple[Rule, ...]:
    """The rules of a file, or ours. Raises UsageError naming the rule and the key."""
    try:
        text = (
            place.read_text(encoding="utf-8")
            if place is not None
            else (files("veilig.evals") / "capability.toml").read_text(encoding="utf-8")
        )
        given = tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"the rules {place} cannot be read", why=str(error)) from error
    rows = cast(list[Mapping[str, Any]], given.get("rule", []))
    if given.get("version") != 1 or not rows:
        raise UsageError(f"{place} holds no rules", why="no rule would raise no level", fix="write [[rule]]")
    return tuple(_rule(row, number) for number, row in enumerate(rows, 1))


def _rule(row: Mapping[str, Any], number: int) -> Rule:
    try:
        rule = Rule(
            str(row["id"]),
            str(row["suite"]),
            float(row["threshold"]),
            str(row["raises_to"]),
            tuple(map(str, row["requires"])),
            str(row["why"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"rule {number} is incomplete", why=repr(error)) from error
    unknown = [name for name in rule.requires if name not in SAFEGUARDS]
    if (
        unknown
        or rule.raises_to not in LEVELS[1:]
        or not 0 < rule.threshold <= 1
        or set(row) - set(Rule.__slots__)
    ):
        raise UsageError(
            f"rule {rule.id!r} is wrong",
            why=f"levels: {', '.join(LEVELS[1:])}; safeguards: {', '.join(SAFEGUARDS)}; thresholds 0 to 1",
        )
    return rule


def capability_report(subject: str, runs: Sequence[Tally], rules: Sequence[Rule]) -> dict[str, Any]:
    """The report on a model (or agent) as JSON; `level` is the highest that a rule could not rule out.

    Of several runs of one suite the one with the highest upper end counts. Runs of others are refused, and
    those that lack trials: what was not tried rules out nothing.
    """
    for run in runs:
        if run.missing:
            raise UsageError(
                f"the run of {run.job.suite} lacks {len(run.missing)} of its parts: {run.missing[0]}",
                why="a level is ruled out by trials that were made, never by those that were not",
                fix="make them (veilig eval run, veilig queue retry), then fetch the run again",
            )
    wrong = sorted({_subject(run) for run in runs} - {subject})
    if wrong:
        raise UsageError(f"a run is of {wrong[0]!r}, not of {subject!r}", fix="give the runs of one model")
    findings = [_finding(rule, [run for run in runs if run.job.suite == rule.suite]) for rule in rules]
    raised = [finding for finding in findings if finding["raises"]]
    level = max((f["raises_to"] for f in raised), key=LEVELS.index, default=LEVELS[0])
    return {
        "version": REPORT_VERSION,
        "subject": subject,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "level": level,
        "requires": sorted({name for finding in raised for name in finding["requires"]}),
        "findings": findings,
        "note": "an indicator by thresholds of our own; a person decides and signs",
    }


def _subject(run: Tally) -> str:
    return run.job.model or run.job.agent


def _finding(rule: Rule, runs: Sequence[Tally]) -> dict[str, Any]:
    counted = [run for run in runs if run.tasks]
    best = max(counted, key=lambda run: run.score.high, default=None)
    state = "undetermined" if best is None else "reached" if best.score.high >= rule.threshold else "below"
    return {
        "rule": rule.id,
        "suite": rule.suite,
        "suite_version": best.job.suite_version if best else "",
        "score": best.score.to_json() if best else None,
        "attempts": best.job.attempts if best else 0,
        "threshold": rule.threshold,
        "state": state,
        "raises": state != "below",
        "raises_to": rule.raises_to,
        "requires": list(rule.requires),
        "why": rule.why,
    }


def digest_of(report: Mapping[str, Any]) -> str:
    """SHA-256 of a report: what a person signs."""
    return hashlib.sha256(json.dumps(report, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def read_report(place: Path) -> dict[str, Any]:
    """A report from a file. Raises UsageError for what is none."""
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{place} cannot be read", why=str(error)) from error
    report = cast(dict[str, Any], found) if isinstance(found, dict) else {}
    needed = ("subject", "level", "requires", "findings", "made_at")
    if report.get("version") != REPORT_VERSION or any(name not in report for name in needed):
        raise UsageError(
            f"{place} is no capability report", fix="make one: veilig eval capability RUN... --out FILE"
        )
    return report


def told(report: Mapping[str, Any]) -> str:
    """The report for a terminal."""
    lines = [f"subject  {report['subject']}", f"level    {report['level']} (cannot be ruled out)"]
    for f in report["findings"]:
        score = f["score"]
        seen = f"at most {score['high']:.0%} of {f['suite']}" if score else f"{f['suite']} was not run"
        lines.append(f"{f['state']:<13}{f['rule']:<22}{seen}, threshold {f['threshold']:.0%}")
    lines.append(f"requires {', '.join(report['requires']) or 'nothing'}")
    lines.append(f"note     {report['note']}")
    return "\n".join(lines)
