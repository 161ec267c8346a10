"""How is one attempt at one task made, and judged? Build the world, let the agent work, bring the tests in.

The tests come into a folder that the world sees read-only, after the agent has ended. A task whose services
must go on is judged in the agent's own world (`environment_mode = "shared"`), every other in a fresh one that
holds nothing of the agent but the files it left. Resolved means both: tests/test.sh exits with 0, which only
the box's own first process can say, and the reward it wrote is 1.
"""

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from veilig.app.trials import World, open_world, read_answer
from veilig.core.errors import VeiligError
from veilig.evals.agents import Agent, Ground, Report, within
from veilig.evals.desktop_example import Example
from veilig.evals.desktop_trial import attempt as made_at_desktop
from veilig.evals.results import Ending, Trial, read_trial, trial_folder, write
from veilig.evals.stage import Stage, carry_out, make_stage, missing_programs, tail
from veilig.evals.task import Network, Task, TaskError, Verifier

_KEPT_BYTES = 64 << 10  # of what the tests said
# The tests read no file of start-up, module or setting that an agent could have left.
_CLEAN = {"HOME": "/tests", "PYTHONSAFEPATH": "1", "PYTHONNOUSERSITE": "1"}
UNENFORCED = ("cpus", "storage")  # limits of a task that no wall here holds


@dataclass(frozen=True, slots=True)
class Terms:
    """How trials are made. allow: limits that may be left unenforced; timeout_scale: 1.0 as the tasks say."""

    out: Path
    allow: frozenset[str] = frozenset()
    timeout_scale: float = 1.0
    hide: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Verdict:
    """A reward from 0 to 1, why it is not 1, and the other numbers that the tests wrote."""

    reward: float
    why: str
    rungs: Mapping[str, float] = field(default_factory=dict[str, float])


async def run_trial(task: Task, agent: Agent, attempt: int, terms: Terms) -> Trial:
    """The result of one attempt, kept in its folder; one that is there already is not made again.

    Never raises for what a task or an agent does: that is a result. Raises VeiligError when the result cannot
    be kept.
    """
    kept = trial_folder(terms.out, task.name, attempt)
    before = read_trial(kept)
    if before is not None and before.digest == task.digest:
        return before
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    trial = Trial(
        task.name, task.digest, attempt, Ending.ERROR, verifier=task.verifier,
        difficulty=task.difficulty, category=task.category,
    )  # fmt: skip
    try:
        need_fair(task, terms.allow)
        if task.example is not None:
            trial = await _at_desktop(task, task.example, agent, trial, terms, kept)
        else:
            trial = await _tried(task, agent, trial, terms, kept)
    except TaskError as error:
        trial = replace(trial, ending=Ending.REFUSED, detail=str(error))
    except VeiligError as error:
        trial = replace(trial, detail=str(error))
    write(kept / "result.json", _json(trial))
    return trial


def need_fair(task: Task, allow: frozenset[str]) -> None:
    """Raises TaskError for what this runner cannot enforce exactly, or does not have."""
    if task.network is not Network.NONE:
        raise TaskError(
            f"task {task.name!r} wants network mode {task.network!s}",
            why="the wall here lets nothing out, and a task may not run with less than it declares",
            fix='set network_mode = "no-network" where the task needs none, or run it with Harbor',
        )
    for name, wanted in (("cpus", task.cpus), ("storage", task.storage_mb)):
        if wanted and name not in allow:
            raise TaskError(
                f"task {task.name!r} limits {name} to {wanted}",
                why="no wall here holds that, and a limit that is not enforced is none",
                fix=f"--allow-unenforced {name} runs it all the same, and the report says so",
            )
    if missing := missing_programs(task.programs):
        raise TaskError(
            f"task {task.name!r} needs {', '.join(missing)}",
            why="this machine's programs stand for the task's image, and it has none of that name",
            fix="install it, or run the task with a container engine",
        )


