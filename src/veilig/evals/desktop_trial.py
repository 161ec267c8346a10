"""How is one attempt at a task at a desktop made? A world with a desktop, set up, worked at, and judged.

The agent works in the world that is judged, as in OSWorld: what programs show and hold is part of the answer.
The judge stays outside: it reads files and runs the task's own commands, and nothing that an agent left
decides what they mean.
"""

import asyncio
import shutil
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from veilig.app.desktop import Desk, desk_in
from veilig.app.trials import Place, World, open_world
from veilig.core.errors import VeiligError
from veilig.evals.agents import Agent, Ground, Report, within
from veilig.evals.desktop_example import HOME, Example, Json, argv_of
from veilig.evals.desktop_judge import Found, score, together
from veilig.evals.task import Task, TaskError

WINDOW_S = 60.0  # until a window that the set-up names is there
STEP_S = 120.0  # of one command of the set-up or the judge
FILE_BYTES_MAX = 8 << 20
PATHS = {"PATH": "/usr/bin:/bin"}  # the judge's commands are the system's own


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of it. score: 0 to 1; why: what of the judging speaks against a full score."""

    report: Report
    late: bool
    wall: str
    setup_s: float
    agent_s: float
    verify_s: float
    score: float
    why: str


async def attempt(
    task: Task, example: Example, agent: Agent, *, limit_s: float, hide: frozenset[str]
) -> Attempt:
    """Make one attempt. Raises TaskError, VeiligError for what is no agent's doing."""
    with tempfile.TemporaryDirectory(prefix="veilig-trial-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        places = await asyncio.to_thread(_places, root)
        wall_s = limit_s + task.build_timeout_s + task.verifier_timeout_s
        async with await open_world(root, places, wall_s=wall_s, hide=hide) as world:
            desk = desk_in(world, HOME)
            scene = _Scene(task, root, world, desk)
            begun_s = time.monotonic()
            await desk.start()
            await scene.carry_out(example.config)
            await desk.look()
            setup_s = time.monotonic() - begun_s
            ground = Ground(
                task=task, world=world, workdir=HOME, folder=root / HOME.strip("/"), home=root / "home",
                env=desk.environment, budget_s=limit_s, reveal=_nothing, desk=desk,
            )  # fmt: skip
            begun_s = time.monotonic()
            report, late = await within(agent, ground, limit_s)
            agent_s = time.monotonic() - begun_s
            begun_s = time.monotonic()
            found, why = await scene.judge(example, report)
            verify_s = time.monotonic() - begun_s
            return Attempt(report, late, world.wall, setup_s, agent_s, verify_s, found, why)


def _places(root: Path) -> list[Place]:
    root.chmod(0o755)  # the world's user walks through it
    (root / HOME.strip("/")).mkdir()
    return [Place(root / HOME.strip("/"), HOME, True)]


async def _nothing() -> None:
    """A solution at a desktop is played from outside."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """The world of one trial, with the desktop in it."""

    task: Task
    root: Path
    world: World
    desk: Desk

    async def carry_out(self, steps: tuple[Json, ...]) -> None:
        """The steps of a set-up, in order. Raises TaskError for one that fails."""
        for step in steps:
            try:
                await self._step(step)
            except TaskError:
                raise
            except VeiligError as error:
                raise TaskError(f"{self.task.name}: {step['type']} fails", why=str(error)) from error

    async def _step(self, step: Json) -> None:
        match step["type"]:
            case "download":
                for file in cast(list[Json], step["files"]):
                    await self._bring(str(file["url"]), str(file["path"]))
            case "launch":
                await self.desk.launch(argv_of(step))
            case "open":
                await self.desk.launch(("xdg-open", str(step["path"])))
            case "execute" | "command":
                done = await self.desk.run(argv_of(step), STEP_S)
                if not done.ok:
                    said = (done.stderr or done.stdout).decode("utf-8", "replace")[-400:]
                    raise TaskError(f"{self.task.name}: the set-up command {argv_of(step)!r} fails", why=said)
            case "sleep":
                await asyncio.sleep(float(step["seconds"]))
            case _:
                number = await self._window(str(step["window_name"]), strict=bool(step.get("strict")))
                await self.desk.activate(number)
                if step["type"] == "close_window":
                    await self.desk.press("alt+F4")

    async def _bring(self, url: str, path: str) -> None:
        """A file of the task's into the world."""
        if not path.startswith(f"{HOME}/") or ".." in Path(path).parts:
            raise TaskError(f"{self.task.name}: {path!r} is outside {HOME}")
        place = self.root / path.lstrip("/")
        await asyncio.to_thread(place.parent.mkdir, parents=True, exist_ok=True)
        await asyncio.to_thread(shutil.copyfile, self.task.folder / url.removeprefix("file:"), place)
        await self.world.hand_over()

    async def _window(self, name: str, *, strict: bool) -> int:
        until_s = time.monotonic() + WINDOW_S
        while True:
            seen = await self.desk.look()
            fits = [w for w in seen.windows if (w.name == name if strict else name.lower() in w.name.lower())]
            if fits:
                return fits[0].number
            if time.monotonic() > until_s:
                shown = ", ".join(repr(w.name) for w in seen.windows) or "none"
                raise TaskError(f"{self.task.name}: no window {name!r}", why=f"there are {shown}")
            await asyncio.sleep(0.2)

    async def judge(self, example: Example, report: Report) -> tuple[float, str]:
        """The score and what speaks against it. What an agent broke is 0, not a fault of the harness."""
        if example.infeasible:
            return (1.0, "") if report.infeasible else (0.0, "the task cannot be done, and nobody said so")
        if report.infeasible:
            return 0.0, "the agent says that it cannot be done"
        try:
            await self.carry_out(example.postconfig)
        except TaskError as error:
            return 0.0, str(error)
        scores: list[float] = []
        notes: list[str] = []
        for check in example.checks:
            try:
                found = await self._get(check.result)
            except VeiligError as error:  # an agent that ends the desktop must not be counted apart
                return 0.0, f"{check.func}: {error}"
            value = score(check.func, found, await self._get(check.expected), check.options)
            scores.append(value)
            if value < 1.0:
                notes.append(f"{check.func}: found {_short(found)}")
        whole = together(scores, example.conj)
        return whole, "" if whole == 1.0 else "; ".join(notes)[:600]

    async def _get(self, getter: Json | None) -> Found:
        """What a getter finds; None where there is nothing."""
        if getter is None:
            return None
        match getter["type"]:
            case "rule":
                return getter["rules"]
            case "cloud_file":
                path = str(getter["path"]).removeprefix("file:")
                return await asyncio.to_thread((self.task.folder / path).read_bytes)
            case "vm_file":
                return await self._file(str(getter["path"]))
            case "accessibility_tree":
                return await self._tree()
            case _:
                done = await self.world.run(
                    argv_of(getter), cwd=HOME, env={**self.desk.environment, **PATHS}, timeout_s=STEP_S
                )
                return done.stdout.decode("utf-8", "replace") if done.ok else None

    async def _file(self, path: str) -> bytes | None:
        """A file of the world, read by the world's own user: links lead nowhere else."""
        done = await self.world.run(
            ("/usr/bin/head", "-c", str(FILE_BYTES_MAX), "--", path), cwd=HOME, env=PATHS, timeout_s=STEP_S
        )
        return done.stdout if done.ok else None

    async def _tree(self) -> ET.Element:
        """The tree as elements: a tag for each role, `-` for its spaces, with name and text."""
        seen = await self.desk.look()
        root = ET.Element("desktop-frame")
        above: list[ET.Element] = [root]
        for node in seen.nodes:
            del above[node.depth + 1 :]
            tag = "".join(c if c.isalnum() else "-" for c in node.role) or "unknown"
            made = ET.SubElement(above[-1], tag, name=node.name, text=node.text, states=" ".join(node.states))
            above.append(made)
        return root


def _short(found: Found) -> str:
    if found is None:
        return "nothing"
    if isinstance(found, ET.Element):
        found = ET.tostring(found, encoding="unicode")
    text = found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)
    return repr(text[:200])
