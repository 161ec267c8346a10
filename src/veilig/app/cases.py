"""How does the person at this machine look at cases, appeal, decide, and set a level by hand?"""

from veilig.app.access import Office, not_oneself
from veilig.app.safeguards import new_case
from veilig.core.errors import UsageError
from veilig.core.ledger_event import Draft
from veilig.monitor import ladder
from veilig.monitor.ladder import Case, Ladder, Level, Standing


async def appeal(at: Office, case: str, text: str) -> Case:
    """Object, in the name of the person at this machine. Raises UsageError."""
    said = at.redact(text)

    def fn(known: Ladder, _: int) -> tuple[list[Draft], None]:
        return ladder.appeal(known.cases.get(case), at.person.person, said), None

    await at.desk.change(fn)
    return at.desk.ladder.cases[case]


async def decide(at: Office, case: str, granted: bool, reason: str) -> Case:
    """End an appeal; by somebody else than who opened the case or appealed. Raises ApprovalError."""
    said = at.redact(reason)
    if (about := at.desk.ladder.cases.get(case)) is not None:
        not_oneself(at, owner_of(at, about.subject), "decide about")

    def fn(known: Ladder, t_ms: int) -> tuple[list[Draft], None]:
        found = known.cases.get(case)
        now = known.standing(found.subject if found else "")
        return ladder.decide(found, now, granted, said, at.person.person, t_ms), None

    await at.desk.change(fn)
    return at.desk.ladder.cases[case]


async def set_level(at: Office, subject: str, level: Level, lasts_s: float, reason: str) -> Standing:
    """A person's decision about a subject; it holds until its time is over. Raises UsageError.

    subject: user:..., key:..., subject:..., org:... or agent:..., as `veilig cases` shows them.
    """
    if subject.partition(":")[0] not in ("user", "key", "subject", "org", "agent") or ":" not in subject:
        raise UsageError(
            f"{subject!r} is no subject", fix="write user:ID, key:ID, subject:NAME, org:NAME or agent:WHO"
        )
    said = at.redact(reason)
    not_oneself(at, owner_of(at, subject), "set the level of")

    def fn(known: Ladder, t_ms: int) -> tuple[list[Draft], None]:
        now = known.standing(subject)
        until_ms = max(t_ms, now.at_ms) + round(lasts_s * 1000)
        return ladder.by_person(now, level, until_ms, said, at.person.person, new_case=new_case()), None

    await at.desk.change(fn)
    return at.desk.ladder.standing(subject)


def owner_of(at: Office, subject: str) -> str:
    """Whose a subject of the ladder is: of a key its holder, of an agent its person; "" for others."""
    kind, _, name = subject.partition(":")
    if kind == "key":
        key = at.registry.keys.get(name)
        return key.subject if key is not None else ""
    return name if kind == "subject" else name.partition("/")[0] if kind == "agent" else ""
