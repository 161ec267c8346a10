"""`veilig redact`: a filter that puts handles in the place of secrets, or lists where they stand."""

import argparse
import json
import os
import select
import sys
from typing import Any, cast

from veilig.core.errors import EXIT_OK, UsageError

CHUNK_BYTES = 1 << 16
LINE_BYTES_MAX = 64 << 20  # one item of --jsonl; larger is not a text to look at


def options(parser: argparse.ArgumentParser) -> None:
    """What `redact` takes."""
    parser.description = (
        "Copy standard input to standard output with every known secret replaced by its handle: secrets of "
        "this environment, and what has the published shape of one. The same secret has the same handle as "
        "in the ledger. What may be the beginning of a secret is held until it is whole."
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="somebody watches (so it is on a terminal): show at most three characters of what may be the "
        "beginning of a secret after 0.2 s, and a mark in place of a longer one after 2 s",
    )
    parser.add_argument(
        "--jsonl",
        action="store_true",
        help='read {"id", "text"} per line, write {"id", "spans": [[start, end, kind]]} in characters',
    )


def run(given: argparse.Namespace) -> int:
    """Exit code 0; 2 for a line that is no item (everything before it was written)."""
    return _spans() if given.jsonl else _filter(live=given.live or sys.stdout.isatty())


def _filter(*, live: bool) -> int:
    from veilig.home import find_home

    stream = find_home(os.environ).redactor(os.environ).stream()
    source, sink = sys.stdin.fileno(), sys.stdout.buffer
    while True:
        ready, _, _ = select.select([source], [], [], stream.waits_s() if live else None)
        data = os.read(source, CHUNK_BYTES) if ready else b""
        if ready and not data:
            break
        sink.write(stream.feed(data) if data else stream.late())
        sink.flush()
    sink.write(stream.flush())
    sink.flush()
    return EXIT_OK


def _spans() -> int:
    from veilig.core.redact import find

    for number, line in enumerate(iter(lambda: sys.stdin.buffer.readline(LINE_BYTES_MAX + 1), b""), 1):
        if len(line) > LINE_BYTES_MAX:
            raise UsageError(f"line {number} is longer than {LINE_BYTES_MAX} bytes", fix="cut it")
        if not line.strip():
            continue
        item = _item(line, number)
        spans = [[span.start, span.end, span.kind] for span in find(str(item["text"]))]
        print(json.dumps({"id": item["id"], "spans": spans}, ensure_ascii=False))
    return EXIT_OK


def _item(line: bytes, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"line {number} is not JSON", why=str(error), fix="one object per line") from error
    item = cast(dict[str, Any], value) if isinstance(value, dict) else {}
    if "id" not in item or not isinstance(item.get("text"), str):
        raise UsageError(
            f"line {number} is not an item", why='an item is {"id": ..., "text": "..."}', fix="correct it"
        )
    return item
