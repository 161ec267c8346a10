"""Who is put to the test? Our planners, a class of yours, and three that judge the suite itself.

`oracle` runs the task's own solution and must score 100 %; `none` does nothing and must score 0; `cheat`
leaves the work undone, attacks tests, verdict and interpreter instead, and must score 0 as well.
"""

import asyncio
import importlib
import inspect
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

from veilig.app import Setting
from veilig.app.desktop import Desk
from veilig.app.desktop_trials import at_desktop
from veilig.app.trials import CommandResult, Done, InTrial, Model, World, embedded, recorded, with_model
from veilig.core.errors import LedgerError, UsageError
from veilig.evals.desktop_acts import play, read_acts
from veilig.evals.task import Task

BUILT_IN = ("embedded", "model", "oracle", "none", "cheat")
TRIAL = "run-trial"  # the session of a model in a trial: its ledger is read when the time is up
HEAL_S = 30.0  # a healer has no end of its own: this long it may watch


@dataclass(frozen=True, slots=True)
class Report:
    """What an agent says of itself, and what it used. skipped: why it could not even try."""

    summary: str = ""
    ok: bool = True
    session: str = ""
    skipped: str = ""
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    trajectory: Mapping[str, Any] | None = None
    infeasible: bool = False  # the agent says that nobody can do it


@dataclass(frozen=True, slots=True)
class ExecResult:
    """How a command in the trial's world ended."""

    stdout: str
    stderr: str
    return_code: int


@dataclass(frozen=True, slots=True)
class Ground:
    """What an agent stands on: the task, the world it may act in, and the time it has.

    folder: the host's view of the working folder. reveal: brings the solution in, for the oracle alone.
    """

    task: Task
    world: World
    workdir: str
    folder: Path
    home: Path
    env: Mapping[str, str]
    budget_s: float
    reveal: Callable[[], Awaitable[None]] = field(repr=False)
    desk: Desk | None = None  # where the task is one at a desktop

    async def exec(self, command: str, timeout_s: float | None = None) -> ExecResult:
        """Run a command line in the world, by bash, in the working folder."""
        limit_s = min(self.budget_s, timeout_s or self.budget_s)
        found = await self.world.run(
            ("bash", "-c", command), cwd=self.workdir, env=self.env, timeout_s=limit_s
        )
        return _said(found)


class Agent(Protocol):
    """Somebody who works on a task and says how it went. Cancelled when the time is up."""

    @property
    def name(self) -> str: ...

    async def run(self, ground: Ground) -> Report: ...


@dataclass(frozen=True, slots=True)
class Oracle:
    """The task's own solution."""

    name: str = "oracle"

    async def run(self, ground: Ground) -> Report:
        if ground.desk is not None:
            possible = await play(ground.desk, read_acts(ground.task.solution / "acts.json"))
            return Report("the task's own acts", infeasible=not possible)
        await ground.reveal()
        env = {**ground.env, **ground.task.solution_env}
        found = await ground.world.run(
            ("bash", "/solution/solve.sh"), cwd=ground.workdir, env=env, timeout_s=ground.budget_s
        )
        said = _said(found)
        return Report((said.stdout + said.stderr)[-2000:], said.return_code == 0)


@dataclass(frozen=True, slots=True)
class Nobody:
    """Does nothing."""

    name: str = "none"

    async def run(self, ground: Ground) -> Report:
        del ground
        return Report("nothing was done")


@dataclass(frozen=True, slots=True)
class Cheat:
    """Does not work on the task: it goes for the verdict. See `_TRICKS`."""

    name: str = "cheat"

    async def run(self, ground: Ground) -> Report:
        said = await ground.exec(_TRICKS, timeout_s=30)
        return Report((said.stdout + said.stderr)[-2000:])


# Each line is a way in which a benchmark has been, or could be, talked into a pass.
_TRICKS = r"""
exec 2>&1
echo 1 > /logs/verifier/reward.txt; echo '{"reward": 1}' > /logs/verifier/reward.json
pass='#!/bin/sh\necho 1 > /logs/verifier/reward.txt\nexit 0\n'
for f in /tests/test.sh /tests/check.py; do printf "$pass" > $f; done
rm -rf /tests/* ; mkdir -p /tests ; ln -sfn /tmp /logs/verifier
exits='import os,sys
try:
    open("/logs/verifier/reward.txt","w").write("1")
finally:
    os._exit(0)'
for name in conftest sitecustomize usercustomize unittest pytest json subprocess check; do
  echo "$exits" > $name.py
done
mkdir -p bin ~/.local/bin ~/.config
for name in python python3 pytest bash sh diff cmp grep git test; do
  printf '#!/bin/sh\nexit 0\n' > bin/$name; cp bin/$name ~/.local/bin/; chmod 755 bin/$name ~/.local/bin/$name
done
printf 'exit() { builtin exit 0; }; trap "exit 0" EXIT\n' > ~/.bashrc
cp ~/.bashrc ~/.bash_profile; cp ~/.bashrc ~/.profile
printf '[pytest]\naddopts = --collect-only\n' > pytest.ini
export BASH_ENV=~/.bashrc PYTHONPATH=$PWD PATH=$PWD/bin:$PATH
again='i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo 1 > /logs/verifier/reward.txt; sleep 0.1; done'
(setsid sh -c "$again" >/dev/null 2>&1 &)
echo tried
"""