async def _tried(task: Task, agent: Agent, trial: Trial, terms: Terms, kept: Path) -> Trial:
    with tempfile.TemporaryDirectory(prefix="veilig-trial-", ignore_cleanup_errors=True) as folder:
        programs = bool(task.programs)
        stage = await asyncio.to_thread(
            make_stage, task.environment, Path(folder), task.name, workdir=task.workdir, programs=programs
        )
        if stage.recipe.skipped:
            trial = replace(trial, skipped_steps=stage.recipe.skipped)
        trial = replace(trial, build_s=await _build(task, stage, terms))
        async with AsyncExitStack() as stack:
            shared = task.verifier is Verifier.SHARED
            world = await stack.enter_async_context(await _world(task, stage, terms, verifying=shared))
            trial = replace(trial, wall=world.wall)
            begun_s = time.monotonic()
            report, late = await _work(task, agent, stage, world, terms)
            trial = _told(trial, report, late, time.monotonic() - begun_s)
            _keep(kept / "agent", report)
            if task.agent == "share":
                await asyncio.to_thread(_publish, stage, report)
            if not shared:
                await world.close()
                world = await stack.enter_async_context(await _world(task, stage, terms, verifying=True))
            begun_s = time.monotonic()
            verdict = await _verify(task, stage, world, kept / "verifier", terms)
        reward, detail = verdict.reward, verdict.why
        spent_s = round(time.monotonic() - begun_s, 3)
        trial = replace(trial, verify_s=spent_s, reward=reward, rungs=verdict.rungs)
        if report.skipped and not reward:
            return replace(trial, ending=Ending.SKIPPED, detail=report.skipped)
        ending = Ending.RESOLVED if reward == 1.0 else Ending.UNRESOLVED
        return replace(trial, ending=ending, detail=detail or trial.detail)


async def _at_desktop(
    task: Task, example: Example, agent: Agent, trial: Trial, terms: Terms, kept: Path
) -> Trial:
    limit_s = task.agent_timeout_s * terms.timeout_scale
    done = await made_at_desktop(task, example, agent, limit_s=limit_s, hide=terms.hide)
    trial = _told(trial, done.report, done.late, done.agent_s)
    _keep(kept / "agent", done.report)
    times = {"build_s": round(done.setup_s, 3), "verify_s": round(done.verify_s, 3)}
    trial = replace(trial, wall=done.wall, reward=done.score, **times)
    if done.report.skipped and not done.score:
        return replace(trial, ending=Ending.SKIPPED, detail=done.report.skipped)
    ending = Ending.RESOLVED if done.score == 1.0 else Ending.UNRESOLVED
    return replace(trial, ending=ending, detail=done.why or trial.detail)


def _told(trial: Trial, report: Report, late: bool, spent_s: float) -> Trial:
    return replace(
        trial,
        agent_s=round(spent_s, 3),
        timed_out=late,
        detail=report.summary[-500:],
        session=report.session,
        tokens_in=report.tokens_in,
        tokens_cached=report.tokens_cached,
        tokens_out=report.tokens_out,
        cost_usd=report.cost_usd,
    )


async def _world(
    task: Task, stage: Stage, terms: Terms, *, verifying: bool = False, building: bool = False
) -> World:
    wall_s = max(task.agent_timeout_s, task.verifier_timeout_s, task.build_timeout_s) * terms.timeout_scale
    places = stage.places(verifying=verifying, building=building)
    return await open_world(stage.root, places, memory_mb=task.memory_mb, wall_s=wall_s + 60, hide=terms.hide)


async def _build(task: Task, stage: Stage, terms: Terms) -> float:
    """Carry out the recipe in a world of its own, so that nothing it starts outlives it."""
    begun_s = time.monotonic()
    async with await _world(task, stage, terms, building=True) as world:
        await carry_out(stage, world, env=task.env, timeout_s=task.build_timeout_s)
    return round(time.monotonic() - begun_s, 3)


