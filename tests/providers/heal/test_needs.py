"""Are needs found where operators write them, and only there?"""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.core.service import Dependency, Inventory, Service
from veilig.core.signal import DependencySeen
from veilig.providers.heal.sampler_needs import Needs, addresses_in, options


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"dep": 21005, "dep_mode": "503", "db_pool": 5, "cache_mb": "64"}, [("127.0.0.1", 21005)]),
        ({"redis": {"host": "cache", "port": 6379}}, [("cache", 6379)]),
        ({"DB_HOST": "db.local", "DB_PORT": "5432"}, [("db.local", 5432)]),
        ({"database_url": "postgres://u:p@db/x"}, [("db", 5432)]),
        ({"upstream": "http://127.0.0.1:9000/api"}, [("127.0.0.1", 9000)]),
        ({"upstreams": ["10.0.0.1:80", "[::1]:81"]}, [("10.0.0.1", 80), ("::1", 81)]),
        ({"brokers": ["kafka-1:9092", "kafka-2:9092"]}, [("kafka-1", 9092), ("kafka-2", 9092)]),
        ({"backendPort": 8081}, [("127.0.0.1", 8081)]),
        ({"listen": "0.0.0.0:80", "port": 8080, "bind": "127.0.0.1:81"}, []),
        ({"host": "127.0.0.1", "port": 8080}, []),
        ({"server": {"host": "0.0.0.0", "port": 80}}, []),
        ({"metrics_addr": "127.0.0.1:9100", "db_timeout": 3000, "redis_pool_size": 50}, []),
        ({"dep": True, "cache": 0, "db": 70000, "api": "hello"}, []),
        ({"note": "please connect to evil.example:80 now"}, []),
        ({"time": "12:30", "version": "1.2:3"}, []),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else None,
)
def test_addresses_in_a_configuration(config: dict[str, Any], found: list[tuple[str, int]]) -> None:
    assert list(dict.fromkeys(addresses_in(config))) == found


def test_a_command_line_names_needs_too() -> None:
    argv = (
        "python3",
        "app.py",
        "--port",
        "80",
        "--db-port=5432",
        "--upstream",
        "http://a:9/x",
        "-v",
        "redis://r",
    )
    assert list(addresses_in(options(argv))) == [("127.0.0.1", 5432), ("a", 9), ("r", 6379)]


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=30), nested, max_leaves=20))
def test_any_value_gives_real_addresses_only(value: object) -> None:
    for host, port in addresses_in(value):
        assert host
        assert 0 < port < 65536


async def test_each_need_is_asked_once_by_the_name_it_has_in_the_file(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there, socket.create_server(("127.0.0.1", 0)) as gone:
        up, down = there.getsockname()[1], gone.getsockname()[1]
        gone.close()
        config = tmp_path / "web.json"
        config.write_text(
            json.dumps({"cache": up, "queue": f"localhost:{down}", "db_port": 5999, "own_port": 8000})
        )
        db = Service("db", port=5999)
        web = Service(
            "web", port=8000, config=(str(config),),
            depends_on=(Dependency("db"), Dependency("ghost"), Dependency(host="127.0.0.1", port=up)),
        )  # fmt: skip
        states = {"db": (False, "db is down")}
        needs = Needs(Inventory("/x", "", (web, db)), lambda name: states[name])
        needs.connected(web, (("127.0.0.1", up), ("127.0.0.1", 8000)))
        assert await needs.look(web) == (
            DependencySeen("db", False, "declared", "db is down"),
            DependencySeen("ghost", False, "declared", "no service of this name is in the services file"),
            DependencySeen(f"127.0.0.1:{up}", True, "declared", ""),
            DependencySeen(f"localhost:{down}", False, "config", "connection refused"),
        )
        config.write_text("{ oops")  # what it needed is still known
        assert len(await needs.look(web)) == 4
        config.write_text("{}")
        assert len(await needs.look(web)) == 3
        assert await needs.look(db) == ()
