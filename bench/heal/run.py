"""The same faults for `veilig heal` and for other supervisors, at the same time, judged every 250 ms.

    python bench/heal/run.py OUT.json --user USER [--yardstick DIR] [--faults F ...] [--supervisors S ...]

Run as root where that does no harm: it mounts a 1 MB log disk, binds ports and kills its own processes.
The breakable service, the faults, the other supervisors and the judge are the yardstick's (see the README);
this file adds four drivers: `veilig` (plain processes, the example policy: worker-*, restart, three an hour),
`veilig+` (it may also roll back, restore a configuration and free space without a question), and with the
example policy `veilig-sup` (programs of supervisord) and `veilig-pod` (containers of rootless podman).
"""

import json
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
YARDSTICK = CHECKOUT.parent / "shared" / "yardsticks" / "healing"

POLICY = """\
mode: act
autonomous_healing:
  enabled: true
  scope:
    services:
      - name: "worker-*"
        actions: [{actions}]
        max_restarts_per_hour: 3
    security_groups:
      readonly: true
    containers:
      actions: [scale_up]
      max_scale: 10
approval_gateways:
  database_actions: always
  security_changes: always
  destructive_ops: always
"""


def main() -> None:
    """Add our drivers to the yardstick's and run its matrix."""
    yardstick = YARDSTICK
    if "--yardstick" in sys.argv:
        at = sys.argv.index("--yardstick")
        yardstick = Path(sys.argv[at + 1]).resolve()
        del sys.argv[at : at + 2]
    if not (yardstick / "bench.py").exists():
        sys.exit(f"no yardstick at {yardstick}: name its folder with --yardstick")
    sys.path.insert(0, str(yardstick))
    import bench
    import supervisors

    class Healed(supervisors.Supervisor):
        """Services that `veilig heal --watch` keeps; how they are started is up to the driver."""

        actions = "restart"

        def entry(self, service: Any) -> dict[str, object]:
            base = service.base
            return {
                "health": f"http://127.0.0.1:{service.port}/health",
                "port": service.port,
                "log": [str(base / "out.log"), str(base / "logs" / "app.log")],
                "config": str(base / "config.json"),
                "dir": str(base),
            }

        def heal(self) -> None:
            """Start the healer, and wait until it watches: its own start is not what is measured."""
            folder = self.folder
            entries = {service.name: self.entry(service) for service in self.services}
            (folder / "services.json").write_text(json.dumps(entries, indent=1))
            (folder / "veilig.yaml").write_text(POLICY.format(actions=self.actions))
            words = [CHECKOUT / "veilig", "heal", "--watch", "--services", folder / "services.json"]
            environment = dict(os.environ, VEILIG_HOME=str(folder / "home"))
            with (folder / "supervisor.log").open("a") as log:
                child = subprocess.Popen(
                    [*map(str, words), "--policy", str(folder / "veilig.yaml")],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env=environment,
                )
            self.children.insert(0, child)
            for _ in range(600):
                if "broker " in (folder / "supervisor.log").read_text():
                    break
                time.sleep(0.1)

    class Veilig(Healed):
        """Plain processes of a services file."""

        def entry(self, service: Any) -> dict[str, object]:
            base = service.base
            return {"cmd": str(service.run), "pidfile": str(base / "pid"), **super().entry(service)}

        def start(self) -> None:
            for service in self.services:
                base = service.base
                supervisors.script(
                    base / "start.sh",
                    f"setsid {service.run} >>{base}/out.log 2>&1 </dev/null &\necho $! > {base}/pid\n",
                )
                subprocess.run([str(base / "start.sh")], check=True)
            self.heal()

    class Granted(Veilig):
        """The same, and what can be taken back needs no question."""

        actions = "restart, rollback, restore_config, free_space"

    class OnSupervisord(Healed, supervisors.Supervisord):
        """Programs of supervisord, which restarts none of them itself."""

        def config(self) -> Iterator[str]:
            for line in super().config():
                yield line.replace("autorestart=true", "autorestart=false").replace(
                    "startsecs=1", "startsecs=0"
                )

        def entry(self, service: Any) -> dict[str, object]:
            unit = f"{self.folder}/s.sock#{service.name}"
            return {"provider": "supervisord", "unit": unit, **super().entry(service)}

        def start(self) -> None:
            supervisors.Supervisord.start(self)
            for _ in range(100):
                if all(supervisors.status(service.port) for service in self.services):
                    break
                time.sleep(0.1)
            self.heal()

    class OnPodman(Healed, supervisors.Podman):
        """Containers of rootless podman without a restart policy, on the host's network."""

        def socket(self) -> str:
            return f"/run/user/{pwd.getpwnam(self.settings.user).pw_uid}/podman/podman.sock"

        def entry(self, service: Any) -> dict[str, object]:
            unit = f"{self.socket()}#{service.token}"
            return {"provider": "container", "unit": unit, **super().entry(service)}

        def start(self) -> None:
            if not Path(self.socket()).is_socket():
                sys.exit(f"nobody serves {self.socket()}: see the README")
            root = self.settings.root
            for one in self.services:
                done = supervisors.as_user(
                    self.settings,
                    *("podman", "run", "-d", "--name", one.token, "--network", "host", "--restart", "no"),
                    *("--label", "veilig.managed=true", "-v", f"{root}:{root}", "--stop-timeout", "2"),
                    *("--log-opt", f"path={one.base}/out.log", self.settings.image, one.run),
                )
                if done.returncode:
                    self.note(done.stderr)
            self.heal()

    ours = {"veilig": Veilig, "veilig+": Granted, "veilig-sup": OnSupervisord, "veilig-pod": OnPodman}
    both = {**ours, **supervisors.SUPERVISORS}
    supervisors.SUPERVISORS = bench.SUPERVISORS = both
    bench.main()


if __name__ == "__main__":
    main()
