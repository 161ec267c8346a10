"""What is wrong in these files that are not Python? Text in, findings out; nothing is run or fetched."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from veilig.audit.finding import Confidence, Finding, Incomplete, Notice, Skipped, Step
from veilig.audit.languages.language import EXTRA, Language, language_of
from veilig.audit.languages.registry import PACKS
from veilig.audit.languages.rule import GrammarMissingError, LanguageRule, Place, UnreadableError

LINE_CHARS_MAX = 5_000  # longer lines are made by machines: minified scripts, embedded data
FINDINGS_PER_FILE_MAX = 500
TEST_PATH = re.compile(
    r"(^|/)(__tests__|__mocks__|tests?|spec|fixtures|cypress|e2e)/|[._-](test|spec)\.\w+$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Found:
    """What the files show, and what was not looked at."""

    findings: tuple[Finding, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    incomplete: tuple[Incomplete, ...] = ()
    notices: tuple[Notice, ...] = ()
    outside_profile: tuple[str, ...] = ()
    files: int = 0
    lines: int = 0


def scan_texts(
    files: Mapping[str, str], *, include_pattern: bool = False, include_tests: bool = False
) -> Found:
    """The weaknesses in files of the known languages (relative posix path -> text); others are passed over.

    Never raises on any content. A language whose parser is not installed is one notice with the number of its
    files; minified scripts are one notice. What cannot be parsed is `skipped`.
    """
    findings: list[Finding] = []
    skipped: list[Skipped] = []
    incomplete: list[Incomplete] = []
    outside: list[str] = []
    missing: dict[Language, list[str]] = {}
    machine_made: list[str] = []
    lines = count = 0
    for path in sorted(files):
        text = files[path]
        language = language_of(path, text)
        if language is None:
            continue
        if not include_tests and TEST_PATH.search(path):
            outside.append(path)
            continue
        if max(map(len, text.split("\n")), default=0) > LINE_CHARS_MAX:
            machine_made.append(path)
            continue
        try:
            document = PACKS[language].read(path, text)
        except GrammarMissingError:
            missing.setdefault(language, []).append(path)
            continue
        except UnreadableError as error:
            skipped.append(Skipped(path, str(error)))
            continue
        count += 1
        lines += text.count("\n") + 1
        found, trouble = _look(path, text, document, PACKS[language].rules)
        findings += found
        incomplete += trouble
    if not include_pattern:
        findings = [f for f in findings if f.confidence is not Confidence.PATTERN]
    return Found(
        tuple(findings),
        tuple(skipped),
        tuple(incomplete),
        _notices(missing, machine_made),
        tuple(outside),
        count,
        lines,
    )


def _notices(missing: Mapping[Language, list[str]], machine_made: list[str]) -> tuple[Notice, ...]:
    notices = [
        Notice(
            paths[0],
            1,
            f"{len(paths)} {language.value} file{'s' * (len(paths) > 1)} not read: install {EXTRA}",
        )
        for language, paths in missing.items()
    ]
    if machine_made:
        more = f" and {len(machine_made) - 1} more" if len(machine_made) > 1 else ""
        notices.append(Notice(machine_made[0], 1, f"made by a machine (very long lines){more}: not read"))
    return tuple(notices)


def _look(
    path: str, text: str, document: Any, rules: tuple[LanguageRule[Any], ...]
) -> tuple[list[Finding], list[Incomplete]]:
    rows = text.splitlines()
    struck: dict[tuple[str, int, int], tuple[LanguageRule[Any], Place]] = {}
    incomplete: list[Incomplete] = []
    for rule in rules:
        try:
            for place in rule.find(document):
                key = (rule.id, place.line, place.column)
                held = struck.get(key)
                if held is None or place.confidence.rank < held[1].confidence.rank:
                    struck[key] = (rule, place)
                if len(struck) > FINDINGS_PER_FILE_MAX:
                    incomplete.append(
                        Incomplete(path, rule.id, f"more than {FINDINGS_PER_FILE_MAX} findings")
                    )
                    return _findings(path, rows, struck), incomplete
        except Exception as error:  # noqa: BLE001  # our own mistake must not cost the other rules, and must be seen
            incomplete.append(
                Incomplete(path, rule.id, f"the rule failed with {type(error).__name__}: {error}"[:200])
            )
    return _findings(path, rows, struck), incomplete


def _findings(
    path: str, rows: list[str], struck: Mapping[tuple[str, int, int], tuple[LanguageRule[Any], Place]]
) -> list[Finding]:
    seen: Counter[tuple[str, str]] = Counter()
    findings: list[Finding] = []
    for rule, place in sorted(struck.values(), key=lambda s: (s[1].line, s[1].column, s[0].id)):
        line = _row(rows, place.line)
        seen[rule.id, line] += 1
        identity = "\0".join((rule.id, path, line, str(seen[rule.id, line])))
        findings.append(
            Finding(
                rule=rule.id,
                cwe=rule.cwe,
                title=rule.title,
                message=f"{rule.what}: {place.detail}" if place.detail else rule.what,
                path=path,
                line=place.line,
                column=place.column,
                end_line=max(place.end_line, place.line),
                end_column=place.end_column,
                severity=rule.severity,
                confidence=place.confidence,
                flow=_flow(path, rows, place),
                fingerprint=hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:32],
            )
        )
    return findings


def _flow(path: str, rows: list[str], place: Place) -> tuple[Step, ...]:
    if place.origin is None:
        return ()
    line, words = place.origin
    return (
        Step(path, line, 0, _row(rows, line), f"{words} is decided by a stranger"),
        Step(path, place.line, place.column, _row(rows, place.line), "it is used here"),
    )


def _row(rows: list[str], number: int) -> str:
    return " ".join(rows[number - 1].split()) if 0 < number <= len(rows) else ""
