"""Why did a command fail, as far as its own words and its ending tell? Read, never guessed."""

import re
from collections.abc import Mapping
from typing import Any

CAUSES_MAX = 8
LINE_CHARS = 240
_FRAME = re.compile(r'^\s*File "([^"]+)", line (\d+)', re.MULTILINE)
_RAISED = re.compile(
    r"^(?:[A-Za-z_][\w.]*\.)?(\w+(?:Error|Exception|Interrupt|Exit|Warning))(?:: (.*))?$", re.MULTILINE
)
_PLACE = re.compile(r"^(\S[^\s:]*\.\w+):(\d+)(?::\d+)?:? (?:fatal )?(?:error|Error)\b:? ?(.*)$", re.MULTILINE)
_MISSING = re.compile(r"(?:^|: )([\w./+-]+): (?:command )?not found$", re.MULTILINE)
_NOT_STARTED = re.compile(r"^command '([^'\n]+)' was not started$", re.MULTILINE)  # as our own wall says it
_MODULE = re.compile(r"No module named '?([\w.]+)'?")
_MAKE = re.compile(r"^make(?:\[\d+\])?: \*\*\* (.*)$", re.MULTILINE)
_PYTEST = re.compile(r"^(?:FAILED|ERROR) (\S+)(?: - (.*))?$", re.MULTILINE)
_NO_FILE = re.compile(
    r"(?:cannot (?:open|access|stat)|can't open file|No such file or directory)[: ]*(.*)$", re.MULTILINE
)
_NETWORK = re.compile(
    r"Temporary failure in name resolution|Could not resolve host|Network is unreachable|"
    r"Name or service not known|Failed to establish a new connection|getaddrinfo",
)
_WALL = re.compile(r"Read-only file system|Operation not permitted|Permission denied")
_SIGNALS = {
    9: "it was killed: most often too much memory",
    11: "it crashed (segmentation fault)",
    6: "it aborted",
}


def causes(outcome: Mapping[str, Any], text: str) -> list[str]:
    """What the end of a command says of its cause, the nearest first. text: its output and error output."""
    found: list[str] = []
    raised = _RAISED.findall(text)
    if raised:
        name, said = raised[-1]
        frames = [
            (p, n) for p, n in _FRAME.findall(text) if "/site-packages/" not in p and "/lib/python" not in p
        ]
        where = f" at {frames[-1][0]}:{frames[-1][1]}" if frames else ""
        found.append(f"{name}{f': {said}' if said else ''}{where}")
    found += [f"{path}:{line}: {said or 'error'}" for path, line, said in _PLACE.findall(text)]
    found += [f"the test {test} fails{f': {said}' if said else ''}" for test, said in _PYTEST.findall(text)]
    found += [f"make stops: {said}" for said in _MAKE.findall(text)]
    found += [
        f"the program {name!r} is not there: not installed, or not visible inside the wall"
        for name in (*_MISSING.findall(text), *_NOT_STARTED.findall(text))
    ]
    found += [
        f"the Python package of {name!r} is not there (--python EXE: an interpreter that has it)"
        for name in dict.fromkeys(_MODULE.findall(text))
    ]
    if not raised:
        found += [f"there is no {name.strip()}" for name in _NO_FILE.findall(text) if name.strip()]
    if _NETWORK.search(text):
        found.append("it wants the network, which no command here has: fetch what it needs before")
    if _WALL.search(text):
        found.append(
            "it was kept from something: outside its copy, and in protected files, nothing is written"
        )
    found += _ending(outcome)
    return [" ".join(line.split())[:LINE_CHARS] for line in dict.fromkeys(found)][:CAUSES_MAX]


def _ending(outcome: Mapping[str, Any]) -> list[str]:
    """What the exit code, signal or bound alone tells."""
    code, signal, reason = outcome.get("exit_code"), outcome.get("signal"), str(outcome.get("reason", ""))
    if reason and reason != "exited":
        return [f"it was stopped: {reason}"]
    if isinstance(signal, int) and signal in _SIGNALS:
        return [_SIGNALS[signal]]
    return {126: ["it cannot be executed (no permission, or no program)"], 137: [_SIGNALS[9]]}.get(
        code if isinstance(code, int) else 0, []
    )
