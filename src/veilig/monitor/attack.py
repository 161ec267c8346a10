"""What is a technique of MITRE ATT&CK called? Names and tactics by id, from a table that is shipped.

The table is the Enterprise matrix, names only; its first line says which version, NOTICE whose it is.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Technique:
    """One technique or sub-technique. tactics: as ATT&CK spells them, such as `credential-access`."""

    id: str
    name: str
    tactics: tuple[str, ...]


@cache
def techniques() -> dict[str, Technique]:
    """All of them, by id."""
    found: dict[str, Technique] = {}
    for line in files("veilig.monitor").joinpath("attack.tsv").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, what, tactics = line.split("\t")
            found[name] = Technique(name, what, tuple(t for t in tactics.split(",") if t))
    return found


def described(evidence: str) -> str:
    """Evidence as people read it: `attack:T1059.004` with its name; everything else as it is."""
    known = techniques().get(evidence.removeprefix("attack:")) if evidence.startswith("attack:") else None
    return f"{known.id} {known.name}" if known is not None else evidence
