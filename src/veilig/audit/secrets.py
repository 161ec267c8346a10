"""Which secrets lie in files or in the history of a repository? The values are never shown or kept.

Shapes of provider tokens and assignments come from core/redact; what is added here is entropy for values
that nothing names, checksums where a format has one, and the judgement of where a hit stands.
"""

import base64
import hashlib
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from veilig.audit.baseline import hunk_rows, new_path
from veilig.audit.finding import Confidence, Finding, Severity
from veilig.audit.rows import diff_rows, rows_of
from veilig.core.errors import UsageError
from veilig.core.redact import find

RULE = "secret-in-file"
HISTORY_RULE = "secret-in-history"
CWE = 798
LINE_CHARS_MAX = 4_000  # minified code and data: no person writes a credential there
TEXT_CHARS_MAX = 2 << 20
FINDINGS_PER_FILE_MAX = 100
ENTROPY_BITS_MIN = 4.3  # per character, base64-like, 32 or more characters: hex sums and words stay below
ENTROPY_CHARS_MIN = 32

# Files that programs write: full of hashes, and no credential of ours is kept there.
_GENERATED = re.compile(
    r"(?:^|/)(?:[^/]*\.(?:lock|min\.js|map|svg|ipynb|po|pot|csv|tsv|snap)|package-lock\.json|pnpm-lock\.yaml|"
    r"requirements[^/]*\.txt|pylock[^/]*\.toml|go\.sum|CHANGELOG[^/]*)$",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(r"(?:^|[/._-])(?:example|sample|template|dist|fixtures?|testdata|tests?)(?:[/._-]|$)")
_QUOTED = re.compile(r"""(['"])(?P<value>[A-Za-z0-9+/=_\-]{32,200})\1""")
_KEY = re.compile(r"""([A-Za-z_][\w.\-]{0,60})['"]?\]?\s*(?::|=|:=|=>)\s*$""")
# A name that says what else a long value is.
_OTHER = re.compile(
    r"sha\d*|hash|digest|checksum|integrity|fingerprint|etag|uuid|guid|public|pubkey|nonce|alphabet|charset|"
    r"chars|commit|revision|image|icon|data|font|version|url|path|cert",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Hit:
    """One secret: where it stands and what it is; the value itself is not kept."""

    line: int
    column: int
    end_column: int
    kind: str
    key: str
    checked: bool | None  # whether the checksum in the format fits; None when the format has none


def scan_secrets(files: Mapping[str, str], *, pattern: bool = False) -> list[Finding]:
    """Findings for secrets in these files (relative path -> text), in reading order.

    pattern: also values that only look random. Generated files (locks, maps, tables) are judged by shape
    alone. A file that is an example or a test is a pattern, not a finding.
    """
    found: list[Finding] = []
    for path in sorted(files):
        found += findings_in(path, files[path], pattern=pattern)
    return found


def findings_in(path: str, text: str, *, pattern: bool = False, rule: str = RULE) -> list[Finding]:
    """The secrets of one text as findings; fingerprints hold path, kind and name, never the value."""
    generated, example = bool(_GENERATED.search(path)), bool(_EXAMPLE.search(path))
    seen: Counter[tuple[str, str]] = Counter()
    found: list[Finding] = []
    hits = [*_shaped(text, named=not generated)]
    lines = {hit.line for hit in hits}
    if pattern and not generated:
        hits += [hit for hit in _random(text) if hit.line not in lines]
    for hit in sorted(hits, key=lambda h: (h.line, h.column))[:FINDINGS_PER_FILE_MAX]:
        confidence = _confidence(hit, example=example)
        if confidence is Confidence.PATTERN and not pattern:
            continue
        seen[hit.kind, hit.key] += 1
        found.append(_finding(path, hit, confidence, seen[hit.kind, hit.key], rule))
    return found


def entropy_bits(value: str) -> float:
    """Shannon entropy per character, in bits. Source: Shannon 1948."""
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values()) if value else 0.0


_HANDLE = re.compile(r"‹secret:(?P<name>[A-Za-z0-9_.\-]{1,64})#[0-9a-f]{6,64}(?:~[a-z0-9]{1,16})?›")


def handles(path: str, text: str) -> list[Finding]:
    """The secrets of a text that core/redact has already put handles in place of."""
    seen: Counter[str] = Counter()
    found: list[Finding] = []
    for number, line in enumerate(rows_of(text), 1):
        for match in _HANDLE.finditer(line):
            name = match["name"]
            seen[name] += 1
            hit = Hit(number, match.start(), match.end(), "credential", name, None)
            found.append(_finding(path, hit, Confidence.POSSIBLE, seen[name], RULE))
    return found


def _confidence(hit: Hit, *, example: bool) -> Confidence:
    if hit.kind == "random" or hit.checked is False or (example and not hit.checked):
        return Confidence.PATTERN
    return Confidence.CERTAIN if hit.checked or hit.kind != "assignment" else Confidence.POSSIBLE


def _finding(path: str, hit: Hit, confidence: Confidence, number: int, rule: str) -> Finding:
    named = f" ({hit.key})" if hit.key else ""
    what = "a value that looks random" if hit.kind == "random" else f"a secret of kind {hit.kind}"
    identity = "\0".join((rule, path, hit.kind, hit.key, str(number)))
    return Finding(
        rule=rule,
        cwe=CWE,
        title="secret in a file" if rule == RULE else "secret in the history",
        message=f"{what}{named}: whoever reads the file can use it; revoke it, then keep it outside",
        path=path,
        line=hit.line,
        column=hit.column,
        end_line=hit.line,
        end_column=hit.end_column,
        severity=Severity.HIGH if hit.kind != "random" else Severity.LOW,
        confidence=confidence,
        fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:32],
    )


