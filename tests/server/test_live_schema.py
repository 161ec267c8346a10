"""The API under what its own schema allows, and much that it does not: no answer is a defect of ours."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error

from people_page import Running, plant, running, started
from veilig.collab.accounts import Accounts
from veilig.collab.roles import Role

pytestmark = pytest.mark.outside_gate
S = "fix-0d0d0d0d"
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
OWNERS = [f"own{i}" for i in range(8)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("home")
    plant(made, S, [started()])
    return made


@pytest.fixture(scope="module")
def signed_in(home: Path) -> list[dict[str, str]]:
    """Several owners: each has a rate of their own, which one attacker would soon meet."""
    accounts = Accounts(home / "people.db")
    found: list[dict[str, str]] = []
    for name in OWNERS:
        cookie, login = accounts.log_in(accounts.add(name, name, Role.OWNER), "test")
        found.append({"Cookie": f"veilig_session={cookie}", "X-CSRF-Token": login.csrf})
    accounts.close()
    return found


@pytest.fixture(scope="module")
def server(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(home, [tmp_path_factory.mktemp("empty")]) as made:
        yield made


SKIPPED = {"/auth/sign-out", "/auth/sign-in", "/sessions/{session}/live", "/sessions/{session}/stream"}


def test_nothing_that_is_sent_makes_the_server_fail(server: Running, signed_in: list[dict[str, str]]) -> None:
    import requests

    document: dict[str, Any] = requests.get(f"{server.url}/api/v1/openapi.json", timeout=60).json()
    schema = schemathesis.openapi.from_dict(document)
    tried: list[str] = []
    turns = itertools.cycle(signed_in)
    statuses: set[int] = set()
    with requests.Session() as http:
        for result in schema.get_all_operations():
            operation: Any = result.ok()  # type: ignore[union-attr]  # the document is ours, and valid
            if operation.path in SKIPPED:
                continue

            def attack(case: Any) -> None:
                if "session" in case.path_parameters:
                    case.path_parameters["session"] = S
                answer = case.call(base_url=f"{server.url}/api/v1", headers=next(turns), session=http)
                statuses.add(answer.status_code)
                case.validate_response(answer, checks=[not_a_server_error])

            bound = settings(
                max_examples=8, deadline=None, database=None, phases=[Phase.generate],
                suppress_health_check=SLOW, derandomize=True,
            )  # fmt: skip
            bound(_given(operation)(attack))()
            tried.append(f"{operation.method} {operation.path}")
    assert len(tried) > 20
    assert {200, 201, 400, 404} <= statuses, statuses
    assert 429 not in statuses, "the attack was slowed down instead of answered"


def _given(operation: Any) -> Any:
    from hypothesis import given
    from hypothesis import strategies as st

    both = st.one_of(
        operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE),
        operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE),
    )
    return given(case=both)
