"""What is kept of an audit so that an advisory of tomorrow finds whom it concerns? Its components."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from veilig.app.wiring import Setting, find_advisories, operator_policy
from veilig.audit.advisories import AdvisoryDatabase
from veilig.audit.advisories_versions import Affected
from veilig.campaign.sboms import NAME, Alert, Sboms
from veilig.home import find_home

FOLDER = "campaigns"


class _Known:
    """The advisory data in use, opened when somebody needs a clean version; none: nothing is known."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    @cached_property
    def _database(self) -> AdvisoryDatabase | None:
        home = find_home(self._setting.environment)
        place = find_advisories(home, self._setting.environment, operator_policy(home, self._setting))
        return AdvisoryDatabase.open(place) if place else None

    def __call__(self, package: str) -> Sequence[Affected]:
        return self._database.affected(package) if self._database else ()


def open_sboms(setting: Setting, database: str = "", org: str = "") -> Sboms:
    """The index of this state folder, or of an organisation in a fleet's database. Raises VeiligError."""
    if database:
        from veilig.providers.fleet.index import ServerBase
        from veilig.providers.fleet.link import org_of

        return Sboms(ServerBase(database, org or org_of(database)), _Known(setting))
    place = find_home(setting.environment).path / FOLDER / NAME
    return Sboms(place, _Known(setting))


def keep_components(
    sboms: Sboms, place: str, ref: str, label: str, revision: str, about: Mapping[str, Any]
) -> list[Alert]:
    """Record what an audit's `advisories` part says a repository holds; what a feed already said of it.

    An audit that could not look at dependencies changes nothing. Raises UsageError.
    """
    if "components" not in about:
        return []
    found = [(str(name), str(version), str(path)) for name, version, path in about["components"]]
    return sboms.record(place, ref, label, revision, found)
