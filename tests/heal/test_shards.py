"""Are services dealt out whole: each to one shard, those that need each other together, never by chance?"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.core.errors import UsageError
from veilig.core.service import Dependency, Inventory, Service
from veilig.heal.shards import Shard, part_of, shards

NAMES = [f"s{n}" for n in range(8)]


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    found = [
        Service(
            name,
            provider=draw(st.sampled_from(("process", "postgres", "kubernetes"))),
            group=draw(st.sampled_from(("", "", "a", "b"))),
            depends_on=tuple(Dependency(one) for one in draw(st.lists(st.sampled_from(names), max_size=1))),
        )
        for name in names
    ]
    return Inventory("/srv/services.json", "0" * 64, tuple(found))


@given(inventories(), st.integers(1, 4))
def test_every_service_is_in_one_shard_with_all_that_it_needs(inventory: Inventory, most: int) -> None:
    dealt = shards(inventory, "web-host", most)
    where = {name: one for one in dealt for name in one.names}
    assert sorted(name for one in dealt for name in one.names) == sorted(s.name for s in inventory.services)
    for service in inventory.services:
        mine = where[service.name]
        assert all(where[need.service] is mine for need in service.depends_on)
        assert all(where[s.name] is mine for s in inventory.services if s.group == service.group != "")
        assert mine.host == "web-host" or service.provider != "process"
    assert dealt == shards(inventory, "web-host", most)
    assert [one.part for one in dealt] == [f"{at}/{len(dealt)}" for at in range(1, len(dealt) + 1)]
    assert [Shard.from_json(json.loads(json.dumps(one.to_json()))) for one in dealt] == [*dealt]


def inventory(*services: Service) -> Inventory:
    return Inventory("/srv/services.json", "0" * 64, services)


def test_what_only_its_own_machine_sees_is_dealt_out_to_that_machine_or_not_at_all() -> None:
    both = inventory(Service("cache"), Service("db", provider="postgres"))
    with pytest.raises(UsageError, match="cache can only be reached from the machine that runs them"):
        shards(both)
    assert [(one.names, one.kind) for one in shards(both, "box")] == [
        (("cache",), "heal@box"), (("db",), "heal"),
    ]  # fmt: skip
    assert [one.kind for one in shards(inventory(Service("db", provider="postgres")))] == ["heal"]


def test_as_many_as_fit_share_a_shard_and_what_belongs_together_is_never_cut() -> None:
    many = inventory(*(Service(f"s{n}", group="g" if n > 3 else "") for n in range(8)))
    assert [len(one.names) for one in shards(many, "box", 2)] == [2, 2, 4]
    assert [len(one.names) for one in shards(many, "box", 4)] == [4, 4]
    assert [len(one.names) for one in shards(many, "box", 8)] == [8]


def test_a_service_that_came_later_is_said_to_be_watched_by_nobody() -> None:
    first, second = shards(inventory(Service("a"), Service("b")), "box", 1)
    grown = inventory(Service("a"), Service("b"), Service("new"))
    assert part_of(grown, first).notes[0].startswith("no shard has new:")
    assert part_of(grown, second).notes == ()
    assert [s.name for s in part_of(grown, second).services] == ["b"]
    assert part_of(inventory(Service("b")), first).services == ()


@pytest.mark.parametrize("change", [{"names": []}, {"part": ""}, {"more": 1}, {"total": "many"}])
def test_what_is_no_shard_is_refused(change: dict[str, object]) -> None:
    (one,) = shards(inventory(Service("a")), "box")
    with pytest.raises(UsageError, match="no shard"):
        Shard.from_json({**one.to_json(), **change})
