"""Does the desktop look as a task wants it? Metrics over what was found in the world, each from 0 to 1.

The rules are OSWorld's, written anew: what stands in the world is text or bytes by then; none of it runs.
"""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from veilig.evals.task import TaskError

type Json = Mapping[str, Any]
type Found = str | bytes | Json | ET.Element | None


def score(func: str, found: Found, wanted: Found, options: Json) -> float:
    """What a metric says. Something that is not there, or is not of its form, is 0. Raises TaskError."""
    if found is None:
        return 0.0
    try:
        return 1.0 if _METRICS[func](found, wanted, options) else 0.0
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error):
        return 0.0
    except (KeyError, TypeError, AttributeError, SyntaxError, re.error) as error:
        raise TaskError(
            f"the rules of {func} cannot be read", why=f"{type(error).__name__}: {error}"
        ) from error


def together(scores: Sequence[float], conj: str) -> float:
    """One score of several: with "and" 0 when one is 0, else their mean; with "or" the best."""
    if conj == "or":
        return max(scores)
    return 0.0 if 0.0 in scores else sum(scores) / len(scores)


def _text(value: Found) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value if isinstance(value, str) else json.dumps(value)


def _rules(value: Found) -> Json:
    if not isinstance(value, Mapping):
        raise TypeError("a rule is an object")
    return value


def _exact(found: Found, wanted: Found, options: Json) -> bool:
    del options
    return _text(found) == str(_rules(wanted)["expected"])


def _literal(found: Found, wanted: Found, options: Json) -> bool:
    first, second = (
        _text(found),
        _text(wanted) if not isinstance(wanted, Mapping) else str(wanted["expected"]),
    )
    if options.get("ignore_case"):
        first, second = first.lower(), second.lower()
    return first == second


def _in_list(found: Found, wanted: Found, options: Json) -> bool:
    del options
    return _text(found) in [str(one) for one in cast(list[Any], _rules(wanted)["expected"])]


def _has_in_list(found: Found, wanted: Found, options: Json) -> bool:
    """Whether the expected line is one of those found."""
    del options
    return str(_rules(wanted)["expected"]) in _text(found).splitlines()


def _include(found: Found, wanted: Found, options: Json) -> bool:
    del options
    text, rules = _text(found), _rules(wanted)
    return all(str(one) in text for one in cast(list[Any], rules.get("include", []))) and not any(
        str(one) in text for one in cast(list[Any], rules.get("exclude", []))
    )


def _contains(found: Found, wanted: Found, options: Json) -> bool:
    del options
    text = _text(found)
    return all(str(one) in text for one in cast(list[Any], _rules(wanted)["expected"]))


def _lines(found: Found, wanted: Found, options: Json) -> bool:
    """Each expected pattern matches some line, no unexpected one does."""
    del options
    lines, rules = _text(found).splitlines(), _rules(wanted)

    def some(pattern: object) -> bool:
        return any(re.search(str(pattern), line) for line in lines)

    return all(some(one) for one in cast(list[Any], rules.get("expect", []))) and not any(
        some(one) for one in cast(list[Any], rules.get("unexpect", []))
    )


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "in": lambda a, b: a in b,
    "not_in": lambda a, b: a not in b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "re": lambda a, b: re.search(str(b), str(a)) is not None,
}


def _json(found: Found, wanted: Found, options: Json) -> bool:
    """Each expected key holds; no unexpected one does."""
    del options
    whole: Any = json.loads(_text(found))
    rules = _rules(wanted)

    def holds(rule: Json) -> bool:
        value: Any = whole
        for key in cast(list[Any], rule["key"]):
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return False
        try:
            return _COMPARE[str(rule["method"])](value, rule["ref"])
        except TypeError:
            return False

    return all(holds(one) for one in cast(list[Json], rules.get("expect", []))) and not any(
        holds(one) for one in cast(list[Json], rules.get("unexpect", []))
    )


def _csv(found: Found, wanted: Found, options: Json) -> bool:
    """Some row fits each expected one, none an unexpected one; a row fits by the columns that are named."""
    del options
    rows = list(csv.DictReader(io.StringIO(_text(found))))
    rules = _rules(wanted)

    def some(shape: Json) -> bool:
        return any(all(row.get(name) == str(value) for name, value in shape.items()) for row in rows)

    return all(some(one) for one in cast(list[Json], rules.get("expect", []))) and not any(
        some(one) for one in cast(list[Json], rules.get("unexpect", []))
    )


def _same_csv(found: Found, wanted: Found, options: Json) -> bool:
    both = [list(csv.reader(io.StringIO(_text(one)))) for one in (found, wanted)]
    if not options.get("strict", True):
        both = [[[cell.strip() for cell in row] for row in rows if any(row)] for rows in both]
    if options.get("ignore_case"):
        both = [[[cell.lower() for cell in row] for row in rows] for rows in both]
    return both[0] == both[1]


def _same_text(found: Found, wanted: Found, options: Json) -> bool:
    both = [_text(one) for one in (found, wanted)]
    if options.get("ignore_blanks"):
        both = [re.sub(r"\s+", " ", text).strip() for text in both]
    if options.get("ignore_case"):
        both = [text.lower() for text in both]
    return both[0] == both[1]


def _tree(found: Found, wanted: Found, options: Json) -> bool:
    """Each rule's path finds a node, whose text is as the rule says."""
    del options
    if not isinstance(found, ET.Element):
        raise TypeError("its result is no accessibility tree")
    root = found
    given: Any = wanted if isinstance(wanted, list) else _rules(wanted).get("rules", [wanted])
    for rule in cast(list[Json], given):
        if "selectors" in rule:
            raise TypeError("css selectors are not known here: give an xpath")
        texts = [node.get("text") or node.get("name") or "" for node in root.findall(str(rule["xpath"]))]
        text = str(rule.get("text", ""))
        if not any(one == text if rule.get("exact", True) and text else text in one for one in texts):
            return False
    return True


_METRICS: Mapping[str, Callable[[Found, Found, Json], bool]] = {
    "exact_match": _exact,
    "literal_match": _literal,
    "match_in_list": _in_list,
    "is_in_list": _has_in_list,
    "check_include_exclude": _include,
    "file_contains": _contains,
    "check_list": _lines,
    "check_json": _json,
    "check_csv": _csv,
    "compare_csv": _same_csv,
    "compare_text_file": _same_text,
    "check_accessibility_tree": _tree,
}
