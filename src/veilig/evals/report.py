"""How is a run told? One line, Markdown, or a page with plots; never more than the number of tasks allows."""

import json
from collections.abc import Sequence
from html import escape

from veilig.evals.plots import bars, scatter
from veilig.evals.results import Ending, Job, Trial
from veilig.evals.stats import Estimate
from veilig.evals.tally import Comparison, Tally

# Suites that others publish scores of. They need images from outside: no figure of theirs stands beside ours.
NOT_RUN = (
    ("Terminal-Bench 2.x", "harbor run -d terminal-bench@2.0 -a veilig.evals.adapters.harbor:VeiligAgent"),
    ("OSWorld-Verified", "inspect eval inspect_evals/osworld (about 8 GB of images)"),
    ("Cybench", "inspect eval inspect_evals/cybench --solver veilig/veilig_agent"),
)


def percent(found: Estimate) -> str:
    """A share with its interval."""
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"


def line(total: Tally) -> str:
    """The run in one line, with what is no fault of the agent apart."""
    apart = [f"{n} {name}" for name, n in total.endings.items() if name in (Ending.REFUSED, Ending.ERROR)]
    cost = "no tokens" if not total.tokens_out else f"{total.tokens_out} tokens out"
    return (
        f"{total.job.suite} {total.job.suite_version} by {_who(total.job)}: {total.resolved_tasks} of "
        f"{total.tasks} tasks, {percent(total.score)}, {total.agent_s_total:.1f} s, {cost}"
        + (f"; {_charged(total)}" if total.charged is not None else "")
        + (f"; apart: {', '.join(apart)}" if apart else "")
        + (f"; INCOMPLETE: {total.missing[0]}" if total.missing else "")
    )


def _lacks(total: Tally, most: int = 50) -> list[str]:
    """What a run lacks, one line each: its figures are of the rest only."""
    shown = [f"- INCOMPLETE, {total.job.suite} by {_who(total.job)}: {one}" for one in total.missing[:most]]
    more = len(total.missing) - most
    return [*shown, *([f"- and {more} more"] if more > 0 else []), *([""] if shown else [])]


def _charged(total: Tally) -> str:
    return (
        f"{total.submitted} handed in, {total.accuracy or 0:.0%} of them right, "
        f"{total.charged or 0:.1%} after what wrong ones cost"
    )


def note_of(trial: Trial) -> str:
    """Why a trial is not resolved, in one line: the last that its tests, or the runner, said."""
    lines = [row.strip() for row in trial.detail.splitlines() if row.strip()]
    return lines[0 if trial.ending in (Ending.REFUSED, Ending.ERROR) else -1] if lines else ""


def _who(job: Job) -> str:
    return f"{job.agent} {job.model}".strip()


def markdown(runs: Sequence[tuple[Tally, Sequence[Trial]]]) -> str:
    """The report of one or several runs."""
    lacks = [one for total, _ in runs for one in _lacks(total)]
    parts = ["# What it can do, and how sure that is\n", *lacks, _table(runs), "\n## By category\n"]
    for total, _ in runs:
        cells = [f"{name} {a}/{b}" for name, (a, b) in total.by_category.items()]
        parts.append(f"- {total.job.suite}, {_who(total.job)}: {', '.join(cells)}")
    parts.append("\n## Every task\n")
    for total, trials in runs:
        parts.append(f"### {total.job.suite}, {_who(total.job)}\n")
        parts.append(
            "| task | attempts | resolved | agent s | tokens out | note |\n|---|---|---|---|---|---|"
        )
        parts += [_row(task, own) for task, own in _grouped(trials)]
        parts.append("")
    return "\n".join([*parts, _conditions(runs), _absent()]) + "\n"


