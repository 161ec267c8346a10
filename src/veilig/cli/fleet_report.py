"""How is a campaign shown: as text, JSON lines, SARIF with a run for each repository, or a page?"""

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from veilig.campaign.result import SEVERITIES, Result, Status
from veilig.cli.style import printable
from veilig.core.errors import UsageError

if TYPE_CHECKING:
    from veilig.app.campaigns import Finished
    from veilig.cli.style import Style

SHOWN_MAX = 20
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def write_report(file: str, form: str, finished: "Finished") -> None:
    """Write the campaign in a form, piece by piece: thousands of repositories need not fit in memory."""
    from veilig.cli.style import Style

    fresh = Path(file).with_name(f".{Path(file).name}.new")
    try:
        with fresh.open("w", encoding="utf-8") as out:
            match form:
                case "sarif":
                    _sarif(out, finished)
                case "jsonl":
                    out.writelines(f"{line}\n" for line in lines(finished))
                case "html":
                    from veilig.campaign.page import to_page

                    out.writelines(to_page(finished.heading, finished.results, finished.before_began))
                case _:
                    out.write(f"{render_text(finished, Style(out, force=False))}\n")
        fresh.replace(file)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise UsageError(f"cannot write {file!r}", why=error.strerror or str(error)) from error


def lines(finished: "Finished") -> Iterator[str]:
    """The campaign on the first line, then a line for each repository."""
    heading = finished.heading
    about: dict[str, Any] = {"id": heading.id, "kind": heading.kind, "list": heading.list}
    about |= {
        "repositories": heading.repositories,
        "began_at": heading.began_at,
        "ended_at": heading.ended_at,
        "before": finished.before_began,
    }
    yield json.dumps({"v": 1, "campaign": about}, ensure_ascii=False)
    for result in finished.results:
        yield result.to_json()


def render_text(finished: "Finished", style: "Style") -> str:
    """The worst repositories, what failed, and the sums."""
    sums, found = Sums(finished.results), list[str]()
    for result in (finished.results[at] for _, at in sums.worst):
        told = ", ".join(f"{count} {name}" for name, count in result.counts.items() if count)
        since = f"  {result.new} new, {result.gone} gone" if result.new is not None else ""
        found.append(f"{told:<36} {printable(result.label)}{style('dim', since)}")
    if sums.with_findings > SHOWN_MAX:
        more = sums.with_findings - SHOWN_MAX
        found.append(f"{more} more repositories have findings; write them with --output F.html")
    found += [f"{r.status:<8} {printable(r.label)}: {printable(r.reason)}" for r in sums.trouble]
    if sums.troubled > SHOWN_MAX:
        found.append(f"{sums.troubled - SHOWN_MAX} more were not read")
    return "\n".join([*found, *_told(sums, finished.before_began)])


class Sums:
    """What one walk over the results counts; what it keeps does not grow with them."""

    def __init__(self, results: "Iterable[Result]") -> None:
        self.statuses, self.severities = Counter[str](), Counter[str]()
        self.files = self.lines = self.left = self.partly = self.excluded = self.new = self.gone = 0
        self.with_findings = self.troubled = 0
        self.trouble: list[Result] = []
        keys: list[tuple[tuple[list[int], str], int]] = []
        for at, result in enumerate(results):
            counts = result.counts
            self.statuses[result.status.value] += 1
            self.severities.update(counts)
            self.left += result.left_out
            self.partly += bool(result.left_out)
            self.excluded += result.excluded
            self.new, self.gone = self.new + (result.new or 0), self.gone + (result.gone or 0)
            if result.status.trouble or result.status is Status.SKIPPED:
                self.troubled += 1
                if len(self.trouble) < SHOWN_MAX:
                    self.trouble.append(result)
            if result.status is Status.SAME:
                continue
            self.files, self.lines = self.files + result.files, self.lines + result.lines
            if result.findings:
                self.with_findings += 1
                keys.append((([-counts[name] for name in SEVERITIES], result.label), at))
                if len(keys) > 10 * SHOWN_MAX:
                    keys = heapq.nsmallest(SHOWN_MAX, keys)
        self.worst = heapq.nsmallest(SHOWN_MAX, keys)  # with where each is among the results


def _told(sums: Sums, before_began: str) -> list[str]:
    severities = sums.severities
    told = ", ".join(f"{severities[name]} {name}" for name in SEVERITIES if severities[name]) or "none"
    found = [f"fleet   {', '.join(f'{count} {name}' for name, count in sums.statuses.items())}"]
    found.append(f"audit   {sums.files} files, {sums.lines} lines, {severities.total()} findings ({told})")
    if sums.left:
        found.append(
            f"partly  {sums.left} files or functions could not be looked at, in {sums.partly} repositories"
        )
    if sums.excluded:
        found.append(f"left    {sums.excluded} findings are excluded by the policy")
    if before_began:
        found.append(f"since   {before_began}: {sums.new} new, {sums.gone} gone")
    return found


def _sarif(out: IO[str], finished: "Finished") -> None:
    head = {"$schema": SCHEMA, "version": "2.1.0"}
    out.write(json.dumps(head)[:-1] + ', "runs": [\n')
    for number, run in enumerate(_runs(finished)):
        out.write(("" if number == 0 else ",\n") + json.dumps(run, ensure_ascii=False, separators=(",", ":")))
    out.write("\n]}\n")


def _runs(finished: "Finished") -> Iterator[dict[str, Any]]:
    from veilig import __version__

    for result in finished.results:
        data = finished.report(result) if result.key else None
        run = _unread(result, __version__)
        if data is not None:
            run = _read(data, data.get("excludes", finished.excludes), __version__)
        run["automationDetails"] = {"id": f"veilig/{result.label}/"}
        if "://" in result.place:
            origin: dict[str, Any] = {"repositoryUri": result.place}
            if result.commit:
                origin["revisionId"] = result.commit
            run["versionControlProvenance"] = [origin]
        run["properties"] = {"status": result.status.value, "new": result.new, "gone": result.gone}
        yield run


def _read(data: dict[str, Any], excludes: Sequence[str], version: str) -> dict[str, Any]:
    from veilig.cli.audit_report import render_sarif, root_of
    from veilig.cli.audit_settings import without_excluded

    root = root_of(".", str(data["session"]), str(data["wall"]), data)
    root = without_excluded(root, excludes, "the policy")
    return cast("dict[str, Any]", json.loads(render_sarif([root], version))["runs"][0])


def _unread(result: Result, version: str) -> dict[str, Any]:
    """A run of a repository of which nothing is known, with the reason: it must not look clean."""
    reason = result.reason or "what was found is not kept any more: run the campaign again with --fresh"
    note = {"level": "error", "message": {"text": f"{result.status.value}: {reason}"}}
    return {
        "tool": {"driver": {"name": "veilig", "version": version}},
        "results": [],
        "invocations": [{"executionSuccessful": False, "toolExecutionNotifications": [note]}],
    }
