"""The third rung: a container engine (podman or docker) of this machine, with the same box inside.

The image is a skeleton of empty directories; programs come from the machine, mounted read-only like behind
the other walls, so nothing is fetched from a registry. The box is the container's first process and connects
to a socket in a mounted directory, so a command costs what it costs elsewhere, not an `exec`.

Engines that run in a virtual machine of their own (macOS, Windows) cannot pass that socket on: refused.
"""

import asyncio
import hashlib
import io
import json
import os
import secrets
import shutil
import socket
import struct
import subprocess
import tarfile
import time
from pathlib import Path

from veilig.core.errors import SandboxUnavailable

from . import cgroup, seccomp, toolchain, workspace
from .sandbox import Standing
from .start import INSIDE, Starter, boot_command, fresh_user
from .wall import Bounds, Mounts

NAME = "container"
ENGINES = ("podman", "docker")
HOME = "/home/veilig"
_CONTROL = "/run/veilig/control"
_INSIDE_AT = "/run/veilig/code/inside"
_ENGINE_S = 60.0  # a first start lays out storage
_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_CREDENTIALS = struct.Struct("=iII")  # pid, uid, gid
_SKELETON = (
    "proc",
    "sys",
    "dev",
    "tmp",
    "etc",
    "usr",
    "run/veilig/control",
    "run/veilig/code",
    "home/veilig",
)


def program(without: frozenset[str] = frozenset()) -> str | None:
    """The path of podman, else of docker; never one that a workspace could have put on PATH.

    without: engines to leave out.
    """
    for name in ENGINES:
        found = shutil.which(name, path="/usr/bin:/bin:/usr/local/bin")
        if found is not None and name not in without:
            return found
    return None


def _is_podman(engine: str) -> bool:
    return Path(engine).name == "podman"


async def stand(
    mounts: Mounts, bounds: Bounds, without: frozenset[str] = frozenset()
) -> tuple[Standing, workspace.Protection]:
    """Bring the box up. Raises SandboxUnavailable with what the engine said.

    without: engines to leave out.
    """
    engine = program(without)
    if engine is None:
        raise SandboxUnavailable(f"{' and '.join(e for e in ENGINES if e not in without)} not installed")
    if os.uname().sysname != "Linux":
        raise SandboxUnavailable(
            "the engine runs in a virtual machine", why="its containers cannot reach our socket"
        )
    with Starter() as starter:
        return await _stand(starter, engine, mounts, bounds)


async def _stand(
    starter: Starter, engine: str, mounts: Mounts, bounds: Bounds
) -> tuple[Standing, workspace.Protection]:
    image = await asyncio.to_thread(_image, engine)
    uid = fresh_user() if os.geteuid() == 0 else None
    plan = workspace.protect(mounts.workspace, mounts.protected)
    starter.finish.append(plan.undo)
    private, remove = workspace.private_directory()
    starter.finish.append(remove)
    if uid is not None:
        os.chown(private, uid, uid)
    (private / "etc").mkdir()
    for name, text in _files(uid if uid is not None else os.geteuid()).items():
        (private / "etc" / name).write_text(text)
    (private / "seccomp.json").write_text(json.dumps(_profile()))
    control = private / "control"
    control.mkdir()
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    starter.finish.append(server.close)
    # On the listener, so that even what is said before we accept carries the process id of who said it.
    server.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    server.bind(str(control / "socket"))
    server.listen(1)
    server.setblocking(False)
    if uid is not None:
        os.chown(control, uid, uid)
        os.chown(control / "socket", uid, uid)
    name = f"veilig-{secrets.token_hex(8)}"
    argv = [engine, "run", "--rm", "--name", name, *_walls(_is_podman(engine), uid, bounds, private)]
    argv += _view(mounts, plan, bounds, private)
    starter.finish.append(lambda: _remove(engine, name))
    process = starter.launch([*argv, image, *boot_command("/run/veilig/code", f"{_CONTROL}/socket")], ())
    ours = await _accept(server, process)
    if ours is None:
        process.kill()
        process.wait()
        raise starter.fail("the container did not come up")
    (control / "socket").unlink()
    config = {"uid": None, "gid": 0, "pid_namespace": True, "seccomp": _program(), "landlock": None}
    credentials = ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    group = cgroup.of(_CREDENTIALS.unpack(credentials)[0], memory_bytes=bounds.memory_bytes)
    channel = await starter.connect(ours, process, config, bounds, group)
    standing = starter.standing(
        channel, process, home=HOME, uid=uid, group=group, processes=bounds.processes + 1,
        placeholders=plan.placeholders,
    )  # fmt: skip
    return standing, plan


async def _accept(server: socket.socket, process: subprocess.Popen[bytes]) -> socket.socket | None:
    """The connection from inside; None when the engine gave up or took too long."""
    accepting = asyncio.ensure_future(asyncio.get_running_loop().sock_accept(server))
    deadline_s = time.monotonic() + _ENGINE_S
    while not accepting.done() and process.poll() is None and time.monotonic() < deadline_s:
        await asyncio.wait({accepting}, timeout=0.05)
    if accepting.done():
        return accepting.result()[0]
    accepting.cancel()
    return None


