"""Does this checkout hold what it promises? Each step with its time; the first failure ends it.

Called by `./check [fast] [--keep-going] [--list]` with the interpreter of .venv.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv" / "bin"
# command -> Debian packages that bring it; the tests run these for real
NEEDED = {"bwrap": ("bubblewrap",), "git": ("git",), "setpriv": ("util-linux",)}
# Without one of these its tests skip, and say so: a rung of the walls, keepers of services, a terminal.
OPTIONAL = {
    "podman": ("podman", "runc", "uidmap", "slirp4netns", "fuse-overlayfs"),
    "busybox": ("busybox-static",),
    "supervisord": ("supervisor",),
    "prometheus": ("prometheus",),
    "prometheus-alertmanager": ("prometheus-alertmanager",),
    "tmux": ("tmux",),
    "pg_ctlcluster": ("postgresql",),
    "systemctl": ("systemd",),
    "chromium": ("chromium",),
    "Xvfb": ("xvfb", "dbus", "at-spi2-core", "libatk-adaptor", "gir1.2-atspi-2.0", "python3-gi"),
    "openbox": ("openbox",),
    "xdotool": ("xdotool",),
    "xwininfo": ("x11-utils",),
    "xmodmap": ("x11-xserver-utils",),
    "mousepad": ("mousepad",),
    "galculator": ("galculator",),
    "xterm": ("xterm",),
}
CODEX = "@openai/codex@0.169.0"
FAILED = ".pytest_cache/v/cache/lastfailed"
TESTS_FAILED = 1  # pytest's exit code when the run was whole and tests failed
ALONE_MAX = 3  # more failures than that are no accident of a busy machine
STRICT = tuple(
    f"tests/{one}"
    for one in ("app/test_fleet_outages", "app/test_fleet_stops", "conformance/", "core/", "faults/",
                "heal/", "monitor/", "stores/")
)  # fmt: skip
CODE = ("src", "tests", "bench", ".ci", "docs/generate.py")


@dataclass(frozen=True, slots=True)
class Step:
    """One command, and what to do when it fails."""

    name: str
    argv: tuple[str, ...]
    fix: str
    alone: tuple[str, ...] = ()  # tried once after a failure, with the names of the failing tests behind it


def test_processes() -> int:
    """Two for each core: most of these tests wait for servers, browsers, walls and one another's locks."""
    return max(2, min(8, 2 * len(os.sched_getaffinity(0))))


def steps(*, fast: bool) -> Iterator[Step]:
    """The steps in order; a step whose subject is absent is not listed."""
    python = str(BIN / "python")
    ruff = str(BIN / "ruff")
    yield Step("format", (ruff, "format", "--check", "--quiet", *CODE), "run `.venv/bin/ruff format`")
    yield Step("lint", (ruff, "check", "--quiet", *CODE), "see each line; `ruff check --fix` helps with some")
    yield Step("types", (str(BIN / "pyright"), "--warnings"), "correct the types; ignore only with a reason")
    if (ROOT / "web" / "node_modules" / "typescript").is_dir():
        tsc = str(ROOT / "web" / "node_modules" / ".bin" / "tsc")
        yield Step("page types", (tsc, "--project", "web"), "correct the types of web/src")
    yield Step("imports", (str(BIN / "lint-imports"),), "see .importlinter: imports only go down")
    yield Step(
        "docs in sync", (python, "docs/generate.py", "--check"), "run `.venv/bin/python docs/generate.py`"
    )
    yield Step(
        "docs build", (python, "-m", "mkdocs", "build", "--strict", "--quiet"), "correct the page it names"
    )
    selection = ("-m", "not slow") if fast else ()
    yield Step(
        "tests",
        (
            python,
            "-m",
            "pytest",
            "-q",
            "-n",
            str(test_processes()),
            "--dist=worksteal",
            "--durations=30",
            *selection,
        ),
        "run the failing test alone",
        alone=(python, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
    )
    if (ROOT / "src/veilig/cli/main.py").exists():
        yield Step("audit", (str(ROOT / "veilig"), "audit", "src"), "fix it, or suppress it with a reason")


def missing_packages() -> tuple[list[str], list[str]]:
    """Debian packages (needed, wanted) whose command is not there."""
    needed = [p for command, names in NEEDED.items() if not shutil.which(command) for p in names]
    optional = [p for command, names in OPTIONAL.items() if not shutil.which(command) for p in names]
    return needed, optional


def prepare() -> bool:
    """Debian packages for the tests: installed as root, else named. False when a needed one stays missing."""
    needed, optional = missing_packages()
    if not needed and not optional:
        return True
    if shutil.which("apt-get") and os.geteuid() == 0:
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        quiet = {"env": env, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        say("packages", f"apt-get install {' '.join(needed + optional)}")
        subprocess.run(["apt-get", "update", "-qq"], check=False, **quiet)
        for group in (needed, optional):
            if group:
                install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *group]
                subprocess.run(install, check=False, **quiet)
        needed, optional = missing_packages()
    else:
        print(f"to run every test, install: apt-get install {' '.join(needed + optional)}")
    if optional and not needed:
        say("packages", f"not installed: {' '.join(optional)}; their tests will skip")
    if needed:
        print(f"missing: {' '.join(needed)}\n  why: the tests run real walls\n  fix: install them")
    return not needed


def prepare_codex() -> None:
    """The Codex CLI, which the gateway is tried with as its users have it; without it those tests skip."""
    place = ROOT / ".venv" / "codex"
    if (place / "node_modules" / ".bin" / "codex").exists() or shutil.which("codex"):
        return
    if not shutil.which("npm"):
        say("packages", "no npm: the tests with the Codex CLI will skip")
        return
    words = ("npm", "install", "--prefix", str(place), "--ignore-scripts", "--no-audit", "--no-fund", CODEX)
    say("packages", " ".join(words).replace(f"{ROOT}/", ""))
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if subprocess.run(words, check=False, **quiet).returncode:
        say("packages", f"npm could not install {CODEX}; the tests with it will skip")


def prepare_page() -> None:
    """What builds and checks the page (esbuild, axe-core), by the hashes of its lock; else tests skip."""
    web = ROOT / "web"
    if (web / "node_modules" / "axe-core").is_dir():
        return
    if not shutil.which("npm"):
        say("packages", "no npm: whether the built page is that of web/src will not be checked")
        return
    words = ("npm", "ci", "--prefix", str(web), "--ignore-scripts", "--no-audit", "--no-fund")
    say("packages", " ".join(words).replace(f"{ROOT}/", ""))
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if subprocess.run(words, check=False, **quiet).returncode:
        say("packages", "npm could not install what builds the page; its tests will skip")


def say(name: str, text: str) -> None:
    """One line per event, in order with what the steps print."""
    print(f"check  {name:<14}{text}", flush=True)


def environment() -> dict[str, str]:
    """The caller's environment with .venv first, as an activated one would be."""
    return os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}", "NO_MKDOCS_2_WARNING": "1"}


