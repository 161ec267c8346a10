"""Does the index of components say in a database what it says in a file, and nothing to others?"""

import threading
from pathlib import Path
from typing import Any

import pytest

from crew import Crew
from veilig.audit.advisories_source import read_record
from veilig.campaign.sboms import Alert, News, Page, Sboms
from veilig.core.errors import UsageError, VeiligError
from veilig.providers.fleet.index import ServerBase

pytestmark = pytest.mark.outside_gate


def news(name: str, package: str, fixed: str, modified: str = "2026-11-22T00:00:00Z", **more: Any) -> Page:
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}]
    affected = [{"package": {"ecosystem": "PyPI", "name": package}, "ranges": ranges}]
    record = {"id": name, "summary": "x", "modified": modified, "affected": affected, **more}
    return Page(name, modified, (News(*read_record("here", record)),))


def brief(alerts: list[Alert]) -> list[tuple[str, str, str, str | None]]:
    return [(a.repository, a.package, a.version, a.clean) for a in alerts]


def told(sboms: Sboms) -> list[Any]:
    """A life of an index, as everybody may see it."""
    found: list[Any] = []
    sboms.record("/a", "", "a", "c1", [("Jinja2", "2.10", "requirements.txt"), ("flask", "1.0", "x.txt")])
    sboms.record("/b", "", "b", "", [("jinja2", "2.10", "uv.lock"), ("jinja2", "3.1.6", "old.txt")])
    found.append(brief(sboms.read([news("A-1", "jinja2", "3.0")])))
    found.append(brief(sboms.read([news("A-1", "jinja2", "3.0"), news("A-2", "jinja2", "3.0.1")])))
    found.append(brief(sboms.record("/d", "", "d", "", [("jinja2", "2.0", "r.txt")])))
    found.append(brief(sboms.record("/a", "", "a", "c2", [("jinja2", "3.1", "requirements.txt")])))
    sboms.told(sboms.alerts()[:1])
    later, gone = "2026-11-23T00:00:00Z", {"withdrawn": "2026-11-23T00:00:00Z"}
    found.append(
        sboms.read([news("A-2", "jinja2", "2.1", later), news("A-1", "jinja2", "3.0", later, **gone)])
    )
    found += [brief(sboms.alerts(state=state)) for state in ("open", "resolved", "withdrawn")]
    found += [
        len(sboms.alerts(untold=True)),
        sboms.size,
        sboms.is_read("A-2", later),
        sboms.is_read("A-2", ""),
    ]
    return found


def test_a_database_says_what_a_file_says_and_nothing_to_another_organisation(
    crew: Crew, tmp_path: Path
) -> None:
    with Sboms(tmp_path / "s.sqlite") as near, Sboms(ServerBase(crew.url, "main")) as far:
        assert told(far) == told(near)
        with Sboms(ServerBase(crew.url, "other")) as other:
            assert (other.size, other.alerts(), other.is_read("A-2", "2026-11-23T00:00:00Z")) == (
                (0, 0),
                [],
                False,
            )
            assert told(other) == told(Sboms(tmp_path / "t.sqlite"))
    crew.sql("CREATE ROLE theirs", "INSERT INTO veilig_fleet.fleet_bound VALUES ('bound', 'theirs')")
    with Sboms(ServerBase(crew.url, "bound")) as hidden, pytest.raises(VeiligError):
        hidden.record("/a", "", "a", "", [("p", "1.0", "r.txt")])
    with Sboms(ServerBase(crew.address("boss"), "main")) as boss, pytest.raises(UsageError, match="walls"):
        boss.alerts()


def test_an_advisory_and_audits_at_once_miss_nobody(crew: Crew) -> None:
    def audits(first: int) -> None:
        with Sboms(ServerBase(crew.url, "main")) as sboms:
            for number in range(first, first + 15):
                sboms.record(f"/{number}", "", f"r{number}", "", [("p", "1.0", "r.txt")])

    threads = [threading.Thread(target=audits, args=(first,)) for first in (0, 15, 30)]
    for thread in threads:
        thread.start()
    with Sboms(ServerBase(crew.url, "main")) as sboms:
        for number in range(5):
            sboms.read([news(f"A-{number}", "p", "2.0")])
        for thread in threads:
            thread.join()
        assert len(sboms.alerts()) == 5 * 45
