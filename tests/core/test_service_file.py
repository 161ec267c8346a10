"""Is a services file read as its author meant it, in every usual shape, and refused where it cannot be?"""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.core.errors import UsageError
from veilig.core.service import Dependency, Inventory, MetricBound
from veilig.core.service_file import parse_services, read_services

WORKER = {
    "cmd": "python3 app.py --port 9001",
    "pidfile": "run/worker.pid",
    "health": "http://127.0.0.1:9001/health",
    "port": 9001,
    "log": "logs/app.log",
    "deps": ["db", "10.0.0.7:6379"],
    "config": "run/config.json",
    "data": "data",
}
DB = {"cmd": ["./db.sh", "--port", 5432], "port": 5432}


def read(value: object, path: str = "/srv/services.json") -> Inventory:
    return parse_services(json.dumps(value).encode(), path)


@pytest.mark.parametrize(
    "shape",
    [
        {"worker-1": WORKER, "db": DB},
        {"services": {"worker-1": WORKER, "db": DB}},
        {"version": 1, "services": [{"name": "worker-1", **WORKER}, {"name": "db", **DB}]},
        [{"name": "worker-1", **WORKER}, {"name": "db", **DB}],
    ],
)
def test_every_usual_shape_gives_the_same_services(shape: object):
    inventory = read(shape)
    worker, db = inventory.services
    assert (worker.name, db.name) == ("worker-1", "db")
    assert worker.cmd == ("python3", "app.py", "--port", "9001")
    assert worker.pidfile == "/srv/run/worker.pid"
    assert worker.folder == "/srv/run"
    assert worker.log == ("/srv/logs/app.log",)
    assert worker.config == ("/srv/run/config.json",)
    assert worker.data == ("/srv/data",)
    assert worker.depends_on == (Dependency(service="db"), Dependency(host="10.0.0.7", port=6379))
    assert db.cmd == ("./db.sh", "--port", "5432")
    assert db.health == "tcp://127.0.0.1:5432"
    assert inventory.notes == ()


def test_yaml_says_the_same_as_json():
    text = b"""
services:
  worker-1:
    cmd: python3 app.py --port 9001
    port: 9001
    health: /health
    deps: [db]
  db:
    cmd: [./db.sh]
"""
    worker = parse_services(text, "/srv/services.yaml").services[0]
    assert worker.health == "http://127.0.0.1:9001/health"
    assert worker.depends_on == (Dependency(service="db"),)


def test_a_shell_line_runs_in_a_shell_and_a_plain_one_does_not():
    inventory = read({"a": {"cmd": "cd /srv && exec ./a"}, "b": {"cmd": "./b 'two words'"}})
    assert inventory.services[0].cmd == ("/bin/sh", "-c", "cd /srv && exec ./a")
    assert inventory.services[1].cmd == ("./b", "two words")


def test_a_hold_file_is_looked_for_in_every_folder_that_is_the_services_own():
    worker, _ = read({"worker-1": WORKER, "db": DB}).services
    assert "/srv/run/STOPPED_BY_OPERATOR" in worker.hold
    assert "/srv/data/STOPPED_BY_OPERATOR" in worker.hold
    a, b = read({"a": {"cmd": "a", "pidfile": "a.pid"}, "b": {"cmd": "b", "pidfile": "b.pid"}}).services
    assert a.hold == b.hold == ("/srv/STOPPED_BY_OPERATOR",)


