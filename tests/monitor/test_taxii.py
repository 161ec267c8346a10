"""Is threat intelligence fetched from a real TAXII 2.1 server, whole or not at all, and from nowhere else?"""

import base64
import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from terminal import Terminal
from veilig.core.action import FetchFeed
from veilig.core.action_json import digest
from veilig.core.clock import SystemClock
from veilig.core.errors import ProviderError
from veilig.core.provider import Outcome, Permit
from veilig.providers.taxii import TaxiiProvider

pytestmark = pytest.mark.outside_gate
STIX = "application/stix+json;version=2.1"
MEDIA = "application/taxii+json;version=2.1"
KEY = "Basic " + base64.b64encode(b"veilig:for a test").decode()
COLLECTION = "91a7b528-80eb-42ed-a74d-c6fbd5a26116"


def indicator(number: int, **more: object) -> dict[str, Any]:
    day = f"2026-10-{number % 28 + 1:02d}T00:00:00.000Z"
    return {
        "type": "indicator", "spec_version": "2.1", "created": day, "modified": day,
        "pattern_type": "stix", "pattern": f"[domain-name:value = 'c2-{number}.evil-test.net']",
        "id": f"indicator--00000000-0000-4000-8000-{number:012d}", "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2036-01-01T00:00:00Z", **more,
    }  # fmt: skip


def added(number: int) -> str:
    return f"2026-11-01T00:{number // 60:02d}:{number % 60:02d}.000000Z"


# --- a real server: medallion, OASIS' own -------------------------------------------------------------------


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as the library calls it
        """Say nothing."""


