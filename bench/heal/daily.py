"""The third set: what happens on ordinary days. Deploys that are fine, stalls that pass, hosts that stumble.

Written before the diagnosis of these was tried. `scenarios.py` plays them.
"""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from claims import Claim, Scenario, claim, healed, on, quiet
from stage import SERVICE, Hurt, until
from unseen import listener, named

DAEMON = """\
import os, sys
base = sys.argv[1]
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
out = os.open(base + "/out.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for n in (1, 2): os.dup2(out, n)
open(base + "/pid", "w").write(str(os.getpid()))
"""
FLAGGED = "import sys\nsys.argv[1:] = [a for a in sys.argv[1:] if not a.startswith('--')]\n"


class Daemon(Hurt):
    """It goes into the background by itself and writes its own pidfile."""

    def start(self) -> None:
        super().start()
        until(lambda: (self.base / "starts").exists(), 10)


class Flagged(Hurt):
    """Its settings are named by an option of its command, and by nothing else."""

    @property
    def argv(self) -> list[str]:
        return [*super().argv, f"--config={self.base}/settings.json"]


def daemon(folder: Path) -> Iterator[Claim]:
    """A daemon of the old kind dies."""
    a = Daemon(folder, "worker-a", DAEMON + SERVICE)
    with on(folder, [a]):
        yield from quiet(a, 1, 4)
        a.signal()
        yield from healed(a, 1, 4.0, 1)
        yield from quiet(a, a.starts(), 4)


def all_at_once(folder: Path) -> Iterator[Claim]:
    """The whole host stumbles: three of three die in the same moment."""
    them = [Hurt(folder, f"worker-{name}") for name in "abc"]
    with on(folder, them):
        for one in them:
            one.signal()
        begun = time.monotonic()
        for one in them:
            yield from healed(one, 1, max(1.0, 20.0 - (time.monotonic() - begun)), 1)


def three_need_one(folder: Path) -> Iterator[Claim]:
    """Three exit without what they share; it returns, and each is started once."""
    up = listener()
    port = up.getsockname()[1]
    them = [Hurt(folder, f"worker-{name}") for name in "abc"]
    for one in them:
        one.configure(upstream_port=port, strict=True)
    with on(folder, them) as stage:
        up.close()
        until(lambda: not any(one.ok() for one in them), 5)
        befores = [one.starts() for one in them]
        time.sleep(10)
        hammered = sum(one.starts() for one in them) - sum(befores)
        yield claim("at most one start in 10 s, of all three", hammered <= 1, hammered)
        yield named(stage, "worker-c", "dependency_down")
        befores = [one.starts() for one in them]
        back = listener(port)
        begun = time.monotonic()
        for one, before in zip(them, befores, strict=True):
            yield from healed(one, before, max(1.0, 9.0 - (time.monotonic() - begun)), 1)
        back.close()


def flag_config(folder: Path) -> Iterator[Claim]:
    """The file that only `--config=` names is broken and mended."""
    a = Flagged(folder, "worker-a", FLAGGED + SERVICE, colour="blue")
    a.extra["config"] = []
    with on(folder, [a]) as stage:
        (a.base / "settings.json").write_text('{"colour": "blue"')
        a.signal()
        yield from quiet(a, 1, 10, 1)
        yield named(stage, "worker-a", "bad_config")
        before = a.starts()
        a.configure(colour="green")
        yield from healed(a, before, 3.0, 1)


def mended_by_hand(folder: Path) -> Iterator[Claim]:
    """A bad deploy; ten seconds later somebody puts a third version in place, and does not start it."""
    a = Hurt(folder, "worker-a")
    with on(folder, [a]) as stage:
        a.app.write_text(SERVICE.replace("[], [0], []", "[], [0, []", 1))
        a.signal()
        yield from quiet(a, 1, 10, 1)
        yield named(stage, "worker-a", "bad_deploy")
        before = a.starts()
        a.app.write_text("# version 3\n" + SERVICE)
        yield from healed(a, before, 4.0, 1)


def good_deploy(folder: Path) -> Iterator[Claim]:
    """A good version is deployed and started by its people; a later crash brings back that one."""
    a = Hurt(folder, "worker-a")
    with on(folder, [a], "restart, rollback, restore_config") as stage:
        a.app.write_text("# version 2\n" + SERVICE)
        a.signal(signal.SIGTERM)
        a.start()
        yield from quiet(a, 2, 15)
        a.signal()
        yield from healed(a, 2, 3.0, 1)
        yield claim("still version 2", a.app.read_text().startswith("# version 2"))
        yield claim("nothing else was done", "rollback" not in (stage.folder / "healer.log").read_text())


def short_stall(folder: Path) -> Iterator[Claim]:
    """Two seconds of silence, as of a garbage collector, three times."""
    a = Hurt(folder, "worker-a")
    with on(folder, [a]):
        for _ in range(3):
            a.signal(signal.SIGSTOP)
            time.sleep(1.5)
            a.signal(signal.SIGCONT)
            time.sleep(5)
        yield from quiet(a, 1, 4)


def program_gone(folder: Path) -> Iterator[Claim]:
    """A deploy has removed the program and not yet brought the new one."""
    a = Hurt(folder, "worker-a")
    with on(folder, [a]):
        kept = a.app.read_text()
        a.app.unlink()
        a.signal()
        yield from quiet(a, 1, 10)
        a.app.write_text(kept)
        yield from healed(a, 1, 4.0, 1)


def pidfile_gone(folder: Path) -> Iterator[Claim]:
    """Somebody tidied up: no pidfile, all well."""
    a = Hurt(folder, "worker-a")
    with on(folder, [a]):
        (a.base / "pid").unlink()
        yield from quiet(a, 1, 12)
        a.signal()
        yield from healed(a, 1, 4.0, 1)


def dies_again(folder: Path) -> Iterator[Claim]:
    """It dies some seconds after each start, without a word."""
    dies = "    if os.path.exists(base + '/die'): time.sleep(4); os._exit(9)\n"
    text = SERVICE.replace("    while True:\n", dies + "    while True:\n", 1)
    a = Hurt(folder, "worker-a", text)
    with on(folder, [a]):
        a.touch("die")
        a.signal()
        yield from quiet(a, 1, 45, 3)


def moved_folder(folder: Path) -> Iterator[Claim]:
    """The service's data folder is away for some seconds, and its log with it."""
    a, b = Hurt(folder, "worker-a"), Hurt(folder, "worker-b")
    with on(folder, [a, b]):
        away = folder / "away"
        shutil.move(a.base, away)
        a.signal()
        for pid in a.pids():
            os.kill(pid, signal.SIGKILL)
        yield claim("the other one is untouched", b.ok() and b.starts() == 1)
        time.sleep(6)
        if a.base.exists():
            shutil.copytree(a.base, away, dirs_exist_ok=True)
            shutil.rmtree(a.base)
        shutil.move(away, a.base)
        yield from healed(a, 1, 5.0, 2)


SCENARIOS: dict[str, Scenario] = {
    "daemon": daemon,
    "all_at_once": all_at_once,
    "three_need_one": three_need_one,
    "flag_config": flag_config,
    "mended_by_hand": mended_by_hand,
    "good_deploy": good_deploy,
    "short_stall": short_stall,
    "program_gone": program_gone,
    "pidfile_gone": pidfile_gone,
    "dies_again": dies_again,
    "moved_folder": moved_folder,
}
