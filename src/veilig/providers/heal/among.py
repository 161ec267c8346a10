"""What must a healer know when others have watched its services before, or watch others of the same file?

On one machine the broker's journal knows all there is. Where work moves between machines, the record of the
session knows what this machine's journal cannot.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from veilig.core.action import Action, ScaleDown, ScaleUp, StopService
from veilig.core.provider import Found
from veilig.core.signal import Run
from veilig.providers.heal import acts
from veilig.providers.heal.substrate import Seen

HOUR_S = 3600.0
SAME_S = 2.0  # wall clocks of two looks at one start


@dataclass(frozen=True, slots=True)
class Among:
    """holds: what stops every act, as others say. leaving: whether the watch is to end now.

    starts: by service, when others started it, as seen before this healer (seconds since 1970). incarnations:
    what ran then, by service. A healer of one machine has none of it.
    """

    holds: Callable[[], tuple[str, ...]] = tuple
    leaving: Callable[[], bool] = lambda: False
    starts: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    incarnations: Mapping[str, str] | None = None

    def forgotten(self, name: str, known: tuple[float, ...], now_s: float) -> int:
        """Starts by others in the last hour that this machine (which knows of `known`) has not seen.

        known, now_s: seconds since 1970.
        """
        recent = (at for at in self.starts.get(name, ()) if now_s - at < HOUR_S)
        return sum(all(abs(at - one) > SAME_S for one in known) for at in recent)

    def found(self, action: Action, journal: Found, seen: Seen | None) -> Found:
        """What became of an act that another healer began: never "not done" by the word of this journal.

        seen: its target now. What may still be under way elsewhere cannot be shown not to have happened.
        """
        if self.incarnations is None or journal is Found.DONE or seen is None or seen.run is Run.UNKNOWN:
            return journal if self.incarnations is None else _doubt(journal)
        if isinstance(action, StopService) and not seen.incarnation:
            return Found.DONE
        if isinstance(action, ScaleUp | ScaleDown) and seen.replicas == action.replicas:
            return Found.DONE
        before = self.incarnations.get(seen.service, "")
        if acts.starts(action) and seen.incarnation and seen.incarnation != before:
            return Found.DONE
        return Found.UNKNOWN


def _doubt(journal: Found) -> Found:
    return Found.UNKNOWN if journal is Found.NOT_DONE else journal
