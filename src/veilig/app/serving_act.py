"""What may people set going from the page? Sessions, votes, stops, uploads, the audited look at a secret."""

import asyncio
import os
import re
import secrets
from pathlib import Path
from typing import Any, Final, cast

from veilig.app.driver import job_of
from veilig.app.serving import Serving
from veilig.app.sessions import find_session
from veilig.collab.accounts import Person
from veilig.collab.archive import Unpacked, unpack
from veilig.collab.roles import MAY, May, Refused, Role
from veilig.core.actor import Actor
from veilig.core.approval import Approval
from veilig.core.canonical import JSON
from veilig.core.errors import SecretRefused
from veilig.core.gate import cast_vote
from veilig.core.ledger import Event
from veilig.core.policy import roles_of
from veilig.core.provider import Vote
from veilig.core.redact import Redactor
from veilig.core.service_file import read_services
from veilig.providers.drivers import start_driver, stop_driver

REASON_CHARS_MAX: Final = 2000
MODEL: Final = re.compile(r"[A-Za-z0-9_.:/@\-]{1,200}")
BRANCH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/\-]{0,200}")
UPLOAD: Final = re.compile(r"[0-9a-f]{16}")
STARTED_S: Final = 60.0  # a busy machine starts an interpreter in a few
FILES_LOOKED_AT: Final = 20_000
FILE_BYTES_MAX: Final = 1 << 20
MARKS: Final = (
    ".git",
    "pyproject.toml",
    "package.json",
    "setup.py",
    "requirements.txt",
    "go.mod",
    "Cargo.toml",
)


# --- projects -------------------------------------------------------------------------------------------


def repositories(serving: Serving, person: Person) -> list[dict[str, str]]:
    """The projects that may be worked on: the folders the server was given, and projects in them."""
    if person.role is None or May.START not in MAY[person.role]:
        raise Refused("you may not start sessions", fix="ask an owner for the role driver")
    found: list[Path] = []
    for root in serving.roots:
        if any((root / mark).exists() for mark in MARKS):
            found.append(root)
            continue
        inside = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        found += [p for p in inside if any((p / mark).exists() for mark in MARKS)]
    return [{"path": str(p), "name": p.name} for p in found]


def services(serving: Serving, person: Person) -> list[dict[str, str]]:
    """The files of services whose healing may be started."""
    repositories(serving, person)
    return [{"path": str(file), "name": file.name} for file in serving.services]


def _services(serving: Serving, named: dict[str, Any]) -> Path:
    """The services file to heal: it holds commands, so an operator must have named it. Raises Refused (400),
    UsageError for one that does not describe services.
    """
    path = named.get("path")
    file = next((one for one in serving.services if str(one) == path), None)
    if file is None:
        raise Refused(
            "this is no services file that may be healed from here", status=400,
            why="such a file says how services are started; who runs this server names it",
            fix="`veilig serve --services FILE`, or collaboration.page.services; see GET /api/v1/services",
        )  # fmt: skip
    read_services(file)
    return file


def _must_be_free(serving: Serving, file: Path) -> str:
    """The watch over this file that was stopped, or ""; a look that was to be one is none.

    Raises Refused (409) while one is at work.
    """
    stopped = ""
    for card in serving.board.cards.values():
        if card.kind != "heal" or card.source != str(file):
            continue
        if serving.running(card.id):
            raise Refused(
                "these services are watched already", status=409, why=f"session {card.id} is at work",
                fix="look at it, or stop it first",
            )  # fmt: skip
        if card.ended not in ("done", "failed") and not _once(serving, card.id):
            stopped = card.id
    return stopped


def _once(serving: Serving, session: str) -> bool:
    """Whether this healing session was asked to look once."""
    begun = next(iter(serving.ledger.events(session, names=("session.started",), limit=1)))
    return cast("dict[str, Any]", begun.body["options"]).get("once") is True


