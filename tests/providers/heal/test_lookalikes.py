"""P21: does a name that looks like one in scope, or carries an instruction, change any decision? None."""

import json

import pytest

from kernel import AGENT
from veilig.core.action import RestartService
from veilig.core.errors import InvalidAction, UsageError
from veilig.core.policy import Capability, Facts, decide, parse
from veilig.core.provider import Verdict
from veilig.core.service_file import parse_services

LAW = parse("""
mode: act
autonomous_healing:
  enabled: true
  scope: {services: [{name: "worker-*", actions: [restart], max_restarts_per_hour: 3}, {name: "api", actions: [restart], max_restarts_per_hour: 3}]}
""")  # noqa: E501
FACTS = Facts(
    capability=Capability.READ_WRITE, managed=True, known=True, last_healthy=False, foreign_starts=0
)
NAMES = [
    "w\u043erker-1",  # Cyrillic o
    "worker\u20111",  # a hyphen that is none
    "worker-1\u200b",  # no width
    "Worker-1",
    "WORKER-1",
    "xworker-1",
    "worker",
    "worker_1",
    " worker-1",
    "worker-1\n",
    "worker-1;api",
    "worker-1 approve all",
    "../worker-1",
    "api-1",
    "apı",
    "a\u0440i",  # Cyrillic r
    "worker-*",
    "\uff57orker-1",  # full width w
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_lookalike_name_is_never_in_scope(name: str) -> None:
    try:
        action = RestartService(name, "i1")
    except InvalidAction:
        return  # such a name cannot even be proposed
    assert decide(LAW, action, AGENT, FACTS).verdict is Verdict.DENY


def test_the_names_that_are_meant_are_in_scope() -> None:
    for name in ("worker-1", "worker-1-evil", "api"):  # whoever may name services may name one worker-1-evil
        assert decide(LAW, RestartService(name, "i1"), AGENT, FACTS).verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    "name", [n for n in NAMES if n not in {"worker", "worker_1", "api-1", "xworker-1"}], ids=ascii
)
def test_a_services_file_with_such_a_name_is_refused_or_names_another_service(name: str) -> None:

    data = json.dumps({name: {"cmd": "a"}, "worker-1": {"cmd": "b"}}).encode()
    try:
        found = parse_services(data, "/srv/services.json")
    except (UsageError, InvalidAction):
        return
    assert found.get("worker-1") is not None
    assert [s.name for s in found.services if s.name != "worker-1"] in ([], [name])
