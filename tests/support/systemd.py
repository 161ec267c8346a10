"""A real user manager of systemd for a while, on a machine that need not have been booted with it."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

_PROGRAMS = ("/lib/systemd/systemd", "/usr/lib/systemd/systemd")
# sd_booted() looks for /run/systemd/system: an empty one in a mount namespace of its own, and an own cgroup.
_BEGIN = """
mount -t tmpfs tmpfs /run/systemd && mkdir -p /run/systemd/system || exit 1
for one in systemd unified; do
  if [ -d /sys/fs/cgroup/$one ]; then
    mkdir -p /sys/fs/cgroup/$one/{name} && echo $$ > /sys/fs/cgroup/$one/{name}/cgroup.procs || exit 1
  fi
done
exec {program} --user --log-target=console --log-level=warning
"""


class NoSystemd(Exception):
    """Why none runs here, and what would help."""


class Manager:
    """`environment` reaches it with systemctl --user; units lie in `units`. Raises NoSystemd."""

    def __init__(self) -> None:
        program = next((path for path in _PROGRAMS if Path(path).exists()), "")
        if not program or not shutil.which("systemctl"):
            raise NoSystemd("apt-get install systemd")
        if os.getuid() != 0 or not shutil.which("unshare"):
            raise NoSystemd("run this as root: it gets a mount namespace and a cgroup of its own")
        self.folder = Path(tempfile.mkdtemp(prefix="vs-"))
        self.units = self.folder / "units"
        (self.folder / "run").mkdir(mode=0o700)
        self.units.mkdir()
        self.name = f"veilig-{self.folder.name}"
        self.environment = {
            "HOME": str(self.folder),
            "PATH": "/usr/bin:/bin",
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "SYSTEMD_UNIT_PATH": f"{self.units}:",
        }
        Path("/run/systemd").mkdir(exist_ok=True)
        script = _BEGIN.format(name=self.name, program=program)
        self._log = (self.folder / "log").open("wb")
        self._process = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "bash", "-c", script],
            env=self.environment, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        end = time.monotonic() + 60
        while self._ctl("is-system-running", "--wait").returncode not in (0, 1) or not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                said = (self.folder / "log").read_text()[-300:]
                self.close()
                raise NoSystemd(f"systemd --user does not run here: {said}")
            time.sleep(0.1)

    def _ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["systemctl", "--user", *words]
        return subprocess.run(command, env=self.environment, check=False, capture_output=True, text=True)

    def _answers(self) -> bool:
        return self._ctl("show", "-p", "Version").returncode == 0

    def ctl(self, *words: str) -> str:
        done = self._ctl(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def unit(self, name: str, *lines: str) -> None:
        (self.units / f"{name}.service").write_text("\n".join(["[Service]", *lines]) + "\n")
        self.ctl("daemon-reload")

    def close(self) -> None:
        if self._process.poll() is None:
            self._ctl("exit")
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGKILL)
                self._process.wait()
        self._log.close()
        for hierarchy in ("systemd", "unified"):
            top = Path("/sys/fs/cgroup") / hierarchy / self.name
            for folder in sorted(top.rglob("*"), key=lambda p: -len(p.parts)) if top.exists() else ():
                if folder.is_dir():
                    folder.rmdir()
            if top.exists():
                top.rmdir()
        shutil.rmtree(self.folder, ignore_errors=True)
