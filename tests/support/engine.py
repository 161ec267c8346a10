"""A real container engine of our own for a while: podman with its own storage, and one image of busybox.

Of root, or rootless: of a user that needs no account, whose containers know one user only (itself, as root).
"""

import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

IMAGE = "localhost/veilig/busybox:1"
_APPLETS = ("sh", "sleep", "cat", "echo", "true", "httpd", "kill", "dd")
_CONFIG = """[engine]
runtime = "{runtime}"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/tmp"
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""


_STORAGE = """[storage]
driver = "vfs"
graphroot = "{folder}/root"
runroot = "{folder}/run"
[storage.options.vfs]
ignore_chown_errors = "true"
"""


class NoEngine(Exception):
    """Why none runs here, and what would help."""


class OwnEngine:
    """`socket` answers until `close`. Raises NoEngine where no container can be run.

    user: whose it is; 0: root's, any other number: a rootless one.
    """

    def __init__(self, user: int = 0) -> None:
        self.user = user
        busybox = shutil.which("busybox")
        runtime = next((name for name in ("runc", "crun") if shutil.which(name)), "")
        if not (shutil.which("podman") and runtime and busybox):
            raise NoEngine("apt-get install podman runc busybox-static")
        if os.getuid() != 0:
            raise NoEngine("run this as root: the engine gets a storage of its own")
        self.folder = Path(tempfile.mkdtemp(prefix="ve-"))  # a socket's path has 108 bytes at most
        self.socket = f"{self.folder}/s"
        (self.folder / "c.conf").write_text(_CONFIG.format(runtime=runtime, folder=self.folder))
        (self.folder / "s.conf").write_text(_STORAGE.format(folder=self.folder))
        self._environment = {
            **os.environ,
            "CONTAINERS_CONF": f"{self.folder}/c.conf",
            "CONTAINERS_STORAGE_CONF": f"{self.folder}/s.conf",
        }
        if user:
            self._environment |= {"HOME": f"{self.folder}/home", "XDG_RUNTIME_DIR": f"{self.folder}/own"}
            for name in ("home", "own", "tmp", "root", "run"):
                (self.folder / name).mkdir()
            for place in (self.folder, *self.folder.iterdir()):
                os.chown(place, user, user)
        self._service: subprocess.Popen[Any] | None = None
        try:
            self._import(Path(busybox))
            self.podman("run", "--rm", "--network", "none", IMAGE, "true")
            self._serve()
        except (NoEngine, OSError):
            self.close()
            raise

    def _own(self) -> dict[str, Any]:
        """How a command is run: as whose, and where."""
        who: dict[str, Any] = {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}
        return {"env": self._environment, "cwd": self.folder, **who}

    def podman(self, *words: str) -> str:
        """What it prints. Raises NoEngine with what it complains of."""
        done = subprocess.run(
            ["podman", *words],
            **self._own(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise NoEngine(done.stderr.strip()[-300:])
        return done.stdout.strip()

    def run(self, name: str, *words: str, options: tuple[str, ...] = (), group: str = "") -> str:
        """Start a container that we may manage; its id."""
        labels = ["--label", "veilig.managed=true", *(["--label", f"veilig.group={group}"] if group else [])]
        return self.podman("run", "-d", "--network", "none", "--name", name, *labels, *options, IMAGE, *words)

    def inspect(self, name: str) -> dict[str, Any]:
        """As its command line tells it."""
        return json.loads(self.podman("inspect", name))[0]

    def names(self) -> list[str]:
        """Of every container, running or not."""
        return self.podman("ps", "-a", "--format", "{{.Names}}").split()

    def clear(self) -> None:
        """No container is left."""
        self.podman("rm", "-f", "-a", "-t", "0")

    def close(self) -> None:
        """Everything goes."""
        try:
            if self._service:
                self.clear()
        finally:
            if self._service:
                self._service.terminate()
                self._service.wait(20)
            for one in self.folder.rglob("pause.pid"):  # it holds the user's name space
                os.kill(int(one.read_text()), signal.SIGKILL)
            for _ in range(20):  # containers that ended are still being tidied up by processes of podman's
                shutil.rmtree(self.folder, ignore_errors=True)
                time.sleep(0.1)
                if not self.folder.exists():
                    break

    def _import(self, busybox: Path) -> None:
        archive = self.folder / "image.tar"
        with tarfile.open(archive, "w") as tar:
            for name in ("bin", "tmp", "proc", "sys", "dev", "etc"):
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            tar.add(busybox, "bin/busybox", filter=_plain)
            for name in _APPLETS:
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        self.podman("import", str(archive), IMAGE)

    def _serve(self) -> None:
        command = ["podman", "system", "service", "--time=0", f"unix://{self.socket}"]
        quiet = subprocess.DEVNULL
        self._service = subprocess.Popen(command, stdout=quiet, stderr=quiet, **self._own())
        for _ in range(200):
            if Path(self.socket).is_socket():
                return
            time.sleep(0.05)  # the service tells nobody when it listens
        raise NoEngine("podman system service does not listen")


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mode = 0o755
    return entry
