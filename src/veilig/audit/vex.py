"""Which vulnerabilities does somebody say do not matter here, and how do we say the same (OpenVEX)?"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast
from urllib.parse import quote, unquote

from veilig.audit.dependencies_types import canonical
from veilig.core.errors import UsageError

CONTEXT = "https://openvex.dev/ns/v0.2.0"
VEX_CHARS_MAX = 32 << 20


class Status(StrEnum):
    """What is said of a vulnerability in a product (OpenVEX 0.2.0, "Status labels")."""

    NOT_AFFECTED = "not_affected"
    AFFECTED = "affected"
    FIXED = "fixed"
    UNDER_INVESTIGATION = "under_investigation"


JUSTIFICATIONS = frozenset(
    {
        "component_not_present",
        "vulnerable_code_not_present",
        "vulnerable_code_not_in_execute_path",
        "vulnerable_code_cannot_be_controlled_by_adversary",
        "inline_mitigations_already_exist",
    }
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One claim. products: (canonical package, version or "" for every version); empty means all."""

    names: frozenset[str]
    products: frozenset[tuple[str, str]]
    status: Status
    reason: str = ""

    def covers(self, vulnerability: str, package: str, version: str) -> bool:
        """Whether the claim is about this vulnerability of this pin."""
        if vulnerability not in self.names:
            return False
        return not self.products or bool({(package, version), (package, "")} & self.products)

    @property
    def silences(self) -> bool:
        """Whether the claim, if believed, means that nothing is to be done."""
        return self.status in (Status.NOT_AFFECTED, Status.FIXED)


def read_openvex(text: str, name: str = "the VEX file") -> tuple[Statement, ...]:
    """The statements of an OpenVEX document. A later statement on the same thing replaces an earlier one.

    Raises UsageError when it is no such document, and for `not_affected` without a justification or an
    impact statement: a silence without a reason is not taken.
    Source: OpenVEX specification 0.2.0.
    """
    try:
        if len(text) > VEX_CHARS_MAX:
            raise ValueError(f"more than {VEX_CHARS_MAX} characters")
        data = cast("dict[str, Any]", json.loads(text))
        if not str(data["@context"]).startswith("https://openvex.dev/ns"):
            raise ValueError("@context is not that of OpenVEX")
        return tuple(_statement(cast("dict[str, Any]", row)) for row in data["statements"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{name} cannot be used as OpenVEX",
            why=str(error) if isinstance(error, ValueError) else f"{type(error).__name__} {error}",
            fix="see https://github.com/openvex/spec; nothing was silenced",
        ) from error


def _statement(row: dict[str, Any]) -> Statement:
    vulnerability: Any = row["vulnerability"]
    if isinstance(vulnerability, str):  # version 0.0.1 of the format
        names = [vulnerability]
    else:
        names = [str(vulnerability["name"]), *map(str, vulnerability.get("aliases") or ())]
    status = Status(str(row["status"]))
    justification = str(row.get("justification") or "")
    reason = justification or str(row.get("impact_statement") or "")
    if justification and justification not in JUSTIFICATIONS:
        raise ValueError(f"{names[0]}: unknown justification {justification!r}")
    if status is Status.NOT_AFFECTED and not reason:
        raise ValueError(f"{names[0]}: not_affected needs a justification or an impact_statement")
    return Statement(frozenset(names), frozenset(_products(row)), status, reason)


def _products(row: dict[str, Any]) -> Iterable[tuple[str, str]]:
    products: list[Any] = row.get("products") or []
    for product in products:
        listed: list[Any] = [product]
        if isinstance(product, dict):
            listed += cast("dict[str, Any]", product).get("subcomponents") or []
        purls = [
            str(cast("dict[str, Any]", i).get("@id", "")) if isinstance(i, dict) else str(i) for i in listed
        ]
        packages = [purl.removeprefix("pkg:pypi/") for purl in purls if purl.startswith("pkg:pypi/")]
        if not packages:
            yield ("", "")  # a product that is no Python package: matches no pin
        for package in packages:
            name, _, version = package.partition("?")[0].partition("@")
            yield canonical(unquote(name)), unquote(version)


@dataclass(frozen=True, slots=True)
class Judged:
    """What VEX statements make of a pin: silenced with a reason, or kept, perhaps with a remark."""

    silenced: bool
    reason: str = ""


def judge(
    statements: Sequence[Statement],
    vulnerabilities: Sequence[str],
    package: str,
    version: str,
    *,
    imported: bool,
) -> Judged:
    """Whether statements silence all these vulnerabilities of a pin.

    A package that the code imports is never silenced by somebody's word: the claim is shown beside it.
    """
    reasons: list[str] = []
    for vulnerability in vulnerabilities:
        said = [s for s in statements if s.covers(vulnerability, package, version)]
        if not said or not said[-1].silences:
            return Judged(False)
        reasons.append(f"{vulnerability}: {said[-1].status.value}, {said[-1].reason or 'no reason needed'}")
    if not reasons:
        return Judged(False)
    if imported:
        return Judged(False, f"VEX says {'; '.join(reasons)}, but the code imports {package}")
    return Judged(True, "; ".join(reasons))


def to_openvex(pins: Sequence[Mapping[str, Any]], *, author: str, timestamp: str) -> str:
    """An OpenVEX document that says `affected` for every vulnerable pin, with what to do about it.

    pins: as the audit worker lists them (package, version, rule, aliases, clean). timestamp: ISO 8601.
    """
    statements: list[dict[str, Any]] = []
    for pin in pins:
        clean = pin.get("clean")
        action = f"update to {clean}" if clean else "no clean version is known: replace or isolate it"
        for name in str(pin.get("rule", "")).split(", "):
            statements.append(
                {
                    "vulnerability": {"name": name},
                    "products": [{"@id": purl(str(pin["package"]), str(pin["version"]))}],
                    "status": Status.AFFECTED.value,
                    "action_statement": action,
                    "timestamp": timestamp,
                }
            )
    body = json.dumps(statements, sort_keys=True)
    document = {
        "@context": CONTEXT,
        "@id": f"https://openvex.dev/docs/veilig-{hashlib.sha256(body.encode()).hexdigest()[:32]}",
        "author": author,
        "timestamp": timestamp,
        "version": 1,
        "tooling": "veilig",
        "statements": statements,
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def purl(name: str, version: str) -> str:
    """The package URL of a Python distribution. Source: purl specification, type pypi."""
    return f"pkg:pypi/{quote(canonical(name))}@{quote(version)}"