@contextmanager
def medallion(folder: Path, objects: list[dict[str, Any]]) -> Generator[tuple[str, Callable[..., None]]]:
    """OASIS' server with one collection; the second value adds objects to it."""
    pytest.importorskip("medallion")
    from medallion import application_instance, register_blueprints, set_config

    def manifest(numbered: list[tuple[int, dict[str, Any]]]) -> list[dict[str, Any]]:
        return [
            {"id": o["id"], "date_added": added(n), "version": o["modified"], "media_type": STIX}
            for n, o in numbered
        ]  # fmt: skip

    collection = {
        "id": COLLECTION, "title": "High value", "can_read": True, "can_write": False,
        "media_types": [STIX],
        "objects": objects, "manifest": manifest(list(enumerate(objects))),
    }  # fmt: skip
    data = {
        "/discovery": {"title": "A test", "api_roots": ["/api1/"]},
        "api1": {
            "information": {"title": "Root", "versions": [MEDIA], "max_content_length": 9_765_625},
            "status": [], "collections": [collection],
        },
    }  # fmt: skip
    file = folder / "taxii.json"
    file.write_text(json.dumps(data))
    config = {
        "backend": {
            "module": "medallion.backends.memory_backend",
            "module_class": "MemoryBackend",
            "filename": str(file),
        },
        "users": {"veilig": "for a test"}, "taxii": {"max_page_size": 20},
    }  # fmt: skip
    for name in ("users", "taxii", "backend"):
        set_config(application_instance, name, config)
    if not application_instance.blueprints:
        register_blueprints(application_instance)
    backend: Any = application_instance.medallion_backend  # type: ignore[attr-defined]

    def more(*found: dict[str, Any]) -> None:
        live = backend.data["api1"]["collections"][0]
        live["manifest"] += manifest([(len(live["objects"]) + i, o) for i, o in enumerate(found)])
        live["objects"] += found

    server = make_server("127.0.0.1", 0, application_instance, handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", more
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def test_a_feed_of_a_real_taxii_server_is_found_fetched_and_goes_on_where_it_was(tmp_path: Path) -> None:
    veilig = Terminal(tmp_path)
    policy = veilig.folder / "veilig.yaml"
    objects = [indicator(n) for n in range(45)]
    with medallion(veilig.folder, objects) as (root, more):
        with_key = {"ISAC_AUTH": KEY}
        refused = veilig("monitor", "feeds", "add", f"{root}taxii2/")
        assert (refused.code, "wants a key" in refused.err) == (4, True), refused.err
        offered = veilig(
            "monitor", "feeds", "add", f"{root}taxii2/", "--key-env", "ISAC_AUTH", "--json", **with_key
        )
        [found] = offered.json
        assert (found["title"], found["can_read"]) == ("High value", True)
        feed = f'{{name: isac, taxii: "{found["url"]}", key_env: ISAC_AUTH, confidence: 90}}'
        policy.write_text(f"monitor:\n  feeds:\n    - {feed}\n")
        before = veilig("monitor", "feeds", "--policy", str(policy))
        assert (before.code, "feeds sync" in before.err) == (2, True)

        def sync() -> Any:
            said = veilig("monitor", "feeds", "sync", "--policy", str(policy), "--json", **with_key)
            assert said.code == 0, (said.out, said.err)
            return said.json[0]

        first = sync()
        assert (first["objects"], first["pages"]) == (45, 3)
        assert sync()["objects"] == 0
        more(indicator(45), indicator(0, modified="2026-10-30T00:00:00.000Z", revoked=True))
        assert sync()["objects"] == 2
        listed = veilig("monitor", "feeds", "--policy", str(policy), "--json").json
        assert (listed["live"], listed["refused"]) == (45, {"revoked": 1}), "one more, and one withdrawn"
        score = veilig(
            "monitor", "score", "--policy", str(policy), stdin='{"text": "look at c2-45[.]evil-test[.]net"}\n'
        )
        assert "00000000-0000-4000-8000-000000000045" in score.out
    gone = veilig("monitor", "feeds", "sync", "--policy", str(policy), **with_key)
    assert (gone.code, "cannot be reached" in gone.out) == (3, True)
    assert veilig("monitor", "feeds", "--policy", str(policy), "--json").json["live"] == 45
    assert KEY not in veilig("ledger", "show", "--json").out


# --- servers that do wrong ----------------------------------------------------------------------------------

type Page = tuple[int, dict[str, str], bytes]


@contextmanager
def scripted(answer: Callable[[dict[str, list[str]], dict[str, str]], Page]) -> Generator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(parse_qs(urlsplit(self.path).query), dict(self.headers))
            self.send_response(status)
            for name, value in {"Content-Type": MEDIA, "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as the library calls it
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api/collections/c/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def envelope(*objects: dict[str, Any], **more: object) -> bytes:
    return json.dumps({"objects": [*objects], **more}).encode()


async def fetch(folder: Path, url: str, **more: Any) -> Outcome:
    action, clock = FetchFeed(url, "isac", **more), SystemClock()
    permit = Permit("r", digest(action), clock.boottime_s() + 60, "p", "s", str, str, lambda *_: None)
    provider = TaxiiProvider(clock, folder, {"AUTH": "Bearer abc"})
    return await provider.verify(action, await provider.perform(action, permit), permit)


BAD: dict[str, tuple[Page, str]] = {
    "redirect": ((302, {"Location": "http://127.0.0.1:1/"}, b""), "redirect is not followed"),
    "no taxii": ((200, {"Content-Type": "text/html"}, b"<html>"), "does not speak TAXII"),
    "taxii 2.0": ((200, {"Content-Type": MEDIA.replace("2.1", "2.0")}, b"{}"), "does not speak TAXII"),
    "no json": ((200, {}, b"{"), "no JSON"),
    "a list": ((200, {}, b"[]"), "no JSON object"),
    "objects are text": ((200, {}, b'{"objects": "x"}'), "no objects"),
    "no way on": ((200, {}, envelope(more=True)), "no way to it"),
    "the same page for ever": ((200, {}, envelope(indicator(1), more=True, next="n")), "no way to it"),
    "no key": ((401, {}, b""), "wants a key"),
    "gone": ((404, {}, b""), "no such collection"),
    "packed": ((200, {"Content-Encoding": "gzip"}, b"\x1f\x8b"), "no JSON"),
    "too large": ((200, {}, envelope(*(indicator(n) for n in range(90)))), "larger than was allowed"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_a_server_that_does_wrong_changes_nothing(tmp_path: Path, name: str) -> None:
    page, why = BAD[name]
    with scripted(lambda _, __: (200, {"X-TAXII-Date-Added-Last": added(1)}, envelope(indicator(1)))) as url:
        assert (await fetch(tmp_path, url)).ok
    before = {p.name: p.read_bytes() for p in (tmp_path / "isac").iterdir() if p.is_file()}
    with scripted(lambda _, __: page) as url, pytest.raises(ProviderError) as caught:
        await fetch(tmp_path, url, size_bytes_max=20_000)
    assert why in f"{caught.value.what}: {caught.value.why}"
    assert {p.name: p.read_bytes() for p in (tmp_path / "isac").iterdir() if p.is_file()} == before


async def test_a_busy_server_is_asked_again_and_its_pages_follow_next_with_the_key(tmp_path: Path) -> None:
    seen: list[tuple[dict[str, list[str]], str]] = []

    def answer(query: dict[str, list[str]], headers: dict[str, str]) -> Page:
        seen.append((query, headers["Authorization"] + headers["Accept"]))
        if len(seen) == 1:
            return 503, {"Retry-After": "0"}, b""
        if "next" in query:
            return 200, {"X-TAXII-Date-Added-Last": added(9)}, envelope(indicator(2))
        return 200, {"X-TAXII-Date-Added-Last": added(5)}, envelope(indicator(1), more=True, next="two")

    with scripted(answer) as url:
        outcome = await fetch(tmp_path, url, key_env="AUTH")
        assert outcome.data == {"objects": 2, "pages": 2, "after": added(9), "from": ""}
        await fetch(tmp_path, url, key_env="AUTH")
    assert [q.get("next") for q, _ in seen] == [None, None, ["two"], None, ["two"]]
    assert [q.get("added_after") for q, _ in seen[3:]] == [[added(9)], [added(9)]]
    assert {h for _, h in seen} == {f"Bearer abc{MEDIA}"}
    with pytest.raises(ProviderError, match="is not set"):
        await fetch(tmp_path, url, key_env="NOT_SET")
