"""Is what is told of a slow service never older than it may be, and after an act never from before it?"""

import asyncio

from veilig.core.signal import Run
from veilig.providers.heal.latest import Latest, Pace
from veilig.providers.heal.substrate import Seen

UNKNOWN = Seen("api", Run.UNKNOWN, "nobody has answered yet")
HOUR = Pace(every_s=3600, answer_s=0.01, stale_s=3600)


class World:
    """A keeper whose answer is what was true when it was asked, and comes when it is let."""

    def __init__(self) -> None:
        self.replicas, self.asked, self.let = 1, 0, asyncio.Event()

    async def ask(self) -> Seen:
        self.asked += 1
        seen = Seen("api", Run.RUNNING, replicas=self.replicas)
        await self.let.wait()
        return seen


async def test_a_question_from_before_an_act_is_no_answer_after_it() -> None:
    world, latest = World(), Latest()
    assert await latest.look(world.ask, HOUR, UNKNOWN) == UNKNOWN  # it does not wait long
    world.replicas = 2
    world.let.set()
    assert (await latest.look(world.ask, HOUR, UNKNOWN, now=True)).replicas == 2
    assert world.asked == 2


async def test_within_its_time_nothing_is_asked_again_and_what_is_old_is_not_told() -> None:
    world, latest = World(), Latest()
    world.let.set()
    for _ in range(3):
        assert (await latest.look(world.ask, HOUR, UNKNOWN)).replicas == 1
    assert world.asked == 1
    assert await latest.look(world.ask, Pace(3600, 0.01, stale_s=0), UNKNOWN) == UNKNOWN
    await latest.close()
