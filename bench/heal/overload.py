"""Who answers when 35 requests a second come and one replica manages 20? Alone, and with veilig.

    python bench/heal/overload.py [--seconds 25] [--rootful]

Containers of an own rootless engine, behind a balancer that gives a replica four requests at a time and
turns away who waited 0.7 s. Prints the share answered within a second, of all that were sent, with nobody and
with `veilig heal` (the policy: at most three replicas), and how many replicas there were in the end.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "tests" / "support"))

from engine import IMAGE  # noqa: E402
from fleet import until  # noqa: E402
from pool import USER, Load, Pool  # noqa: E402

POLICY = """\
mode: act
autonomous_healing:
  enabled: true
  scope:
    services:
      - {name: "worker-*", actions: [restart], max_restarts_per_hour: 3}
    containers: {actions: [scale_up], max_scale: 3, scale_down_own: true}
"""


def heal(pool: Pool, folder: Path) -> subprocess.Popen[bytes]:
    """A healer that watches."""
    (folder / "services.json").write_text(json.dumps({"services": {"worker-1": pool.entry()}}))
    (folder / "veilig.yaml").write_text(POLICY)
    words = ["heal", "--watch", "--services", str(folder / "services.json")]
    with (folder / "log").open("wb") as log:
        healer = subprocess.Popen(
            [str(CHECKOUT / "veilig"), *words, "--policy", str(folder / "veilig.yaml")],
            stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "VEILIG_HOME": str(folder / "home")},
        )  # fmt: skip
    until(lambda: "broker " in (folder / "log").read_text(), 60)
    time.sleep(3)
    return healer


def play(user: int, seconds: float, healed: bool) -> str:
    """One line of the table."""
    pool, healer = Pool(user), None
    folder = Path(tempfile.mkdtemp(prefix="heal-overload-"))
    try:
        pool.start("worker-1")
        pool.engine.podman("run", "-d", "--network", "none", "--name", "web", IMAGE, "sleep", "900")
        until(pool.answers, 60)
        if healed:
            healer = heal(pool, folder)
        load = Load(pool, 35)
        time.sleep(seconds)
        load.stop()
        marks = (0, 5, 10)
        shares = " | ".join(f"{load.share(mark):.0%}" for mark in marks if mark < seconds)
        names = pool.engine.names()
        others = "untouched" if "web" in names else "GONE"
        who = "veilig" if healed else "nobody"
        return f"{who} | {shares} | {len(names) - 1} | {others}"
    finally:
        if healer:
            os.killpg(healer.pid, signal.SIGTERM)
            healer.wait(20)
        pool.close()


def main() -> None:
    """Play both and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=25)
    parser.add_argument("--rootful", action="store_true")
    given = parser.parse_args()
    print("who | answered within 1 s | from 5 s on | from 10 s on | replicas in the end | other container")
    for healed in (False, True):
        print(play(0 if given.rootful else USER, given.seconds, healed), flush=True)


if __name__ == "__main__":
    main()
