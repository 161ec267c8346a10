"""What a scenario claims, and how it is played: Claim, on, healed, quiet, main."""

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stage import Hurt, Stage, until

type Claim = tuple[str, bool, str]
type Scenario = Callable[[Path], Iterator[Claim]]


def claim(said: str, ok: bool, measured: Any = "") -> Claim:
    """One line of the result."""
    return said, bool(ok), str(measured)


@contextlib.contextmanager
def on(folder: Path, services: list[Hurt], actions: str = "restart", **begin: Any) -> Iterator[Stage]:
    """A running stage, taken down at the end."""
    stage = Stage(folder, services, actions)
    try:
        stage.begin(**begin)
        yield stage
    finally:
        stage.end()


def healed(service: Hurt, before: int, within_s: float, restarts: int) -> Iterator[Claim]:
    """It answers again in time, and was started no more than so often."""
    took = until(service.ok, within_s + 10)
    time.sleep(2)
    yield claim(f"{service.name} back within {within_s} s", took is not None and took <= within_s, took)
    yield claim(
        f"at most {restarts} starts", service.starts() - before <= restarts, service.starts() - before
    )


def quiet(service: Hurt, before: int, seconds: float, starts: int = 0) -> Iterator[Claim]:
    """Nobody starts it meanwhile (or no more than `starts` times)."""
    time.sleep(seconds)
    done = service.starts() - before
    yield claim(f"{service.name}: at most {starts} starts in {seconds:g} s", done <= starts, done)


def play(name: str, scenario: Scenario) -> list[Claim]:
    """The claims of one scenario, an error among them."""
    folder = Path(tempfile.mkdtemp(prefix=f"heal-{name}-"))
    try:
        found = list(scenario(folder))
    except Exception as error:  # one broken scenario must not end the others
        found = [claim("the scenario ran", False, repr(error))]
    if all(ok for _, ok, _ in found):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        found.append(claim("left for a look", True, folder))
    return found


def main(said: str | None, scenarios: Mapping[str, Scenario]) -> None:
    """Play what was asked for and print one line per claim."""
    parser = argparse.ArgumentParser(description=said, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(scenarios))
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    names = given.names or list(scenarios)
    wrong = 0
    with ThreadPoolExecutor(given.jobs) as pool:
        for name, found in zip(names, pool.map(play, names, [scenarios[n] for n in names]), strict=True):
            for line, ok, measured in found:
                wrong += not ok
                print(f"{name:20} {'ok ' if ok else 'NOT'} {line:45} {measured}", flush=True)
    sys.exit(min(wrong, 99))