def test_what_is_not_used_is_said():
    inventory = read({"a": {"cmd": "a", "colour": "blue", "deps": ["nobody"]}})
    assert inventory.notes == (
        "a: 'colour' is no key of a service; not used",
        "a: 'nobody' in deps is no service here and no address; not watched",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "describes no service"),
        ("[]", "describes no service"),
        ('{"a": 1}', "is no service"),
        ('{"Worker": {"cmd": "x"}}', "cannot be the name of a service"),
        ('{"a": {"cmd": "x"}, "a": {"cmd": "y"}}', "stands twice"),
        ('[{"name": "a", "cmd": "x"}, {"name": "a", "cmd": "y"}]', "stands twice"),
        ('{"a": {}}', "a.cmd is None"),
        ('{"a": {"cmd": "x", "port": 70000}}', "a.port is 70000"),
        ('{"a": {"cmd": "x", "port": true}}', "a.port is True"),
        ('{"a": {"cmd": "x", "health": "ftp://x"}}', "a.health is 'ftp://x'"),
        ('{"a": {"cmd": "x \'"}}', "a.cmd is"),
        ('{"a": {"cmd": "x", "warmup_s": -1}}', "a.warmup_s is -1"),
        ('{"a": {"provider": "magic"}}', "a.provider is 'magic'"),
        ('{"a": {"cmd": "x"}', ".json:1:"),
        ("\x00", "services"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(text: str, said: str):
    with pytest.raises(UsageError, match=said.replace("[", r"\[")):
        parse_services(text.encode(), "/srv/services.json")


def test_a_missing_file_says_how_to_name_one(tmp_path: Path):
    with pytest.raises(UsageError, match="cannot read the services file") as caught:
        read_services(tmp_path / "none.json")
    assert "--services" in caught.value.fix


@given(st.binary(max_size=200))
def test_any_bytes_are_services_or_a_clear_error(data: bytes):
    try:
        parse_services(data, "/srv/services.json")
    except UsageError as error:
        assert str(error)


KEYS = ["name", "cmd", "port", "health", "deps", "config", "env", "services", "a"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=12,
)


@given(values)
def test_any_json_is_services_or_a_clear_error(value: object):
    try:
        read(value)
    except UsageError as error:
        assert str(error)


def test_promql_bounds_are_read() -> None:
    bounds = [{"expr": "up", "below": 1}, {"expr": "x", "above": 0.5, "server": "http://p:1"}]
    text = json.dumps({"web": {"cmd": "./run", "promql": bounds}})
    (service,) = parse_services(text.encode(), "/srv/services.json").services
    assert service.promql == (MetricBound("up", None, 1.0), MetricBound("x", 0.5, None, "http://p:1"))


@pytest.mark.parametrize(
    "wrong",
    ["5", '"up"', '{"expr": "up"}', '{"expr": "", "above": 1}', '{"expr": "up", "above": true}',
     '{"expr": "up", "above": "1"}', '{"expr": "up", "abov": 1, "below": 1}',
     '{"expr": "up", "above": 1, "server": "ftp://x"}'],
)  # fmt: skip
def test_promql_that_says_no_bound_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="promql"):
        parse_services(f'{{"web": {{"cmd": "./run", "promql": [{wrong}]}}}}'.encode(), "/srv/services.json")


def test_a_database_names_a_role_that_looks_and_one_that_acts() -> None:
    unit, writer = "host=/run/postgresql user=look", "host=/run/postgresql user=act passfile=/etc/act"
    text = json.dumps({"db": {"provider": "postgres", "unit": unit, "writer": writer}})
    (service,) = parse_services(text.encode(), "/srv/services.json").services
    assert (service.unit, service.writer) == (unit, writer)
    with pytest.raises(UsageError, match=r"db\.unit"):
        parse_services(b'{"db": {"provider": "postgres"}}', "/srv/services.json")


@pytest.mark.parametrize("wrong", ["host=a password={}", "postgresql://u:{}@h/db", "host=a PASSWORD = {}"])
@pytest.mark.parametrize("key", ["unit", "writer"])
def test_a_password_in_a_connection_string_is_refused_and_not_repeated(key: str, wrong: str) -> None:
    hidden = "correct-horse"
    body = {"provider": "postgres", "unit": "host=a user=look"} | {key: wrong.format(hidden)}
    with pytest.raises(UsageError, match="has a password in it") as caught:
        parse_services(json.dumps({"db": body}).encode(), "/srv/services.json")
    assert hidden not in str(caught.value)
