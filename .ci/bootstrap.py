"""How does a checkout get its `.venv`? Made from the hash-locked requirements, by one process at a time.

Called by `./veilig` and `./check` as `bootstrap.py ROOT run|dev`; Python >= 3.12, standard library only.
The stamp `.venv/.veilig-GROUP` is written last, by rename: a killed bootstrap has none and is redone.
A kernel lock on `.venv.lock` keeps two first starts apart and dies with its holder.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

EXIT_BROKEN = 2  # the same code as a wrong command line: nothing ran
LOCKS = {"run": "requirements.lock", "dev": "requirements-dev.lock"}
OUTPUT_LINES_SHOWN = 15  # the end of an installer's output says why it failed


class BootstrapError(Exception):
    """What happened, why, and what to do, in one text."""


def say(line: str) -> None:
    """Progress goes to stderr: stdout belongs to the command that follows."""
    print(f"veilig: {line}", file=sys.stderr, flush=True)


def call(argv: Sequence[str | Path], what: str, fix: str) -> None:
    """Run one installer step; BootstrapError with the end of its output when it fails."""
    env = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}}
    env |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    done = subprocess.run(
        [str(a) for a in argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=env,
        check=False,
    )
    if done.returncode:
        tail = "\n".join(f"       {line}" for line in done.stdout.splitlines()[-OUTPUT_LINES_SHOWN:])
        raise BootstrapError(f"{what} failed (exit code {done.returncode})\n  why: \n{tail}\n  fix: {fix}")


def fingerprint(root: Path, group: str) -> str:
    """What .venv was made from: changes when the lock, the metadata or the interpreter does."""
    digest = hashlib.sha256()
    for name in (LOCKS[group], "pyproject.toml"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def is_usable(root: Path) -> bool:
    """Whether .venv runs, is new enough and believes to stand where it stands."""
    python = root / ".venv/bin/python"
    code = "import sys; print(sys.version_info >= (3, 12), sys.prefix)"
    try:
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return False
    if done.returncode or done.stdout.rstrip("\n") != f"True {root / '.venv'}":
        return False
    script = root / ".venv/bin/veilig"
    # A folder that was copied or moved: the scripts inside still start the interpreter of the old place.
    return not script.exists() or str(root / ".venv") in script.read_text(errors="replace")[:300]


def find_uv() -> str | None:
    """uv, if it runs: a pyenv shim exists for versions that do not have it."""
    uv = shutil.which("uv")
    if uv and subprocess.run([uv, "--version"], capture_output=True, check=False).returncode == 0:
        return uv
    return None


def create(root: Path) -> None:
    """A new empty .venv; whatever stood there is moved away first and deleted."""
    venv = root / ".venv"
    if venv.exists() or venv.is_symlink():
        broken = root / f".venv.broken-{os.getpid()}"
        venv.rename(broken)
        if broken.is_symlink():
            broken.unlink()
        else:
            shutil.rmtree(broken)
    version = ".".join(map(str, sys.version_info[:3]))
    say(f"first start: making .venv with Python {version} from the lock (about half a minute)")
    uv = find_uv()
    fix = "Debian and Ubuntu: `apt-get install python3-venv`; or install uv, see https://docs.astral.sh/uv/"
    if uv:
        call([uv, "venv", "--quiet", "--no-project", "--python", sys.executable, venv], "`uv venv`", fix)
    else:
        call([sys.executable, "-I", "-m", "venv", venv], "`python -m venv`", fix)


def install(root: Path, group: str) -> None:
    """Every locked package with its hash, then this checkout itself, editable and without isolation."""
    python = root / ".venv/bin/python"
    uv = find_uv()
    if uv:
        pip: list[str | Path] = [uv, "pip", "install", "--quiet", "--no-config", "--python", python]
        pip.append(
            "--compile-bytecode"
        )  # behind the wall the packages are read-only: nobody compiles them later
    else:
        if not any((root / ".venv/bin").glob("pip3*")):  # made by uv, and uv is gone
            call([python, "-I", "-m", "ensurepip"], "`python -m ensurepip`", "delete .venv and start again")
        pip = [python, "-I", "-m", "pip", "install", "--quiet"]
    fix = "check the network or the package index (UV_INDEX_URL, PIP_INDEX_URL), then start again"
    call([*pip, "--require-hashes", "-r", root / LOCKS[group]], f"installing {LOCKS[group]}", fix)
    call([*pip, "--no-deps", "--no-build-isolation", "-e", root], "installing veilig itself", fix)


def bootstrap(root: Path, group: str) -> None:
    """Bring .venv to what the lock says and write the stamp; cheap when it is there already."""
    stamp = root / ".venv" / f".veilig-{group}"
    wanted = fingerprint(root, group)
    usable = is_usable(root)
    if usable and stamp.is_file() and stamp.read_text().splitlines() == [str(root), wanted]:
        stamp.touch()  # the lock was only touched (a checkout, a pull), or another process was faster
        return
    started = time.monotonic()
    if usable:
        say("bringing .venv up to date with the lock")
        for old in (root / ".venv").glob(".veilig-*"):
            old.unlink(missing_ok=True)
    else:
        create(root)
    install(root, group)
    fresh = stamp.with_name(f"{stamp.name}.{os.getpid()}")
    fresh.write_text(f"{root}\n{wanted}\n")
    fresh.replace(stamp)
    say(f".venv is ready ({time.monotonic() - started:.0f} s)")


def main(argv: Sequence[str]) -> int:
    """Exit code 0 when .venv is ready, 2 with what, why and fix when it cannot be made."""
    root, group = Path(argv[1]), argv[2]
    try:
        with (root / ".venv.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another process is making .venv; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            bootstrap(root, group)
    except BootstrapError as error:
        print(error, file=sys.stderr)
        return EXIT_BROKEN
    except OSError as error:
        print(
            f"{root} cannot hold .venv\n  why: {error}\n  fix: use a checkout you may write to, with 300 MiB",
            file=sys.stderr,
        )
        return EXIT_BROKEN
    except KeyboardInterrupt:
        print("veilig: interrupted; the next start begins again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
