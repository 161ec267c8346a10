"""When are there too few replicas, and when are ours too many?"""

from dataclasses import replace

import pytest

from veilig.core.action import ScaleDown, WatchSignals
from veilig.core.canonical import JSON
from veilig.core.provider import Outcome, Status, Step
from veilig.core.service import Inventory, Service
from veilig.core.signal import Answer, Run, Sample, to_json
from veilig.heal.case import Case
from veilig.heal.fleet import Fleet
from veilig.heal.history import Act, History
from veilig.heal.incident import Incident
from veilig.heal.planner import HealOptions, HealPlanner
from veilig.heal.process import overload
from veilig.heal.spare import CALM_S, spare
from veilig.heal.ward import Kept, Ward

SERVICE = Service("worker-1", provider="container", group="worker")
SAMPLE = Sample("worker-1", 100.0, Run.RUNNING, answer=Answer.OK, latency_ms=3.0, replicas=3, replicas_own=2)
NOW_S = 10_000.0


@pytest.mark.parametrize(
    ("slow", "replicas", "found"),
    [
        pytest.param([(98.0, 300.0), (99.2, 450.0)], 1, True, id="half-as-slow-again"),
        pytest.param([(98.0, 301.0), (99.2, 450.0)], 1, False, id="less-growth"),
        pytest.param([(98.0, 250.0), (99.2, 399.0)], 1, False, id="fast-enough"),
        pytest.param([(98.0, 300.0), (99.2, 450.0)], -1, False, id="nothing-to-scale"),
        pytest.param([(97.6, 500.0), (98.2, 500.0), (99.1, 500.0)], 1, True, id="slow-for-a-while"),
        pytest.param([(97.7, 500.0), (98.2, 500.0), (99.1, 500.0)], 1, False, id="not-yet"),
        pytest.param([(94.1, 500.0), (97.0, 500.0), (99.1, 500.0)], -1, True, id="slow-for-long"),
    ],
)
def test_growing_answers_are_overload_sooner_where_a_replica_can_help(
    slow: list[tuple[float, float]], replicas: int, found: bool
) -> None:
    sample = replace(SAMPLE, latency_ms=slow[-1][1], replicas=replicas)
    history = History(latency_ms=3.0, slow=tuple(slow), well_s=10.0)
    assert bool(overload(Case(SERVICE, sample, history, Fleet(99.5, {})))) is found


def ward(*acts: Act, well_s: float = 1.0, sample: Sample = SAMPLE, ill: str = "") -> Ward:
    kept = Kept.of(sample, History(well_s=well_s, acts=acts))
    incidents = {ill: Incident("i", ill, 1.0)} if ill else {}
    return Ward(now_s=NOW_S, kept={"worker-1": kept}, incidents=incidents)


def up(ago_s: float) -> Act:
    return Act(NOW_S - ago_s, "container.scale_up", "overload", "p", helped=True)


BOTH = {"worker-1": SERVICE, "worker-2": Service("worker-2", group="worker"), "web": Service("web")}


@pytest.mark.parametrize(
    ("now", "going"),
    [
        pytest.param(ward(up(CALM_S)), True, id="calm-for-long-enough"),
        pytest.param(ward(up(CALM_S - 0.1)), False, id="not-yet"),
        pytest.param(ward(up(900), up(CALM_S)), False, id="needed-twice-kept-longer"),
        pytest.param(ward(up(900), up(2 * CALM_S)), True, id="needed-twice-and-calm"),
        pytest.param(ward(up(900), well_s=NOW_S - 10), False, id="well-for-a-moment"),
        pytest.param(ward(up(900), ill="worker-2"), False, id="another-of-the-group-is-ill"),
        pytest.param(ward(up(900), ill="web"), True, id="somebody-else-is-ill"),
        pytest.param(ward(up(900), sample=replace(SAMPLE, replicas_own=0)), False, id="none-is-ours"),
        pytest.param(ward(up(900), sample=replace(SAMPLE, replicas=1)), False, id="the-last-one"),
    ],
)
def test_one_of_our_replicas_goes_long_after_the_load_is_gone(now: Ward, going: bool) -> None:
    expected = ("worker-1", ScaleDown("worker", 3, 2)) if going else None
    assert spare(now, BOTH) == expected


@pytest.mark.parametrize("status", [Status.DONE, Status.REFUSED])
@pytest.mark.parametrize("give_back", [True, False])
def test_it_is_proposed_only_where_the_policy_says_so_and_not_again_at_once(
    give_back: bool, status: Status
) -> None:
    planner = HealPlanner(Inventory("/s.json", "d", (SERVICE,)), HealOptions(give_back=give_back))
    watch = planner.first()

    def look(step: Step, now_s: float) -> Step:
        assert isinstance(step.propose, WatchSignals)
        samples: list[JSON] = [to_json(replace(SAMPLE, t_s=now_s))]
        data: dict[str, JSON] = {"now_s": now_s, "mark": "m", "samples": samples}
        return planner.next(step.state, step.propose, Outcome(True, "", Status.DONE, data))

    step = look(look(watch, 100.0), 100.0 + CALM_S)
    if not give_back:
        assert isinstance(step.propose, WatchSignals)
        return
    assert step.propose == ScaleDown("worker", 3, 2)
    step = planner.next(step.state, ScaleDown("worker", 3, 2), Outcome(status is Status.DONE, "said", status))
    for later_s in (101.0, CALM_S + 99.0):
        step = look(step, 100.0 + later_s)
        assert isinstance(step.propose, WatchSignals)
