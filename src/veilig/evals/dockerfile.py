"""What does a task's Dockerfile ask for? Steps of a subset that needs no image; the rest is refused by line.

The base image becomes this machine's own programs, read-only; what the image would have brought is named in
`[metadata] programs` and looked for. Known: FROM, WORKDIR, ENV, COPY, RUN, and ARG and LABEL without effect.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from veilig.evals.task import TaskError

BASES = ("debian", "ubuntu", "python", "busybox", "alpine", "ghcr.io/astral-sh/uv", "veilig")
_INSTALLS = re.compile(r"\b(apt-get|apt|apk|pip3?|uv pip|npm)\b[^&|;]*\b(install|update|add|upgrade)\b")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: kind is "copy" or "run"; `at` is the working folder then, `env` what is set then."""

    kind: str
    at: str
    env: Mapping[str, str]
    words: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the environment is made. skipped: installations that the machine's programs stand for."""

    base: str
    steps: tuple[Step, ...]
    workdir: str
    env: Mapping[str, str]
    skipped: tuple[str, ...]


def read_dockerfile(text: str, name: str, *, programs: bool) -> Recipe:
    """The recipe. Raises TaskError with file and line for what is not in the subset.

    programs: the task names what it needs, so that a line that only installs may be skipped (which is said).
    """
    base, at = "", "/"
    env: dict[str, str] = {}
    steps: list[Step] = []
    skipped: list[str] = []
    for line, instruction, rest in _instructions(text):
        match instruction:
            case "FROM":
                if base:
                    raise _refused(name, line, "a second FROM", "several stages need a container engine")
                base = _base(rest, name, line)
            case "WORKDIR":
                at = str(PurePosixPath(at) / rest.strip())
                steps.append(Step("folder", at, dict(env), (at,), line))
            case "ENV":
                env.update(_env(rest, name, line))
            case "COPY":
                steps.append(Step("copy", at, dict(env), _copy(rest, name, line), line))
            case "RUN":
                if rest.startswith("--"):
                    raise _refused(name, line, "options of RUN", "they need a builder")
                if _only_installs(rest):
                    if not programs:
                        why = "there is no network, and [metadata] names no programs that stand for it"
                        raise _refused(name, line, "an installation", why)
                    skipped.append(rest)
                else:
                    steps.append(Step("run", at, dict(env), (rest,), line))
            case "ARG" | "LABEL" | "CMD" | "ENTRYPOINT" | "EXPOSE" | "SHELL" | "USER":
                if instruction in ("SHELL", "USER"):
                    raise _refused(name, line, instruction, "commands run as one user, with bash")
            case _:
                raise _refused(name, line, instruction, "not in the subset that needs no image")
    if not base:
        raise TaskError(f"{name} has no FROM", fix="begin with FROM debian:bookworm-slim")
    return Recipe(base, tuple(steps), at, env, tuple(skipped))


def _instructions(text: str) -> list[tuple[int, str, str]]:
    """(line, INSTRUCTION, the rest) with continuations joined and comments gone."""
    found: list[tuple[int, str, str]] = []
    held, begun = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        if raw.lstrip().startswith("#"):
            continue
        if not held and not raw.strip():
            continue
        begun = begun if held else number
        part = raw.rstrip()
        if part.endswith("\\"):
            held += part[:-1] + " "
            continue
        whole = (held + part).strip()
        held = ""
        word, _, rest = whole.partition(" ")
        if word:
            found.append((begun, word.upper(), rest.strip()))
    if held.strip():
        word, _, rest = held.strip().partition(" ")
        found.append((begun, word.upper(), rest.strip()))
    return found


def _base(rest: str, name: str, line: int) -> str:
    words = rest.split()
    if len(words) != 1:
        raise _refused(name, line, f"FROM {rest}", "one image without options or a name")
    image = words[0].partition("@")[0]
    if image.rpartition(":")[0] in BASES or image in BASES or image == "scratch":
        return image
    raise _refused(name, line, f"the image {image!r}", f"this machine stands for {', '.join(BASES)} only")


def _env(rest: str, name: str, line: int) -> dict[str, str]:
    first, _, value = rest.partition(" ")
    if "=" not in first:
        return {first: value.strip()}
    try:
        pairs = [word.partition("=") for word in shlex.split(rest)]
    except ValueError as error:
        raise _refused(name, line, "ENV", str(error)) from error
    return {key: value for key, _, value in pairs}


def _copy(rest: str, name: str, line: int) -> tuple[str, ...]:
    words = tuple(shlex.split(rest))
    if len(words) < 2 or any(word.startswith("--") for word in words):
        raise _refused(name, line, f"COPY {rest}", "sources and a destination, without options")
    for source in words[:-1]:
        if source.startswith("/") or ".." in PurePosixPath(source).parts:
            raise _refused(name, line, f"COPY {source}", "a source lies inside environment/")
    return words


def _only_installs(command: str) -> bool:
    """Whether every part of a command line updates, installs or tidies after an installation."""
    parts = [part.strip() for part in re.split(r"&&|;", command) if part.strip()]
    tidy = re.compile(r"^(rm -rf /var/lib/apt/lists\S*|apt-get clean|set -\w+)$")
    return all(_INSTALLS.search(part) or tidy.match(part) for part in parts)


def _refused(name: str, line: int, what: str, why: str) -> TaskError:
    return TaskError(
        f"{name}:{line}: {what} cannot be built here",
        why=why,
        fix="run the task with Harbor and a container engine",
    )
