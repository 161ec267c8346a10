"""How does a session leave the server as a file? As a page, JSON, or a recording of a terminal.

Made of views only, which one role may see: nothing here reads an event.
"""

import html
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

FORMS: Final = ("html", "json", "asciinema")
STYLE: Final = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#111;"
    "background:#fff}table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;"
    "padding:.25rem .5rem;border-bottom:1px solid #ddd}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0;"
    "font:12px/1.4 ui-monospace,monospace}.n{color:#555;white-space:nowrap}@media(prefers-color-scheme:dark){"
    "body{color:#ddd;background:#111}td,th{border-color:#333}.n{color:#aaa}}"
)

ONLY_STYLE: Final = "default-src 'none'; style-src 'unsafe-inline'"  # the file loads and runs nothing

type Json = Mapping[str, Any]


def exported(
    form: str, summary: Json, events: Sequence[Json], role: str, *, complete: bool
) -> tuple[bytes, bytes, str]:
    """The file's content, its media type and its name."""
    ident = str(summary["id"])
    match form:
        case "json":
            value = {"session": dict(summary), "role": role, "complete": complete, "events": list(events)}
            return (
                json.dumps(value, ensure_ascii=False, indent=1).encode(),
                b"application/json",
                f"{ident}.json",
            )
        case "asciinema":
            return _cast(summary, events).encode(), b"application/x-asciicast", f"{ident}.cast"
        case _:
            page = _page(summary, events, role, complete=complete)
            return page.encode(), b"text/html; charset=utf-8", f"{ident}.html"


def _cast(summary: Json, events: Sequence[Json]) -> str:
    """Version 2 of asciicast: what commands printed, line by line, at the time at which it was recorded."""
    begun = int(events[0]["at"]) if events else 0
    head = {
        "version": 2, "width": 120, "height": 40, "timestamp": begun // 1000,
        "title": f"{summary['kind']} {summary['repository']}",
    }  # fmt: skip
    lines = [json.dumps(head, ensure_ascii=False)]
    for event in events:
        text = _spoken(event)
        if text:
            at = max(0.0, (int(event["at"]) - begun) / 1000)
            lines.append(json.dumps([at, "o", text.replace("\n", "\r\n") + "\r\n"], ensure_ascii=False))
    return "\n".join(lines) + "\n"


def _spoken(event: Json) -> str:
    match event["kind"]:
        case "action.proposed":
            return f"> {event['title']}"
        case "action.output":
            return str(event["outcome"]["text"])
        case "action.decided" | "action.refused" | "session.ended" | "session.told" | "comment.added":
            return f"# {event['title']}"
        case _:
            return ""


def _page(summary: Json, events: Sequence[Json], role: str, *, complete: bool) -> str:
    rows = "\n".join(_row(event) for event in events)
    title = html.escape(f"{summary['kind']} {summary['id']}")
    cut = "" if complete else "<p><strong>Later events are left out: the record is longer.</strong></p>"
    facts = html.escape(f"{summary['repository']} · {summary['state']} · {summary['summary']}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{ONLY_STYLE}">'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1><p>{facts}</p>"
        f"<p>As a {html.escape(role)} may see it. Secrets are handles.</p>{cut}"
        "<table><thead><tr><th>seq</th><th>time (UTC)</th><th>who</th><th>what</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></body></html>\n"
    )


def _row(event: Json) -> str:
    at = datetime.fromtimestamp(int(event["at"]) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    more: Json = event.get("outcome") or {}
    text = str(event.get("text") or more.get("text") or event.get("preview") or event.get("reason") or "")
    body = f"<pre>{html.escape(text)}</pre>" if text and text != event["title"] else ""
    verdict = f"{event['verdict']} by {event['rule']}: " if event.get("verdict") and event.get("rule") else ""
    return (
        f'<tr><td class="n">{event["seq"]}</td><td class="n">{at}</td>'
        f'<td class="n">{html.escape(str(event["who"]["name"]))}</td>'
        f"<td><strong>{html.escape(str(event['kind']))}</strong> {html.escape(verdict)}"
        f"{html.escape(str(event['title']))}{body}</td></tr>"
    )
