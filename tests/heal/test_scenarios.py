"""Each fault alone, in simulated time with the real planner and policy: how long, how many acts, why?"""

import random

import pytest

from heal_case import case, outage, policy, time_until_well
from heal_sim import Healer, Kernel, Rules, simulate
from heal_world import World, service
from veilig.core.action import Action


def test_a_crash_is_healed_within_three_seconds_by_one_restart() -> None:
    c = case()
    c.world.die(c.sim, "signal 9")
    assert time_until_well(c, 10) <= 3
    c.run(60)
    assert c.acts() == ["service.restart"]
    assert [one["cause"] for one in c.closed()] == ["crash"]
    assert c.kernel.breaches == []


@pytest.mark.parametrize("stuck", ["frozen", "deadlock", "hang"])
def test_a_silent_process_is_healed_within_eight_seconds_by_one_restart(stuck: str) -> None:
    c = case()
    c.sim.stuck = stuck
    c.world.settle()
    assert time_until_well(c, 20) <= 8
    c.run(60)
    assert c.acts() == ["service.restart"]
    assert [one["cause"] for one in c.closed()] == ["deadlock" if stuck == "deadlock" else "hang"]


def test_a_leak_is_healed_within_eleven_seconds_by_one_restart() -> None:
    c = case()
    c.sim.leak_s = c.world.now
    c.world.at(1.5, lambda: c.world.dirty.add("worker-a"))
    assert time_until_well(c, 20) <= 11
    c.run(60)
    assert c.acts() == ["service.restart"]
    assert [one["cause"] for one in c.closed()] == ["leak"]


def test_a_taken_port_is_held_and_restarted_once_when_it_is_free() -> None:
    c = case()
    c.world.die(c.sim, "signal 9")
    c.sim.port_by = "pid 7 python3"
    c.run(25)
    assert c.acts() == []
    assert (c.incident()["cause"], c.incident()["stage"]) == ("port_conflict", "hold")
    c.sim.port_by = ""
    c.world.dirty.add("worker-a")
    assert time_until_well(c, 10) <= 3
    assert c.acts() == ["service.restart"]


@pytest.mark.parametrize("need", ["worker-db", "127.0.0.1:6379"])
def test_a_service_that_exits_without_its_need_is_held_and_started_once_when_it_is_back(need: str) -> None:
    c = case(need)
    c.sim.dep_mode = "exit"
    outage(c, need, down=True)
    c.run(25)
    assert c.acts() == []
    assert c.incident()["cause"] == "dependency_down"
    assert need in c.incident()["subject"]
    outage(c, need, down=False)
    assert time_until_well(c, 10) <= 3
    assert c.acts() == ["service.restart"]


@pytest.mark.parametrize("need", ["worker-db", "127.0.0.1:6379"])
def test_a_service_that_says_503_without_its_need_is_left_alone(need: str) -> None:
    c = case(need)
    outage(c, need, down=True)
    c.run(120)
    assert c.incident()["cause"] == "dependency_down"
    outage(c, need, down=False)
    c.run(60)
    assert c.well()
    assert c.acts() == []


def test_a_broken_config_is_never_started_with_and_its_rollback_is_asked_for() -> None:
    c = case()
    c.world.change(c.sim, "config", "bad1", valid=False)
    c.world.die(c.sim, "signal 9")
    c.run(25)
    assert c.acts() == []
    assert (c.incident()["cause"], c.incident()["stage"]) == ("bad_config", "asked")
    assert c.proposed() == ["service.rollback worker-a"]
    c.world.change(c.sim, "config", "a0")
    assert time_until_well(c, 10) <= 3.2
    assert c.acts() == ["service.restart"]


def test_a_broken_config_is_taken_back_when_the_policy_grants_it() -> None:
    c = case(actions="restart, restore_config")
    c.world.change(c.sim, "config", "bad1", valid=False)
    c.world.die(c.sim, "signal 9")
    assert time_until_well(c, 20) <= 5
    assert c.acts() == ["service.rollback"]


def test_a_config_that_parses_and_kills_the_service_costs_one_restart() -> None:
    c = case()
    c.world.change(c.sim, "config", "bad1")
    c.world.die(c.sim, "signal 9")
    c.run(60)
    assert c.acts() == ["service.restart"]
    assert c.incident()["cause"] == "bad_config"
    assert c.proposed() == ["service.restart worker-a", "service.rollback worker-a"]


@pytest.mark.parametrize("how", ["crash", "500"])
def test_a_bad_deploy_is_tried_once_and_its_rollback_is_asked_for(how: str) -> None:
    c = case()
    c.sim.bad_version = how
    c.world.change(c.sim, "version", "v2")
    c.world.die(c.sim, "signal 9")
    c.run(60)
    assert c.acts() == ["service.restart"]
    assert (c.incident()["cause"], c.incident()["stage"]) == ("bad_deploy", "asked")


