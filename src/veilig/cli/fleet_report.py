"""How is a campaign shown: as text, JSON lines, SARIF with a run for each repository, or a page?"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
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

                    out.write(to_page(finished.heading, finished.results, finished.before_began))
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
    results = finished.results
    found: list[str] = []
    worst = sorted(
        (r for r in results if r.findings and r.status is not Status.SAME),
        key=lambda r: ([-r.counts[name] for name in SEVERITIES], r.label),
    )
    for result in worst[:SHOWN_MAX]:
        told = ", ".join(f"{count} {name}" for name, count in result.counts.items() if count)
        since = f"  {result.new} new, {result.gone} gone" if result.new is not None else ""
        found.append(f"{told:<36} {printable(result.label)}{style('dim', since)}")
    if len(worst) > SHOWN_MAX:
        found.append(
            f"{len(worst) - SHOWN_MAX} more repositories have findings; write them with --output F.html"
        )
    trouble = [r for r in results if r.status.trouble or r.status is Status.SKIPPED]
    for result in trouble[:SHOWN_MAX]:
        found.append(f"{result.status:<8} {printable(result.label)}: {printable(result.reason)}")
    if len(trouble) > SHOWN_MAX:
        found.append(f"{len(trouble) - SHOWN_MAX} more were not read")
    return "\n".join([*found, *_sums(finished)])


def _sums(finished: "Finished") -> list[str]:
    results = finished.results
    statuses = Counter(r.status.value for r in results)
    severities = Counter[str]()
    for result in results:
        severities.update(result.counts)
    told = ", ".join(f"{severities[name]} {name}" for name in SEVERITIES if severities[name]) or "none"
    found = [f"fleet   {', '.join(f'{count} {name}' for name, count in statuses.items())}"]
    files = sum(r.files for r in results if r.status is not Status.SAME)
    read = sum(r.lines for r in results if r.status is not Status.SAME)
    found.append(f"audit   {files} files, {read} lines, {sum(severities.values())} findings ({told})")
    left = sum(r.left_out for r in results)
    if left:
        found.append(
            f"partly  {left} files or functions could not be looked at, in {_with(results)} repositories"
        )
    if excluded := sum(r.excluded for r in results):
        found.append(f"left    {excluded} findings are excluded by the policy")
    if finished.before_began:
        new, gone = sum(r.new or 0 for r in results), sum(r.gone or 0 for r in results)
        found.append(f"since   {finished.before_began}: {new} new, {gone} gone")
    return found


def _with(results: "tuple[Result, ...]") -> int:
    return sum(1 for r in results if r.left_out)


def _sarif(out: IO[str], finished: "Finished") -> None:
    head = {"$schema": SCHEMA, "version": "2.1.0"}
    out.write(json.dumps(head)[:-1] + ', "runs": [\n')
    for number, run in enumerate(_runs(finished)):
        out.write(("" if number == 0 else ",\n") + json.dumps(run, ensure_ascii=False, separators=(",", ":")))
    out.write("\n]}\n")


def _runs(finished: "Finished") -> Iterator[dict[str, Any]]:
    from veilig import __version__

    for result in finished.results:
        data = finished.campaigns.kept(result.key) if result.key else None
        run = (
            _read(data, finished.excludes, __version__) if data is not None else _unread(result, __version__)
        )
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