def _program() -> str:
    return seccomp.program(families=seccomp.OWN_NETWORK).hex()


def _profile() -> dict[str, object]:
    """The engine's own filter would refuse nothing we need refused; ours is loaded before each command."""
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}


def _walls(podman: bool, uid: int | None, bounds: Bounds, private: Path) -> list[str]:
    argv = ["--network", "none", "--read-only", "--cap-drop", "ALL", "--hostname", "veilig"]
    argv += ["--security-opt", "no-new-privileges", "--security-opt", f"seccomp={private / 'seccomp.json'}"]
    user = os.geteuid() if uid is None else uid
    if podman:
        argv += ["--read-only-tmpfs=false", *(["--userns", "keep-id"] if uid is None else [])]
    argv += ["--user", f"{user}:{user}"]
    argv += ["--pids-limit", str(bounds.processes + 4), "--memory", str(bounds.memory_bytes)]
    # named, since engines otherwise ask for more than a bounded machine may give
    argv += ["--ulimit", f"nofile={bounds.open_files}:{bounds.open_files}", "--ulimit", "core=0:0"]
    argv += ["--ulimit", f"nproc={bounds.processes + 4}:{bounds.processes + 4}"]
    return [*argv, "--memory-swap", str(bounds.memory_bytes), "--ipc", "private", "--workdir", "/"]


def _view(mounts: Mounts, plan: workspace.Protection, bounds: Bounds, private: Path) -> list[str]:
    argv: list[str] = []
    for place in ("/tmp", HOME):  # noqa: S108  # inside
        argv += ["--tmpfs", f"{place}:rw,mode=1777,size={bounds.tmp_bytes},nosuid,nodev"]
    own = toolchain.toolchain_mounts(toolchain.own_interpreter())
    readonly = [
        path for path in toolchain.covering([*own, *mounts.readonly])
        if not path.is_symlink() and path != mounts.workspace
    ]  # fmt: skip
    pairs = [(path, path, "ro") for path in readonly if not path.is_relative_to(mounts.workspace)]
    pairs += [(private / "control", Path(_CONTROL), "ro"), (INSIDE, Path(_INSIDE_AT), "ro")]
    pairs += [(private / "etc" / name, Path("/etc") / name, "ro") for name in _files(0)]
    pairs += [(mounts.workspace, mounts.workspace, "rw"), *((path, path, "rw") for path in plan.pinned)]
    pairs += [(p.host, p.inside, "rw" if p.writable else "ro") for p in mounts.placed]
    pairs += [(path, path, "ro") for path in readonly if path.is_relative_to(mounts.workspace)]
    pairs += [(path, path, "ro") for path in (*plan.readonly, *plan.placeholders)]
    for source, target, mode in pairs:
        if any(letter in str(source) + str(target) for letter in ":,"):
            raise SandboxUnavailable(
                f"{str(source)!r} cannot be mounted", why="container engines divide mounts by ':' and ','"
            )
        argv += ["--volume", f"{source}:{target}:{mode}"]
    return argv


def _files(uid: int) -> dict[str, str]:
    return {
        "passwd": f"root:x:0:0:root:/root:/bin/sh\nveilig:x:{uid}:{uid}:veilig:{HOME}:/bin/sh\n",
        "group": f"root:x:0:\nveilig:x:{uid}:\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    }


def _image(engine: str) -> str:
    """The skeleton image, made once per content and kept by the engine."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        parents = {str(parent) for name in _SKELETON for parent in Path(name).parents} - {"."}
        for name in sorted({*_SKELETON, *parents}):
            entry = tarfile.TarInfo(name)
            # an engine lays a tmpfs over these two and copies their mode
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name in ("tmp", HOME[1:]) else 0o755
            tar.addfile(entry)
        for name in _LINKS:
            if Path("/", name).is_symlink():
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, str(Path("/", name).readlink())
                tar.addfile(entry)
    content = archive.getvalue()
    tag = f"localhost/veilig-box:{hashlib.sha256(content).hexdigest()[:16]}"
    if _ask(engine, "image", "inspect", tag).returncode != 0:
        made = _ask(engine, "import", "-", tag, given=content)
        if made.returncode != 0:
            raise SandboxUnavailable(
                f"{engine} cannot make an image", why=made.stderr.decode(errors="replace").strip()[-600:]
            )
    return tag


def _ask(engine: str, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            [engine, *words], input=given, capture_output=True, check=False, timeout=_ENGINE_S, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxUnavailable(f"{engine} {words[0]} does not answer", why=str(error)) from error


def _remove(engine: str, name: str) -> None:
    _ask(engine, "rm", "--force", *(["--time", "0"] if _is_podman(engine) else []), name)
