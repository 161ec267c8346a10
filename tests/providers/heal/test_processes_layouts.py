"""Are services recognised and started however their operator laid them out?"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet import PROGRAM, alive, free_port, until
from veilig.core.service import Inventory
from veilig.core.service_file import read_services
from veilig.core.signal import Run
from veilig.providers.heal import processes_table as kernel
from veilig.providers.heal.processes import ProcessSubstrate
from veilig.providers.heal.substrate import Seen

FLAT = PROGRAM.replace("sys.argv[1]", "os.environ.get('PORT') or sys.argv[1]")
PY = sys.executable


class Flat:
    """Two services, "a" and "b", in one folder; `cmd` may name {port}, {name} and {folder}."""

    def __init__(self, folder: Path, cmd: list[str], by_env: bool = False, own_folder: bool = False) -> None:
        self.folder, self.ports = folder, {name: free_port() for name in "ab"}
        self.pids: dict[str, int] = {}
        self.children: list[subprocess.Popen[bytes]] = []
        self.cmds: dict[str, list[str]] = {}
        self.by_env, self.own_folder = by_env, own_folder
        entries: dict[str, object] = {}
        for name, port in self.ports.items():
            place = self.place(name)
            place.mkdir(parents=True, exist_ok=True)
            (place / "svc.py").write_text(FLAT)
            run = place / f"run-{name}.sh"
            run.write_text(f"#!/bin/sh\ncd {place}\nexec {PY} svc.py {port}\n")
            run.chmod(0o755)
            words = {"port": str(port), "name": name, "folder": str(place)}
            self.cmds[name] = [word.format(**words) for word in cmd]
            entries[name] = {
                "cmd": self.cmds[name], "pidfile": str(place / "run" / f"{name}.pid"),
                "health": f"http://127.0.0.1:{port}/", "port": port, "log": str(place / f"{name}.log"),
            } | ({"env": {"PORT": str(port)}} if by_env else {})  # fmt: skip
            (place / "run").mkdir(exist_ok=True)
        self.file = folder / "services.json"
        self.file.write_text(json.dumps(entries))

    def place(self, name: str) -> Path:
        return self.folder / name if self.own_folder else self.folder

    def inventory(self) -> Inventory:
        return read_services(self.file)

    def keeper(self) -> ProcessSubstrate:
        return ProcessSubstrate(self.inventory().services, base=self.folder, logs=self.folder / "logs")

    def start(self, name: str) -> int:
        place = self.place(name)
        environment = {**os.environ, **({"PORT": str(self.ports[name])} if self.by_env else {})}
        with (place / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(self.cmds[name], cwd=place, env=environment, stdout=log, stderr=log)
        self.children.append(child)
        (place / "run" / f"{name}.pid").write_text(str(child.pid))
        until(lambda: kernel.listening(self.ports[name]))
        self.pids[name] = child.pid
        return child.pid

    def holders(self) -> list[int]:
        """Who serves any of the ports."""
        table = kernel.table()
        found = [kernel.holder(kernel.listening(port), table) for port in self.ports.values()]
        return [proc.pid for proc in found if proc is not None]


LAYOUTS = {
    "relative": ([PY, "svc.py", "{port}"], False, False),
    "absolute": ([PY, "{folder}/svc.py", "{port}"], False, False),
    "shell": (["/bin/sh", "-c", PY + " svc.py {port}"], False, False),
    "shell that stays": (["/bin/sh", "-c", PY + " svc.py {port}; echo ended"], False, False),
    "script": (["{folder}/run-{name}.sh"], False, False),
    "script by sh": (["sh", "run-{name}.sh"], False, False),
    "port by environment": ([PY, "svc.py"], True, False),
    "twins in their folders": ([PY, "svc.py"], True, True),
    "wrapped": (["env", "A=1", PY, "-u", "svc.py", "{port}"], False, False),
}


@pytest.fixture(params=LAYOUTS)
def flat(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flat]:
    made = Flat(tmp_path / "f", *LAYOUTS[request.param])
    yield made
    for pid in made.holders():
        os.kill(pid, 9)
    for child in made.children:
        child.kill()
        child.wait()


async def look(kept: ProcessSubstrate, flat: Flat) -> dict[str, Seen]:
    return {one.service: one for one in await kept.look(flat.inventory().services)}


async def test_every_layout_is_recognised_healed_and_kept_apart(flat: Flat) -> None:
    pids = {name: flat.start(name) for name in "ab"}
    kept = flat.keeper()
    seen = await look(kept, flat)
    assert {name: (one.run, one.pids[0]) for name, one in seen.items()} == {
        name: (Run.RUNNING, pid) for name, pid in pids.items()
    }
    service = flat.inventory().get("a")
    assert service is not None
    for pid in seen["a"].pids:
        os.kill(pid, 9)
    until(lambda: not any(alive(pid) for pid in seen["a"].pids))
    assert (await look(kept, flat))["a"].run is Run.DOWN
    done = await kept.restart(service, "")
    until(lambda: kernel.listening(flat.ports["a"]))
    after = await look(kept, flat)
    assert after["a"].incarnation == done.incarnation
    assert after["b"].incarnation == seen["b"].incarnation
    fresh = await look(flat.keeper(), flat)  # another broker sees the same
    assert {n: s.incarnation for n, s in fresh.items()} == {n: s.incarnation for n, s in after.items()}


async def test_every_layout_is_found_without_its_pidfile_and_not_mistaken_for_its_twin(flat: Flat) -> None:
    pid = flat.start("b")
    (flat.place("b") / "run" / "b.pid").unlink()
    seen = await look(flat.keeper(), flat)
    assert seen["a"].run is Run.DOWN, seen["a"]
    assert (seen["b"].run, seen["b"].pids[:1]) == (Run.RUNNING, (pid,)), seen["b"]
    (flat.place("a") / "run" / "a.pid").write_text(str(pid))
    seen = await look(flat.keeper(), flat)
    assert seen["a"].run is Run.DOWN, seen["a"]


async def test_a_service_never_seen_alive_is_started_where_its_files_are(flat: Flat) -> None:
    kept = flat.keeper()
    for name in "ab":
        service = flat.inventory().get(name)
        assert service is not None
        await kept.restart(service, "")
    until(lambda: kernel.listening(flat.ports["a"]) and kernel.listening(flat.ports["b"]))
    assert {one.run for one in (await look(kept, flat)).values()} == {Run.RUNNING}
