"""Deployments through the real client library and real HTTP; the server is a STAND-IN (support/cluster.py).

No Kubernetes installs from Debian or PyPI: that a real one keeps its rules (409, 422, RBAC) is untried.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster
from veilig.core.clock import SystemClock
from veilig.core.errors import ProviderError
from veilig.core.policy import Capability
from veilig.core.service import Service
from veilig.core.signal import Run
from veilig.providers.heal.kubernetes import KubernetesSubstrate
from veilig.providers.heal.substrate import Seen

MAKER = "0" * 16


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    made.deploy("web", "web:1")
    made.deploy("other", "other:1")
    yield made
    made.close()


def service(name: str = "web", looks: str = "look", acts: str = "act", **more: Any) -> Service:
    writer = f"context={acts}" if acts else ""
    return Service(name, provider="kubernetes", unit=f"shop/{name}?context={looks}", writer=writer, **more)


@asynccontextmanager
async def keeper(
    cluster: Cluster, *services: Service, readonly: bool = False, maker: str = MAKER
) -> AsyncGenerator[KubernetesSubstrate]:
    environment = {"KUBECONFIG": str(cluster.config)}
    made = KubernetesSubstrate(services, SystemClock(), environment, maker=maker, readonly=readonly)
    try:
        yield made
    finally:
        await made.close()


async def seen(made: KubernetesSubstrate, one: Service) -> Seen:
    async with asyncio.timeout(60):
        while True:
            now = await made._look(one, now=True)
            if now.why != "the cluster has not answered yet":
                return now


async def test_a_restart_makes_one_new_revision_and_spares_the_other(cluster: Cluster) -> None:
    one, other = service(), service("other")
    async with keeper(cluster, one, other) as made:
        before, beside = await seen(made, one), await seen(made, other)
        assert (before.run, before.replicas, before.managed) == (Run.RUNNING, 2, True)
        assert (await made.capability(one))[0] is Capability.READ_WRITE
        done = await made.restart(one, before.incarnation)
        assert done.ok, done.detail
        assert (await seen(made, one)).incarnation == done.incarnation != before.incarnation
        assert (await seen(made, other)).incarnation == beside.incarnation
        with pytest.raises(ProviderError, match="another one by now"):
            await made.restart(one, before.incarnation)
    assert {token for token, dry in cluster.patches if not dry} == {"t-act"}


async def test_a_change_by_somebody_else_in_the_last_moment_wins(cluster: Cluster) -> None:
    one = service()
    async with keeper(cluster, one) as made:
        before = await seen(made, one)
        whole = made._api.deployment

        async def slow(place: Any) -> dict[str, Any]:
            found = await whole(place)
            cluster.set("web", replicas=found["spec"]["replicas"] + 1)  # after it was read
            return found

        made._api.deployment = slow
        with pytest.raises(ProviderError, match="changed by somebody else meanwhile"):
            await made.restart(one, before.incarnation)
        with pytest.raises(ProviderError, match="changed by somebody else meanwhile"):
            await made.scale("web", 3, 4)
    assert cluster.deployments["web"]["spec"]["replicas"] == 4
    assert not [token for token, dry in cluster.patches if not dry]


async def test_it_grows_and_takes_back_only_what_it_added(cluster: Cluster) -> None:
    one = service()
    async with keeper(cluster, one) as made:
        done = await made.scale("web", 2, 3)
        assert done.ok, done.detail
        now = await seen(made, one)
        assert (now.replicas, now.replicas_own) == (3, 1)
        with pytest.raises(ProviderError, match="has 3 by now"):
            await made.scale("web", 2, 3)
        with pytest.raises(ProviderError, match="only 1 replicas of web are ours"):
            await made.scale("web", 3, 1)
    async with keeper(cluster, one, maker="another") as stranger:
        assert (await seen(stranger, one)).replicas_own == 0
        with pytest.raises(ProviderError, match="only 0 replicas"):
            await stranger.scale("web", 3, 2)
    async with keeper(cluster, one) as made:
        assert (await made.scale("web", 3, 2)).ok
        assert (await seen(made, one)).replicas_own == 0


async def test_a_deploy_whose_pods_never_get_ready_goes_back_to_what_served(cluster: Cluster) -> None:
    one = service()
    async with keeper(cluster, one) as made:
        good = (await seen(made, one)).good
        cluster.deploy("web", "web:2-bad")
        ill = await seen(made, one)
        (change,) = ill.changes
        assert (ill.run, ill.incarnation, ill.good) == (Run.DOWN, "", good)
        assert (change.kind, change.before, change.valid) == ("version", good, False)
        files = ((change.path, change.after, change.before),)
        with pytest.raises(ProviderError, match="changed meanwhile"):
            await made.roll_back(one, "", ((change.path, "0" * 64, good),), good)
        with pytest.raises(ProviderError, match="not what the act names"):
            await made.roll_back(one, "", (("/etc/passwd", change.after, good),), good)
        done = await made.roll_back(one, "", files, good)
        assert done.ok, done.detail
        well = await seen(made, one)
        assert (well.run, well.changes, well.good) == (Run.RUNNING, (), good)
    image = cluster.deployments["web"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == "web:1"
    assert "pod-template-hash" not in str(cluster.deployments["web"]["spec"])


@pytest.mark.parametrize(
    ("looks", "acts", "readonly", "held"),
    [
        ("look", "act", False, Capability.READ_WRITE),
        ("look", "act", True, Capability.READONLY),
        ("look", "", False, Capability.READONLY),
        ("act", "look", False, Capability.NOT_ENFORCED),
        ("loose", "act", False, Capability.NOT_ENFORCED),
        ("look", "look", False, Capability.UNKNOWN),
        ("nowhere", "act", False, Capability.UNKNOWN),
    ],
    ids=["two", "readonly", "no-writer", "swapped", "loose-looker", "one-for-both", "no-such-context"],
)
async def test_what_a_context_may_is_tried_and_nothing_more_is_done(
    cluster: Cluster, looks: str, acts: str, readonly: bool, held: Capability
) -> None:
    one = service("web", looks, acts)
    async with keeper(cluster, one, readonly=readonly) as made:
        assert (await made.capability(one))[0] is held
        if held is Capability.READONLY:
            now = await seen(made, one)
            for act in (made.restart(one, now.incarnation), made.scale("web", 2, 3)):
                with pytest.raises(ProviderError, match="nothing here may change web"):
                    await act
    assert all(dry for _, dry in cluster.patches)


async def test_what_a_person_paused_or_scaled_to_none_is_held(cluster: Cluster) -> None:
    one = service()
    async with keeper(cluster, one) as made:
        for spec, why in (({"paused": True}, "paused"), ({"paused": False, "replicas": 0}, "scaled to none")):
            cluster.set("web", **spec)
            now = await seen(made, one)
            assert now.run is Run.STOPPED
            assert why in now.held_by
            with pytest.raises(ProviderError, match="stopped by a person"):
                await made.restart(one, now.incarnation)
        with pytest.raises(ProviderError, match="never stopped"):
            await made.stop(one, "")


@pytest.mark.parametrize("unit", ["", "web", "shop/", "a/b/c", "shop/web?user=x"])
async def test_what_names_no_deployment_is_unknown_with_its_reason(unit: str) -> None:
    one = Service("web", provider="kubernetes", unit=unit)
    made = KubernetesSubstrate([one], SystemClock(), {})
    (now,) = await made.look([one])
    assert now.run is Run.UNKNOWN
    assert "names no deployment" in now.why


async def test_a_cluster_that_is_gone_or_knows_no_such_deployment_is_unknown(cluster: Cluster) -> None:
    one, missing = service(), service("nothere")
    async with keeper(cluster, one, missing) as made:
        assert "404" in (await seen(made, missing)).why
        cluster.close()
        assert (await seen(made, one)).run is Run.UNKNOWN
