"""Findings across scans: two on one line change each other's ids, and neither is new nor gone for that."""

from veilig.agent.fix_match import brought, matching, seen, still_there
from veilig.agent.fix_state import Json, problem_of


def finding(number: str, rule: str, line: int, path: str = "app.py") -> Json:
    return {"id": number, "kind": "weakness", "rule": rule, "path": path, "line": line, "title": rule}


TIMEOUT, VERIFY = finding("a", "timeout", 17), finding("b", "verify", 17)
BEFORE = seen([TIMEOUT, VERIFY])


def test_a_neighbour_on_the_edited_line_is_not_a_new_finding() -> None:
    after = [finding("c", "verify", 17)]
    assert not still_there(problem_of(TIMEOUT), after, BEFORE)
    assert brought(after, BEFORE, ["app.py"]) is None
    assert matching(problem_of(VERIFY), after, [problem_of(VERIFY)]) == after[0]


def test_a_finding_whose_id_changed_is_still_there() -> None:
    assert still_there(problem_of(TIMEOUT), [finding("c", "timeout", 17), VERIFY], BEFORE)


def test_one_more_of_a_kind_is_new_and_one_in_another_file_is_not_ours() -> None:
    more = [VERIFY, finding("c", "verify", 30)]
    assert brought(more, BEFORE, ["app.py"]) == more[1]
    assert brought([finding("c", "verify", 3, "other.py")], BEFORE, ["app.py"]) is None


def test_what_belongs_to_another_problem_is_not_taken() -> None:
    first, second = problem_of(finding("x", "verify", 3)), problem_of(finding("b", "verify", 17))
    assert matching(first, [VERIFY], [first, second]) is None