def to_try_alone() -> list[str]:
    """The tests that failed, when they are few and a race in them would not be one in the product.

    What must hold on the busiest machine (faults, ledgers, leases, walls, the fleet) gets no second try.
    """
    try:
        failed = list(json.loads((ROOT / FAILED).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []
    strict = any(name.startswith(STRICT) for name in failed)
    return [] if strict or len(failed) > ALONE_MAX else failed


def run(step: Step) -> bool:
    """Run one step with its output as it comes; the last lines say how it went."""
    started = time.monotonic()
    (ROOT / FAILED).unlink(missing_ok=True)
    say(step.name, " ".join(a.removeprefix(f"{ROOT}/") for a in step.argv))
    code = subprocess.run(
        step.argv, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, check=False
    ).returncode
    if code == TESTS_FAILED and (tests := to_try_alone() if step.alone else []):
        say(step.name, f"exit code {code}; once more, alone: {' '.join(tests)}")
        code = subprocess.run(
            (*step.alone, *tests), cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, check=False
        ).returncode
        if code == 0:
            say(step.name, f"FAILED BESIDE OTHERS, passed alone, to be mended: {' '.join(tests)}")
    took = f"{time.monotonic() - started:.1f} s"
    say(step.name, f"ok, {took}" if code == 0 else f"FAILED with exit code {code}, {took}\n  fix: {step.fix}")
    return code == 0


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 when every step passed, 1 when one failed, 2 for a wrong command line."""
    unknown = set(arguments) - {"fast", "--keep-going", "--list"}
    if unknown:
        print(f"unknown argument {min(unknown)!r}\n  fix: ./check [fast] [--keep-going] [--list]")
        return 2
    todo = list(steps(fast="fast" in arguments))
    if "--list" in arguments:
        print("\n".join(f"{s.name:<14}{' '.join(s.argv)}" for s in todo))
        return 0
    if not prepare():
        return 1
    if "fast" not in arguments:
        prepare_codex()
    prepare_page()
    todo = list(steps(fast="fast" in arguments))  # what was just installed may bring a step
    started = time.monotonic()
    failed: list[str] = []
    for step in todo:
        if not run(step):
            failed.append(step.name)
            if "--keep-going" not in arguments:
                break
    took = f"{time.monotonic() - started:.0f} s"
    say(
        "result",
        f"failed: {', '.join(failed)}, {took}" if failed else f"all {len(todo)} steps passed, {took}",
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