def _table(runs: Sequence[tuple[Tally, Sequence[Trial]]]) -> str:
    head = (
        "| suite | agent | score, 95 % interval | pass@k | median s | s per resolved | tokens per resolved |"
        " apart |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    rows: list[str] = []
    for total, _ in runs:
        apart = sum(total.endings.get(e, 0) for e in (Ending.REFUSED, Ending.ERROR))
        pass_at = ", ".join(f"{k}: {v:.0%}" for k, v in total.pass_at.items() if k > 1) or "-"
        tokens = f"{total.tokens_per_resolved:.0f}" if total.tokens_per_resolved is not None else "-"
        seconds = f"{total.seconds_per_resolved:.1f}" if total.seconds_per_resolved is not None else "-"
        rows.append(
            f"| {total.job.suite} {total.job.suite_version} | {_who(total.job)} | {total.resolved_tasks}/"
            f"{total.tasks}, {percent(total.score)} | {pass_at} | {total.agent_s_median:.1f} | {seconds} | "
            f"{tokens} | {apart} |"
        )
    return "\n".join([head, *rows])


def _row(task: str, trials: Sequence[Trial]) -> str:
    note = next((note_of(t)[:80] for t in trials if t.ending is not Ending.RESOLVED), "").replace("|", "/")
    solved = sum(t.ending is Ending.RESOLVED for t in trials)
    seconds = sum(t.agent_s for t in trials) / len(trials)
    tokens = sum(t.tokens_out for t in trials)
    kind = "" if all(t.scored for t in trials) else f" ({', '.join(sorted({t.ending for t in trials}))})"
    return f"| {task}{kind} | {len(trials)} | {solved} | {seconds:.1f} | {tokens} | {note} |"


def _grouped(trials: Sequence[Trial]) -> list[tuple[str, list[Trial]]]:
    names = sorted({t.task for t in trials})
    return [(name, [t for t in trials if t.task == name]) for name in names]


def _conditions(runs: Sequence[tuple[Tally, Sequence[Trial]]]) -> str:
    said = ["## Under which conditions\n"]
    for total, _ in runs:
        job = total.job
        said.append(
            f"- {job.suite} by {_who(job)}: {job.attempts} attempts, timeouts x{job.timeout_scale:g}, wall "
            f"{', '.join(total.walls) or '-'}, veilig {job.veilig}, {job.machine}, begun {job.started_at}; "
            "interval: "
            f"{total.score.method} over {total.score.n}; {total.timed_out} out of time; "
            f"{total.skipped_steps} installation steps stood for by this machine's programs"
        )
    said += [f"- {t.job.suite} by {_who(t.job)}: {_charged(t)}" for t, _ in runs if t.charged is not None]
    said.append(
        "- Tokens count every attempt, failed ones too. Trials that broke or were refused score nothing."
    )
    return "\n".join(said) + "\n"


def _absent() -> str:
    rows = [f"- {name}: not run here. `{command}`" for name, command in NOT_RUN]
    return "\n".join(["## Official suites\n", *rows])


def html(runs: Sequence[tuple[Tally, Sequence[Trial]]]) -> str:
    """The same as a page of its own, with plots; nothing is loaded from anywhere."""
    names = [f"{t.job.suite} / {_who(t.job)}" for t, _ in runs]
    scores = bars(names, [(t.score.low, t.score.value, t.score.high) for t, _ in runs], "share resolved")
    points = [
        (name, t.seconds_per_resolved or 0.0, t.score.value)
        for name, (t, _) in zip(names, runs, strict=True)
        if t.seconds_per_resolved
    ]
    costs = [
        (name, t.tokens_per_resolved or 0.0, t.score.value)
        for name, (t, _) in zip(names, runs, strict=True)
        if t.tokens_per_resolved
    ]
    plots = [scores]
    if points:
        plots.append(scatter(points, "seconds per resolved task", "share resolved"))
    if costs:
        plots.append(scatter(costs, "output tokens per resolved task", "share resolved"))
    body = "".join(f"<figure>{plot}</figure>" for plot in plots) + _as_html(markdown(runs))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>veilig: evaluation</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE}</style><main>{body}</main></html>\n"
    )


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:0;color:#1b1f24;background:#fff}"
    "main{max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%;font-size:13px}"
    "td,th{border-bottom:1px solid #d5d9de;padding:.3rem .5rem;text-align:left;vertical-align:top}"
    "figure{margin:1rem 0}svg{max-width:100%;height:auto}"
    "@media(prefers-color-scheme:dark){body{background:#15181c;color:#dfe3e8}td,th{border-color:#3a4048}}"
)


def _as_html(text: str) -> str:
    """Headings, lists and tables of our own Markdown: what `markdown` writes and no more."""
    out: list[str] = []
    table = False
    for row in text.splitlines():
        if row.startswith("|"):
            if set(row) <= set("|-"):
                continue
            cells = [escape(cell.strip()) for cell in row.strip("|").split("|")]
            tag = "td" if table else "th"
            out.append(
                ("" if table else "<table>")
                + "<tr>"
                + "".join(f"<{tag}>{c}</{tag}>" for c in cells)
                + "</tr>"
            )
            table = True
            continue
        if table:
            out.append("</table>")
            table = False
        level = len(row) - len(row.lstrip("#"))
        if level:
            out.append(f"<h{level}>{escape(row[level:].strip())}</h{level}>")
        elif row.startswith("- "):
            out.append(f"<p>{escape(row[2:])}</p>")
        elif row:
            out.append(f"<p>{escape(row)}</p>")
    return "\n".join([*out, "</table>" if table else ""])


def comparison(
    first: Job, second: Job, found: Comparison, *, as_json: bool, lacks: Sequence[str] = ()
) -> str:
    """Two runs beside each other: what was solved comes before what it cost. lacks: what is missing."""
    if as_json:
        return json.dumps(
            {
                "solved_more": found.solved_more.to_json(),
                "seconds": {**found.seconds.estimate.to_json(), "claim": found.seconds.says},
                "tokens": {**found.tokens.estimate.to_json(), "claim": found.tokens.says},
                "only_first": list(found.only_first),
                "only_second": list(found.only_second),
                "missing": list(lacks),
            },
            indent=2,
        )
    more = found.solved_more
    return "\n".join(
        (
            f"A       {first.suite} by {_who(first)}",
            f"B       {second.suite} by {_who(second)}",
            f"solved  B - A = {more.value:+.1%} ({more.low:+.1%} to {more.high:+.1%}), {more.n} tasks",
            f"only A  {', '.join(found.only_first) or '-'}",
            f"only B  {', '.join(found.only_second) or '-'}",
            f"time    {found.seconds.says}",
            f"tokens  {found.tokens.says}",
            *(f"INCOMPLETE: {one}" for one in lacks),
        )
    )
