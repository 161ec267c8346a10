"""A broker that only reads: does any keeper of it hold what could write?"""

from pathlib import Path

import pytest

from veilig.core.clock import SystemClock
from veilig.core.service_file import parse_services
from veilig.providers.heal.aws import AwsSubstrate
from veilig.providers.heal.broker_run import substrates
from veilig.providers.heal.broker_starts import Starts
from veilig.providers.heal.journal import Journal
from veilig.providers.heal.kubernetes import KubernetesSubstrate
from veilig.providers.heal.places import Places
from veilig.providers.heal.postgres import PostgresSubstrate

SERVICES = b"""
db: {provider: postgres, unit: "host=/nowhere user=look", writer: "host=/nowhere user=act"}
web: {provider: aws, unit: "autoscaling:web?profile=look", writer: "profile=act"}
api: {provider: kubernetes, unit: "shop/api?context=look", writer: "context=act"}
"""


@pytest.mark.parametrize("readonly", [True, False])
async def test_a_writers_credential_is_kept_only_by_a_broker_that_may_act(
    tmp_path: Path, readonly: bool
) -> None:
    inventory = parse_services(SERVICES, str(tmp_path / "services.yaml"))
    places, clock = Places.of(tmp_path, inventory.path), SystemClock()
    starts = Starts(lambda: Journal(places.journal, clock), clock)
    made = substrates(inventory, places, starts, readonly=readonly)
    assert set(made) == {"postgres", "aws", "kubernetes"}
    postgres, aws, kubernetes = made["postgres"], made["aws"], made["kubernetes"]
    assert isinstance(postgres, PostgresSubstrate)
    assert isinstance(aws, AwsSubstrate)
    assert isinstance(kubernetes, KubernetesSubstrate)
    assert (postgres.writers, aws.may_act, kubernetes.may_act) == (
        ((), False, False) if readonly else (("db",), True, True)
    )
