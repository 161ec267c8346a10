"""What does veilig.yaml say about the page of `veilig serve`? Keys, values and their types.

No verdict of the gate depends on them: they bound who is let in, what may be worked on, and how fast.
"""

from dataclasses import dataclass
from pathlib import Path

from veilig.core.errors import UsageError
from veilig.core.policy_safeguards import FOLDER, HOST, LINE, URL
from veilig.core.policy_shape import Entry, Many, Section, Table, Whole

LISTEN = "127.0.0.1:8790"
SESSION_HOURS = 12  # a working day; then one signs in again
REQUESTS_PER_MINUTE = 1200  # twenty a second: a page that is looked at asks for one or two

_OIDC = Table((
    Entry("issuer", URL, "", "", "who may say who somebody is", required=True),
    Entry("client", LINE, "", "", "what we are called there", required=True),
    Entry("secret_env", LINE, "", "", "variable with our secret there; empty: a public client"),
))  # fmt: skip
_WEBHOOK = Table((
    Entry("url", URL, "", "", "told of questions and ends", required=True),
    Entry("secret_env", LINE, "", "", "variable with the key that signs it; empty: not signed"),
))  # fmt: skip
PAGE = Table((
    Entry("listen", HOST, "", LISTEN, "this machine only"),
    Entry("url", URL, "", "", "how people call it, behind a proxy with TLS; empty: as it listens"),
    Entry(
        "roots", Many(FOLDER), "", (),
        "projects, or folders of them; nothing else is worked on. Empty: those named at the terminal",
    ),
    Entry(
        "services", Many(FOLDER), "", (),
        "services files whose healing may be started from the page. Empty: those named at the terminal",
    ),
    Entry("session_hours", Whole(1, 720), "h", SESSION_HOURS, "a working day; then one signs in again"),
    Entry(
        "requests_per_minute", Whole(60, 60_000), "requests", REQUESTS_PER_MINUTE,
        "of one person, or one address before it is a person; ten seconds' worth at once",
    ),
    Entry("oidc", _OIDC, "", None, "local accounts only"),
    Entry("webhooks", Many(_WEBHOOK, most=10), "", (), "nobody outside is told"),
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class PageOidc:
    """An identity provider whose word is taken for who somebody is, not for what they may."""

    issuer: str
    client: str
    secret_env: str = ""


@dataclass(frozen=True, slots=True)
class PageRules:
    """The operator's word on the page. webhooks: (url, variable with the key)."""

    listen: str = LISTEN
    url: str = ""
    roots: tuple[str, ...] = ()
    session_s: int = SESSION_HOURS * 3600
    requests_per_minute: int = REQUESTS_PER_MINUTE
    oidc: PageOidc | None = None
    webhooks: tuple[tuple[str, str], ...] = ()
    services: tuple[str, ...] = ()

    def allowed(self, named: tuple[Path, ...], here: Path) -> tuple[Path, ...]:
        """The folders to serve: those named at the terminal, which must lie within `roots` where there are
        any; none named: all of `roots`, or `here`. Raises UsageError.
        """
        bounds = _whole("roots", self.roots)
        if not named:
            return bounds or (here,)
        within = [bound.resolve() for bound in bounds]
        for root in named:
            if within and not any(root.expanduser().resolve().is_relative_to(bound) for bound in within):
                raise UsageError(
                    f"{str(root)!r} may not be worked on",
                    why=f"collaboration.page.roots names {', '.join(map(str, bounds))}",
                    fix="name a folder within them, or add it to the policy",
                )
        return tuple(root.expanduser() for root in named)

    def watched(self, named: tuple[Path, ...]) -> tuple[Path, ...]:
        """The services files that may be healed from the page, as whole paths: those named at the terminal,
        which must be among `services` where there are any; none named: all of `services`. Raises UsageError.
        """
        bounds = tuple(file.resolve() for file in _whole("services", self.services))
        given = tuple(file.expanduser().resolve() for file in named) or bounds
        for file in given:
            if bounds and file not in bounds:
                raise UsageError(
                    f"{str(file)!r} may not be healed from the page",
                    why=f"collaboration.page.services names {', '.join(map(str, bounds))}",
                    fix="name one of them, or add it to the policy",
                )
        return given


def _whole(key: str, named: tuple[str, ...]) -> tuple[Path, ...]:
    """The paths, when none depends on where the server is started. Raises UsageError."""
    bounds = tuple(Path(one).expanduser() for one in named)
    if loose := [str(one) for one in bounds if not one.is_absolute()]:
        raise UsageError(
            f"collaboration.page.{key} names {loose[0]!r}",
            why="what it means would depend on where the server is started",
            fix="write a whole path, or one that begins with ~/",
        )
    return bounds


def build_page(section: Section) -> PageRules:
    """The section `collaboration.page` of a file that validated."""
    oidc = section.section("oidc")
    return PageRules(
        listen=section.text("listen"),
        url=section.text("url"),
        roots=section.texts("roots"),
        services=section.texts("services"),
        session_s=section.whole("session_hours") * 3600,
        requests_per_minute=section.whole("requests_per_minute"),
        oidc=PageOidc(oidc.text("issuer"), oidc.text("client"), oidc.text("secret_env"))
        if section.has("oidc")
        else None,
        webhooks=tuple((s.text("url"), s.text("secret_env")) for s in section.tables("webhooks")),
    )
