"""Where does veilig keep what must outlive a session? One folder per user: ledger, anchors, keys, copies."""

import os
import pwd
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from veilig.core.actor import Actor
from veilig.core.clock import SystemClock
from veilig.core.errors import LedgerError
from veilig.core.ledger import Ledger
from veilig.core.policy import Policy, roles_of
from veilig.core.redact import Redactor
from veilig.stores.address import Address, parse_place
from veilig.stores.opening import open_ledger

if TYPE_CHECKING:
    from veilig.stores.postgres_tables import ServerStates, ServerTables

KEY_BYTES = 32
LEDGER_VARIABLE = "VEILIG_LEDGER"  # a path or postgresql://...: it wins over veilig.yaml


@dataclass(frozen=True, slots=True)
class Home:
    """`$VEILIG_HOME`, else `$XDG_STATE_HOME/veilig`, else `~/.local/state/veilig`; mode 0700."""

    path: Path
    store: str = ""  # where the ledger is, when not where the policy says: a path, or postgresql://...

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.path / "ledger.db"

    @property
    def anchors(self) -> Path:
        """What vouches for the ledger from outside of it."""
        return self.path / "anchors"

    @property
    def feeds(self) -> Path:
        """What was fetched of each TAXII collection."""
        return self.path / "feeds"

    def session(self, session: str) -> Path:
        """The folder of one session: its copy and what it changed."""
        return self.path / "sessions" / session

    def copy_session(self, session: str, made: str) -> None:
        """Give a new session the folder of another: its copy and its states. Raises LedgerError."""
        if not (self.session(session) / "work").is_dir():
            raise LedgerError(
                f"the copy of {session} is gone", why="it was cleaned", fix="start a new session instead"
            )
        try:
            shutil.copytree(self.session(session), self.session(made), symlinks=True)
        except (OSError, shutil.Error) as error:
            shutil.rmtree(self.session(made), ignore_errors=True)
            raise LedgerError(
                f"cannot copy {self.session(session)}", why=str(error), fix="free space"
            ) from error

    def remove_session(self, session: str) -> None:
        """Remove the folder of one session; what the ledger holds of it stays. Raises LedgerError."""
        folder = self.session(session)
        try:
            for inner, names, _ in os.walk(folder):
                for name in names:  # a project may make its own folders read-only
                    if not (inside := Path(inner, name)).is_symlink():
                        inside.chmod(0o700)
            if folder.exists():
                shutil.rmtree(folder)
        except OSError as error:
            raise LedgerError(
                f"cannot remove {folder}", why=str(error), fix="remove it as the user who owns it"
            ) from error

    def open_ledger(self, policy: Policy | None = None, *, create: bool = True) -> Ledger:
        """The ledger, where it is kept. Raises LedgerError when it cannot be used."""
        place, anchors = self.place(policy), self.anchors_of(policy)
        return open_ledger(place, anchor_dir=anchors, clock=SystemClock(), create=create)

    def open_states(self, policy: Policy | None = None) -> "ServerStates | None":
        """What the gateways of one database share; None where the ledger is a file. Raises LedgerError."""
        place = self.place(policy)
        if isinstance(place, Path):
            return None
        from veilig.stores.postgres_tables import ServerStates

        return ServerStates(place)

    def open_tables(self, policy: Policy | None = None) -> "Path | ServerTables":
        """Where the page keeps people: a file here, or beside a ledger in a database. LedgerError."""
        place = self.place(policy)
        if isinstance(place, Path):
            return self.path / "people.db"
        from veilig.stores.postgres_tables import ServerTables

        return ServerTables(place)

    def place(self, policy: Policy | None = None) -> Path | Address:
        """Where the ledger is: VEILIG_LEDGER (or --ledger), else what the policy says, else `self.ledger`.

        Raises UsageError for what names neither a file nor a database.
        """
        elsewhere = policy.elsewhere if policy is not None else None
        named = self.store or (elsewhere and (elsewhere.ledger_store or elsewhere.ledger_path))
        return parse_place(named) if named else self.ledger

    def anchors_of(self, policy: Policy | None = None) -> Path:
        """The folder of what vouches for the ledger, on this machine."""
        if policy is not None and policy.elsewhere.ledger_anchor_dir:
            return Path(policy.elsewhere.ledger_anchor_dir).expanduser()
        return self.anchors

    def redactor(self, environment: Mapping[str, str]) -> Redactor:
        """A redactor whose handles are the same after a resume; it knows the environment's secrets."""
        place = self.path / "keys" / "redact.key"
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                key = file.read(KEY_BYTES)
                if len(key) < KEY_BYTES:
                    key = os.urandom(KEY_BYTES)
                    file.seek(0)
                    file.write(key)
        except OSError as error:
            raise LedgerError(
                f"cannot use {place}", why=str(error), fix="set VEILIG_HOME to a folder of yours"
            ) from error
        redactor = Redactor(key)
        redactor.learn_environment(environment)
        return redactor


def find_home(environment: Mapping[str, str]) -> Home:
    """The state folder, made when missing. Raises LedgerError when it cannot be."""
    if given := environment.get("VEILIG_HOME"):
        path = Path(given).expanduser().absolute()
    else:
        base = environment.get("XDG_STATE_HOME") or "~/.local/state"
        path = Path(base).expanduser() / "veilig"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(
            f"cannot make {path}", why=str(error), fix="set VEILIG_HOME to a folder of yours"
        ) from error
    return Home(path, environment.get(LEDGER_VARIABLE, ""))


def local_person(policy: Policy) -> Actor:
    """Who sits at this machine: the operating system's user, owner, with the policy's roles."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid-{os.getuid()}"
    return Actor(name, roles=frozenset({"owner"}) | roles_of(policy, name))
