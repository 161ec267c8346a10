"""`veilig monitor`: score texts, judge tool calls, and see what the feeds hold, without a gateway."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, cast

from veilig.cli import feeds
from veilig.core.errors import EXIT_OK, UsageError


def options(parser: argparse.ArgumentParser) -> None:
    """What `monitor` takes."""
    parser.description = (
        "What the gateway's monitor sees. A score says how much a text sounds like intent to harm; on "
        "sources it has not seen it is often wrong, and alone it never suspends anybody (see its model card)."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    score = verbs.add_parser("score", help="score texts: JSON lines in, JSON lines out")
    score.add_argument("file", nargs="?", default="-", metavar="FILE", help="{text} per line; default stdin")
    score.add_argument("--jsonl", action="store_true", help="the form of input and output (the only one)")
    score.add_argument("--policy", metavar="FILE", help="the operator's policy, for its feeds and threshold")
    score.set_defaults(do=_score)
    feeds.options(verbs.add_parser("feeds", help="indicators of monitor.feeds: count, sync, find them"))


def run(given: argparse.Namespace) -> int:
    """0 done."""
    from veilig.cli.gateway import need_extra

    need_extra()
    return int(given.do(given))


def _rules(given: argparse.Namespace) -> Any:
    from veilig.app.watching import placed
    from veilig.home import find_home
    from veilig.law import find_laws

    home = find_home(os.environ)
    return placed(find_laws(home.path, given.policy, os.environ).operator.elsewhere.safeguards.monitor, home)


def _score(given: argparse.Namespace) -> int:
    from veilig.app.watching import load_indicators, load_scorer, make_engine
    from veilig.monitor.items import Item, Source
    from veilig.monitor.stream import ToolCall

    rules = _rules(given)
    engine, scorer = make_engine(rules, load_indicators(rules)), load_scorer()
    for number, line in enumerate(_lines(given.file), 1):
        value = _object(line, number)
        if isinstance(value.get("tool"), str):  # a tool call: {tool, arguments}
            found = engine.judge(
                ToolCall("", value["tool"], str(value.get("arguments", ""))), (), time.time()
            )
            score, strongest = 0.0, list[tuple[str, float]]()
        else:
            text = value.get("text")
            if not isinstance(text, str):
                raise UsageError(f"line {number} has no `text`", fix='write {"text": "..."}')
            found = engine.read([Item(Source.USER, text)], (), time.time())
            score, strongest = scorer.score(text), scorer.strongest(text, 5)
        facts = {
            "score": round(score, 4),
            "signals": [
                {"kind": str(s.kind), "severity": round(s.severity, 2), "confidence": s.confidence,
                 "evidence": list(s.evidence)}
                for s in found.signals
            ],
            "denied": found.denied,
            "strongest": [[word, round(weight, 2)] for word, weight in strongest],
        }  # fmt: skip
        print(json.dumps(facts, ensure_ascii=False))
    return EXIT_OK


def _lines(name: str) -> Iterator[str]:
    if name == "-":
        yield from (line for line in sys.stdin if line.strip())
        return
    try:
        with open(name, encoding="utf-8") as file:  # noqa: PTH123  # a stream, whatever its size
            yield from (line for line in file if line.strip())
    except OSError as error:
        raise UsageError(f"{name} cannot be read", why=str(error)) from error


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        value: object = json.loads(line)
    except ValueError as error:
        raise UsageError(f"line {number} is not JSON", why=str(error), fix='write {"text": "..."}') from error
    if not isinstance(value, dict):
        raise UsageError(f"line {number} is no JSON object", fix='write {"text": "..."}')
    return cast(dict[str, Any], value)
