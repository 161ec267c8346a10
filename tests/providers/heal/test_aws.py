"""Groups of AWS against moto's server, which stands in for AWS and checks the rights of IAM users.

What is real here: the library, HTTP, signatures, IAM policies. What is not: anything that runs.
"""

import asyncio
import json
import os
import urllib.request
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from veilig.core.errors import ProviderError
from veilig.core.policy import Capability
from veilig.core.service import Service
from veilig.core.signal import Run
from veilig.providers.heal.aws import AwsSubstrate
from veilig.providers.heal.substrate import Seen

REGION = "eu-west-1"
LOOKS = ["ec2:Describe*", "autoscaling:Describe*", "ecs:Describe*"]
ACTS = ["autoscaling:SetDesiredCapacity", "ecs:UpdateService"]


@dataclass(frozen=True)
class Cloud:
    """A server that stands in for AWS; `boss` makes what the tests look at."""

    url: str
    boss: Any
    sg: str

    def client(self, kind: str) -> Any:
        return self.boss.client(kind, endpoint_url=self.url)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    patch = pytest.MonkeyPatch()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    boss: Any = boto3.Session("testing", "testing", region_name=REGION)
    iam = boss.client("iam", endpoint_url=url)
    lines: list[str] = []
    for user, allowed in (("look", LOOKS), ("act", LOOKS + ACTS), ("loose", [*LOOKS, "ec2:*"])):
        iam.create_user(UserName=user)
        statement = {"Effect": "Allow", "Action": allowed, "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=user, PolicyName="own", PolicyDocument=document)
        key = iam.create_access_key(UserName=user)["AccessKey"]
        lines += [f"[{user}]", f"aws_access_key_id = {key['AccessKeyId']}"]
        lines.append(f"aws_secret_access_key = {key['SecretAccessKey']}")
    folder = tmp_path_factory.mktemp("aws")
    (folder / "credentials").write_text("\n".join(lines) + "\n")
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    patch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    yield Cloud(url, boss, _made(boss, url))
    patch.undo()
    server.stop()


def _made(boss: Any, url: str) -> str:
    ec2, scaling, ecs = (boss.client(kind, endpoint_url=url) for kind in ("ec2", "autoscaling", "ecs"))
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = str(ec2.create_security_group(GroupName="web", Description="web", VpcId=vpc)["GroupId"])
    _open(ec2, group, 443)
    scaling.create_launch_configuration(
        LaunchConfigurationName="one",
        ImageId=ec2.describe_images()["Images"][0]["ImageId"],
        InstanceType="t3.nano",
    )
    tag = {"Key": "veilig.managed", "Value": "true", "PropagateAtLaunch": False}
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="web", LaunchConfigurationName="one", MinSize=0, MaxSize=4, DesiredCapacity=2,
        AvailabilityZones=[f"{REGION}a"], Tags=[tag],
    )  # fmt: skip
    ecs.create_cluster(clusterName="shop")
    container = {"name": "web", "image": "web:1", "memory": 64}
    ecs.register_task_definition(family="web", containerDefinitions=[container])
    ecs.create_service(cluster="shop", serviceName="web", taskDefinition="web", desiredCount=2)
    return group


def _open(ec2: Any, group: str, port: int) -> None:
    rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])


@pytest.fixture
def guarded(cloud: Cloud) -> Iterator[Cloud]:
    """From here on every request needs a right."""
    _rights(cloud, b"0")
    yield cloud
    _rights(cloud, b"100000")


def _rights(cloud: Cloud, after: bytes) -> None:
    asked = urllib.request.Request(
        f"{cloud.url}/moto-api/reset-auth", data=after, headers={"Content-Type": "text/plain"}, method="POST"
    )
    urllib.request.urlopen(asked, timeout=30).close()


def service(unit: str, profile: str = "look", writer: str = "profile=act", **more: Any) -> Service:
    return Service(
        "web", provider="aws", unit=f"{unit}?region={REGION}&profile={profile}", writer=writer, **more
    )


@asynccontextmanager
async def keeper(cloud: Cloud, one: Service, *, readonly: bool = False) -> AsyncGenerator[AwsSubstrate]:
    made = AwsSubstrate([one], {"AWS_ENDPOINT_URL": cloud.url}, readonly=readonly)
    try:
        yield made
    finally:
        await made.close()


