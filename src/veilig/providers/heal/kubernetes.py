"""How are deployments of Kubernetes seen, restarted, scaled, taken back? Through its API, by two contexts.

`unit` is `NAMESPACE/NAME?context=LOOKS` of the kubeconfig, `writer` is `context=ACTS`. Each change carries
the resourceVersion it was decided by: the server refuses it (409, 422) when anybody changed the object since.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from veilig.core.clock import Clock
from veilig.core.errors import ProviderError
from veilig.core.policy import Capability
from veilig.core.service import Service
from veilig.core.signal import Change, Gauge, Run
from veilig.providers.heal import kubernetes_seen as reading
from veilig.providers.heal.kubernetes_api import Api, Place, contexts
from veilig.providers.heal.latest import Latest, Pace
from veilig.providers.heal.substrate import Done, Seen

PACE = Pace(every_s=2.0, answer_s=0.8, stale_s=30.0)
RIGHTS_S = 120.0
ROLLED_S = 40.0
POLL_S = 0.2


@dataclass(slots=True)
class _Kept:
    """good: hashes of templates all of whose pods were ready."""

    latest: Latest = field(default_factory=Latest)
    good: str = ""
    tried: tuple[Capability, str] | None = None
    tried_s: float = -1e9
    acting: asyncio.Lock = field(default_factory=asyncio.Lock)


class KubernetesSubstrate:
    """Deployments. readonly: the context that may act is not even known."""

    name = "kubernetes"

    def __init__(
        self,
        services: Sequence[Service],
        clock: Clock,
        environment: Mapping[str, str],
        *,
        maker: str = "",
        readonly: bool = False,
    ) -> None:
        """maker: what scaled deployments carry, so that only replicas of this state folder are ours."""
        self._clock, self._maker, self._readonly = clock, maker, readonly
        mine = [s for s in services if s.provider == self.name]
        self._services = [replace(s, writer="") for s in mine] if readonly else mine
        self._kept = {s.name: _Kept() for s in self._services}
        self._api = Api(environment.get("KUBECONFIG", ""))

    @property
    def may_act(self) -> bool:
        """Is anything known here that could change something?"""
        return any(service.writer for service in self._services)

    # --- looking ------------------------------------------------------------------------------------

    async def look(self, services: Sequence[Service]) -> list[Seen]:
        """What was seen at most two seconds ago."""
        return list(await asyncio.gather(*(self._look(service) for service in services)))

    async def _look(self, service: Service, *, now: bool = False) -> Seen:
        kept = self._kept.setdefault(service.name, _Kept())
        unknown = Seen(service.name, Run.UNKNOWN, "the cluster has not answered yet")
        return await kept.latest.look(lambda: self._ask(service, kept), PACE, unknown, now=now)

    async def _ask(self, service: Service, kept: _Kept) -> Seen:
        """Never raises what is expected of a cluster: that is part of the picture."""
        try:
            place, _ = contexts(service)
            found = await self._api.deployment(place)
            sets = await self._api.replica_sets(place, found)
            return self._seen(service, kept, found, sets)
        except ProviderError as error:
            return Seen(service.name, Run.UNKNOWN, f"{error.what}: {error.why}" if error.why else error.what)

    def _seen(
        self, service: Service, kept: _Kept, found: Mapping[str, Any], sets: Sequence[Mapping[str, Any]]
    ) -> Seen:
        state = reading.state(found, sets)
        if state.run is Run.RUNNING and state.whole:
            kept.good = state.template
        good = kept.good or reading.serving(found, sets)
        changes: tuple[Change, ...] = ()
        if good and good != state.template:
            path, age_s = contexts(service)[0].path, state.template_age_s
            valid, why = (None, "") if state.ready_now else (False, "none of its pods became ready")
            changes = (Change(path, "version", good, state.template, valid, why, age_s),)
        stuck = (Gauge("rollout is stuck", 1.0, 1.0, "", state.text),) if state.stuck else ()
        own = reading.own(found, self._maker)
        return Seen(
            service.name,
            state.run,
            state.text if not state.whole else "",
            incarnation=state.incarnation,
            started_s=self._clock.boottime_s() - state.template_age_s if state.incarnation else 0.0,
            held_by=state.held_by,
            managed=state.managed,
            replicas=state.wanted,
            replicas_own=own,
            text=state.text,
            gauges=stuck,
            changes=changes,
            good=good,
        )

    # --- what may be done -----------------------------------------------------------------------------

    async def capability(self, service: Service) -> tuple[Capability, str]:
        """Both contexts asked what they may (SelfSubjectAccessReview) and tried by a dry run."""
        kept = self._kept.setdefault(service.name, _Kept())
        if kept.tried is None or time.monotonic() - kept.tried_s > RIGHTS_S:
            try:
                kept.tried = await self._tried(service)
            except ProviderError as error:
                return Capability.UNKNOWN, f"{error.what}: {error.why}"
            kept.tried_s = time.monotonic()
        return kept.tried

    async def _tried(self, service: Service) -> tuple[Capability, str]:
        looks, acts = contexts(service)
        if await self._api.may_change(looks):
            return Capability.NOT_ENFORCED, "the context that should only look may change deployments"
        if acts is None or self._readonly:
            return Capability.READONLY, "no context that may act"
        if not await self._api.may_change(acts):
            return Capability.READONLY, "the acting context may not change this deployment"
        return Capability.READ_WRITE, "RBAC bounds no number: max_scale is kept by policy and broker only"

    def _writer(self, service: Service) -> Place:
        _, acts = contexts(service)
        if acts is None or self._readonly:
            raise ProviderError(f"nothing here may change {service.name}", why="no context that may act")
        return acts

    # --- acting ---------------------------------------------------------------------------------------

    async def restart(self, service: Service, incarnation: str) -> Done:
        """As `kubectl rollout restart` does it: an annotation of the template changes."""
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        note = {"metadata": {"annotations": {reading.RESTARTED: stamp}}}
        return await self._rolled(service, incarnation, {"spec": {"template": note}}, "was restarted")

    async def roll_back(
        self, service: Service, incarnation: str, files: Sequence[tuple[str, str, str]], to: str
    ) -> Done:
        """As `kubectl rollout undo` does it: the template of an earlier ReplicaSet comes back."""
        place, _ = contexts(service)
        if len(files) != 1 or files[0][0] != place.path or files[0][2] != to:
            raise ProviderError(f"{service.name} is not what the act names", why="one template is taken back")
        found = await self._api.deployment(place)
        now = reading.template_hash(found["spec"]["template"])
        if now != files[0][1]:
            raise ProviderError(f"the template of {service.name} changed meanwhile", why="nothing was done")
        sets = await self._api.replica_sets(place, found)
        older = reading.of_template(sets, to)
        if older is None:
            raise ProviderError(f"{service.name} has no such revision any more", why="nothing was done")
        template = reading.bare(older["spec"]["template"])
        return await self._rolled(service, incarnation, template, f"went back to {to[:12]}", undo=True)

    async def _rolled(
        self, service: Service, incarnation: str, patch: dict[str, Any], said: str, *, undo: bool = False
    ) -> Done:
        """Change the template, fenced by the resourceVersion just read; wait for the new revision."""
        writer, (place, _) = self._writer(service), contexts(service)
        kept = self._kept.setdefault(service.name, _Kept())
        async with kept.acting:
            seen, found = await self._fence(service, kept, place, incarnation)
            if seen.run is Run.STOPPED:
                raise ProviderError(f"{service.name} was stopped by a person", why=seen.held_by)
            before = reading.state(found, ()).revision
            await self._api.change(writer, found, patch, template=undo)
            until_s = time.monotonic() + ROLLED_S
            while time.monotonic() < until_s:
                now = await self._look(service, now=True)
                whole = now.run is Run.RUNNING and not now.why
                if whole and not now.incarnation.endswith(f"/{before}"):
                    return Done(True, f"{service.name} {said}", now.incarnation)
                await asyncio.sleep(POLL_S)
        return Done(False, f"{service.name} has no new pod that is ready after {ROLLED_S:.0f} s")

    async def _fence(
        self, service: Service, kept: _Kept, place: Place, incarnation: str
    ) -> tuple[Seen, dict[str, Any]]:
        found = await self._api.deployment(place)
        seen = self._seen(service, kept, found, await self._api.replica_sets(place, found))
        if seen.incarnation != incarnation:
            raise ProviderError(
                f"{service.name} is another one by now",
                why=f"{seen.incarnation or 'nothing'} runs, the act meant {incarnation or 'nothing'}",
            )
        return seen, found

    async def scale(self, group: str, current: int, replicas: int) -> Done:
        """From `current` to `replicas`; down only by what this state folder added."""
        service = next((one for one in self._services if group in (one.name, one.group)), None)
        if service is None:
            raise ProviderError(f"{group} cannot be scaled", why="this broker was not told of it")
        writer, (place, _) = self._writer(service), contexts(service)
        async with self._kept.setdefault(service.name, _Kept()).acting:
            found = await self._api.deployment(place)
            now, own = int(found["spec"].get("replicas", 1)), reading.own(found, self._maker)
            if now != current:
                raise ProviderError(
                    f"{group} has {now} by now, the act meant {current}", why="nothing was done"
                )
            if replicas < current and current - replicas > own:
                raise ProviderError(f"only {own} replicas of {group} are ours", why="nothing was done")
            notes = {reading.OWN: str(max(0, own + replicas - current)), reading.MAKER: self._maker}
            await self._api.change(
                writer, found, {"metadata": {"annotations": notes}, "spec": {"replicas": replicas}}
            )
            seen = await self._look(service, now=True)
        return Done(seen.replicas == replicas, f"{group}: {seen.replicas} are wanted, {seen.text}")

    async def stop(self, service: Service, incarnation: str) -> Done:
        """Never: whoever wants a deployment down scales it to none."""
        del incarnation
        raise ProviderError(f"{service.name} is never stopped from here", why="nothing was done")

    async def close(self) -> None:
        """Forget what was asked."""
        for kept in self._kept.values():
            await kept.latest.close()
