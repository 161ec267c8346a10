"""Does a new advisory find the repositories it concerns, once, and what mends them; a withdrawn one none?"""

import json
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terminal import Terminal
from veilig.audit.advisories_source import read_record
from veilig.campaign.feed import take_in
from veilig.campaign.sboms import Alert, News, Page, Sboms
from veilig.core.errors import VeiligError

pytestmark = pytest.mark.outside_gate


def record(name: str, package: str, fixed: str, modified: str = "2026-11-22T00:00:00Z", **more: Any) -> Any:
    events = [{"introduced": "0"}, {"fixed": fixed}]
    affected = {
        "package": {"ecosystem": "PyPI", "name": package},
        "ranges": [{"type": "ECOSYSTEM", "events": events}],
    }
    return {"id": name, "summary": "x", "modified": modified, "affected": [affected], **more}


def news(*records: Any) -> Page:
    return Page("feed", "", tuple(News(*read_record("here", one)) for one in records))


def brief(alerts: list[Alert]) -> list[tuple[str, str, str, str | None]]:
    return [(a.repository, a.package, a.version, a.clean) for a in alerts]


def kept(tmp_path: Path) -> Sboms:
    sboms = Sboms(tmp_path / "s.sqlite")
    sboms.record("/a", "", "a", "c1", [("Jinja2", "2.10", "requirements.txt"), ("flask", "1.0", "x.txt")])
    sboms.record("/b", "", "b", "", [("jinja2", "2.10", "uv.lock"), ("jinja2", "3.1.6", "old.txt")])
    sboms.record("/c", "v1", "c@v1", "", [("jinja2", "3.0", "requirements.txt")])
    return sboms


def test_an_advisory_names_those_it_covers_with_the_lowest_clean_version(tmp_path: Path) -> None:
    with kept(tmp_path) as sboms:
        assert brief(sboms.read([news(record("A-1", "jinja2", "3.0"))])) == [
            ("a", "jinja2", "2.10", "3.0"), ("b", "jinja2", "2.10", "3.0"),
        ]  # fmt: skip
        # What A-1 calls clean is covered by the second: the edge moves for who is found later.
        assert brief(sboms.read([news(record("A-2", "jinja2", "3.0.1"))])) == [
            ("a", "jinja2", "2.10", "3.0.1"), ("b", "jinja2", "2.10", "3.0.1"),
            ("c@v1", "jinja2", "3.0", "3.0.1"),
        ]  # fmt: skip
        assert sboms.read([news(record("A-1", "jinja2", "3.0"), record("A-2", "jinja2", "3.0.1"))]) == []
        # A changed record covers less, a withdrawn one nothing.
        changed = record("A-2", "jinja2", "2.9", modified="2026-11-23T00:00:00Z")
        gone = record(
            "A-1", "jinja2", "3.0", modified="2026-11-23T00:00:00Z", withdrawn="2026-11-23T00:00:00Z"
        )
        assert sboms.read([news(changed, gone)]) == []
        assert (sboms.alerts(), len(sboms.alerts(state="withdrawn"))) == ([], 5)


def test_what_is_audited_later_meets_the_advisories_of_before_and_a_bump_resolves_them(
    tmp_path: Path,
) -> None:
    with kept(tmp_path) as sboms:
        sboms.read([news(record("A-1", "jinja2", "3.0"))])
        assert brief(sboms.record("/d", "", "d", "", [("jinja2", "2.0", "r.txt")])) == [
            ("d", "jinja2", "2.0", "3.0")
        ]
        assert sboms.record("/a", "", "a", "c2", [("jinja2", "3.0", "requirements.txt")]) == []
        assert [a.repository for a in sboms.alerts()] == ["b", "d"]
        assert [a.repository for a in sboms.alerts(state="resolved")] == ["a"]


