"""`veilig policy`: does veilig.yaml validate, what would it decide and why, and which law holds here?"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veilig.cli.record import print_json
from veilig.cli.style import Style, printable
from veilig.core.errors import EXIT_FINDINGS, EXIT_OK, EXIT_USAGE, UsageError

if TYPE_CHECKING:
    from veilig.core.action import Action
    from veilig.core.policy import Policy
    from veilig.law import Laws

FILE = "veilig.yaml"
ACTION_BYTES_MAX = 8 << 20  # twice the largest action the system takes

# KIND TARGET... of the short form -> the JSON fields it stands for
_SHORT: Mapping[str, tuple[str, ...]] = {
    "file.read": ("path",),
    "file.view": ("path",),
    "output.read": ("ref",),
    "workspace.restore": ("tree",),
    "workspace.open": ("source",),
    "history.read": ("source",),
    "workspace.diff": (),
    "workspace.apply": ("root",),
    "git.branch": ("root",),
    "command.run": ("argv...",),
    "tests.run": ("command...",),
    "audit.scan": ("paths...",),
    "service.restart": ("service",),
    "service.stop": ("service",),
    "container.scale_up": ("group", "current", "replicas"),
    "container.scale_down": ("group", "current", "replicas"),
    "security_group.describe": ("group",),
    "security_group.change": ("group", "verb", "rule"),
    "database.change": ("database", "verb"),
    "model.ask": ("model",),
    "file.write": ("path",),
    "file.delete": ("path",),
}
_FILLED: Mapping[str, dict[str, Any]] = {
    "workspace.apply": {"diff": "", "base": []},
    "git.branch": {"branch": "veilig/explained", "diff": "", "message": "explained", "base": []},
    "model.ask": {"prompt": "explained", "tokens_max": 1},
    "file.write": {"content": ""},
    "file.delete": {"before": "0" * 64},
}


def options(parser: argparse.ArgumentParser) -> None:
    """What `policy` takes."""
    parser.description = (
        "The operator's policy decides; a project's own veilig.yaml can only tighten it. A file that does "
        "not validate stops every change."
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser("check", help="every mistake with its line and a caret")
    check.add_argument(
        "file", nargs="?", metavar="FILE", help=f"default: ./{FILE}, else the operator's policy"
    )
    check.set_defaults(do=_check)
    explain = actions.add_parser(
        "explain",
        help="what would be decided about an action, by which rule, and why not by others",
        epilog="KIND TARGET is the short form of common kinds: "
        + "; ".join(f"{kind} {' '.join(names)}".strip() for kind, names in _SHORT.items())
        + ". Put `--` before words that begin with a dash.",
    )
    explain.add_argument("kind", nargs="?", metavar="KIND", help="such as command.run")
    explain.add_argument("target", nargs="*", metavar="TARGET", help="its arguments in the order shown below")
    explain.add_argument(
        "--action", metavar="JSON|@FILE|-", help="the whole action, as the reference shows it"
    )
    explain.add_argument(
        "--actor", default="agent:fix", metavar="NAME", help="who proposes (default agent:fix)"
    )
    explain.set_defaults(do=_explain)
    test = actions.add_parser("test", help="decide the examples under `tests:` and compare")
    test.add_argument(
        "file", nargs="?", metavar="FILE", help=f"default: ./{FILE}, else the operator's policy"
    )
    test.set_defaults(do=_test)
    show = actions.add_parser("show", help="which files hold here, with digest and mode")
    show.set_defaults(do=_show)
    for action in (check, explain, test, show):
        action.add_argument("--policy", metavar="FILE", help="the operator's policy")
        action.add_argument("--json", action="store_true", help="print JSON")


def run(given: argparse.Namespace) -> int:
    """Exit code 0; 1 for an example that came out differently; 2 for a file that does not validate."""
    return int(given.do(given))


# --- check, test, show -------------------------------------------------------------------------------


def _check(given: argparse.Namespace) -> int:
    from veilig.core.policy import check, load

    path = _file(given)
    if path is None:
        _say(given, {"ok": True, "file": None}, f"there is no {FILE} here: the built-in policy holds")
        return EXIT_OK
    problems = check(path)
    if given.json:
        shown = [
            {
                "line": p.mark.line,
                "column": p.mark.column,
                "what": p.what,
                "expected": p.expected,
                "fix": p.fix,
            }
            for p in problems
        ]
        print_json({"ok": not problems, "file": str(path), "problems": shown})
        return EXIT_USAGE if problems else EXIT_OK
    if problems:
        for problem in problems:
            print(problem, file=sys.stderr)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        print(f"{path}: {count}; nothing is changed under it until it validates", file=sys.stderr)
        return EXIT_USAGE
    policy = load(path)
    print(f"{path}: valid, mode {policy.mode.value}, digest {policy.digest[:12]}")
    if not policy.examples:
        print(
            f"note    it has no examples; `tests:` in it makes `veilig policy test {path}` watch your rules"
        )
    return EXIT_OK


def _test(given: argparse.Namespace) -> int:
    from veilig.core.policy import load
    from veilig.core.policy_examples import run_tests

    path = _file(given)
    results = run_tests(load(path)) if path is not None else []
    failed = [r for r in results if not r.ok]
    if given.json:
        shown = [
            {
                "rule": r.rule,
                "name": r.name,
                "ok": r.ok,
                "expected": r.expected.value,
                "got": r.decision.verdict.value if r.decision else None,
                "why": r.why,
            }
            for r in results
        ]
        print_json({"file": str(path) if path else None, "failed": len(failed), "tests": shown})
        return EXIT_FINDINGS if failed else EXIT_OK
    style = Style(sys.stdout)
    for r in results:
        word = style("good", "ok    ") if r.ok else style("bad", "FAILED")
        print(f"{word}  {r.expected.value:<5}  {printable(r.name)}" + ("" if r.ok else f"  ({r.rule})"))
        if not r.ok:
            print(f"        {printable(r.why)}")
    if not results:
        print(f"{path or FILE}: no examples to decide; write them under `tests:`")
    else:
        print(f"{path}: {len(results) - len(failed)} of {len(results)} examples decided as expected")
    return EXIT_FINDINGS if failed else EXIT_OK


def _show(given: argparse.Namespace) -> int:
    laws = _laws(given)
    policies = [laws.operator, *([laws.project] if laws.project else [])]
    if given.json:
        files = [{"file": p.source, "mode": p.mode.value, "digest": p.digest} for p in policies]
        print_json({"law": laws.names(), "digest": laws.digest(), "files": files})
        return EXIT_OK
    print(f"law     {laws.names()}")
    for word, policy in zip(("decides", "tightens"), policies, strict=False):
        print(f"{word:<8}{policy.source}   mode {policy.mode.value}, digest {policy.digest[:12]}")
    if len(policies) == 1:
        print(f"note    there is no {FILE} in this folder that would tighten it")
    return EXIT_OK


# --- explain -----------------------------------------------------------------------------------------


def _explain(given: argparse.Namespace) -> int:
    from veilig.core.actor import Actor, ActorKind
    from veilig.core.policy import decide
    from veilig.core.policy_examples import kindest
    from veilig.core.policy_explain import explain
    from veilig.law import strictest

    action = _action(given)
    kind = ActorKind.AGENT if given.actor.startswith("agent:") else ActorKind.HUMAN
    actor = Actor(given.actor, kind)
    laws = _laws(given)
    facts = replace(kindest(action), now_wall_s=time.time())
    policies: list[Policy] = [laws.operator, *([laws.project] if laws.project else [])]
    decisions = [decide(policy, action, actor, facts) for policy in policies]
    final = decisions[0] if len(decisions) == 1 else strictest(*decisions)
    if given.json:
        needs = [
            {"gateway": str(n.gateway), "roles": sorted(n.roles), "quorum": n.quorum} for n in final.needs
        ]
        print_json(
            {
                "verdict": final.verdict.value,
                "rule": final.rule,
                "reasons": list(final.reasons),
                "needs": needs,
                "budgets": [{"key": b.key, "limit": b.limit, "window_s": b.window_s} for b in final.budgets],
                "grantable": final.grantable,
                "policies": [{"file": p.source, "digest": p.digest} for p in policies],
            }
        )
        return EXIT_OK
    print("\n\n".join(_readable(explain(policy, action, actor, facts)) for policy in policies))
    if len(policies) > 1:
        print(f"\ntogether  {final.verdict.value}, by {printable(final.rule)}: the stricter one counts")
    if action.kind.startswith(("service.", "container.", "security_group.", "database.")):
        print("assumed   the target is known, managed, within its bounds, and not the last healthy one")
    return EXIT_OK


def _readable(text: str) -> str:
    return "\n".join(" " * (len(line) - len(line.lstrip())) + printable(line) for line in text.splitlines())


def _action(given: argparse.Namespace) -> "Action":
    from veilig.core.action_json import from_json

    if given.action and given.kind:
        raise UsageError("both --action and KIND are given", fix="give one of them")
    if given.action:
        return from_json(_read_json(given.action))
    if not given.kind:
        raise UsageError(
            "nothing to explain", fix="`veilig policy explain command.run git status`, or --action JSON"
        )
    return from_json(_from_words(given.kind, given.target))


def _read_json(text: str) -> object:
    try:
        if text == "-":
            raw = sys.stdin.buffer.read(ACTION_BYTES_MAX + 1)
        elif text.startswith("@"):
            with Path(text[1:]).open("rb") as file:
                raw = file.read(ACTION_BYTES_MAX + 1)
        else:
            raw = text.encode("utf-8", "surrogateescape")
    except OSError as error:
        raise UsageError(f"cannot read {text[1:]!r}", why=error.strerror or str(error)) from error
    if len(raw) > ACTION_BYTES_MAX:
        raise UsageError(f"the action is larger than {ACTION_BYTES_MAX} bytes", why="no action may be")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            "--action is not JSON",
            why=str(error),
            fix="""for example: --action '{"kind": "command.run", "argv": ["git", "status"]}'""",
        ) from error


def _from_words(kind: str, words: Sequence[str]) -> dict[str, Any]:
    """The JSON of the short form. Raises UsageError when the words do not fit the kind."""
    names = _SHORT.get(kind)
    if names is None:
        from veilig.core.action import KINDS

        known = f"kinds with a short form are {', '.join(_SHORT)}"
        fix = "give it as JSON: --action" if kind in KINDS else "see docs/reference/actions.md"
        raise UsageError(f"{kind!r} has no short form", why=known, fix=fix)
    ready: dict[str, Any] = {"kind": kind, **_FILLED.get(kind, {})}
    if names and names[0].endswith("..."):
        name = names[0].removesuffix("...")
        if name == "argv" and not words:
            raise UsageError("command.run needs a command", fix="policy explain command.run git status")
        return ready | ({name: list(words)} if words else {})
    if len(words) != len(names):
        raise UsageError(
            f"{kind} takes {len(names)} arguments, {len(words)} are given",
            why=f"they are {', '.join(names) or 'none'}",
            fix="see `veilig policy explain --help`",
        )
    for name, word in zip(names, words, strict=True):
        ready[name] = _CONVERT.get(name, str)(word)
    return ready


def _whole(word: str) -> int:
    if not word.isascii() or not word.isdigit():
        raise UsageError(f"{word!r} is not a whole number")
    return int(word)


def _absolute(word: str) -> str:
    return str(Path(word).expanduser().absolute())


_CONVERT: Mapping[str, Callable[[str], Any]] = {
    "current": _whole,
    "replicas": _whole,
    "root": _absolute,
    "source": _absolute,
}


# --- which files ---------------------------------------------------------------------------------------


def _laws(given: argparse.Namespace) -> "Laws":
    """The law for work in this folder. Raises PolicyError when a file does not validate."""
    from veilig.law import find_laws

    return find_laws(Path.cwd(), given.policy, os.environ)


def _file(given: argparse.Namespace) -> Path | None:
    """The file to look at: the one named, the one here, or the operator's; None when there is none."""
    from veilig.law import SYSTEM

    named = given.file or given.policy
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    given_by = os.environ.get("VEILIG_POLICY")
    usual = [
        Path(FILE),
        *([Path(given_by)] if given_by else [Path(base).expanduser() / "veilig" / FILE, SYSTEM]),
    ]
    return next((p for p in usual if p.exists() or str(p) == given_by), None)


def _say(given: argparse.Namespace, value: dict[str, Any], text: str) -> None:
    if given.json:
        print_json(value)
    else:
        print(text)
