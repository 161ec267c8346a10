"""When are files to blame for a service that is down?"""

from dataclasses import replace

import pytest

from veilig.core.service import Service
from veilig.core.signal import Answer, Change, LogHit, LogKind, Run, Sample
from veilig.heal.diagnosis import diagnose
from veilig.heal.fleet import Cause, Fleet
from veilig.heal.history import Act, History
from veilig.heal.remedy import picture

SERVICE = Service("worker-a", cmd=("python3", "app.py"), folder="/srv/a")
DOWN = Sample("worker-a", 100.0, Run.DOWN, answer=Answer.REFUSED, fails=3, starts=(98.0,), exit="exit 1")
FLEET = Fleet(101.0, {"worker-a": SERVICE})


@pytest.mark.parametrize(
    ("path", "after", "cause"),
    [
        pytest.param("/srv/a/app.py", "", Cause.BAD_DEPLOY, id="its-program-is-gone"),
        pytest.param("/srv/a/app.py", "b2", Cause.CRASH, id="its-program-is-another"),
        pytest.param("/srv/a/more.py", "", Cause.CRASH, id="something-else-is-gone"),
    ],
)
def test_without_the_program_that_its_command_names_no_start_is_tried(
    path: str, after: str, cause: Cause
) -> None:
    sample = replace(DOWN, changes=(Change(path, "version", "a1", after, None, "", 1.0),), good="g")
    found = diagnose(SERVICE, sample, History(ill_s=99.0, down_s=99.0), FLEET)
    assert (found.cause, found.held) == (cause, cause is Cause.BAD_DEPLOY)


@pytest.mark.parametrize("same", [True, False])
def test_what_a_log_says_of_a_program_counts_while_the_world_is_the_same(same: bool) -> None:
    told = replace(DOWN, log=(LogHit(LogKind.CODE, "SyntaxError", 1),))
    act = Act(98.0, "service.restart", "crash", picture(told) if same else "another")
    history = History(ill_s=97.0, down_s=99.0, early=(98.0,), acts=(act,))
    found = diagnose(SERVICE, told, history, FLEET)
    assert found.cause is (Cause.BAD_DEPLOY if same else Cause.CRASH)