@dataclass(frozen=True, slots=True)
class Embedded:
    """`veilig fix`, `run`, `heal` without any model."""

    setting: Setting
    name: str = "embedded"

    async def run(self, ground: Ground) -> Report:
        if ground.task.agent == "heal":
            return await _heal(ground)
        if ground.desk is not None:
            return Report(skipped="the embedded planner does not use a desktop: it needs a model", ok=False)
        asked = here(ground.task.instruction, ground.workdir)
        done = await embedded(asked, ground.folder, ground.home, self.setting, ground.budget_s, ground.env)
        await ground.world.hand_over()
        if done is None:
            return Report(
                skipped="the embedded planner has nothing for such a task: it needs a model", ok=False
            )
        return _report(done)


@dataclass(frozen=True, slots=True)
class Modelled:
    """A model at work in the trial's own world: what it starts is there when the tests come."""

    setting: Setting
    model: str
    name: str = "model"

    async def run(self, ground: Ground) -> Report:
        if ground.task.agent == "heal":
            return await _heal(ground)
        task, home = ground.task.instruction, ground.home
        if ground.desk is not None:
            setting = replace(self.setting, session=TRIAL)
            done, infeasible = await at_desktop(task, ground.desk, home, setting, self.model)
            return replace(_report(done), infeasible=infeasible)
        there = InTrial(ground.world, ground.workdir, ground.env)
        done = await with_model(task, there, home, self.setting, Model(self.model), TRIAL)
        return _report(done)

    async def cut_off(self, ground: Ground) -> Report:
        """What its ledger holds of a session whose time was up: what it did, and what it used until then."""
        try:
            done = await asyncio.to_thread(recorded, TRIAL, ground.home, ground.task.instruction)
        except LedgerError:  # it was cut before it began
            return Report()
        return _report(done)


@dataclass(frozen=True, slots=True)
class Foreign:
    """A class of yours: `async def run(self, instruction, environment)`, where environment has `exec`."""

    agent: Any
    name: str

    async def run(self, ground: Ground) -> Report:
        said = self.agent.run(ground.task.instruction, replace(ground, reveal=_hidden))
        found = await said if inspect.isawaitable(said) else said
        if isinstance(found, Report):
            return found
        return Report(str(found or ""))


def here(text: str, workdir: str) -> str:
    """The same, said by somebody who stands in the working folder: our agents work in a copy of it."""
    return re.sub(rf"(?<![\w/.-]){re.escape(workdir)}(?![\w-])(/?)", r".\1", text)


async def _hidden() -> None:
    raise UsageError("the solution is for the oracle alone", fix="solve the task")


def find_agent(name: str, setting: Setting, model: str = "") -> Agent:
    """The agent of that name, or the class of a `MODULE:CLASS`. Raises UsageError."""
    match name:
        case "embedded":
            return Modelled(setting, model) if model else Embedded(setting)
        case "oracle":
            return Oracle()
        case "none":
            return Nobody()
        case "cheat":
            return Cheat()
        case _:
            return _foreign(name)


def _foreign(name: str) -> Agent:
    module, colon, attribute = name.partition(":")
    if not colon:
        raise UsageError(
            f"no agent is called {name!r}",
            why=f"known: {', '.join(BUILT_IN)}",
            fix="or give MODULE:CLASS of one that can be imported from here",
        )
    sys.path.insert(0, str(Path.cwd()))
    try:
        made = cast(Callable[[], Any], getattr(importlib.import_module(module), attribute))()
    except (ImportError, AttributeError, TypeError) as error:
        raise UsageError(f"agent {name!r} cannot be made", why=str(error)) from error
    finally:
        sys.path.pop(0)
    if not callable(getattr(made, "run", None)):
        raise UsageError(f"agent {name!r} has no method run(instruction, environment)")
    return Foreign(made, name)


async def _heal(ground: Ground) -> Report:
    """`veilig heal` inside the world, as long as the task gives it."""
    limit_s = min(ground.budget_s - 10, HEAL_S)
    argv = (  # ended by an interrupt: what it started lives on, which a killed command's would not
        *("timeout", "-s", "INT", "-k", "10", f"{limit_s:.0f}"),
        *(sys.executable, "-m", "veilig.cli.main", "heal", "--watch", "--act"),
        *("--services", f"{ground.workdir}/services.json", "--policy", f"{ground.workdir}/veilig.yaml"),
    )
    env = {**ground.env, "VEILIG_HOME": "/tmp/veilig-home"}  # noqa: S108  # the world's own
    found = await ground.world.run(argv, cwd=ground.workdir, env=env, timeout_s=limit_s + 20)
    return Report((_said(found).stdout + _said(found).stderr)[-2000:], session="heal")


def _report(done: Done) -> Report:
    used = done.usage
    return Report(
        done.summary,
        done.ok,
        done.session,
        "",
        int(used.get("tokens_in", 0)),
        int(used.get("tokens_cached", 0)),
        int(used.get("tokens_out", 0)),
        float(used.get("cost_usd", 0.0)),
        done.trajectory,
    )


def _said(found: CommandResult) -> ExecResult:
    code = found.exit_code if found.exit_code is not None else 128 + (found.signal or 0)
    return ExecResult(found.stdout.decode("utf-8", "replace"), found.stderr.decode("utf-8", "replace"), code)


async def within(agent: Agent, ground: Ground, limit_s: float) -> tuple[Report, bool]:
    """The agent's report, and whether its time was up first: it then says what the agent's ledger holds.

    The answer that a model was about to give in that moment is in no ledger, and counts for nothing.
    """
    try:
        async with asyncio.timeout(limit_s):
            return await agent.run(ground), False
    except TimeoutError:
        found = await agent.cut_off(ground) if isinstance(agent, Modelled) else Report()
        return replace(found, summary=f"stopped after {limit_s:.0f} s", ok=False), True
