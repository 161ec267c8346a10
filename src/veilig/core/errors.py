"""What went wrong, why, and what to do about it: the one error tree.

Every expected trouble is a `VeiligError`; the caller's next move is in the type
(permanent, or `retry_after_s`), and the terminal prints it on one screen.
"""

EXIT_OK = 0
EXIT_FINDINGS = 1  # the job ran and something is left for a person
EXIT_USAGE = 2  # the command, its input or veilig.yaml is wrong
EXIT_INCOMPLETE = 3  # part of the input could not be looked at
EXIT_REFUSED = 4  # policy, wall or ledger said no: nothing was done
EXIT_INTERRUPTED = 130


class VeiligError(Exception):
    """what happened (first argument), `why`, `fix`; `retry_after_s` is None when trying again cannot help."""

    exit_code: int = EXIT_USAGE

    def __init__(
        self, what: str, *, why: str = "", fix: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        lines = [self.what]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


class UsageError(VeiligError):
    """The command line or an input file is wrong."""


class InvalidAction(VeiligError):
    """An action that cannot exist: refused where it is born."""


class PolicyError(VeiligError):
    """veilig.yaml does not validate: every change stops until it does."""

    exit_code = EXIT_REFUSED


class ApprovalError(VeiligError):
    """A vote or a grant that may not be given."""

    exit_code = EXIT_REFUSED


class LedgerError(VeiligError):
    """The ledger cannot be read or written: nothing is done without it."""

    exit_code = EXIT_REFUSED


class LedgerTampered(LedgerError):
    """The ledger is not what was written; `seq` is the first bad event (1-based)."""

    def __init__(self, what: str, *, seq: int, why: str = "", fix: str = "") -> None:
        super().__init__(what, why=why, fix=fix)
        self.seq = seq


class Fenced(LedgerError):
    """Somebody else holds the session's lease now: nothing was recorded, and nothing may be done for it."""


class SessionError(VeiligError):
    """The session is unknown, ended, or driven by another process."""

    exit_code = EXIT_REFUSED


class ProviderError(VeiligError):
    """A provider could not do its work; the world may be unchanged or unknown, the message says which."""

    exit_code = EXIT_REFUSED


class SandboxUnavailable(ProviderError):
    """No wall stands, or it lacks a feature the policy requires."""


class SecretRefused(ProviderError):
    """A secret's handle may not go where the action would send it."""