def test_a_feed_is_read_once_a_broken_page_again_and_a_missing_one_is_no_silence(tmp_path: Path) -> None:
    feed = tmp_path / "feed"
    feed.mkdir()
    (feed / "A-1.json").write_text(json.dumps(record("A-1", "jinja2", "3.0")))
    (feed / "A-2.json").write_text('{"id": "A-2", "aff')
    with kept(tmp_path) as sboms:
        alerts, troubles, read = take_in(sboms, feed)
        assert (len(alerts), len(troubles), read) == (2, 1, 1)
        assert "A-2.json" in troubles[0]
        (feed / "A-2.json").write_text(json.dumps(record("A-2", "flask", "2.0")))
        alerts, troubles, read = take_in(sboms, feed)
        assert (brief(alerts), troubles, read) == ([("a", "flask", "1.0", "2.0")], [], 1)
        assert take_in(sboms, feed) == ([], [], 0)
        with pytest.raises(VeiligError):
            take_in(sboms, tmp_path / "gone")


def test_a_crash_between_two_records_leaves_none_of_the_page(tmp_path: Path) -> None:
    with kept(tmp_path) as sboms:
        bad = Page("feed", "1", (*news(record("A-1", "jinja2", "3.0")).news, "no news"))  # type: ignore[arg-type]
        with pytest.raises(AttributeError):
            sboms.read([bad])
        assert (sboms.alerts(), sboms.is_read("feed", "1")) == ([], False)
        assert len(sboms.read([news(record("A-1", "jinja2", "3.0"))])) == 2
    (tmp_path / "s.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(VeiligError):
        Sboms(tmp_path / "s.sqlite")


VERSIONS = st.sampled_from(["1.0", "1.1", "2.0", "2.1rc1", "3.0", "not-a-version"])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["p", "q"]), VERSIONS), max_size=4),
    st.sampled_from(["1.1", "2.0", "3.0"]),
)
def test_order_does_not_matter_advisory_first_or_audit_first(held: list[tuple[str, str]], fixed: str) -> None:
    components = [(name, version, "r.txt") for name, version in held]
    one, two = _memory(), _memory()
    with one, two:
        one.record("/a", "", "a", "", components)
        one.read([news(record("A-1", "p", fixed))])
        two.read([news(record("A-1", "p", fixed))])
        two.record("/a", "", "a", "", components)
        assert sorted(brief(one.alerts()), key=str) == sorted(brief(two.alerts()), key=str)


def _memory() -> Sboms:
    return Sboms(Path(":memory:"))


@contextmanager
def hook(taken: list[dict[str, Any]], answers: list[int]) -> Generator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = answers.pop(0) if answers else 204
            if status < 300:
                taken.append(body | {"signed": self.headers.get("X-Veilig-Signature", "")})
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the library calls it
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook"
    finally:
        server.shutdown()
        server.server_close()


def test_an_audit_keeps_components_and_the_watcher_tells_of_them_once(veilig: Terminal) -> None:
    veilig.project("shop", app="x = 1\n", **{"requirements.txt": "quux==1.0\n"})
    assert veilig("audit", "shop").code == 0
    feed = veilig.folder / "feed"
    feed.mkdir()
    assert veilig("advisories", "watch", "--from", "feed", "--once").code == 0
    (feed / "X-1.json").write_text(json.dumps(record("X-1", "quux", "1.2")))
    taken: list[dict[str, Any]] = []
    with hook(taken, [500, 500]) as url:
        words = (
            "advisories",
            "watch",
            "--from",
            "feed",
            "--once",
            "--webhook",
            url,
            "--webhook-secret-env",
            "KEY",
        )
        said = veilig(*words, KEY="k" * 20)
        assert (said.code, "X-1  quux 1.0 -> 1.2" in said.out) == (1, True), said.err
        assert ("does not take" in said.err, taken) == (True, [])
        again = veilig(*words, KEY="k" * 20)  # nothing new; but the webhook was not told yet
        assert (again.code, len(taken)) == (0, 1), again.err
        veilig(*words, KEY="k" * 20)
        assert [(t["advisory"], t["proposed"], t["count"]) for t in taken] == [("X-1", "1.2", 1)]
        assert taken[0]["signed"].startswith("t=")
        assert taken[0]["repositories"] == [
            {"repository": "shop", "place": str(veilig.folder / "shop"), "ref": ""}
        ]
    listed = veilig("advisories", "alerts", "--json")
    assert json.loads(listed.out)["clean"] == "1.2"
    with sqlite3.connect(veilig.home / "campaigns" / "sboms.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM component").fetchone() == (1,)
    connection.close()
    assert veilig("advisories", "watch", "--from", "gone", "--once").code == 3
