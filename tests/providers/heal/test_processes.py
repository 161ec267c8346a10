"""Are plain processes recognised for what they are, stopped whole, and started once?"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleet import Fleet, alive, until
from veilig.core.errors import ProviderError
from veilig.core.policy import Capability
from veilig.core.signal import Run
from veilig.providers.heal.processes import ProcessSubstrate
from veilig.providers.heal.processes_match import fits
from veilig.providers.heal.substrate import Seen


def keeper(fleet: Fleet, **more: object) -> ProcessSubstrate:
    services = fleet.inventory().services
    return ProcessSubstrate(services, base=fleet.base, logs=fleet.base / "logs", **more)  # type: ignore[arg-type]


async def look(kept: ProcessSubstrate, fleet: Fleet, name: str) -> Seen:
    return (await kept.look([fleet.service(name)]))[0]


async def test_a_running_service_is_seen_with_its_incarnation_and_age(fleet: Fleet) -> None:
    fleet.add("worker-1")
    pid = fleet.start("worker-1")
    kept = keeper(fleet)
    seen = await look(kept, fleet, "worker-1")
    assert (seen.run, seen.pids, seen.managed) == (Run.RUNNING, (pid,), True)
    assert seen.incarnation.startswith(f"{pid}:")
    assert await kept.capability(fleet.service("worker-1")) == (
        Capability.READ_WRITE,
        "limits of memory and CPU are not enforced for plain processes",
    )


async def test_a_killed_service_is_down_and_one_restart_brings_it_back_as_it_was(fleet: Fleet) -> None:
    fleet.add("worker-1")
    fleet.start("worker-1")
    kept = keeper(fleet)
    assert (await look(kept, fleet, "worker-1")).run is Run.RUNNING
    fleet.kill("worker-1")
    assert (await look(kept, fleet, "worker-1")).run is Run.DOWN
    done = await kept.restart(fleet.service("worker-1"), "")
    assert done.ok
    until(lambda: fleet.answers("worker-1"))
    assert len(fleet.starts("worker-1")) == 2
    assert done.incarnation == (await look(kept, fleet, "worker-1")).incarnation
    assert fleet.pid("worker-1") == int(done.incarnation.partition(":")[0])
    assert os.getsid(fleet.pid("worker-1")) == fleet.pid("worker-1")  # it outlives the broker's terminal


async def test_a_stopped_process_is_frozen_and_ends_all_the_same(fleet: Fleet) -> None:
    fleet.add("worker-1")
    pid = fleet.start("worker-1")
    kept = keeper(fleet)
    os.kill(pid, signal.SIGSTOP)
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    seen = await look(kept, fleet, "worker-1")
    assert seen.run is Run.FROZEN
    await kept.restart(fleet.service("worker-1"), seen.incarnation)
    until(lambda: fleet.answers("worker-1"))
    assert not alive(pid)


async def test_a_program_that_ignores_term_is_killed(fleet: Fleet) -> None:
    fleet.add("deaf")
    text = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    place = fleet.base / "deaf" / "app.py"
    place.write_text(text + place.read_text())
    pid = fleet.start("deaf")
    kept = keeper(fleet, stop_s=0.2)
    seen = await look(kept, fleet, "deaf")
    await kept.restart(fleet.service("deaf"), seen.incarnation)
    assert not alive(pid)
    until(lambda: fleet.answers("deaf"))


async def test_children_that_hold_the_port_end_before_the_new_one_starts(fleet: Fleet) -> None:
    fleet.add("forks")
    place = fleet.base / "forks" / "app.py"
    place.write_text(
        place.read_text().replace(".serve_forever()", "; os.fork(); import time; time.sleep(600)")
    )
    kept = keeper(fleet)
    done = await kept.restart(fleet.service("forks"), "")
    pid = int(done.incarnation.partition(":")[0])
    group = Path(f"/proc/{pid}/task/{pid}/children")
    until(lambda: group.read_text().split())
    (child,) = map(int, group.read_text().split())
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid))
    seen = await look(kept, fleet, "forks")
    assert (seen.run, seen.pids) == (Run.RUNNING, (child,))  # an orphan with its command line keeps the port
    place.write_text("import time; time.sleep(600)")
    again = await kept.restart(fleet.service("forks"), seen.incarnation)
    assert not alive(child)
    assert again.ok
    await kept.stop(fleet.service("forks"), again.incarnation)


async def test_a_bystander_in_a_stale_pidfile_is_neither_believed_nor_touched(fleet: Fleet) -> None:
    fleet.add("worker-1")
    fleet.start("worker-1")
    fleet.kill("worker-1")
    other = fleet.bystander()
    (fleet.base / "worker-1" / "pid").write_text(f"{other.pid}\n")
    kept = keeper(fleet)
    seen = await look(kept, fleet, "worker-1")
    assert (seen.run, seen.incarnation) == (Run.DOWN, "")
    assert "sleep, which is not this service" in seen.why
    await kept.restart(fleet.service("worker-1"), "")
    assert alive(other.pid)
    until(lambda: fleet.answers("worker-1"))
    assert fleet.pid("worker-1") != other.pid


async def test_the_pidfile_may_not_name_another_service(fleet: Fleet) -> None:
    fleet.add("worker-1")
    fleet.add("worker-2")
    fleet.start("worker-1")
    other = fleet.start("worker-2")
    fleet.kill("worker-1")
    (fleet.base / "worker-1" / "pid").write_text(f"{other}\n")
    kept = keeper(fleet)
    assert (await look(kept, fleet, "worker-1")).run is Run.DOWN
    assert (await look(kept, fleet, "worker-2")).pids == (other,)
    await kept.restart(fleet.service("worker-1"), "")
    assert alive(other)


async def test_who_follows_the_log_or_edits_in_the_folder_is_not_the_service(fleet: Fleet) -> None:
    fleet.add("worker-1")
    folder = fleet.base / "worker-1"
    (folder / "app.log").touch()
    tail = fleet.bystander("tail", "-f", str(folder / "app.log"), cwd=folder)
    shell = fleet.bystander("sleep", "601", cwd=folder)
    kept = keeper(fleet)
    for pid in (tail.pid, shell.pid):
        (folder / "pid").write_text(f"{pid}\n")
        assert (await look(kept, fleet, "worker-1")).run is Run.DOWN


async def test_an_instance_without_a_pidfile_is_found_and_not_started_twice(fleet: Fleet) -> None:
    fleet.add("worker-1")
    pid = fleet.start("worker-1")
    (fleet.base / "worker-1" / "pid").unlink()
    kept = keeper(fleet)
    seen = await look(kept, fleet, "worker-1")
    assert (seen.run, seen.pids) == (Run.RUNNING, (pid,))
    assert "found by its command line" in seen.why
    with pytest.raises(ProviderError, match="not the one that was meant"):
        await kept.restart(fleet.service("worker-1"), "")
    assert fleet.starts("worker-1") == [pid]


async def test_a_stale_fence_stops_the_act(fleet: Fleet) -> None:
    fleet.add("worker-1")
    pid = fleet.start("worker-1")
    kept = keeper(fleet)
    with pytest.raises(ProviderError, match="not the one that was meant"):
        await kept.restart(fleet.service("worker-1"), f"{pid}:1")
    assert alive(pid)


async def test_what_a_person_stopped_is_never_started(fleet: Fleet) -> None:
    fleet.add("worker-1")
    (fleet.base / "worker-1" / "STOPPED_BY_OPERATOR").touch()
    kept = keeper(fleet)
    seen = await look(kept, fleet, "worker-1")
    assert seen.run is Run.STOPPED
    assert seen.held_by.endswith("worker-1/STOPPED_BY_OPERATOR")
    with pytest.raises(ProviderError, match="a person stopped it"):
        await kept.restart(fleet.service("worker-1"), "")
    assert fleet.starts("worker-1") == []


async def test_a_held_port_is_named_and_nothing_is_started(fleet: Fleet) -> None:
    fleet.add("worker-1")
    port = fleet.ports["worker-1"]
    code = (
        f"import socket, time\ns = socket.create_server(('127.0.0.1', {port}))\n"
        "print('up', flush=True)\ntime.sleep(99)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd="/")
    fleet.children.append(other)
    assert other.stdout is not None
    assert other.stdout.readline()
    other.stdout.close()
    kept = keeper(fleet)
    with pytest.raises(ProviderError, match=f"port {port} is held by pid {other.pid}"):
        await kept.restart(fleet.service("worker-1"), "")
    assert alive(other.pid)
    assert fleet.starts("worker-1") == []


async def test_a_start_script_that_becomes_the_program_is_recognised(fleet: Fleet) -> None:
    fleet.add("worker-1")
    folder = fleet.base / "worker-1"
    script = folder / "run.sh"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} "{folder}/app.py" {fleet.ports["worker-1"]}\n')
    script.chmod(0o755)
    fleet.entries["worker-1"]["cmd"] = [str(script)]
    fleet.add("worker-2")
    pid = fleet.start("worker-1")
    seen = await look(keeper(fleet), fleet, "worker-1")
    assert (seen.run, seen.pids) == (Run.RUNNING, (pid,))
    (folder / "pid").unlink()
    assert (await look(keeper(fleet), fleet, "worker-1")).pids == (pid,)


async def test_a_program_that_is_not_there_is_an_error_that_says_so(fleet: Fleet) -> None:
    fleet.add("worker-1", cmd=["/no/such/program"])
    with pytest.raises(ProviderError, match="cannot be started") as caught:
        await keeper(fleet).restart(fleet.service("worker-1"), "")
    assert "No such file" in caught.value.why


async def test_a_restarted_service_keeps_its_environment_but_nothing_of_ours(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add("worker-1")
    monkeypatch.setenv("GREETING", "hello")
    monkeypatch.setenv("VEILIG_HOME", "/somewhere")
    fleet.start("worker-1")
    monkeypatch.delenv("GREETING")
    kept = keeper(fleet)
    await look(kept, fleet, "worker-1")
    fleet.kill("worker-1")
    done = await kept.restart(fleet.service("worker-1"), "")
    environ = Path(f"/proc/{done.incarnation.partition(':')[0]}/environ").read_bytes().split(b"\0")
    assert b"GREETING=hello" in environ
    assert not [item for item in environ if item.startswith(b"VEILIG_")]


async def test_how_our_own_child_ended_is_known(fleet: Fleet) -> None:
    fleet.add("worker-1")
    (fleet.base / "worker-1" / "app.py").write_text("raise SystemExit(3)")
    kept = keeper(fleet)
    done = await kept.restart(fleet.service("worker-1"), "")
    until(lambda: not alive(int(done.incarnation.partition(":")[0])))
    seen = await look(kept, fleet, "worker-1")
    assert (seen.run, seen.exit) == (Run.DOWN, "exit 3")


PYTHON = "/usr/bin/python3"


@pytest.mark.parametrize(
    ("argv", "cmd", "expected"),
    [
        ([PYTHON, "app.py", "8001"], ["python3", "app.py", "8001"], True),
        (["/usr/bin/python3.12", "app.py"], ["python", "app.py"], True),
        ([PYTHON, "app.py", "8002"], ["python3", "app.py", "8001"], False),
        ([PYTHON, "app.py"], ["node", "app.py"], False),
        (["/bin/sh", "/srv/w/run.sh", "x"], ["/srv/w/run.sh", "x"], True),
        ([PYTHON, "-u", "/srv/w/run.py"], ["/srv/w/run.py"], True),
        ([PYTHON, "/srv/other/run.py"], ["/srv/w/run.py"], False),
        (["node", "server.js"], ["env", "PORT=1", "node", "server.js"], True),
        (["node", "server.js"], ["nohup", "node", "server.js"], True),
        (["node", "server.js"], ["sh", "-c", "cd /srv && PORT=1 exec node server.js >> log 2>&1"], True),
        (["node", "server.js", "8001"], ["sh", "-c", 'exec node server.js "$PORT"'], True),
        (["sleep", "600"], ["sh", "-c", "exec node server.js"], False),
        (["sleep", "600"], ["python3", "app.py"], False),
        ([], ["python3"], False),
        (["python3"], [], False),
    ],
)
def test_a_command_line_fits_a_command_or_not(argv: list[str], cmd: list[str], expected: bool) -> None:
    assert fits(argv, cmd) is expected
