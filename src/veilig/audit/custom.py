"""Which rules did the user write? YAML in, the engine's own Rule out; each proves itself on its examples."""

import ast
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.knowledge import Knowledge
from veilig.audit.engine.state import MISSING, constant
from veilig.audit.engine.value import OriginKind
from veilig.audit.finding import Confidence, Severity
from veilig.audit.languages.rule import UnreadableError
from veilig.audit.languages.yamltree import Item, Yaml
from veilig.audit.rules import BY_ID, RULES
from veilig.audit.rules.known import KNOWLEDGE
from veilig.audit.rules.rule import Check, Rule, Shape, Sink
from veilig.audit.rules.sketch import Sketch
from veilig.audit.scan import ScanConfig, scan_sources
from veilig.core.errors import UsageError

RULES_MAX = 200
PATTERN_CHARS_MAX = 500
ID = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)+")
CALL = re.compile(r"\.?[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
WORDS = (
    "id",
    "cwe",
    "title",
    "severity",
    "what",
    "why",
    "advice",
    "silent",
    "flow",
    "call",
    "pattern",
    "bad",
    "good",
)
ORIGINS = {
    "remote": OriginKind.REMOTE,
    "local": OriginKind.LOCAL,
    "environment": OriginKind.ENVIRONMENT,
    "stored": OriginKind.STORED,
}


@dataclass(frozen=True, slots=True)
class Written:
    """A user's rules, what they add to the knowledge about the outside world, and where each stands."""

    rules: tuple[Rule, ...]
    sources: tuple[tuple[str, OriginKind], ...]
    sanitisers: tuple[tuple[str, str], ...]  # call, use it makes a value harmless for
    places: tuple[str, ...]  # file:line of each rule

    def knowledge(self) -> Knowledge:
        """The built-in knowledge with what these rules say."""
        harmless = dict(KNOWLEDGE.sanitisers)
        for call, kind in self.sanitisers:
            harmless[call] = harmless.get(call, frozenset()) | {kind}
        calls = {**KNOWLEDGE.source_calls, **dict(self.sources)}
        return replace(KNOWLEDGE, source_calls=calls, sanitisers=harmless)


def texts_of(given: str) -> list[tuple[str, str]]:
    """Name and text of each file, as they travel in one JSON text; none for an empty one."""
    pairs: list[list[str]] = json.loads(given) if given else []
    return [(name, text) for name, text in pairs]


def configured(config: ScanConfig, texts: Sequence[tuple[str, str]]) -> ScanConfig:
    """The configuration with the user's rules (name, text of each file) beside the built-in ones.

    Raises UsageError with file:line for a rule that is wrong or that fails its own examples.
    """
    if not texts:
        return config
    written = read_rules(texts)
    check_examples(written)
    digest = hashlib.sha256("\0".join(part for pair in texts for part in pair).encode()).hexdigest()
    return replace(config, rules=(*RULES, *written.rules), knowledge=written.knowledge(), identity=digest)


def read_rules(texts: Sequence[tuple[str, str]]) -> Written:
    """The rules of these files (name, text). Raises UsageError with file:line."""
    rules: list[Rule] = []
    places: list[str] = []
    sources: list[tuple[str, OriginKind]] = []
    sanitisers: list[tuple[str, str]] = []
    for name, text in texts:
        for item in _items(name, text):
            reader = _Reader(name, item)
            rule = reader.rule()
            if rule.id in BY_ID or rule.id in {r.id for r in rules}:
                raise reader.wrong(
                    item.get("id"), f"there is a rule {rule.id!r} already", "choose another id"
                )
            rules.append(rule)
            places.append(reader.at(item))
            sources += reader.sources
            sanitisers += reader.sanitisers
    return Written(tuple(rules), tuple(sources), tuple(sanitisers), tuple(places))


def check_examples(written: Written) -> None:
    """Each rule must find its bad example and stay silent on its good one. Raises UsageError."""
    for rule, place in zip(written.rules, written.places, strict=True):
        config = ScanConfig(rules=(rule,), knowledge=written.knowledge(), include_pattern=True)
        for name, text, wanted in (("bad", rule.bad, True), ("good", rule.good, False)):
            report = scan_sources({"app.py": text}, config)
            if report.skipped or report.incomplete:
                trouble = (*report.skipped, *report.incomplete)[0].reason
                raise UsageError(f"{place}: the {name} example of {rule.id} cannot be read", why=trouble)
            if bool(report.findings) is not wanted:
                did = "is not found" if wanted else f"is found too, on line {report.findings[0].line}"
                raise UsageError(
                    f"{place}: the {name} example of {rule.id} {did}",
                    why="a rule is believed when it finds its bad example and stays silent on its good one",
                    fix="correct the rule or the example",
                )


def _items(name: str, text: str) -> Iterator[Item]:
    try:
        documents = Yaml(name, text).documents
    except UnreadableError as error:
        raise UsageError(f"{name} is no file of rules", why=str(error)) from error
    for document in documents:
        unknown = document.keys() - {"version", "rules"}
        if unknown or document.get("version").text != "1" or not list(document.get("rules").each()):
            raise UsageError(
                f"{name}:1: this is no file of rules",
                why=f"unknown key {min(unknown)!r}"
                if unknown
                else "it needs `version: 1` and a list `rules`",
                fix="see docs/how-to/audit-own-rules.md",
            )
        items = list(document.get("rules").each())
        if len(items) > RULES_MAX:
            raise UsageError(f"{name}: more than {RULES_MAX} rules", fix="write several files")
        yield from items


class _Reader:
    """One rule as it stands in the file."""

    def __init__(self, name: str, item: Item) -> None:
        self._name, self._item = name, item
        self.sources: list[tuple[str, OriginKind]] = []
        self.sanitisers: list[tuple[str, str]] = []

    def at(self, item: Item) -> str:
        """file:line"""
        return f"{self._name}:{item.place().line if item else self._item.place().line}"

    def wrong(self, item: Item, what: str, fix: str = "") -> UsageError:
        """The error at this place."""
        return UsageError(f"{self.at(item)}: {what}", fix=fix or "see docs/how-to/audit-own-rules.md")

    def rule(self) -> Rule:
        """The rule. Raises UsageError."""
        item = self._item
        self._only(item, WORDS)
        given = {
            key: self._text(item, key)
            for key in ("id", "title", "severity", "what", "why", "advice", "bad", "good")
        }
        if not ID.fullmatch(given["id"]):
            raise self.wrong(
                item.get("id"), f"{given['id']!r} is no id", "use words joined by -, as in acme-raw-sql"
            )
        if given["severity"] not in tuple(Severity):
            raise self.wrong(
                item.get("severity"),
                f"unknown severity {given['severity']!r}",
                f"use one of {', '.join(Severity)}",
            )
        if not re.fullmatch(r"[1-9]\d{0,4}", self._text(item, "cwe")):
            raise self.wrong(
                item.get("cwe"), "cwe is a number", "give the number of the weakness, as in `cwe: 89`"
            )
        forms = [key for key in ("flow", "call", "pattern") if item.get(key)]
        if len(forms) != 1:
            raise self.wrong(
                item, f"{given['id']} has {len(forms)} of flow, call and pattern", "give exactly one"
            )
        base = Rule(
            given["id"],
            int(self._text(item, "cwe")),
            given["title"],
            Severity(given["severity"]),
            given["what"],
            given["why"],
            given["advice"],
            item.get("silent").text,
            given["bad"],
            given["good"],
        )
        if forms == ["flow"]:
            return self._flow(base, item.get("flow"))
        if forms == ["call"]:
            return replace(base, checks=tuple(self._check(i) for i in self._each(item.get("call"))))
        return replace(base, shape=_lines(self._pattern(item, "pattern")))

    def _flow(self, base: Rule, item: Item) -> Rule:
        self._only(item, ("kind", "origins", "sinks", "sources", "sanitisers"))
        kind = item.get("kind").text or base.id
        origins: set[OriginKind] = set()
        for name in item.get("origins").texts or ["remote"]:
            if name not in ORIGINS:
                raise self.wrong(item.get("origins"), f"unknown origin {name!r}", f"use {', '.join(ORIGINS)}")
            origins.add(ORIGINS[name])
        sinks: list[Sink] = []
        for sink in self._each(item.get("sinks")):
            self._only(sink, ("call", "args"))
            args = tuple(int(a) if a.isdigit() else a for a in sink.get("args").texts) or (0,)
            sinks.append(Sink((self._call(sink.get("call")),), args))
        if not sinks:
            raise self.wrong(item, "a flow needs sinks", "name the calls where the value must not arrive")
        for source in item.get("sources").each():
            self._only(source, ("call", "origin"))
            origin = source.get("origin").text or "remote"
            if origin not in ORIGINS:
                raise self.wrong(source, f"unknown origin {origin!r}", f"use {', '.join(ORIGINS)}")
            self.sources.append((self._call(source.get("call")), ORIGINS[origin]))
        for call in item.get("sanitisers").each():
            self.sanitisers.append((self._call(call), kind))
        return replace(base, kind=kind, origins=frozenset(origins), sinks=tuple(sinks))

    def _check(self, item: Item) -> Check:
        self._only(item, ("name", "position", "keyword", "equals", "matches", "missing"))
        position, keyword = item.get("position").text or "99", item.get("keyword").text
        if not position.isdigit():
            raise self.wrong(item.get("position"), "position counts from 0")
        equals, matches, absent = item.get("equals").texts, item.get("matches"), item.get("missing")
        if sum(map(bool, (equals, matches, absent))) > 1:
            raise self.wrong(item, "give one of equals, matches and missing")
        if (equals or matches or absent) and position == "99" and not keyword:
            raise self.wrong(item, "which argument? give position, keyword or both")
        pattern = self._pattern(item, "matches") if matches else None
        return Check(
            (self._call(item.get("name")),), _condition(int(position), keyword, equals, pattern, absent.on)
        )

    def _pattern(self, item: Item, key: str) -> re.Pattern[str]:
        text = item.get(key).text
        try:
            if not text or len(text) > PATTERN_CHARS_MAX:
                raise ValueError(f"1 to {PATTERN_CHARS_MAX} characters")
            return re.compile(text)
        except (re.error, ValueError, OverflowError) as error:
            raise self.wrong(item.get(key), f"{key} is no regular expression: {error}") from error

    def _call(self, item: Item) -> str:
        if not CALL.fullmatch(item.text):
            raise self.wrong(
                item, f"{item.text!r} is no call", "write acme.db.raw, or .raw for a method of anything"
            )
        return item.text

    def _each(self, item: Item) -> list[Item]:
        return list(item.each()) or ([item] if item else [])

    def _text(self, item: Item, key: str) -> str:
        found = item.get(key)
        if not found.text.strip():
            raise self.wrong(
                found or item, f"{key} is missing", f"every rule has {', '.join(WORDS[:7])}, bad and good"
            )
        return found.text

    def _only(self, item: Item, known: tuple[str, ...]) -> None:
        for key, value in item.items():
            if key not in known:
                raise self.wrong(value, f"unknown key {key!r}", f"known keys are {', '.join(known)}")


def _condition(
    position: int, keyword: str, equals: list[str], pattern: "re.Pattern[str] | None", absent: bool
) -> Callable[[Frame, CallSite], bool]:
    def test(frame: Frame, site: CallSite) -> bool:
        del frame
        value = site.arg(position, keyword)
        if absent:
            return value is None and not site.splat
        if not equals and pattern is None:
            return True
        known = constant(value) if value is not None else MISSING
        if known is MISSING:
            return False
        return (
            str(known) in equals if equals else pattern is not None and pattern.search(str(known)) is not None
        )

    return test


def _lines(pattern: "re.Pattern[str]") -> Shape:
    def find(sketch: Sketch) -> Iterator[tuple[ast.AST, Confidence]]:
        for number, line in enumerate(sketch.module.lines, 1):
            match = pattern.search(line[:2_000])
            if match is not None:
                node = ast.Pass(
                    lineno=number, col_offset=match.start(), end_lineno=number, end_col_offset=match.end()
                )
                yield node, Confidence.CERTAIN

    return find
