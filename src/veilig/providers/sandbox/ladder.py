"""Which wall stands here, and does it hold what is required? The ladder, tried from the top."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from veilig.core.errors import ProviderError, SandboxUnavailable

from . import bubblewrap, container, landlock, workspace
from .probe import Probe, Stand, key, probe, recall, remember
from .sandbox import Sandbox
from .wall import Bounds, Feature, Mounts, Wall

# What no policy should be without. Memory of all processes together needs a control group, which an
# ordinary user often may not make; it is reported, and required by whoever needs it.
REQUIRED = frozenset({
    Feature.FILES_READ, Feature.FILES_WRITE, Feature.PROTECTED, Feature.NETWORK, Feature.UNIX_SOCKETS,
    Feature.PROCESSES, Feature.PROCESS_MEMORY, Feature.CPU, Feature.OUTPUT, Feature.FILE_SIZE,
    Feature.SIGNALS, Feature.DEVICES, Feature.SECCOMP, Feature.PRIVILEGES, Feature.CLEANUP,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Rung:
    name: str
    stand: Stand
    program: Callable[[], str | None]
    detail: str
    absent: dict[Feature, str] = field(default_factory=dict[Feature, str])


def _none() -> str | None:
    return None


_STRICT = "landlock, top directory of the workspace fixed"
_LADDER = (
    _Rung(bubblewrap.NAME, bubblewrap.stand, bubblewrap.program, "namespaces, seccomp, private mounts"),
    _Rung(
        landlock.NAME, landlock.stand, _none, "Landlock and seccomp, no network calls",
        {**landlock.ABSENT, Feature.PROTECTED: "Landlock cannot take a part out of a tree"},
    ),
    _Rung(container.NAME, container.stand, container.program, "a container of this machine's engine"),
)  # fmt: skip


def _rungs(
    require: frozenset[Feature], prefer: str | None, hide: frozenset[str] = frozenset()
) -> list[_Rung]:
    rungs = list(_LADDER)
    if without := hide & frozenset(container.ENGINES):
        only = functools.partial(container.stand, without=without)
        program = functools.partial(container.program, without)
        rungs[-1] = replace(rungs[-1], stand=only, program=program)
    if Feature.PROTECTED in require:
        strict = functools.partial(landlock.stand, strict=True)
        rungs = [
            replace(rung, name=f"{rung.name}-strict", stand=strict, detail=_STRICT, absent=landlock.ABSENT)
            if rung.name == landlock.NAME
            else rung
            for rung in rungs
        ]
    if prefer is not None and prefer not in {rung.name.removesuffix("-strict") for rung in rungs}:
        raise ProviderError(
            f"no wall is called {prefer!r}",
            why=f"known walls are {', '.join(rung.name for rung in _LADDER)}",
            fix="correct sandbox.wall in veilig.yaml, or leave it out",
        )
    return sorted(rungs, key=lambda rung: rung.name.removesuffix("-strict") != prefer)


async def _probed(rung: _Rung) -> Probe:
    try:
        name = key(rung.name, rung.program())
    except OSError as error:
        return Probe(rung.name, None, f"{rung.name}: {error}", 0.0)
    known = recall(rung.name, name)
    if known is not None:
        return known
    fresh = await probe(rung.name, rung.stand, rung.absent, rung.detail)
    remember(name, fresh)
    return fresh


async def preflight(
    *, require: frozenset[Feature] = REQUIRED, prefer: str | None = None, hide: frozenset[str] = frozenset()
) -> tuple[Probe, ...]:
    """Every rung with what it really holds on this machine, in the order in which they would be taken."""
    return tuple([
        Probe(rung.name, None, "left out by the caller", 0.0)
        if rung.name.removesuffix("-strict") in hide
        else await _probed(rung)
        for rung in _rungs(require, prefer, hide)
    ])  # fmt: skip


async def stand(
    mounts: Mounts,
    bounds: Bounds | None = None,
    *,
    require: frozenset[Feature] = REQUIRED,
    prefer: str | None = None,
    hide: frozenset[str] = frozenset(),
) -> Sandbox:
    """The first wall, from the preferred one down, that holds everything required.

    hide: names of walls, and of container engines, to leave out. Raises SandboxUnavailable naming every rung
    and why it was not taken, ProviderError for a workspace or a protected path that cannot be.
    """
    mounts = replace(mounts, workspace=workspace.check_workspace(mounts.workspace))
    bounds = bounds or Bounds()
    workspace.sweep()
    refused: list[str] = []
    for rung in _rungs(require, prefer, hide):
        if rung.name.removesuffix("-strict") in hide:
            refused.append(f"{rung.name}: left out by the caller")
            continue
        probed = await _probed(rung)
        if probed.wall is None:
            refused.append(f"{rung.name}: {probed.why_not}")
            continue
        box = await _take(rung.stand, probed.wall, mounts, bounds, require, refused)
        if box is not None:
            return box
    raise SandboxUnavailable(
        "no wall holds what is required",
        why="\n       ".join(refused),
        fix="install bubblewrap, or require less in the sandbox section of veilig.yaml",
    )


async def _take(
    stand_up: Stand,
    wall: Wall,
    mounts: Mounts,
    bounds: Bounds,
    require: frozenset[Feature],
    refused: list[str],
) -> Sandbox | None:
    lacks = wall.lacks(require)
    if not lacks:
        try:
            standing, plan = await stand_up(mounts, bounds)
        except SandboxUnavailable as error:
            refused.append(f"{wall.name}: {' '.join(str(error).split())}")
            return None
        if plan.weak:
            reason = "; ".join(f"{path}: {why}" for path, why in plan.weak)
            wall = _without(wall, Feature.PROTECTED, reason)
        if standing.group.memory is None:
            wall = _without(wall, Feature.MEMORY, standing.group.why_not or "no control group")
        wall = replace(wall, name=wall.name.removesuffix("-strict"))
        box = Sandbox(wall, mounts.workspace, bounds, standing)
        lacks = wall.lacks(require)
        if not lacks:
            return box
        await box.close()
    refused.append(f"{wall.name}: " + "; ".join(f"{feature} ({reason})" for feature, reason in lacks))
    return None


def _without(wall: Wall, feature: Feature, reason: str) -> Wall:
    others = tuple(pair for pair in wall.missing if pair[0] is not feature)
    return replace(wall, enforces=wall.enforces - {feature}, missing=(*others, (feature, reason)))
