"""Does the end of a stop count as news?"""

from veilig.core.action import RestartService, WatchSignals
from veilig.core.canonical import JSON
from veilig.core.provider import Outcome, Status, Step
from veilig.core.service import Inventory, Service
from veilig.core.signal import Answer, Run, Sample, to_json
from veilig.heal.planner import HealPlanner


def test_what_was_refused_while_healing_was_stopped_is_proposed_as_soon_as_it_goes_on() -> None:
    planner = HealPlanner(Inventory("/s.json", "d", (Service("worker-a", port=1),)))

    def look(step: Step, now_s: float, holds: str = "") -> Step:
        assert isinstance(step.propose, WatchSignals)
        down = Sample("worker-a", now_s, Run.DOWN, answer=Answer.REFUSED, fails=9, exit="signal 9")
        samples: list[JSON] = [to_json(down)]
        data: dict[str, JSON] = {"now_s": now_s, "mark": "m", "samples": samples, "holds": holds}
        return planner.next(step.state, step.propose, Outcome(True, "", Status.DONE, data))

    act = RestartService("worker-a", "")
    step = look(look(planner.first(), 100.0, "by root"), 105.0, "by root")
    assert step.propose == act
    refused = Outcome(False, "on hold", Status.REFUSED, {"rule": "incident rule"})
    step = look(planner.next(step.state, act, refused), 106.0, "by root")
    assert isinstance(step.propose, WatchSignals)
    assert look(step, 107.0).propose == act
    assert isinstance(look(step, 107.0, "by root").propose, WatchSignals)
