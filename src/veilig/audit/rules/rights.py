"""Rules for rights: what a process keeps, and what it gives to what it starts."""

import ast
from collections.abc import Iterator

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.engine.state import constant
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.conditions import keyword_is
from veilig.audit.rules.rule import Check, Rule
from veilig.audit.rules.sketch import Sketch

type Marks = Iterator[tuple[ast.AST, Confidence]]


def _rights_in_order(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        body = function.body
        user = body.find("os.setuid(")
        if user < 0 and "pw_uid" in body:  # only the effective one is given up: it can be taken back
            user = body.find("os.seteuid(")
        if user < 0:
            continue
        group = body.find("os.setgid(")
        if group < 0 or group > user or ("setgroups" not in body and "initgroups" not in body):
            for call in function.calls():
                if dotted(call.func) in ("os.setuid", "os.seteuid"):
                    yield call, Confidence.CERTAIN
                    break


def _too_mighty(sketch: Sketch) -> Marks:
    yield from _rights_in_order(sketch)
    if not search(r"--(privileged|cap-add|pid=host)", sketch.text):
        return
    if not sketch.program.has(r"(?i)docker|podman|nerdctl|container"):
        return
    for node in sketch.each(ast.List):
        if isinstance(node, ast.List) and any(
            isinstance(item, ast.Constant) and item.value in ("--privileged", "--cap-add=ALL", "--pid=host")
            for item in node.elts
        ):
            yield node, Confidence.CERTAIN


RIGHTS = Rule(
    id="too-many-rights",
    cwe=250,
    title="more rights than needed",
    severity=Severity.MEDIUM,
    what="rights are kept or taken that the work does not need",
    why="CWE-250: every other weakness now has them too (CWE-269, CWE-271)",
    advice="initgroups, setgid, setuid, in this order; privileged=False",
    silent="rights dropped in the right order",
    shape=_too_mighty,
    checks=(
        Check(("os.setuid", "os.seteuid", "os.setgid"), lambda _frame, site: constant(site.arg(0)) == 0),
        Check((".run", ".create"), keyword_is(99, "privileged", True)),
    ),
    bad="import os\ndef drop():\n    os.setuid(1000)\n    os.setgid(1000)\n",
    good="import os\ndef drop():\n    os.setgroups([])\n    os.setgid(1000)\n    os.setuid(1000)\n",
)

RULES = (RIGHTS,)
