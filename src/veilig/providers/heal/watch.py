"""When is there something to tell about a service? Watch: waits until the picture of one of them changes.

The picture (`shape`) holds what a diagnosis would be made of, and nothing that changes all the time: no
ages, no latencies, no sizes. A probe that fails once changes no picture; one that fails twice does.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat

from veilig.core.action_json import JSON
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError
from veilig.core.signal import Answer, Run, Sample, to_json
from veilig.providers.heal.disk import fullness
from veilig.providers.heal.sampler import Sampler

FIRST_LOOK_S = 5.0  # a first report waits so long for every service's first answer
ANSWERS_S = 0.25  # between two looks at whether people have answered
_DAMPED = 2  # probes that fail in a row, before the answer counts as another one

type Answered = Callable[[], tuple[str, ...]]
type Said = Callable[[], list[JSON]]  # what models said of incidents since this was asked last


def shape(sample: Sample, before: Answer = Answer.OK) -> tuple[object, ...]:
    """The picture of one sample. before: the answer in the picture before, kept while a probe failed once."""
    answer = sample.answer
    if sample.alive and answer not in (Answer.OK, Answer.NONE) and sample.fails < _DAMPED:
        answer = before
    return (
        answer,
        sample.run,
        sample.incarnation,
        sample.status if answer == Answer.ERROR else 0,
        sample.exit,
        sample.held_by,
        sample.port_holder,
        sample.replicas,
        sample.replicas_own,
        tuple(hit.kind for hit in sample.log),
        tuple(sorted((one.path, one.after, one.valid) for one in sample.changes)),
        tuple((one.name, one.up) for one in sample.needs),
        tuple((one.path, fullness(one)) for one in sample.disks),
        growth(sample),
        sample.alerts,
        tuple((one.name, one.subject, one.over) for one in sample.gauges),
        tuple((one.id, one.blocks > 0) for one in sample.backends),
    )


def growth(sample: Sample) -> int:
    """How often its memory has doubled beyond its base."""
    if not sample.rss_base_bytes:
        return 0
    return max((sample.rss_bytes // sample.rss_base_bytes).bit_length() - 1, 0)


def restless(sample: Sample) -> bool:
    """In trouble, or on the way to it: told at every report."""
    return (
        sample.failing
        or sample.run in (Run.FROZEN, Run.STOPPED, Run.UNKNOWN)
        or bool(sample.held_by or sample.port_holder or sample.alerts)
        or growth(sample) > 0
        or any(not need.up for need in sample.needs)
        or any(fullness(disk) == 2 for disk in sample.disks)
        or any(gauge.over for gauge in sample.gauges)
        or any(backend.blocks for backend in sample.backends)
    )


@dataclass(slots=True)
class _Told:
    """The picture of one service, and the count of changes at which it came about.

    ill: it was in trouble when it was told last; that this is over is news, too.
    """

    shape: tuple[object, ...]
    count: int
    ill: bool = False


class Watch:
    """Reports of a sampler. A mark names what was told; another watch does not know it and tells all."""

    def __init__(
        self, sampler: Sampler, clock: Clock, *, answered: Answered = tuple, said: Said = list
    ) -> None:
        self._sampler, self._clock, self._answered, self._said = sampler, clock, answered, said
        self._name = secrets.token_hex(4)
        self._count = 0
        self._told: dict[str, _Told] = {}
        self._news = asyncio.Event()

    def news(self) -> None:
        """A look has ended: compare its pictures with the last ones. The sampler calls it."""
        for name, sample in self._sampler.samples.items():
            known = self._told.get(name)
            before = _answer(known.shape) if known else Answer.OK
            now = (*shape(sample, before), self._sampler.slow(name))
            if known is None or now != known.shape:
                self._count += 1
                self._told[name] = _Told(now, self._count, known.ill if known else False)
        self._news.set()

    async def wait(self, seen: str, timeout_s: float) -> dict[str, JSON]:
        """The data of signals.watch: returns when some picture is not the one that `seen` knew.

        Also when people answered, or after `timeout_s`. Raises ProviderError when looking has ended.
        """
        await self._sampler.start()
        until_s = self._clock.boottime_s() + timeout_s
        if not self._sampler.ready.is_set():
            await self._first()
        known = self._known(seen)
        while True:
            self._news.clear()
            error = self._sampler.failure()
            if error is not None:
                raise ProviderError("services are no longer looked at", why=str(error)) from error
            answered, said = self._answered(), self._said()
            over = until_s - self._clock.boottime_s() <= 0 or known is None
            if answered or said or over or any(map(self._new, self._told, repeat(known or 0))):
                report = self._report(known, answered)
                return {**report, "said": said} if said else report
            left_s = max(0.001, until_s - self._clock.boottime_s())
            try:
                async with asyncio.timeout(min(left_s, ANSWERS_S)):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _first(self) -> None:
        try:
            async with asyncio.timeout(FIRST_LOOK_S):
                await self._sampler.ready.wait()
        except TimeoutError:
            return  # what has not answered by now is told as it is

    def _known(self, seen: str) -> int | None:
        """How much of it the asker knows; None: nothing."""
        name, _, count = seen.partition(":")
        return int(count) if name == self._name and count.isdecimal() else None

    def _new(self, name: str, known: int) -> bool:
        """Is there something about this service that the asker does not know?"""
        told, sample = self._told[name], self._sampler.samples[name]
        return told.count > known or (told.ill and not self._sampler.slow(name) and not restless(sample))

    def _report(self, known: int | None, answered: tuple[str, ...]) -> dict[str, JSON]:
        told: list[Sample] = []
        for name, sample in self._sampler.samples.items():
            ill = self._sampler.slow(name) or restless(sample)
            if known is None or ill or self._new(name, known):
                told.append(sample)
                self._told[name].ill = ill
        samples: list[JSON] = [to_json(sample) for sample in told]
        people: list[JSON] = list(answered)
        notes: list[JSON] = [*self._sampler.all_notes()]
        return {
            "mark": f"{self._name}:{self._count}",
            "now_s": round(self._clock.boottime_s(), 3),
            "samples": samples,
            "answered": people,
            "notes": notes,
        }


def _answer(picture: tuple[object, ...]) -> Answer:
    return picture[0] if isinstance(picture[0], Answer) else Answer.OK
