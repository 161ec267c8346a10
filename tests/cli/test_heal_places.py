"""Healing where it needs more than a process: a disk that is full, a group of containers under load.

A small file system is mounted for the first, which needs root; the second runs a rootless engine of its own.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import IMAGE, NoEngine
from fleet import Fleet, until
from pool import Load, Pool
from terminal import Terminal
from town import Town

pytestmark = pytest.mark.outside_gate

POLICY = """\
mode: act
autonomous_healing:
  enabled: true
  scope:
    services:
      - {{name: "worker-*", actions: [{actions}], max_restarts_per_hour: 3}}
    containers: {{actions: [scale_up], max_scale: 2, scale_down_own: true}}
"""
WRITES = """
import http.server, os, sys
open("starts", "a").write(f"{os.getpid()}\\n")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        code = 200
        try:
            with open("logs/app.log", "ab", buffering=0) as log:
                if log.write(b"one more request\\n") < 17: raise OSError("the line did not fit")
        except OSError as error:
            print(error, file=sys.stderr, flush=True)
            code = 500
        self.send_response(code); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *a): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def town(veilig: Terminal) -> Iterator[Town]:
    (veilig.folder / "fleet").mkdir()
    found = Town(veilig, Fleet(veilig.folder / "fleet"))
    yield found
    found.end()


def fill(path: Path, size_bytes: int | None = None) -> None:
    """So many bytes, or whatever still fits."""
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        if size_bytes is not None:
            file.write(b"x" * size_bytes)
        while size_bytes is None:
            file.write(b"x" * 512)


@pytest.fixture
def disk(town: Town) -> Iterator[Path]:
    """The logs of worker-1, on a file system of one MiB of their own."""
    if os.geteuid() != 0:
        pytest.skip("NO FULL DISK WAS TESTED: only root mounts one")
    logs = town.fleet.base / "worker-1" / "logs"
    town.fleet.add("worker-1", log=[str(logs / "app.log"), str(logs.parent / "err.log")])
    (logs.parent / "app.py").write_text(WRITES)
    logs.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", str(logs)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("NO FULL DISK WAS TESTED: this machine lets nobody mount one")
    yield logs
    town.end()
    subprocess.run(["umount", "-l", str(logs)], check=True)


@pytest.mark.parametrize("granted", [True, False], ids=["granted", "asked"])
def test_a_full_disk_loses_only_what_can_be_made_again(town: Town, disk: Path, granted: bool) -> None:
    actions = "restart, free_space" if granted else "restart"
    Path(town.policy).write_text(POLICY.format(actions=actions))
    (disk / "orders.csv").write_bytes(b"o" * 100_000)
    town.fleet.start("worker-1")
    town.heal("--watch")
    until(lambda: town.fleet.answers("worker-1"), 60)
    fill(disk / "app.log.1", 400_000)
    fill(disk / "app.log.2")
    fill(disk / "app.log")
    if not granted:
        until(lambda: "asked" in town.text(), 60)
        assert (disk / "app.log.2").exists()
        (asked,) = town.veilig("approvals", "list", "--json").json
        assert asked["preview"].startswith("space.free worker-1")
        town.veilig("approvals", "approve", asked["approval"], "--policy", town.policy)
    until(lambda: "well  after" in town.text(), 90)
    assert town.fleet.answers("worker-1")
    assert (disk / "orders.csv").read_bytes() == b"o" * 100_000
    assert (disk / "app.log").exists()
    assert len(town.fleet.starts("worker-1")) == 1
    (told,) = town.veilig("incidents", "list", "--json").json
    assert told["cause"] == "disk_full"


def test_a_disk_full_of_what_is_nobodys_to_remove_is_left_to_people(town: Town, disk: Path) -> None:
    Path(town.policy).write_text(POLICY.format(actions="restart, free_space"))
    town.fleet.start("worker-1")
    town.heal("--watch")
    until(lambda: town.fleet.answers("worker-1"), 60)
    fill(disk / "orders.csv")
    fill(disk / "app.log")
    before = {path.name: path.stat().st_size for path in disk.iterdir()}
    until(lambda: "disk full" in town.text(), 60)
    until(lambda: held(town), 60)
    assert {path.name: path.stat().st_size for path in disk.iterdir()} == before
    assert len(town.fleet.starts("worker-1")) == 1


def held(town: Town) -> bool:
    (told,) = town.veilig("incidents", "list", "--json").json
    return told.get("stage") == "hold" and "nothing that can be made again" in told.get("why", "")


def test_a_dead_container_is_started_and_an_overloaded_group_grows_to_its_bound(town: Town) -> None:
    try:
        pool = Pool()
    except NoEngine as error:
        pytest.skip(f"NO ROOTLESS CONTAINER WAS HEALED: {error}")
    try:
        Path(town.policy).write_text(POLICY.format(actions="restart"))
        pool.start("worker-1")
        web = pool.engine.podman("run", "-d", "--network", "none", "--name", "web", IMAGE, "sleep", "900")
        town.fleet.entries["worker-1"] = pool.entry()
        town.fleet.file.write_text(json.dumps({"services": town.fleet.entries}))
        until(pool.answers, 60)
        town.heal("--watch")
        until(lambda: "read_write" in town.text(), 60)
        town.veilig("heal", "status", "--json", "--policy", town.policy)
        os.kill(pool.engine.inspect("worker-1")["State"]["Pid"], signal.SIGKILL)
        until(lambda: "well  after" in town.text(), 90)
        assert (pool.answers(timeout_s=10), pool.starts()) == (True, 2)
        load = Load(pool, 35)
        try:
            until(lambda: len(pool.engine.names()) == 3, 90)
        finally:
            load.stop()
        names = sorted(pool.engine.names())
        assert names[:2] == ["web", "worker-1"]
        assert len(names) == 3
        made = pool.engine.inspect(names[2])
        assert made["Config"]["Labels"]["veilig.made_by"]
        assert made["Image"] == pool.engine.inspect("worker-1")["Image"]
        assert pool.engine.inspect("web")["Id"] == web
        causes = {one["cause"] for one in town.veilig("incidents", "list", "--json").json}
        assert causes == {"crash", "overload"}
    finally:
        town.end()
        pool.close()
