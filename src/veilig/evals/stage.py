"""What stands where in a trial's world? The task's folders, what is built in them, and the harness's own."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from veilig.app.trials import CommandResult, Place, World, top
from veilig.core.errors import VeiligError
from veilig.evals.dockerfile import Recipe, read_dockerfile
from veilig.evals.task import TaskError

_ASIDE = ("tests", "solution", "environment", "logs")  # folders of the harness, at the top of the world


@dataclass(slots=True)
class Stage:
    """The folders of one trial. root lies on the host; `places` say what of it the world sees, and where."""

    name: str
    folder: Path
    root: Path
    aside: Mapping[str, Path]
    tops: tuple[str, ...]
    recipe: Recipe
    workdir: str

    def places(self, *, verifying: bool, building: bool = False) -> list[Place]:
        found = [Place(self.root / name, f"/{name}", True) for name in self.tops]
        found += [Place(self.aside["tests"], "/tests"), Place(self.aside["solution"], "/solution")]
        found += [Place(self.root / ".veilig-agent", "/logs/agent", True)]
        if verifying:
            found.append(Place(self.root / ".veilig-verifier", "/logs/verifier", True))
        if building:
            found.append(Place(self.aside["environment"], "/environment"))
        return found


def make_stage(environment: Path, folder: Path, name: str, *, workdir: str, programs: bool) -> Stage:
    """The empty folders of a trial in `folder`, and copies of what the author of task `name` wrote.

    workdir: where the Dockerfile names none that counts. programs: the task names what it needs.
    Raises TaskError for a Dockerfile that cannot be followed here.
    """
    text = (environment / "Dockerfile").read_text(encoding="utf-8")
    recipe = read_dockerfile(text, f"{name}/environment/Dockerfile", programs=programs)
    folder.chmod(0o755)  # the world's user walks through it
    root = folder / "world"
    aside = {name: folder / name for name in _ASIDE[:3]}
    for place in (root, aside["tests"], aside["solution"]):
        place.mkdir()
    shutil.copytree(environment, aside["environment"], symlinks=True)
    workdir = workdir or recipe.workdir
    wanted = [workdir if workdir != "/" else "/app"]
    wanted += [step.at for step in recipe.steps if step.at != "/"]
    wanted += [w for s in recipe.steps if s.kind == "copy" for w in s.words[-1:] if w.startswith("/")]
    tops = tuple(dict.fromkeys(top(path) for path in wanted))
    for first in tops:
        if first in _ASIDE:
            raise TaskError(f"{name}: /{first} belongs to the harness", fix="let the task live in /app")
        (root / first).mkdir()
    for own in (".veilig-agent", ".veilig-verifier"):
        (root / own).mkdir()
    return Stage(name, folder, root, aside, tops, recipe, workdir if workdir != "/" else "/app")


def missing_programs(programs: Sequence[str]) -> list[str]:
    """Those of them that this machine does not have."""
    path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    return [program for program in programs if shutil.which(program, path=path) is None]


async def carry_out(stage: Stage, world: World, *, env: Mapping[str, str], timeout_s: float) -> None:
    """Follow the recipe in a world that sees /environment. Raises VeiligError naming the line that fails."""
    for step in stage.recipe.steps:
        match step.kind:
            case "folder":
                argv = ("mkdir", "-p", step.at)
            case "copy":
                argv = ("bash", "-c", _COPY, "copy", *step.words)
            case _:
                argv = ("bash", "-c", step.words[0])
        at = step.at if step.kind != "folder" and step.at != "/" else f"/{stage.tops[0]}"
        found = await world.run(argv, cwd=at, env={**step.env, **env}, timeout_s=timeout_s)
        if not found.ok:
            raise VeiligError(
                f"{stage.name}: line {step.line} of the Dockerfile fails",
                why=tail(found),
                fix="mend the task",
            )


# Sources are relative to environment/, as in a Dockerfile; a folder's contents are copied, not itself.
_COPY = r"""
set -eu
to="${@: -1}"; here="$PWD"; cd /environment; shopt -s dotglob nullglob
case "$to" in /*) ;; *) to="$here/$to" ;; esac
for from in "${@:1:$#-1}"; do
  if [ -d "$from" ]; then
    mkdir -p "$to"
    for one in "$from"/*; do [ "$one" = ./Dockerfile ] || cp -R "$one" "$to/"; done
  elif [ "${to%/}" != "$to" ] || [ -d "$to" ] || [ $# -gt 2 ]; then mkdir -p "$to"; cp "$from" "$to/"
  else mkdir -p "$(dirname "$to")"; cp "$from" "$to"; fi
done
"""


def tail(found: CommandResult) -> str:
    """How a command ended, in a line, with the end of what it said."""
    said = (found.stdout + b"\n" + found.stderr).decode("utf-8", "replace").strip()
    end = found.reason if found.exit_code is None or found.reason != "exited" else f"exit {found.exit_code}"
    return f"{end}: {said[-600:]}"
