"""`heal --once`, and what a planner makes of news it does not understand."""

from typing import Any, cast

from heal_case import Case, case
from heal_world import inventory
from veilig.core.action import WatchSignals
from veilig.core.canonical import JSON
from veilig.core.provider import Finish, Outcome
from veilig.core.signal import to_json
from veilig.heal.fleet import Cause
from veilig.heal.planner import HealOptions, HealPlanner
from veilig.heal.remedy import missing_remedies


def test_one_look_without_trouble_says_so() -> None:
    c = case()
    done = look_once(c)
    assert (done.ok, done.summary) == (True, "all services are well")
    assert c.kernel.proposals == []


def test_one_look_at_a_crash_proposes_its_cure_and_reports_what_is_open() -> None:
    c = case(mode="propose")
    c.healer.alive = False
    c.world.die(c.sim, "signal 9")
    done = look_once(c)
    assert not done.ok
    assert done.summary == "1 of 2 services need something"
    assert c.proposed() == ["service.restart worker-a"]
    rows = {row["service"]: row for row in cast(list[dict[str, Any]], done.data["services"])}
    assert (rows["worker-a"]["cause"], rows["worker-a"]["state"]) == ("crash", "asked")
    assert rows["web-ok"]["state"] == "healthy"


def look_once(c: Case) -> Finish:
    """`--once`, driven by hand: a watch waits in the world's time, all else goes to the kernel."""
    planner = HealPlanner(inventory([s.spec for s in c.world.sims.values()]), HealOptions(once=True))
    step = planner.first()
    for _ in range(100):
        if isinstance(step.propose, Finish):
            return step.propose
        if isinstance(step.propose, WatchSignals):
            c.world.run_until(c.world.now + step.propose.timeout_s + 0.1)
            samples = [to_json(c.world.sample(name)) for name in sorted(c.world.sims)]
            outcome = Outcome(
                True, data={"mark": "m", "now_s": c.world.boot_s, "samples": cast(JSON, samples)}
            )
        else:
            outcome = c.kernel.submit(step.propose, None) or c.kernel.perform(step.propose)[0]
        step = planner.next(step.state, step.propose, outcome)
    raise AssertionError("one look has no end")


def test_a_sample_that_names_no_service_of_the_file_is_left_out_and_said() -> None:
    c = case()
    assert c.healer.step is not None
    data: dict[str, Any] = {
        "mark": "m",
        "now_s": c.world.boot_s,
        "samples": [{"service": "worker-x", "t_s": 1.0}, 7],
    }
    step = c.healer.planner.next(c.healer.step.state, _watched(c), Outcome(True, data=data))
    notes = cast(list[str], step.state["notes"])
    assert "'worker-x', which the services file does not name" in notes[0]
    assert "could not be read" in notes[1]
    assert isinstance(step.propose, WatchSignals)


def _watched(c: Case) -> WatchSignals:
    assert c.healer.step is not None
    assert isinstance(c.healer.step.propose, WatchSignals)
    return c.healer.step.propose


def test_every_cause_has_a_remedy() -> None:
    assert missing_remedies(list(Cause)) == []
