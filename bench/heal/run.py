"""The same faults for `veilig heal` and for other supervisors, at the same time, judged every 250 ms.

    python bench/heal/run.py OUT.json --user USER [--yardstick DIR] [--faults F ...] [--supervisors S ...]

Run as root where that does no harm: it mounts a 1 MB log disk, binds ports and kills its own processes.
The breakable service, the faults, the other supervisors and the judge are the yardstick's (see the README);
this file adds two drivers: `veilig` (the example policy: worker-*, restart, three an hour) and `veilig+` (it
may also roll back, restore a configuration and free space without a question).
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

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

    class Veilig(supervisors.Supervisor):
        """Plain processes of a services file, kept by `veilig heal --watch`."""

        actions = "restart"

        def start(self) -> None:
            """Start the services as an operator would, then the healer."""
            folder = self.folder
            entries = {}
            for service in self.services:
                base = service.base
                supervisors.script(
                    base / "start.sh",
                    f"setsid {service.run} >>{base}/out.log 2>&1 </dev/null &\necho $! > {base}/pid\n",
                )
                subprocess.run([str(base / "start.sh")], check=True)
                entries[service.name] = {
                    "cmd": str(service.run),
                    "pidfile": str(base / "pid"),
                    "health": f"http://127.0.0.1:{service.port}/health",
                    "port": service.port,
                    "log": [str(base / "out.log"), str(base / "logs" / "app.log")],
                    "config": str(base / "config.json"),
                }
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
            self.children.append(child)
            for _ in range(600):  # its own start is not what is measured
                if "broker " in (folder / "supervisor.log").read_text():
                    break
                time.sleep(0.1)

    class Granted(Veilig):
        """The same, and what can be taken back needs no question."""

        actions = "restart, rollback, restore_config, free_space"

    both = {"veilig": Veilig, "veilig+": Granted, **supervisors.SUPERVISORS}
    supervisors.SUPERVISORS = bench.SUPERVISORS = both
    bench.main()


if __name__ == "__main__":
    main()
