"""What is a task at a desktop? OSWorld's form: how it is set up, what is asked, how the end is judged.

Read is what a machine without images can do; other steps, getters, metrics, keys are refused by name. Paths
below /home/user are below /user in the world of a trial. Source: OSWorld's evaluation examples (Apache-2.0).
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from veilig.core.suggest import nearest
from veilig.evals.task import TIMEOUT_S_MAX, Network, Task, TaskError, Verifier, digest_of

HOME = "/user"  # where /home/user of an example lies
FILE = "example.json"
AGENT_S = 600.0
SLEEP_S_MAX = 120.0

type Json = Mapping[str, Any]

# kind -> the parameters that mean something; those of the first tuple must be there
STEPS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "download": (("files",), ()),
    "launch": (("command",), ("shell",)),
    "execute": (("command",), ("shell",)),
    "command": (("command",), ("shell",)),
    "open": (("path",), ()),
    "sleep": (("seconds",), ()),
    "activate_window": (("window_name",), ("strict",)),
    "close_window": (("window_name",), ("strict",)),
}
GETTERS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "vm_file": (("path",), ("dest",)),
    "vm_command_line": (("command",), ("shell",)),
    "rule": (("rules",), ()),
    "cloud_file": (("path",), ("dest",)),
    "accessibility_tree": ((), ()),
}
METRICS = (
    *("exact_match", "literal_match", "match_in_list", "is_in_list", "check_include_exclude"),
    *("file_contains", "check_list", "check_json", "check_csv", "compare_csv", "compare_text_file"),
    *("check_accessibility_tree", "infeasible"),
)
_TOP = (
    *(
        "id",
        "snapshot",
        "instruction",
        "source",
        "config",
        "trajectory",
        "related_apps",
        "evaluator",
        "proxy",
    ),
    *("fixed_ip", "possibility_of_env_change", "veilig"),
)
_OURS = ("timeout_sec", "difficulty", "category")  # of "veilig"


@dataclass(frozen=True, slots=True)
class Check:
    """One metric: of what is found in the world, and what is expected."""

    func: str
    result: Json | None
    expected: Json | None
    options: Json


@dataclass(frozen=True, slots=True)
class Example:
    """How a task is set up and judged. conj: whether all checks must hold ("and") or one ("or")."""

    config: tuple[Json, ...]
    postconfig: tuple[Json, ...]
    checks: tuple[Check, ...]
    conj: str

    @property
    def infeasible(self) -> bool:
        """Whether the right answer is that it cannot be done."""
        return any(check.func == "infeasible" for check in self.checks)


def read_example(place: Path) -> Task:
    """The task in a file of OSWorld's form. Raises TaskError naming the file and what is not known.

    place: `FOLDER/example.json`, beside which its files lie, or any `ID.json`.
    """
    try:
        given: Any = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TaskError(f"{place} holds no task that can be read", why=str(error)) from error
    if not isinstance(given, dict):
        raise TaskError(f"{place} holds no task", why="an example is a JSON object")
    said = cast(Json, _moved(given))
    _known(said, _TOP, place, "")
    example = _example(said, place)
    ours = cast(Json, said.get("veilig", {}))
    _known(ours, _OURS, place, "veilig: ")
    alone = place.name != FILE
    apps = [str(app) for app in cast(list[Any], said.get("related_apps") or [])]
    limit_s = float(ours.get("timeout_sec", AGENT_S))
    if not 0 < limit_s <= TIMEOUT_S_MAX:
        raise TaskError(f"{place}: timeout_sec is {limit_s}", fix=f"give seconds to {TIMEOUT_S_MAX:.0f}")
    return Task(
        name=place.stem if alone else place.parent.name,
        folder=place.parent,
        instruction=str(said.get("instruction", "")).strip(),
        agent_timeout_s=limit_s,
        verifier_timeout_s=300.0,
        build_timeout_s=300.0,
        network=Network.NONE,
        verifier=Verifier.SHARED,
        memory_mb=0,
        cpus=0,
        storage_mb=0,
        workdir=HOME,
        env={},
        verifier_env={},
        solution_env={},
        difficulty=str(ours.get("difficulty", "")),
        category=str(ours.get("category", "desktop")),
        tags=tuple(apps),
        programs=_programs(example),
        agent="desktop",
        digest=_digest(place, alone=alone),
        example=example,
    )


def _digest(place: Path, *, alone: bool) -> str:
    if not alone:
        return digest_of(place.parent)
    import hashlib

    return hashlib.sha256(place.read_bytes()).hexdigest()


def _example(said: Json, place: Path) -> Example:
    if not str(said.get("instruction", "")).strip():
        raise TaskError(f"{place} has no instruction")
    if said.get("proxy"):
        raise TaskError(f"{place}: it wants a proxy", why="the wall here lets nothing out")
    judge = cast(Json, said.get("evaluator") or {})
    _known(judge, ("func", "conj", "result", "expected", "options", "postconfig"), place, "evaluator: ")
    config = _steps(said.get("config") or [], place, "config")
    after = _steps(judge.get("postconfig") or [], place, "postconfig")
    conj = str(judge.get("conj", "and"))
    if conj not in ("and", "or"):
        raise TaskError(f"{place}: conj is {conj!r}", fix='write "and" or "or"')
    return Example(config, after, _checks(judge, place), conj)


def _checks(judge: Json, place: Path) -> tuple[Check, ...]:
    func = judge.get("func")
    if not func:
        raise TaskError(f"{place} has no evaluator.func", why="a task without a judge scores nothing")
    if isinstance(func, str):
        parts: list[tuple[Any, ...]] = [
            (func, judge.get("result"), judge.get("expected"), judge.get("options"))
        ]
    else:
        names = cast(list[Any], func)
        parts = [(name, *(_nth(judge.get(key), i) for key in ("result", "expected", "options")))
                 for i, name in enumerate(names)]  # fmt: skip
    found: list[Check] = []
    for name, result, expected, options in parts:
        if name not in METRICS:
            raise _unknown(place, "metric", str(name), METRICS)
        for getter in (result, expected):
            if getter:
                _getter(cast(Json, getter), place)
        if name != "infeasible" and not result:
            raise TaskError(f"{place}: {name} has no result to look at")
        found.append(Check(str(name), result or None, expected or None, options or {}))
    return tuple(found)


def _nth(value: Any, index: int) -> Any:
    """The value for one of several metrics; none where the list is shorter or not there."""
    items = cast(Sequence[Any], value) if isinstance(value, list) else ()
    return items[index] if index < len(items) else None


def _getter(getter: Json, place: Path) -> None:
    kind = str(getter.get("type", ""))
    if kind not in GETTERS:
        raise _unknown(place, "getter", kind, tuple(GETTERS))
    need, may = GETTERS[kind]
    _known(getter, ("type", *need, *may), place, f"{kind}: ")
    _need(getter, need, place, kind)
    if kind == "cloud_file":
        _own_file(str(getter["path"]), place)


def _steps(given: Any, place: Path, where: str) -> tuple[Json, ...]:
    found: list[Json] = []
    for step in cast(list[Json], given):
        kind, parameters = str(step.get("type", "")), cast(Json, step.get("parameters") or {})
        if kind not in STEPS:
            raise _unknown(place, f"step of {where}", kind, tuple(STEPS))
        need, may = STEPS[kind]
        _known(parameters, (*need, *may), place, f"{where} {kind}: ")
        _need(parameters, need, place, f"{where} {kind}")
        if kind == "download":
            for file in cast(list[Json], parameters["files"]):
                _need(file, ("url", "path"), place, "download")
                _own_file(str(file["url"]), place)
        if kind == "sleep" and not 0 < float(parameters["seconds"]) <= SLEEP_S_MAX:
            raise TaskError(f"{place}: it sleeps {parameters['seconds']} s", why=f"at most {SLEEP_S_MAX:g}")
        found.append({"type": kind, **parameters})
    return tuple(found)


def _own_file(path: str, place: Path) -> None:
    """Raises TaskError for what is no file beside the example: nothing is fetched here."""
    plain = PurePosixPath(path.removeprefix("file:"))
    if "://" in path or plain.is_absolute() or ".." in plain.parts:
        raise TaskError(
            f"{place}: {path!r} would have to be fetched",
            why="a trial has no network",
            fix="put the file beside the example and name it by its relative path",
        )
    if not (place.parent / plain).is_file():
        raise TaskError(f"{place}: {path!r} is not beside it")


def argv_of(parameters: Json) -> tuple[str, ...]:
    """The argv of a command, given as a list or as text. Raises TaskError for one that cannot be read."""
    command = parameters["command"]
    if isinstance(command, str):
        if parameters.get("shell"):
            return ("bash", "-c", command)
        try:
            return tuple(shlex.split(command))
        except ValueError as error:
            raise TaskError(f"the command {command!r} cannot be read", why=str(error)) from error
    words = tuple(str(word) for word in cast(list[Any], command))
    return ("bash", "-c", shlex.join(words)) if parameters.get("shell") else words


def _programs(example: Example) -> tuple[str, ...]:
    """What must be installed: the programs that the set-up and the judge start."""
    found: dict[str, None] = {"Xvfb": None, "xdotool": None, "openbox": None}
    for step in (*example.config, *example.postconfig):
        if step["type"] in ("launch", "execute", "command"):
            found |= dict.fromkeys([Path(argv_of(step)[0]).name])
        elif step["type"] == "open":
            found["xdg-open"] = None
    for check in example.checks:
        if check.result and check.result["type"] == "vm_command_line":
            found |= dict.fromkeys([Path(argv_of(check.result)[0]).name])
    return tuple(found)


def _moved(value: Any) -> Any:
    """The same with /home/user as this world has it."""
    if isinstance(value, str):
        return value.replace("/home/user", HOME)
    if isinstance(value, list):
        return [_moved(one) for one in cast(list[Any], value)]
    if isinstance(value, dict):
        return {key: _moved(one) for key, one in cast(dict[str, Any], value).items()}
    return value


def _known(given: Json, names: Sequence[str], place: Path, where: str) -> None:
    for key in given:
        if key not in names:
            raise _unknown(place, f"{where}key", key, names)


def _need(given: Json, names: Sequence[str], place: Path, what: str) -> None:
    if missing := [name for name in names if given.get(name) in (None, "", [])]:
        raise TaskError(f"{place}: {what} has no {missing[0]}")


def _unknown(place: Path, what: str, name: str, known: Sequence[str]) -> TaskError:
    meant = nearest(name, list(known))
    return TaskError(
        f"{place}: {what} {name!r} is not known here",
        why="it needs an image, a network or a judge that this runner does not have",
        fix=f"did you mean {meant!r}?" if meant else "run the task with OSWorld",
    )
