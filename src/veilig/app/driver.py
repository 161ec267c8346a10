"""What does the process do that drives one session for the page? The same as the command line, without one.

`python -m veilig.app.driver SESSION` reads one JSON object from standard input: {kind, options} to start,
{resume: true} to go on, {say: TEXT} to go on with a word of a person. It waits for votes as long as a
question stands, since those who answer it sit at the page.
"""

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from veilig.agent.audit_plan import AuditOptions
from veilig.agent.fix_state import FixOptions
from veilig.agent.run_state import RunOptions
from veilig.app.sessions import resume, run_audit, run_fix, run_task, say
from veilig.app.wiring import Ended, Setting
from veilig.core.action import Action
from veilig.core.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, UsageError, VeiligError
from veilig.core.limits import PROPOSAL_EXPIRY_S
from veilig.core.provider import Outcome
from veilig.providers.sandbox.wall import Wall


class Silent:
    """Watches nothing: everybody reads the ledger."""

    def began(self, session: str, law: str) -> None:
        """The session has an id and a law."""

    def wall(self, wall: Wall) -> None:
        """A wall stands."""

    def proposed(self, action: Action) -> None:
        """An act is about to be decided."""

    def observed(self, action: Action, outcome: Outcome) -> None:
        """What came of it."""


async def work(session: str, told: dict[str, Any], setting: Setting) -> Ended:
    """Start or go on, as `told` says. Raises UsageError for what nobody can start here."""
    watcher = Silent()
    if told.get("kind") == "heal":
        return await _heal(told, setting, watcher)
    if told.get("say"):
        return await say(session, str(told["say"]), setting, watcher, None)
    if told.get("resume"):
        return await resume(session, setting, watcher, None)
    options: dict[str, Any] = dict(told["options"])
    match told["kind"]:
        case "fix":
            return await run_fix(FixOptions.from_json(options), setting, watcher, None)
        case "audit":
            return await run_audit(AuditOptions.from_json(options), setting, watcher)
        case "run":
            return await run_task(RunOptions.from_json(options), setting, watcher, None)
        case kind:
            raise UsageError(f"a session of kind {kind!r} is not started here")


async def _heal(told: dict[str, Any], setting: Setting, watcher: Silent) -> Ended:
    """Watch, or go on with it. Who waits for another healer would act when nobody expects it: it ends."""
    from veilig.app.healing import Watched, heal

    options = told["options"]
    wanted = Watched(
        Path(options["services"]), bool(options["once"]), model=str(options["model"]), stands_by=False
    )
    return await heal(wanted, setting, watcher, None)


def main() -> int:
    """0 when the session came to an end, however; the ledger says which."""
    session = sys.argv[1]
    told = json.loads(sys.stdin.read())
    setting = Setting(
        policy=told.get("policy") or None, patience_s=PROPOSAL_EXPIRY_S, environment=dict(os.environ),
        model_url=str(told.get("model_url") or ""),
    )  # fmt: skip
    try:
        asyncio.run(work(session, told, replace(setting, session=session)))
    except VeiligError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return EXIT_OK


def job_of(
    kind: str, source: Path, *, task: str = "", model: str = "", deliver: str = "", once: bool = False
) -> dict[str, Any]:
    """What to tell the driver of a new session. Raises UsageError for what cannot be started."""
    match kind:
        case "fix":
            return {"kind": kind, "options": FixOptions(str(source), deliver=deliver, model=model).to_json()}
        case "audit":
            return {"kind": kind, "options": AuditOptions(str(source), model=model).to_json()}
        case "run" if not task.strip():
            raise UsageError("there is no task", fix="say what is to be done")
        case "run" if not model:
            raise UsageError(
                "a task needs a model, and none is named",
                why="without one, a fix makes failing tests pass and mends weaknesses",
                fix="name a model (openai:NAME, anthropic:NAME, google:NAME), or start a fix",
            )
        case "run":
            return {"kind": kind, "options": RunOptions(str(source), task, model, deliver=deliver).to_json()}
        case "heal":
            return {"kind": kind, "options": {"services": str(source), "once": once, "model": model}}
        case _:
            raise UsageError(f"{kind!r} is no kind of session"[:100], fix="audit, fix, run or heal")


if __name__ == "__main__":
    sys.exit(main())