def _shaped(text: str, *, named: bool) -> Iterator[Hit]:
    """What core/redact finds by shape, and, unless the file is generated, by the name beside it."""
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    line = 0
    for span in find(text[:TEXT_CHARS_MAX]):
        kind = span.kind
        if kind == "assignment" and (not named or text.endswith("‹secret:", 0, span.start)):
            continue  # a handle stands where the value was
        while line + 1 < len(starts) and starts[line + 1] <= span.start:
            line += 1
        end = starts[line + 1] - 1 if line + 1 < len(starts) else len(text)
        if kind == "assignment" and end - starts[line] > LINE_CHARS_MAX:
            continue
        value = text[span.start : span.end]
        column = span.start - starts[line]
        yield Hit(line + 1, column, min(span.end, end) - starts[line], kind, span.key, checksum(kind, value))


def checksum(kind: str, value: str) -> bool | None:
    """Whether the checksum in a token fits; None when its format has none that is known.

    Source: GitHub's announcement of its token format (CRC32 in base 62, six characters at the end).
    """
    if re.match(r"gh[pousr]_[A-Za-z0-9]{36}$", value):
        return _base62(zlib.crc32(value[4:-6].encode())) == value[-6:]
    if kind.startswith(("jwt", "json-web")) and value.count(".") == 2:
        return _is_json_head(value.partition(".")[0])
    return None


def _base62(number: int) -> str:
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    written = ""
    while number:
        number, rest = divmod(number, 62)
        written = digits[rest] + written
    return written.rjust(6, "0")


def _is_json_head(part: str) -> bool:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).lstrip().startswith(b"{")
    except ValueError:
        return False


def _random(text: str) -> Iterator[Hit]:
    """Quoted values of high entropy whose name does not say that they are something else."""
    for number, line in enumerate(rows_of(text[:TEXT_CHARS_MAX]), 1):
        if len(line) > LINE_CHARS_MAX:
            continue
        for match in _QUOTED.finditer(line):
            value = match["value"]
            key = _KEY.search(line, 0, match.start())
            name = key[1] if key else ""
            if _OTHER.search(name) or entropy_bits(value) < ENTROPY_BITS_MIN or not _mixed(value):
                continue
            yield Hit(number, match.start("value"), match.end("value"), "random", name, None)


def _mixed(value: str) -> bool:
    return (
        sum(c.isdigit() for c in value) >= 3
        and any(c.isupper() for c in value)
        and any(c.islower() for c in value)
    )


def in_history(patches: str, *, pattern: bool = False) -> list[Finding]:
    """Secrets in lines that `git log -p` shows as added, with the commit in the message.

    patches: the text of `git log -p -U0 --no-color --no-ext-diff --no-textconv`. One secret that moved is
    reported once, at the oldest commit shown last. Raises UsageError for one with no change, with a cut hunk,
    or of a merge (combined): what cannot be read must not look like a clean past.
    """
    added: dict[tuple[str, str], list[str]] = {}
    for commit, path, line in _past_lines(diff_rows(patches)):
        added.setdefault((commit, path), []).append(line)
    found: dict[str, Finding] = {}
    for (commit, path), lines in added.items():
        for hit in findings_in(path, "\n".join(lines), pattern=pattern, rule=HISTORY_RULE):
            found[hit.fingerprint] = _at(hit, commit)
    return sorted(found.values(), key=lambda f: (f.path, f.fingerprint))


def _past_lines(rows: list[str]) -> Iterator[tuple[str, str, str]]:
    """Commit, path and text of every line that was ever added."""
    commit, path, index, hunks = "", "", 0, 0
    while index < len(rows):
        row = rows[index]
        index += 1
        if row.startswith("commit ") and re.fullmatch(r"commit [0-9a-f]{7,64}", row.split(" (")[0].rstrip()):
            commit = row.split()[1]
        elif path_of := new_path(row):
            path = path_of
        elif row.startswith("@@@"):
            raise UsageError(
                f"line {index} of the history is part of a merge's combined diff",
                why="it cannot be read as lines that one commit added",
                fix="make it with `git log -p -m`, or leave -c and --cc out",
            )
        elif span := hunk_rows(rows, index):
            hunks += 1
            yield from ((commit, path, line[1:]) for line in rows[index : index + span] if line[:1] == "+")
            index += span
    if not hunks:
        raise UsageError(
            "the history holds no change",
            why="it has no @@ line: there is nothing in it to look at",
            fix="make it with `git log -p -U0 --no-color --no-ext-diff --no-textconv`",
        )


def _at(finding: Finding, commit: str) -> Finding:
    text = f"{finding.message} (commit {commit[:12]}; removing the file does not remove it from the history)"
    return replace(finding, message=text, line=1, column=0, end_line=1, end_column=0)
