"""How is a question about a failing command asked and answered? `veilig run` does where no model is named."""

import argparse
import asyncio
import json
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veilig.agent.explain import ExplainOptions
from veilig.agent.tools import argv_of
from veilig.cli.models import setting_of
from veilig.cli.progress import Progress
from veilig.cli.style import printable
from veilig.core.errors import EXIT_FINDINGS, EXIT_INTERRUPTED, EXIT_OK, SessionError

if TYPE_CHECKING:
    from veilig.app import Ended, Setting

SAID_LINES = 20


def run(given: argparse.Namespace, command: str, *, bisect: bool) -> int:
    """Exit 0 the command succeeds, 1 it fails (and this is why), 4 it was not run."""
    from veilig.app import run_explain

    progress = Progress(sys.stderr if given.json else sys.stdout, quiet=given.json)
    options = ExplainOptions(str(Path(given.path).expanduser().resolve()), argv_of(command), bisect)
    return _see(given, progress, run_explain(options, setting_of(given), progress))


def resumed(given: argparse.Namespace, session: str, setting: "Setting") -> int:
    """The end of one that `veilig resume` goes on with."""
    from veilig.app import resume

    progress = Progress(sys.stderr if given.json else sys.stdout, quiet=given.json)
    return _see(given, progress, resume(session, setting, progress, None))


def _see(given: argparse.Namespace, progress: Progress, session: "Coroutine[Any, Any, Ended]") -> int:
    try:
        ended = asyncio.run(session)
    except KeyboardInterrupt:
        print(f"interrupted; next: veilig resume {progress.session}", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        progress.done()
    if not ended.finish.ok:
        raise SessionError(
            ended.finish.summary, why=f"`veilig sessions show {ended.session}` says what happened"
        )
    data: dict[str, Any] = dict(ended.finish.data)
    if given.json:
        shown = {"session": ended.session, "summary": ended.finish.summary, **data}
        print(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(data)))
    return EXIT_FINDINGS if data["exit"] else EXIT_OK


def _lines(data: dict[str, Any]) -> list[str]:
    """The command, how it ends, why, since when, and the end of what it said."""
    lines = [f"command {printable(str(data['command']))}"]
    if not data["exit"]:
        return [*lines, "result  it succeeds here, in a copy behind the wall and without network"]
    lines.append(f"result  exit {data['exit']}" if data["exit"] > 0 else "result  it was ended")
    lines += [f"why     {printable(cause)}" for cause in data["causes"] or ["its words tell no cause"]]
    if data["culprit"]:
        tried = f" ({data['tried']} older states tried)" if data["tried"] else ""
        lines.append(f"since   {printable(str(data['culprit']))}{tried}")
    said = str(data["said"]).splitlines()[-SAID_LINES:]
    return [*lines, *(f"said    {printable(line)}" for line in said)]
