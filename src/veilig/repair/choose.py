"""Which of the patches that pass is the one to apply, and how sure is that?

Method: patches are put together by what they answer to neighbours of the calls that the tests make
(differential testing); the cheapest of the patches that agree with most others comes first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from veilig.repair.candidates import Candidate
from veilig.repair.recipes.proposal import Confidence

AGREEMENT_BONUS = 0.6  # of a patch that all others agree with
CRASH_COST = 1.5  # of a patch that raises or hangs on every neighbouring call on which others answer
BROKEN_COST, BROKEN_SHARE_COST = 0.6, 1.5  # of a patch that crashes where the code answered before
CHANGED_COST = 0.6  # of a patch that changes every answer: a fix leaves most of them alone
CRASHES = frozenset(
    {"late", "!TypeError", "!AttributeError", "!NameError", "!UnboundLocalError", "!IndexError", "!KeyError"}
    | {"!RecursionError", "!ZeroDivisionError", "!MemoryError", "!StopIteration", "!AssertionError"}
)
COPIED_COST = 0.8
TELLING_CHARS = 4  # shorter constants (0, -1, "", None) are what people write themselves
RIVAL_BAND = 0.8  # a patch this much dearer, and different, is a rival
RIVALS_MAX = 3

_WORDS = frozenset({"True", "False", "None"})

type Answers = tuple[str, ...]


def _none() -> Mapping[int, Answers]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Choice:
    """The patch to prove first, the others in order, and how sure that is.

    decision: why a person should choose; empty when the first one may be applied.
    """

    best: Candidate
    others: tuple[Candidate, ...]
    confidence: Confidence
    why: str
    decision: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the choice may lean on.

    targets: how many tests were failing. covering: how many green ones run the changed line. answers: what
    the plausible patch with this number answers to the same calls, as far as they were asked. before: what
    the function answered before any patch.
    """

    targets: int
    covering: int = 0
    literals: frozenset[str] = frozenset()
    answers: Mapping[int, Answers] = field(default_factory=_none)
    before: Answers = ()


@dataclass(frozen=True, slots=True)
class _Rated:
    candidate: Candidate
    score: float
    size: int
    answers: Answers | None


def choose(plausible: Sequence[Candidate], evidence: Evidence) -> Choice | None:
    """The patch to try first, or None when there is none.

    Good is: small cost, agreement with others, no crash where others answer, few changed characters,
    nothing copied from the expected values of the tests. Patches that pass and behave differently mean that
    the tests do not tell them apart, and the confidence says so.
    """
    if not plausible:
        return None
    ordered = sorted(_rated(plausible, evidence), key=lambda one: (one.score, one.size))
    best = ordered[0]
    rivals = _rivals(best, ordered)
    agree = sum(1 for one in ordered if one.answers is not None and one.answers == best.answers)
    reasons = [f"{evidence.targets} failing test{'s' if evidence.targets != 1 else ''} repaired"]
    points = min(evidence.targets, 4) + min(evidence.covering, 4) - min(rivals, RIVALS_MAX)
    if best.candidate.cost > 4.5:
        points -= 2
        reasons.append("a patch of an unlikely kind")
    if _copied(best.candidate, evidence.literals):
        points -= 2
        reasons.append("it contains a value that the tests expect")
    if evidence.covering:
        reasons.append(f"{evidence.covering} green tests run the changed line")
    if agree > 1:
        reasons.append(f"{agree - 1} other patches behave the same")
    if rivals:
        reasons.append(f"{rivals} other kinds of behaviour pass too")
    level = Confidence.HIGH if points >= 4 else Confidence.MEDIUM if points >= 1 else Confidence.LOW
    decision = ""
    if level is Confidence.LOW and rivals:
        decision = f"the tests pass with {rivals + 1} different behaviours; say which is meant with a test"
    if _parroted(best.candidate, evidence.literals):
        level = Confidence.LOW
        decision = "it answers with the very value that the test expects; say whether it always does"
    others = tuple(one.candidate for one in ordered[1:])
    return Choice(best.candidate, others, level, ", ".join(reasons), decision)


def _rated(plausible: Sequence[Candidate], evidence: Evidence) -> list[_Rated]:
    """Each patch with its score; answers only at the calls that every asked patch was asked."""
    asked = {number: said for number, said in evidence.answers.items() if number < len(plausible)}
    everyone = [*asked.values(), *([evidence.before] if evidence.before else [])]
    length = min((len(said) for said in everyone), default=0)
    places = [at for at in range(length) if all(said[at] != "unasked" for said in everyone)]
    short = {number: tuple(said[at] for at in places) for number, said in asked.items()}
    before = tuple(evidence.before[at] for at in places) if evidence.before else ()
    rated: list[_Rated] = []
    for number, one in enumerate(plausible):
        score = one.cost + _copied(one, evidence.literals)
        own = short.get(number)
        if own is not None:
            same = sum(1 for said in short.values() if said == own) - 1
            score -= AGREEMENT_BONUS * same / max(len(short) - 1, 1)
            score += CRASH_COST * _crashes(own, list(short.values())) + _disturbed(own, before)
        rated.append(_Rated(one, score, _size(one), own))
    return rated


def _crashes(own: Answers, everyone: Sequence[Answers]) -> float:
    """The share of the calls on which this patch raises or hangs and at least half of all answer."""
    if not own:
        return 0.0
    failing = [at for at, word in enumerate(own) if _failed(word)]
    alone = [at for at in failing if 2 * sum(not _failed(said[at]) for said in everyone) >= len(everyone)]
    return len(alone) / len(own)


def _disturbed(own: Answers, before: Answers) -> float:
    """What it costs to change what worked: a crash is worse than another answer."""
    worked = [(mine, then) for mine, then in zip(own, before, strict=False) if not _failed(then)]
    if not worked:
        return 0.0
    changed = sum(mine != then for mine, then in worked) / len(worked)
    broken = sum(mine in CRASHES for mine, _ in worked) / len(worked)
    return CHANGED_COST * changed + (BROKEN_COST + BROKEN_SHARE_COST * broken if broken else 0.0)


def _failed(word: str) -> bool:
    return word == "late" or word.startswith("!")


def _rivals(best: _Rated, ordered: Sequence[_Rated]) -> int:
    """How many other behaviours pass at nearly the same cost; of patches never asked, one for each line."""
    near = [one for one in ordered[1:] if one.score <= best.score + RIVAL_BAND]
    if best.answers is None:
        lines = {(one.candidate.path, one.candidate.line) for one in ordered}
        return len(lines - {(best.candidate.path, best.candidate.line)})
    different = {one.answers for one in near if one.answers is not None} - {best.answers}
    return len(different)


def _size(one: Candidate) -> int:
    return sum(len(edit.replacement) + edit.end - edit.start for edit in one.edits)


def _parroted(one: Candidate, literals: frozenset[str]) -> bool:
    """Whether a computed value gives way to an expected one that no slip of the hand would have lost."""
    texts = [edit.replacement.removeprefix("return ").strip("'\"") for edit in one.edits]
    telling = any(text in literals - _WORDS and len(text) >= TELLING_CHARS for text in texts)
    return telling and one.family in {"return_val", "expr_to_const"}


def _copied(one: Candidate, literals: frozenset[str]) -> float:
    """A penalty for an expected value in the patch: the usual way to satisfy a test and miss the point."""
    found = [edit for edit in one.edits if edit.replacement.strip("'\"") in literals]
    copies = one.family in {"const", "const_str", "return_val", "expr_to_const"}
    return COPIED_COST if found and copies else 0.0
