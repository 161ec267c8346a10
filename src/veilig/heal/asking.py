"""Is this what people were asked, and how is an act told to them? Small questions about one proposal."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from veilig.core.action import Action, FreeSpace, Notify, ScaleUp
from veilig.core.action_json import from_json
from veilig.heal.incident import Asked
from veilig.heal.ward import Ward


def note_told(ward: Ward, action: Notify) -> None:
    """Told, or refused: either way not again."""
    incident = ward.incidents.get(ward.acting)
    ward.acting = ""
    if incident is not None:
        ward.incidents[incident.service] = replace(incident, told=(*incident.told, action.channel))


def alike(asked: Asked, action: Action) -> bool:
    """Is this what people were asked about? A list of removable files may have changed meanwhile."""
    known = from_json(asked.action)
    if isinstance(known, FreeSpace | ScaleUp):
        return known.kind == action.kind and known.target == action.target
    return known == action


def described(action: Action) -> str:
    """The action in a few words, for a timeline."""
    target = str(getattr(action, "target", ""))
    files = cast(Iterable[tuple[Any, ...]], getattr(action, "files", ()))
    names = ", ".join(str(file[0]).rsplit("/", 1)[-1] for file in list(files)[:3])
    return f"{target}: {names}" if names else target