async def seen(made: AwsSubstrate, one: Service) -> Seen:
    async with asyncio.timeout(60):
        while True:
            (now,) = await made.look([one])
            if now.why != "AWS has not answered yet":
                return now
            await asyncio.sleep(0.05)


async def test_a_group_is_seen_and_grown_once_within_its_own_maximum(guarded: Cloud) -> None:
    one = service("autoscaling:web")
    async with keeper(guarded, one) as made:
        now = await seen(made, one)
        assert (now.run, now.replicas, now.managed) == (Run.RUNNING, 2, True)
        assert (await made.capability(one))[0] is Capability.READ_WRITE
        with pytest.raises(ProviderError, match="has 2 by now"):
            await made.scale("web", 1, 3)
        with pytest.raises(ProviderError, match="4 at most"):
            await made.scale("web", 2, 5)
        with pytest.raises(ProviderError, match="never shrunk"):
            await made.scale("web", 2, 1)
        done = await made.scale("web", 2, 3)
        assert done.ok, done.detail
        assert (await seen(made, one)).replicas == 3


async def test_a_service_of_ecs_is_grown_the_same_way(guarded: Cloud) -> None:
    one = service("ecs:shop/web")
    async with keeper(guarded, one) as made:
        assert (await seen(made, one)).replicas == 2
        done = await made.scale("web", 2, 3)
        assert (await seen(made, one)).replicas == 3
        with pytest.raises(ProviderError, match="has 3 by now"):
            await made.scale("web", 2, 3)
    assert done.ok, done.detail


@pytest.mark.parametrize("unit", ["autoscaling:web", "ecs:shop/web", "security-group:sg-1"])
async def test_nothing_is_ever_restarted_stopped_or_grown_without_a_writer(guarded: Cloud, unit: str) -> None:
    for one, readonly in ((service(unit), True), (service(unit, writer=""), False)):
        async with keeper(guarded, one, readonly=readonly) as made:
            with pytest.raises(ProviderError):
                await made.scale("web", 2, 3)
            for act in (made.restart, made.stop):
                with pytest.raises(ProviderError):
                    await act(one, "")


async def test_the_right_to_look_is_no_right_to_grow(guarded: Cloud) -> None:
    one = service("ecs:shop/web", profile="act", writer="profile=look")  # the wrong way round
    async with keeper(guarded, one) as made:
        size = (await seen(made, one)).replicas
        with pytest.raises(ProviderError, match="AWS refuses update_service"):
            await made.scale("web", size, size + 1)
        assert (await seen(made, one)).replicas == size


async def test_a_security_group_is_read_its_drift_told_and_nobody_here_can_change_it(
    guarded: Cloud, tmp_path: Path
) -> None:
    (tmp_path / "sg.json").write_text(json.dumps(["in tcp 443 0.0.0.0/0", "out -1 all 0.0.0.0/0"]))
    one = service(f"security-group:{guarded.sg}", tracked=(str(tmp_path / "sg.json"),))
    async with keeper(guarded, one) as made:
        assert (await seen(made, one)).gauges == ()
        assert await made.capability(one) == (
            Capability.READONLY,
            "security groups are never changed from here",
        )
        with pytest.raises(ProviderError):
            await made.scale("web", 1, 2)
    _rights(guarded, b"100000")
    _open(guarded.client("ec2"), guarded.sg, 22)
    async with keeper(guarded, one) as made:
        (drift,) = (await seen(made, one)).gauges
    assert (drift.over, drift.subject) == (True, "added in tcp 22 0.0.0.0/0")


async def test_a_looker_that_may_change_a_security_group_is_found_out(guarded: Cloud) -> None:
    one = service(f"security-group:{guarded.sg}", profile="loose")
    async with keeper(guarded, one) as made:
        assert (await made.capability(one))[0] is Capability.NOT_ENFORCED


@pytest.mark.parametrize("unit", ["", "web", "autoscaling:", "ecs:web", "s3:bucket", "autoscaling:web?key=1"])
async def test_what_names_nothing_of_aws_is_unknown_with_its_reason(unit: str) -> None:
    one = Service("web", provider="aws", unit=unit)
    made = AwsSubstrate([one], {})
    (now,) = await made.look([one])
    assert now.run is Run.UNKNOWN
    assert "names nothing of AWS" in now.why
