"""What does the agent cost around the model? Start-up, CPU per turn, memory, size of what is sent.

A scripted server answers at once: N times one shell call, then finish. CPU per turn is the slope between
two numbers of turns, so that starting Python, its libraries and the wall is not in it. Another harness is
measured the same way with --other "NAME=COMMAND": {url}, {task} and PROJECT are filled in, and a command may
begin with `env NAME=VALUE`.
"""

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from replay_server import Answer, Call, Request, replay  # noqa: E402  # lives with the tests

TURN_CPU_MS_MAX = 18.0  # mini-swe-agent's, without sandbox, gate and ledger
FIRST_TOKENS_MAX = 1500
PEAK_MB_MAX = 120.0
VEILIG = (
    f"{shlex.quote(sys.executable)} -m veilig.cli.main run {{task}} PROJECT --model scripted "
    "--model-url {url} --no-verify --window 4000000"
)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a harness."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    first_bytes: int
    sent_bytes: int
    first_s: float
    asked: int


def once(command: str, turns: int, folder: Path) -> Run:
    """Start the harness against a script of `turns` shell calls, and see what it used."""
    times: list[float] = []

    def script(request: Request) -> Answer:
        times.append(time.perf_counter())
        done = len(request.results)
        if done >= turns:
            return finish(request)
        return Answer(calls=(shell_call(request, f"echo hi {done}"),))

    with replay(script) as server:
        argv = [w.replace("{url}", server.url).replace("{task}", "say hi") for w in shlex.split(command)]
        argv = [w.replace("PROJECT", str(folder / "project")) for w in argv]
        begun = time.perf_counter()
        process = subprocess.Popen(
            argv,
            cwd=folder / "project",
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        sizes = [request.size_bytes for request in server.requests]
    if not sizes:
        sys.exit(f"{argv[0]} asked nothing; exit code {process.returncode}")
    cpu_s = used.ru_utime + used.ru_stime
    return Run(cpu_s, wall_s, used.ru_maxrss / 1024, sizes[0], sum(sizes), times[0] - begun, len(sizes))


def tools_of(request: Request) -> dict[str, dict[str, Any]]:
    """Name -> schema of the arguments, of every tool that the harness offers."""
    tools = [dict(tool.get("function") or tool) for tool in request.body.get("tools") or []]
    return {str(tool.get("name")): tool.get("parameters") or {} for tool in tools}


def shell_call(request: Request, command: str) -> Call:
    """One command in the harness's own shell, its arguments as its schema wants them."""
    tools = tools_of(request)
    known = ("shell", "bash", "terminal", "execute_bash", "exec_command", "shell_command")
    name = next((one for one in known if one in tools), next(iter(tools), "shell"))
    fields = tools.get(name, {}).get("properties") or {}
    key = next((one for one in ("command", "cmd", "script") if one in fields), "command")
    filled: dict[str, Any] = {key: command}
    for other in tools.get(name, {}).get("required") or []:
        choices = fields.get(other, {}).get("enum")
        filled.setdefault(other, choices[0] if choices else "run it")
    return Call(name, filled)


def finish(request: Request) -> Answer:
    """The end, in the harness's own way."""
    tools = tools_of(request)
    if "finish" in tools:
        wanted = tools["finish"].get("required") or ["summary"]
        return Answer(calls=(Call("finish", dict.fromkeys(wanted, "done")),))
    if list(tools) == ["bash"]:  # mini-swe-agent
        return Answer(calls=(shell_call(request, "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"),))
    return Answer(text="done")


def environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VEILIG_")}
    return kept | {"VEILIG_HOME": str(folder / "home"), "HOME": str(folder), "OPENAI_API_KEY": "none"}


def growth(name: str, command: str, counts: list[int], rounds: int) -> None:
    """How CPU, memory and size grow with the number of turns: the slope between two counts, not the mean."""
    print("\n| harness | turns | CPU s | turn CPU ms since the row above | wall s | peak MB | bytes sent |")
    print("|---|---|---|---|---|---|---|")
    before: tuple[int, float] | None = None
    for turns in counts:
        with tempfile.TemporaryDirectory() as place:
            folder = project_in(Path(place))
            once(command, 1, folder)  # what is found out once a machine (which wall stands) is not in it
            runs = [once(command, turns, folder) for _ in range(rounds)]
        best = min(runs, key=lambda run: run.cpu_s)
        slope = "" if before is None else f"{1000 * (best.cpu_s - before[1]) / (turns - before[0]):.1f}"
        before = (turns, best.cpu_s)
        figures = (
            f"{best.cpu_s:.2f}",
            slope,
            f"{best.wall_s:.1f}",
            f"{best.peak_mb:.0f}",
            f"{best.sent_bytes:,}",
        )
        print(f"| {name} | {turns} | {' | '.join(figures)} |", flush=True)


def project_in(folder: Path) -> Path:
    """A folder with a small project and room for a home."""
    (folder / "project").mkdir(parents=True)
    (folder / "project" / "a.py").write_text("print(1)\n")
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--long", type=int, default=120, help="the second number of turns, for the slope")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--other", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument(
        "--growth",
        type=int,
        nargs="+",
        default=[],
        metavar="TURNS",
        help="instead: how it grows, at these counts",
    )
    parser.add_argument("--only-other", action="store_true", help="leave veilig out")
    given = parser.parse_args()
    harnesses = dict(one.split("=", 1) for one in given.other)
    if not given.only_other:
        harnesses = {"veilig": VEILIG} | harnesses
    if given.growth:
        for name, command in harnesses.items():
            growth(name, command, sorted(given.growth), given.rounds)
        return 0
    heads = (
        "harness",
        "start-up s",
        "turn CPU ms",
        "CPU s",
        "wall s",
        "peak MB",
        "first tokens",
        "bytes sent",
    )
    print(f"| {' | '.join(heads)} |")
    print("|---|---|---|---|---|---|---|---|")
    for name, command in harnesses.items():
        runs: dict[int, list[Run]] = {given.turns: [], given.long: []}
        with tempfile.TemporaryDirectory() as place:
            folder = project_in(Path(place))
            once(command, 1, folder)  # what is found out once a machine (which wall stands) is not in it
            for _ in range(given.rounds):
                for turns, found in runs.items():
                    found.append(once(command, turns, folder))
        short, long = runs[given.turns], runs[given.long]
        slope_s = min(r.cpu_s for r in long) - min(r.cpu_s for r in short)
        turn_ms = 1000 * slope_s / (given.long - given.turns)
        middle = sorted(short, key=lambda r: r.cpu_s)[len(short) // 2]
        started_s = statistics.median(r.first_s for r in short)
        figures = (
            f"{started_s:.2f}", f"{turn_ms:.1f}", f"{middle.cpu_s:.2f}", f"{middle.wall_s:.2f}",
            f"{middle.peak_mb:.0f}", str(middle.first_bytes // 4), f"{middle.sent_bytes:,}",
        )  # fmt: skip
        print(f"| {name} | {' | '.join(figures)} |")
    aims = f"turn CPU <= {TURN_CPU_MS_MAX:.0f} ms with sandbox, gate and ledger"
    print(f"\naims: {aims}; first request <= {FIRST_TOKENS_MAX} tokens; peak <= {PEAK_MB_MAX:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
