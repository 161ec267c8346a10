"""What can be done of a task with no model? Read from its words; the rest needs one, and that is said."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Intent:
    """What the embedded planner will do: `only` as in `veilig fix --only`, and the same in words.

    command: what is to be explained instead, as a shell reads it; bisect: also since which change it fails.
    """

    only: str
    says: str
    command: str = ""
    bisect: bool = False


_TESTS = Intent("tests", "makes failing tests pass; it searches, proves, and writes nothing of its own")
_AUDIT = Intent("audit", "fixes weaknesses and vulnerable pins that it has a recipe for")
_CONFIG = Intent("config", "mends syntax and configuration that keep the project from starting")
_ALL = Intent("", "mends what is broken or unsafe, one problem at a time, and proves each")

_VERB = (
    r"\b(fix|repair|mend|solve|resolve|heal|make|get|find|explain|remove|patch|upgrade|update|bump|bisect)\b"
)
_FORMS = (
    (r"\b(upgrade|update|bump|patch)\b.*\b(vulnerab|insecure|cve|depend|package|pin|requirement)", _AUDIT),
    (r"\b(vulnerab|weakness|insecure|security|injection|traversal|cwe|cve|secrets?)", _AUDIT),
    (r"\b(which|what)\b.*\b(change|commit)\b.*\b(broke|break)|\bbisect\b", _TESTS),
    (r"\b(failing|broken|red)\b.*\btests?\b|\btests?\b.*\b(pass|green|fail|broken|red)", _TESTS),
    (r"\b(syntax|config|configuration|toml|yaml|ini)\b.*\b(error|broken|wrong|invalid|start)?", _CONFIG),
    (r"^\W*(fix|repair|mend)( (it|this|the (project|code|bugs?)|everything|all( of it)?))?\W*$", _ALL),
)
_NEW_WORK = re.compile(
    r"(?<!the )\b(add|implement|write|create|build|refactor|rename|migrate|translate|document|design)\b"
)


_COMMAND = re.compile(r"`([^`\n]+)`|\"([^\"\n]+)\"|(?<!\w)'([^'\n]+)'(?!\w)")
_EXPLAIN = re.compile(r"\b(explain|why|reason|what is wrong|what's wrong|diagnose|understand)\b")
_SINCE = re.compile(
    r"\b(which|what) (\w+ )?(change|commit)s?\b|\bfind (out )?(the |a )?(\w+ )?(change|commit)s?\b"
    r"|\bbisect\b|\bsince when\b"
)
_PLACE = re.compile("\0([0-9]+)\0")
_SENTENCE = re.compile(r"(?<=[.!?:;])\s+|\n\s*\n")
# One quoted word is a command only if it could be one: a name, no path to a place and no `name(...)`.
_NAME = re.compile(r"(?:\./)?[\w.-]*[A-Za-z][\w-]*(?:/[\w.-]+)*\.?(?:sh|py)?")
_FILE = re.compile(r"^/|/$|\.(txt|md|json|ya?ml|toml|ini|cfg|csv|log|html?|c|h|py|js|ts|db)$")


def _about_command(task: str) -> Intent | None:
    """A question about one command that stands in quotes, in the sentence that asks it."""
    task = task.replace("\0", " ")
    quotes = [_quoted(found) for found in _COMMAND.finditer(task)]
    numbers = iter(range(len(quotes)))
    # What is quoted may have full stops of its own: a sentence ends outside of quotes.
    sentences = _SENTENCE.split(_COMMAND.sub(lambda _: f"\0{next(numbers)}\0", task))
    for number, sentence in enumerate(sentences):
        named = (quotes[int(place)] for place in _PLACE.findall(sentence))
        command = next((quoted for quoted in named if _runs(quoted)), "")
        # The question may stand in the next sentence: "`make` fails. Which change broke it?"
        words = " ".join(sentences[number : number + 2]).lower()
        since = bool(_SINCE.search(words))
        if not command or not (since or _EXPLAIN.search(words)):
            continue
        says = f"runs {command!r} in a copy and reads how it fails"
        says += ", then on the last commits, to say which change broke it" if since else ""
        return Intent("explain", f"{says}; it mends nothing", command, since)
    return None


def _quoted(found: re.Match[str]) -> str:
    return next(part for part in found.groups() if part).strip()


def _runs(quoted: str) -> bool:
    """Whether quoted text reads as a command: several words, or the name of a program."""
    return " " in quoted or (bool(_NAME.fullmatch(quoted)) and not _FILE.search(quoted))


def intent(task: str) -> Intent | None:
    """What of it needs no model; None when a model is needed. The first sentence that asks for something
    that we know decides.
    """
    if about := _about_command(task):
        return about
    text = " ".join(task.lower().split())
    if _NEW_WORK.search(text) or (not re.search(_VERB, text) and "test" not in text and "which" not in text):
        return None
    asking = (one for one in _SENTENCE.split(task.lower()) if re.search(_VERB, one))
    for words in (*(" ".join(one.split()) for one in asking), text):
        if meant := next((meant for form, meant in _FORMS if re.search(form, words)), None):
            return meant
    return None
