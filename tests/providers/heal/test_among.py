"""Does a healer believe only what can be known of what another began, and count every start once?"""

import pytest

from veilig.core.action import Action, RestartService, ScaleUp, StopService
from veilig.core.provider import Found
from veilig.core.signal import Run
from veilig.providers.heal.among import Among
from veilig.providers.heal.substrate import Seen

RESTART, STOP = RestartService("web", "pid 1"), StopService("web", "pid 1")
OLD, NEW = Seen("web", Run.RUNNING, incarnation="pid 1"), Seen("web", Run.RUNNING, incarnation="pid 2")
GONE, UNSEEN = Seen("web", Run.DOWN), Seen("web", Run.UNKNOWN, incarnation="pid 2")


@pytest.mark.parametrize(
    ("action", "journal", "seen", "found"),
    [
        (RESTART, Found.DONE, OLD, Found.DONE),
        (RESTART, Found.NOT_DONE, NEW, Found.DONE),
        (RESTART, Found.NOT_DONE, OLD, Found.UNKNOWN),
        (RESTART, Found.NOT_DONE, GONE, Found.UNKNOWN),
        (RESTART, Found.NOT_DONE, UNSEEN, Found.UNKNOWN),
        (RESTART, Found.NOT_DONE, None, Found.UNKNOWN),
        (STOP, Found.UNKNOWN, GONE, Found.DONE),
        (STOP, Found.NOT_DONE, OLD, Found.UNKNOWN),
        (ScaleUp("web", 1, 2), Found.NOT_DONE, Seen("web", Run.RUNNING, replicas=2), Found.DONE),
        (ScaleUp("web", 1, 2), Found.NOT_DONE, Seen("web", Run.RUNNING, replicas=1), Found.UNKNOWN),
    ],
)
def test_an_act_that_another_began_is_never_called_not_done(
    action: Action, journal: Found, seen: Seen | None, found: Found
) -> None:
    assert Among(incarnations={"web": "pid 1"}).found(action, journal, seen) is found
    assert Among().found(action, journal, seen) is journal


def test_starts_that_a_healer_before_saw_count_for_an_hour_and_never_twice() -> None:
    among = Among(starts={"web": (1000.0, 2000.0, 4000.0)})
    assert among.forgotten("web", (), 4000.0) == 3
    assert among.forgotten("web", (), 4599.9) == 3
    assert among.forgotten("web", (), 4600.0) == 2
    assert among.forgotten("web", (1999.0, 4001.5), 4000.0) == 1
    assert among.forgotten("db", (), 4000.0) == 0