@pytest.mark.parametrize("how", ["crash", "500"])
def test_a_bad_deploy_is_rolled_back_when_the_policy_grants_it(how: str) -> None:
    c = case(actions="restart, rollback")
    c.sim.bad_version = how
    c.world.change(c.sim, "version", "v2")
    c.world.die(c.sim, "signal 9")
    assert time_until_well(c, 30) <= 12
    assert c.acts() == ["service.restart", "service.rollback"]


def test_people_who_approve_a_rollback_get_it_with_the_next_look() -> None:
    c = case()
    c.kernel.people = _yes
    c.sim.bad_version = "crash"
    c.world.change(c.sim, "version", "v2")
    c.world.die(c.sim, "signal 9")
    c.run(500)
    assert c.well()
    assert c.acts() == ["service.restart", "service.rollback"]


def _yes(_: Action) -> bool:
    return True


def test_a_start_that_always_dies_is_tried_twice_and_then_handed_to_people() -> None:
    c = case()
    c.sim.doomed = True
    c.world.die(c.sim, "signal 11")
    c.run(300)
    assert c.acts() == ["service.restart", "service.restart"]
    assert (c.incident()["cause"], c.incident()["stage"]) == ("crash_loop", "hold")
    assert c.incident()["escalated_s"] > 0


def test_a_full_disk_is_freed_of_as_many_old_files_as_are_needed() -> None:
    c = case(actions="restart, free_space")
    c.sim.trash = 5
    c.sim.disk_full = True
    c.world.settle()
    assert time_until_well(c, 10) <= 3
    c.run(30)
    assert c.acts() == ["space.free"]
    assert c.sim.trash == 4


def test_a_full_disk_with_nothing_to_remove_is_handed_to_people() -> None:
    c = case(actions="restart, free_space")
    c.sim.disk_full = True
    c.world.settle()
    c.run(60)
    assert c.acts() == []
    assert (c.incident()["cause"], c.incident()["stage"]) == ("disk_full", "hold")


def test_overload_is_never_restarted() -> None:
    c = case()
    c.world.load(c.sim)
    c.run(30)
    assert c.incident()["cause"] == "overload"
    c.sim.load_s = 0.0
    c.world.settle()
    c.run(60)
    assert c.acts() == []


def test_overload_of_a_group_adds_replicas_step_by_step() -> None:
    c = case()
    c.sim.replicas = 2
    c.world.load(c.sim)
    c.run(700)  # the policy waits between two steps
    assert c.acts()[:2] == ["container.scale_up", "container.scale_up"]
    assert c.sim.replicas == 4
    assert c.well()


def test_what_a_person_stopped_stays_down() -> None:
    c = case()
    c.sim.held = True
    c.world.die(c.sim, "signal 15")
    c.run(600)
    assert c.acts() == []
    assert c.proposed() == []


def test_a_flapping_probe_gets_no_act() -> None:
    c = case()
    c.sim.flaps = True
    for n in range(1200):
        c.world.at(n * 0.5, c.world.settle)
    c.run(600)
    assert c.acts() == []


def test_a_slow_start_is_waited_for() -> None:
    c = case()
    c.sim.start_takes_s = 25
    c.world.die(c.sim, "signal 9")
    assert 25 <= time_until_well(c, 40) <= 28
    assert c.acts() == ["service.restart"]


def test_what_cannot_be_seen_is_left_alone() -> None:
    c = case()
    c.sim.unseen = True
    c.world.dirty.add("worker-a")
    c.run(120)
    assert c.acts() == []
    assert c.incident()["cause"] == "unseen"


def test_a_shared_cause_is_healed_and_its_dependents_are_left_alone() -> None:
    services = [service("worker-db"), *(service(f"worker-{n}", "worker-db") for n in range(5))]
    world = World(services)
    kernel = Kernel(world, policy(), random.Random(1), Rules())
    healer = Healer(kernel, "h")
    simulate(kernel, [healer], world.now + 30)
    world.sims["worker-db"].stuck = "deadlock"
    world.settle()
    simulate(kernel, [healer], world.now + 30)
    assert [a.name for a in kernel.acts] == ["worker-db"]
    assert all(world.well(s) for s in world.sims.values())


def test_a_service_out_of_scope_is_proposed_for_rarely_and_never_touched() -> None:
    c = case()
    c.world.die(c.world.sims["web-ok"], "signal 9")
    c.run(3600)
    assert c.kernel.acts == []
    assert 1 <= len(c.kernel.proposals) <= 15


def test_the_budget_of_an_hour_holds_and_what_is_down_then_waits() -> None:
    c = case()
    for _ in range(8):
        c.world.die(c.sim, "signal 9")
        c.run(200)
    assert len(c.acts()) == 3
    assert c.kernel.breaches == []
