"""How are groups of AWS seen and grown? Auto Scaling, ECS services, and security groups that are only read.

`unit`: `autoscaling:GROUP`, `ecs:CLUSTER/SERVICE` or `security-group:ID`, and `?region=R&profile=P`;
`writer`: `profile=P` of the credentials that may grow a group. AWS has no fence for a size: it is read again
right before it is set. A security group is never changed from here, whatever anybody approves.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

from veilig.core.errors import ProviderError
from veilig.core.policy import Capability
from veilig.core.service import Service
from veilig.core.signal import Gauge, Run
from veilig.providers.heal.latest import Latest, Pace
from veilig.providers.heal.substrate import Done, Seen

PACE = Pace(every_s=30.0, answer_s=0.8, stale_s=180.0)  # AWS counts questions, and may charge for them
CHANGES_MAX = 8
MANAGED = "veilig.managed"  # the tag, with "true"
KINDS = ("autoscaling", "ecs", "security-group")
_REFUSED = frozenset(
    {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"}
)  # names differ by service


@dataclass(frozen=True, slots=True)
class Place:
    """Where a service of AWS is. Empty region or profile: as the environment says."""

    kind: str
    name: str
    region: str = ""
    profile: str = ""

    @classmethod
    def of(cls, service: Service) -> "Place":
        """Raises ProviderError for what is no unit of AWS."""
        head, _, query = service.unit.partition("?")
        kind, _, name = head.partition(":")
        known = dict(parse_qsl(query))
        good = kind in KINDS and name and not known.keys() - {"region", "profile"}
        if not good or (kind == "ecs" and name.count("/") != 1):
            raise ProviderError(
                f"{service.unit!r} names nothing of AWS",
                why="autoscaling:GROUP, ecs:CLUSTER/SERVICE or security-group:ID, then ?region=R&profile=P",
            )
        return cls(kind, name, known.get("region", ""), known.get("profile", ""))


@dataclass(slots=True)
class _Kept:
    """What was seen of one service last. baseline: the rules of a security group as they should be."""

    latest: Latest = field(default_factory=Latest)
    baseline: frozenset[str] | None = None
    tried: tuple[Capability, str] | None = None


class AwsSubstrate:
    """Groups of AWS. readonly: the profile that may act is not even known."""

    name = "aws"

    def __init__(
        self,
        services: Sequence[Service],
        environment: Mapping[str, str],
        *,
        readonly: bool = False,
    ) -> None:
        self._environment, self._readonly = environment, readonly
        mine = [s for s in services if s.provider == self.name]
        self._services = [replace(s, writer="") for s in mine] if readonly else mine
        self._kept = {s.name: _Kept() for s in services if s.provider == self.name}
        self._clients: dict[tuple[str, str, str], Any] = {}

    @property
    def may_act(self) -> bool:
        """Is anything known here that could change something?"""
        return any(service.writer for service in self._services)

    # --- looking ------------------------------------------------------------------------------------

    async def look(self, services: Sequence[Service]) -> list[Seen]:
        """What was seen at most half a minute ago; nobody waits long for AWS."""
        return list(await asyncio.gather(*(self._look(service) for service in services)))

    async def _look(self, service: Service, *, now: bool = False) -> Seen:
        kept = self._kept.setdefault(service.name, _Kept())
        unknown = Seen(service.name, Run.UNKNOWN, "AWS has not answered yet")
        return await kept.latest.look(lambda: self._ask(service, kept), PACE, unknown, now=now)

    async def _ask(self, service: Service, kept: _Kept) -> Seen:
        """Never raises what is expected of AWS: that is part of the picture."""
        try:
            place = Place.of(service)
            if place.kind == "autoscaling":
                return self._scaling(service, await self._scaling_group(place))
            if place.kind == "ecs":
                return self._tasks(service, await self._ecs_service(place))
            return self._rules(service, kept, await self._security_group(place))
        except ProviderError as error:
            return Seen(service.name, Run.UNKNOWN, f"{error.what}: {error.why}" if error.why else error.what)

    async def _scaling_group(self, place: Place) -> dict[str, Any]:
        answer = await self._call(place, "describe_auto_scaling_groups", AutoScalingGroupNames=[place.name])
        return _one(answer["AutoScalingGroups"], place)

    async def _ecs_service(self, place: Place) -> dict[str, Any]:
        cluster, _, name = place.name.partition("/")
        answer = await self._call(
            place, "describe_services", cluster=cluster, services=[name], include=["TAGS"]
        )
        found = [one for one in answer["services"] if one.get("status") == "ACTIVE"]
        return _one(found, place)

    async def _security_group(self, place: Place) -> dict[str, Any]:
        answer = await self._call(place, "describe_security_groups", GroupIds=[place.name])
        return _one(answer["SecurityGroups"], place)

    def _scaling(self, service: Service, group: Mapping[str, Any]) -> Seen:
        instances = [one for one in group.get("Instances", []) if one.get("LifecycleState") == "InService"]
        well = sum(1 for one in instances if one.get("HealthStatus") == "Healthy")
        tags = {str(tag["Key"]): str(tag["Value"]) for tag in group.get("Tags", [])}
        return self._group(
            service, int(group["DesiredCapacity"]), well, tags, str(group["AutoScalingGroupARN"])
        )

    def _tasks(self, service: Service, found: Mapping[str, Any]) -> Seen:
        tags = {str(tag["key"]): str(tag["value"]) for tag in found.get("tags", [])}
        wanted, running = int(found["desiredCount"]), int(found.get("runningCount", 0))
        return self._group(service, wanted, running, tags, str(found["serviceArn"]))

    def _group(self, service: Service, wanted: int, well: int, tags: Mapping[str, str], arn: str) -> Seen:
        """A group that somebody set to none is stopped; one with none of its own well is down."""
        run = Run.RUNNING if well else Run.STOPPED if not wanted else Run.DOWN
        text = f"{well} of {wanted} are in service"
        return Seen(
            service.name,
            run,
            "" if well >= wanted else text,
            incarnation=arn if well else "",
            held_by="its wanted size is 0" if run is Run.STOPPED else "",
            managed=tags.get(MANAGED) == "true",
            replicas=wanted,
            text=text,
        )

    def _rules(self, service: Service, kept: _Kept, group: Mapping[str, Any]) -> Seen:
        """Rules that should not be there, or are not there any more."""
        rules = rules_of(group)
        if kept.baseline is None:
            kept.baseline = _expected(service, rules)
        drift = [f"added {rule}" for rule in sorted(rules - kept.baseline)]
        drift += [f"gone {rule}" for rule in sorted(kept.baseline - rules)]
        gauges = tuple(Gauge("drift", 1.0, 1.0, "", one) for one in drift[:CHANGES_MAX])
        return Seen(
            service.name,
            Run.RUNNING,
            "; ".join(drift)[:300],
            incarnation=str(group["GroupId"]),
            gauges=gauges,
        )

    # --- what may be done -----------------------------------------------------------------------------

    async def capability(self, service: Service) -> tuple[Capability, str]:
        """That a security group cannot be changed is tried by a dry run; AWS has none for a size."""
        kept, place = self._kept.setdefault(service.name, _Kept()), Place.of(service)
        if place.kind != "security-group":
            (seen,) = await self.look([service])
            if seen.run is Run.UNKNOWN:
                return Capability.UNKNOWN, seen.why
            if self._readonly or not service.writer:
                return Capability.READONLY, "no profile that may act"
            return Capability.READ_WRITE, "the right to set a size is not tried: AWS has no dry run for it"
        if kept.tried is None:
            kept.tried = await self._tried(place)
        return kept.tried

    async def _tried(self, place: Place) -> tuple[Capability, str]:
        rule = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1, "IpRanges": [{"CidrIp": "192.0.2.1/32"}]}
        try:
            await self._call(
                place,
                "authorize_security_group_ingress",
                GroupId=place.name,
                IpPermissions=[rule],
                DryRun=True,
            )
        except Refused as error:
            if error.code in _REFUSED:
                return Capability.READONLY, "security groups are never changed from here"
            if error.code == "DryRunOperation":
                return Capability.NOT_ENFORCED, "the role that should only look may change security groups"
            return Capability.UNKNOWN, f"{error.what}: {error.why}"
        return Capability.NOT_ENFORCED, "a dry run was taken for a change: AWS is not what it seems"

    # --- acting ---------------------------------------------------------------------------------------

    async def scale(self, group: str, current: int, replicas: int) -> Done:
        """From `current` to `replicas`, if that is still its size and within its own maximum."""
        service = next((one for one in self._services if group in (one.name, one.group)), None)
        if service is None:
            raise ProviderError(f"{group} cannot be scaled", why="this broker was not told of it")
        place = Place.of(service)
        if self._readonly or not service.writer:
            raise ProviderError(f"nothing here may change {service.name}", why="no profile that may act")
        if replicas <= current:
            raise ProviderError(f"{service.name} is never shrunk from here", why="nothing was done")
        writer = Place(
            place.kind, place.name, place.region, dict(parse_qsl(service.writer)).get("profile", "")
        )
        if not writer.profile or writer.profile == place.profile:
            raise ProviderError(
                f"{service.name} has one profile to look and to act", fix="writer: profile=NAME"
            )
        if place.kind == "autoscaling":
            found = await self._scaling_group(place)
            now, most = int(found["DesiredCapacity"]), int(found["MaxSize"])
        elif place.kind == "ecs":
            now, most = int((await self._ecs_service(place))["desiredCount"]), replicas
        else:
            raise ProviderError(f"{service.name} is a security group: never changed from here")
        if now != current:
            raise ProviderError(
                f"{service.name} has {now} by now, the act meant {current}", why="nothing was done"
            )
        if replicas > most:
            raise ProviderError(f"{service.name} may have {most} at most", why="its own MaxSize says so")
        if place.kind == "autoscaling":
            await self._call(
                writer, "set_desired_capacity",
                AutoScalingGroupName=place.name, DesiredCapacity=replicas, HonorCooldown=False,
            )  # fmt: skip
        else:
            cluster, _, name = place.name.partition("/")
            await self._call(writer, "update_service", cluster=cluster, service=name, desiredCount=replicas)
        seen = await self._look(service, now=True)
        return Done(seen.replicas == replicas, f"{service.name}: {seen.replicas} are wanted, {seen.text}")

    async def restart(self, service: Service, incarnation: str) -> Done:
        """Never: AWS replaces what is not well by itself."""
        del incarnation
        raise ProviderError(f"{service.name} is not restarted from here", why="AWS replaces what is not well")

    async def stop(self, service: Service, incarnation: str) -> Done:
        """Never."""
        del incarnation
        raise ProviderError(f"{service.name} is never stopped from here", why="nothing was done")

    async def close(self) -> None:
        """Forget what was asked."""
        for kept in self._kept.values():
            await kept.latest.close()

    # --- the library ----------------------------------------------------------------------------------

    async def _call(self, place: Place, method: str, **arguments: Any) -> dict[str, Any]:
        """One question to AWS, in a thread. Raises Refused for its no, else ProviderError."""
        try:
            from botocore import exceptions as wrong
        except ImportError as error:
            raise ProviderError(
                "boto3 is not installed", why=str(error), fix="pip install 'veilig[aws]'"
            ) from error
        try:
            asked: Callable[..., dict[str, Any]] = getattr(
                await asyncio.to_thread(self._client, place), method
            )
            return await asyncio.to_thread(asked, **arguments)
        except wrong.ClientError as error:
            told: dict[str, Any] = cast(Any, error).response.get("Error", {})
            raise Refused(method, str(told.get("Code")), str(told.get("Message"))[:200]) from error
        except wrong.BotoCoreError as error:
            raise ProviderError("AWS cannot be asked", why=str(error)[:200]) from error

    def _client(self, place: Place) -> Any:
        import boto3
        from botocore.config import Config

        service = {"autoscaling": "autoscaling", "ecs": "ecs"}.get(place.kind, "ec2")
        key = (service, place.region, place.profile)
        if key not in self._clients:
            session: Any = boto3.Session(profile_name=place.profile or None, region_name=place.region or None)
            bounds = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 2})
            endpoint = self._environment.get("AWS_ENDPOINT_URL") or None
            self._clients[key] = session.client(service, config=bounds, endpoint_url=endpoint)
        return self._clients[key]


class Refused(ProviderError):
    """AWS answered, and said no. code: its own word for it."""

    def __init__(self, method: str, code: str, message: str) -> None:
        super().__init__(f"AWS refuses {method}", why=f"{code}: {message}")
        self.code = code


def rules_of(group: Mapping[str, Any]) -> frozenset[str]:
    """Each rule of a security group as one line, whatever order AWS tells them in."""
    found: set[str] = set()
    for way, key in (("in", "IpPermissions"), ("out", "IpPermissionsEgress")):
        for rule in group.get(key, []):
            first, last = rule.get("FromPort", "all"), rule.get("ToPort", "all")
            ports = f"{first}" if first == last else f"{first}-{last}"
            who = [str(one["CidrIp"]) for one in rule.get("IpRanges", [])]
            who += [str(one["CidrIpv6"]) for one in rule.get("Ipv6Ranges", [])]
            who += [str(one["PrefixListId"]) for one in rule.get("PrefixListIds", [])]
            who += [str(one.get("GroupId")) for one in rule.get("UserIdGroupPairs", [])]
            found |= {f"{way} {rule.get('IpProtocol')} {ports} {one}" for one in who}
    return frozenset(found)


def _expected(service: Service, now: frozenset[str]) -> frozenset[str]:
    """The rules that the operator's file lists; without a file, those of the first look."""
    for path in service.tracked:
        try:
            listed: object = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ProviderError(f"{path} cannot be read", why=str(error)) from error
        if not isinstance(listed, list):
            raise ProviderError(f"{path} is no list of rules", why='like ["in tcp 443 0.0.0.0/0"]')
        return frozenset(map(str, cast(list[object], listed)))
    return now


def _one(found: Sequence[dict[str, Any]], place: Place) -> dict[str, Any]:
    if len(found) != 1:
        raise ProviderError(f"AWS knows no {place.kind} {place.name}")
    return found[0]