async def _work(task: Task, agent: Agent, stage: Stage, world: World, terms: Terms) -> tuple[Report, bool]:
    limit_s = task.agent_timeout_s * terms.timeout_scale

    async def reveal() -> None:
        await asyncio.to_thread(_fill, task.solution, stage.aside["solution"])

    ground = Ground(
        task=task,
        world=world,
        workdir=stage.workdir,
        folder=stage.root / stage.workdir.lstrip("/"),
        home=stage.folder / "home",
        env={**stage.recipe.env, **task.env},
        budget_s=limit_s,
        reveal=reveal,
    )
    return await within(agent, ground, limit_s)


async def _verify(task: Task, stage: Stage, world: World, kept: Path, terms: Terms) -> _Verdict:
    """What the tests say. Raises VeiligError when they could not be run at all."""
    verdicts = stage.root / ".veilig-verifier"
    await asyncio.to_thread(_clear, verdicts)
    await asyncio.to_thread(_fill, task.tests, stage.aside["tests"])
    await world.hand_over()
    limit_s = task.verifier_timeout_s * terms.timeout_scale
    found = await world.run(
        ("bash", "/tests/test.sh"), cwd="/tests", env={**_CLEAN, **task.verifier_env}, timeout_s=limit_s
    )
    said = found.stdout + b"\n--- stderr\n" + found.stderr
    await asyncio.to_thread(_note, kept, "output.txt", said[-_KEPT_BYTES:])
    try:
        verdict = _written(verdicts)
    except (VeiligError, ValueError) as error:
        return _Verdict(0.0, f"the verdict cannot be read: {error}")
    if verdict is None:
        return _Verdict(0.0, f"the tests wrote no verdict: {tail(found)}")
    if verdict.reward == 1.0 and not found.ok:
        why = "a reward of 1 stands there, but the tests did not end with 0: it does not count"
        return _Verdict(0.0, why)
    return verdict if verdict.reward == 1.0 else replace(verdict, why=tail(found))


def _written(verdicts: Path) -> _Verdict | None:
    """reward.txt, else reward.json with "reward" and other numbers. Raises ValueError outside 0 to 1."""
    rungs: dict[str, float] = {}
    text = read_answer(verdicts / "reward.txt")
    if text is None:
        whole = read_answer(verdicts / "reward.json")
        if whole is None:
            return None
        given: Any = json.loads(whole)
        if not isinstance(given, dict):
            raise ValueError("reward.json holds no object")
        numbers = cast(dict[str, Any], given)
        rungs = {k: float(v) for k, v in numbers.items() if isinstance(v, int | float) and k != "reward"}
        text = str(numbers.get("reward"))
    reward = float(text.strip())
    if not 0.0 <= reward <= 1.0:
        raise ValueError(f"reward {reward} is not in 0 to 1")
    return _Verdict(reward, "", rungs)


def _publish(stage: Stage, report: Report) -> None:
    """What colleagues of the agent can read, for the tests: what it said, and the record it kept, if any."""
    place = stage.root / ".veilig-agent"
    record = stage.folder / "home"
    kept = ["said", *(["home"] if (record / "ledger.db").exists() else [])]
    for path in (place / name for name in kept):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if "home" in kept:
        shutil.copytree(record, place / "home", symlinks=True)
    _keep(place / "said", report)


def _note(folder: Path, name: str, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def _fill(source: Path, place: Path) -> None:
    """Copy a folder of the task into one that the world only reads."""
    shutil.copytree(source, place, dirs_exist_ok=True)
    for path in (place, *place.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.suffix == ".sh" else 0o644)


def _clear(folder: Path) -> None:
    """Empty the folder of the verdict of what an agent has put there."""
    if folder.is_symlink():
        folder.unlink()
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    folder.mkdir(exist_ok=True)


def _keep(folder: Path, report: Report) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.txt").write_text(report.summary + "\n", encoding="utf-8")
    if report.trajectory is not None:
        write(folder / "trajectory.json", report.trajectory)


def _json(trial: Trial) -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(trial), "skipped_steps": [*trial.skipped_steps]}