def _source(serving: Serving, person: Person, source: dict[str, Any]) -> Path:
    """The folder to work on. Raises Refused (400) for one outside of what the server was given."""
    upload, path = source.get("upload"), source.get("path")
    if isinstance(upload, str) and UPLOAD.fullmatch(upload):
        folder = _uploads(serving) / upload
        owner = folder / ".owner"
        if owner.is_file() and owner.read_text(encoding="utf-8") == person.id:
            return folder / "project"
        raise Refused("there is no such upload", status=404, fix="upload it again")
    if not isinstance(path, str) or not path or "\0" in path or len(path) > 4096:
        raise Refused("no project is named", status=400, fix="give source.path or source.upload")
    folder = Path(path).resolve()
    if (
        not any(folder == root or folder.is_relative_to(root) for root in serving.roots)
        or not folder.is_dir()
    ):
        raise Refused(
            "this folder may not be worked on from here", status=400,
            why="the server was started for other folders", fix="see GET /api/v1/repositories",
        )  # fmt: skip
    return folder


def _uploads(serving: Serving) -> Path:
    return serving.home.path / "uploads"


async def upload(serving: Serving, person: Person, archive: Path) -> tuple[str, Unpacked]:
    """Unpack what was sent. Raises Refused; nothing is left then."""
    repositories(serving, person)
    ident = secrets.token_hex(8)
    folder = _uploads(serving) / ident
    unpacked = await asyncio.to_thread(unpack, archive, folder / "project")
    (folder / ".owner").write_text(person.id, encoding="utf-8")
    return ident, unpacked


# --- sessions -------------------------------------------------------------------------------------------


async def start(serving: Serving, person: Person, wanted: dict[str, Any]) -> str:
    """Start a session as a process of its own; its id, once its room is open. Raises Refused, UsageError.

    A watch over services that was stopped goes on instead of a second one: what it knows is not lost.
    """
    repositories(serving, person)
    given = wanted.get("source")
    named = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    kind, once = _text(wanted, "kind"), wanted.get("once") is True
    if kind == "heal":
        source = await asyncio.to_thread(_services, serving, named)
        if (stopped := await asyncio.to_thread(_must_be_free, serving, source)) and not once:
            await go_on(serving, person, stopped)
            return stopped
    else:
        source = await asyncio.to_thread(_source, serving, person, named)
    model, deliver = _text(wanted, "model"), _text(wanted, "deliver")
    if model and not MODEL.fullmatch(model):
        raise Refused(f"{model[:80]!r} is no model's name", status=400)
    if deliver and deliver != "apply" and not BRANCH.fullmatch(deliver.removeprefix("branch:")):
        raise Refused("deliver is empty, apply or branch:NAME", status=400)
    told = job_of(kind, source, task=_text(wanted, "task"), model=model, deliver=deliver, once=once)
    session = f"{kind}-{os.urandom(4).hex()}"
    await serving.append("room.opened", session, {"person": person.id, "name": person.name, "via": "page"})
    await _drive(serving, session, told)
    return session


def _text(wanted: dict[str, Any], key: str) -> str:
    value = wanted.get(key, "")
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 200_000:
        raise Refused(f"{key} is not a text", status=400)
    return value


async def _drive(serving: Serving, session: str, told: dict[str, Any]) -> None:
    setting = serving.setting
    told = {**told, "policy": setting.policy or "", "model_url": setting.model_url}
    log = serving.home.path / "drivers" / f"{session}.log"
    await asyncio.to_thread(
        start_driver, session, told, environment=setting.environment, log=log, cwd=serving.home.path
    )


async def go_on(serving: Serving, person: Person, session: str) -> None:
    """Go on with a session that stopped. Raises Refused (409) while it is at work, or when it is over."""
    await serving.steers(person, session)
    _must_be_root(session)
    card = serving.card(session)
    if serving.running(session) or card.ended in ("done", "failed"):
        state = card.state(driven=serving.running(session))
        raise Refused(f"the session is {state}", status=409, why="only one that stopped can go on")
    if card.kind == "heal":
        source = await asyncio.to_thread(_services, serving, {"path": card.source})
        await asyncio.to_thread(_must_be_free, serving, source)
        once = await asyncio.to_thread(_once, serving, session)
        await _drive(serving, session, job_of("heal", source, model=card.model, once=once))
        return
    await _drive(serving, session, {"resume": True})


