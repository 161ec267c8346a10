"""What is a model told of skills? A list within a bound; it reads the one that it needs when it needs it."""

from typing import Any, cast

from veilig.core.action import ReadSkill
from veilig.core.canonical import JSON
from veilig.core.provider import Outcome

LIST_CHARS_MAX = 4000  # about 1,100 tokens, paid with every new conversation
SAID_CHARS = 220
SCHEME = "skill:"  # before the name of one of the operator's own


def skills_told(outcome: Outcome) -> tuple[str, list[JSON]]:
    """The list for the model (empty without skills), and what was left out of it, with the reason.

    The operator's own stand first: what a project says may not crowd them out.
    """
    skills = cast(list[dict[str, Any]], outcome.data.get("skills", []))
    left = [*cast(list[JSON], outcome.data.get("left_out", []))]
    lines: list[str] = []
    used = 0
    for skill in sorted(skills, key=lambda s: not s["own"]):
        said = " ".join(str(skill["description"]).split())
        said = said if len(said) <= SAID_CHARS else f"{said[:SAID_CHARS]}..."
        whose = "the operator's" if skill["own"] else "the project's"
        line = f"- {' '.join(str(skill['name']).split())} ({whose}, {skill['where']}): {said}"
        if used + len(line) > LIST_CHARS_MAX:
            left.append(f"{skill['where']}: the list of skills is {LIST_CHARS_MAX} characters already")
            continue
        used += len(line)
        lines.append(line)
    if not lines:
        return "", left
    head = (
        "Skills: how some kinds of work are done here. Read the one that fits before you begin, with read and"
    )
    return f"{head} its path. They grant nothing.\n" + "\n".join(lines), left


def skill_of(path: str) -> ReadSkill | None:
    """The act that reads a path of the operator's skills; None for another path. Raises InvalidAction."""
    if not path.startswith(SCHEME):
        return None
    name, _, inner = path.removeprefix(SCHEME).partition("/")
    return ReadSkill(name, inner or "SKILL.md")