async def say(serving: Serving, person: Person, session: str, text: str, anchor: int) -> Event:
    """A word to the planner; a session that has stopped goes on with it. Raises Refused."""
    event = await serving.say(person, session, text, anchor)
    if not serving.running(session) and serving.card(session).ended:
        _must_be_root(session)
        await _drive(serving, session, {"say": text})
    return event


async def stop(serving: Serving, person: Person, session: str) -> bool:
    """Ask the session to stop between two acts; whether a process of ours drove it. Raises Refused."""
    await serving.steers(person, session)
    root = session.partition(".")[0]
    await serving.append("session.interrupted", root, {"actor": person.id, "reason": "asked on the page"})
    if await asyncio.to_thread(stop_driver, root):
        return True
    if serving.running(root):
        raise Refused(
            "this session was not started here", status=409, why="a terminal drives it", fix="stop it there"
        )
    return False


def _must_be_root(session: str) -> None:
    if "." in session:
        raise Refused("only the session that started this one can go on", status=409)


# --- votes and secrets ----------------------------------------------------------------------------------


def voter(serving: Serving, person: Person) -> Actor:
    """The person with the roles that veilig.yaml and their account give: those of a room give none."""
    mine = {str(person.role)} if person.role in (Role.OWNER, Role.APPROVER) else set[str]()
    return Actor(person.id, roles=frozenset(mine) | roles_of(serving.policy, person.id))


async def vote(
    serving: Serving, person: Person, session: str, approval: str, *, approve: bool, reason: str
) -> Approval:
    """Record a vote. Raises Refused, ApprovalError when it may not count."""
    serving.need(person, session, May.VOTE)
    if len(reason) > REASON_CHARS_MAX:
        raise Refused("the reason is too long", status=400, fix=f"at most {REASON_CHARS_MAX} characters")
    given = Vote(voter(serving, person), approve, "page", serving.redactor.seal(reason))
    asked = await cast_vote(serving.ledger, approval, given)
    await serving.seen(await serving.ledger.read(serving.ledger.size))
    return asked


async def reveal(serving: Serving, person: Person, session: str, handle: str, reason: str) -> str:
    """The value behind a handle of this session, for an owner, after that stands in the ledger.

    Values are never stored: it is read again where it stands. Raises Refused (404) when it is gone.
    """
    serving.need(person, session, May.REVEAL)
    if not reason.strip() or len(reason) > REASON_CHARS_MAX:
        raise Refused("say why it must be seen", status=400, why="it is recorded, and others can read it")
    found = await asyncio.to_thread(_value, serving, session, handle)
    if not any(handle in str(e.body) for e in serving.ledger.events(session)):
        raise Refused("this session never met that secret", status=404)
    await serving.append("secret.revealed", session, _revealed(handle, person, reason))
    return found


def _revealed(handle: str, person: Person, reason: str) -> dict[str, JSON]:
    return {"handle": handle, "actor": person.id, "reason": reason}


def _value(serving: Serving, session: str, handle: str) -> str:
    redactor: Redactor = serving.home.redactor(serving.setting.environment)
    view = find_session(serving.home, session.partition(".")[0], serving.setting)
    looked = 0
    for folder in (serving.home.session(view.id) / "work", Path(view.source)):
        for inner, names, files in os.walk(folder):
            names[:] = [n for n in names if n not in (".git", "node_modules", ".venv", "__pycache__")]
            for name in files:
                place = Path(inner, name)
                looked += 1
                if looked > FILES_LOOKED_AT:
                    break
                try:
                    if place.is_symlink() or place.stat().st_size > FILE_BYTES_MAX:
                        continue
                    text = place.read_text(encoding="utf-8")
                except (OSError, UnicodeDecodeError):
                    continue  # what is no text gave no handle
                redactor.learn_text(place.relative_to(folder).as_posix(), text)
                redactor.seal(text)
    try:
        return redactor.expand(handle, lambda _: True)
    except SecretRefused as error:
        raise Refused(error.what, status=404, why=error.why, fix="look where it stood") from error


async def exported(serving: Serving, person: Person, session: str, form: str, role: Role) -> None:
    """The ledger hears that somebody took the record with them."""
    body: dict[str, JSON] = {"form": form, "role": str(role), "actor": person.id}
    await serving.append("record.exported", session, body)
