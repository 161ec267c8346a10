"""`veilig advisories sync --from URL`: a real server, and what goes wrong between here and there."""

import io
import json
import threading
import time
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from terminal import Terminal
from veilig.core.action import FetchAdvisories
from veilig.core.action_json import digest
from veilig.core.clock import SystemClock
from veilig.core.errors import InvalidAction, ProviderError
from veilig.core.provider import Outcome, Permit
from veilig.providers.fetching import FetchProvider

type Answer = Callable[[BaseHTTPRequestHandler, int], None]


def record(number: int) -> dict[str, object]:
    events = [{"introduced": "0"}, {"fixed": "2"}]
    affected = [{"package": {"ecosystem": "PyPI", "name": f"demo-{number}"}, "ranges": [
        {"type": "ECOSYSTEM", "events": events}], "versions": []}]  # fmt: skip
    return {"id": f"PYSEC-2026-{number}", "modified": "2026-11-20T00:00:00Z", "affected": affected}


def zipped(records: int = 3) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(records):
            archive.writestr(f"PYSEC-2026-{number}.json", json.dumps(record(number)))
    return out.getvalue()


@contextmanager
def serve(answer: Answer) -> Generator[tuple[str, list[dict[str, str]]]]:
    """A server on loopback; `answer` gets each request with its number from 0. Yields address and headers."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Silence."""

        def do_GET(self) -> None:
            seen.append(dict(self.headers.items()))
            answer(self, len(seen) - 1)

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is part of the tests."""

    server = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def send(
    handler: BaseHTTPRequestHandler, body: bytes, *, status: int = 200, cut: int | None = None, **headers: str
) -> None:
    handler.send_response(status)
    sent = {"Content-Length": str(len(body)), **{k.replace("_", "-"): v for k, v in headers.items()}}
    for name, value in sent.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body[:cut])
    handler.wfile.flush()
    handler.close_connection = handler.close_connection or cut is not None


async def fetch(folder: Path, url: str, **bounds: float) -> Outcome:
    action = FetchAdvisories(url, **bounds)  # type: ignore[arg-type]
    clock = SystemClock()
    permit = Permit(
        "r", digest(action), clock.boottime_s() + 60, "p", "s", str, str, lambda stream, data: None
    )
    provider = FetchProvider(clock, folder, {})
    return await provider.verify(action, await provider.perform(action, permit), permit)


def whole(body: bytes) -> Answer:
    return lambda handler, number: send(handler, body, ETag='"1"')


# --- the command line ---------------------------------------------------------------------------------------


def test_an_address_makes_the_database_and_the_record_says_so(veilig: Terminal) -> None:
    with serve(whole(zipped())) as (root, _):
        said = veilig("advisories", "sync", "--from", f"{root}/PyPI/all.zip", "--json")
    assert said.code == 0, said.err
    assert (said.json["advisories"], said.json["as_of"]) == (3, "2026-11-20")
    assert said.json["meta"]["source"] == f"{root}/PyPI/all.zip"
    assert list((veilig.home / "cache" / "advisories").glob("*.zip")) == []
    shown = veilig("ledger", "show", "--json")
    assert '"advisories.fetch"' in shown.out
    assert "action.verified" in shown.out


def test_an_operator_can_forbid_downloads(veilig: Terminal) -> None:
    policy = veilig.folder / "veilig.yaml"
    policy.write_text("audit: {download: deny}\n")
    with serve(whole(zipped())) as (root, seen):
        said = veilig("advisories", "sync", "--from", f"{root}/all.zip", "--policy", str(policy))
        assert seen == []
    assert said.code == 4
    assert "audit.download" in said.err


def test_bad_data_and_a_dead_host_leave_the_database_as_it_was(veilig: Terminal) -> None:
    place = veilig.home / "advisories.sqlite"
    with serve(whole(zipped())) as (root, _):
        assert veilig("advisories", "sync", "--from", f"{root}/all.zip").code == 0
    before = place.read_bytes()
    with serve(whole(b"no zip")) as (root, _):
        said = veilig("advisories", "sync", "--from", f"{root}/all.zip")
    assert (said.code, "zip" in said.err) == (3, True)
    dead = veilig("advisories", "sync", "--from", f"{root}/all.zip")
    assert (dead.code, "cannot be reached" in dead.err) == (3, True)
    assert place.read_bytes() == before


# --- what may go wrong on the way ---------------------------------------------------------------------------


async def test_what_was_cut_off_is_gone_on_with_and_comes_whole(tmp_path: Path) -> None:
    body = zipped(200)
    half = len(body) // 2

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        if number == 0:
            send(handler, body, cut=half, ETag='"1"')
        else:
            rest = f"bytes {half}-{len(body) - 1}/{len(body)}"
            send(handler, body[half:], status=206, ETag='"1"', Content_Range=rest)

    with serve(answer) as (root, seen):
        outcome = await fetch(tmp_path, f"{root}/all.zip")
    assert outcome.ok
    assert Path(str(outcome.data["path"])).read_bytes() == body
    assert (seen[1]["Range"], seen[1]["If-Range"]) == (f"bytes={half}-", '"1"')
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".lock", ".zip"]


async def test_after_three_cuts_the_part_is_kept_and_the_next_call_goes_on_from_it(tmp_path: Path) -> None:
    body = b'{"a": 1}\n' * 40_000

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        status = 206 if start else 200
        rest = {"Content_Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        send(handler, body[start:], status=status, cut=60_000 if number < 3 else None, ETag='"1"', **rest)

    with serve(answer) as (root, seen):
        with pytest.raises(ProviderError, match="only in part") as caught:
            await fetch(tmp_path, f"{root}/a.jsonl")
        assert "180000 bytes are kept" in caught.value.fix
        outcome = await fetch(tmp_path, f"{root}/a.jsonl")
        assert len(seen) == 4
    assert outcome.data["had_bytes"] == 180_000
    assert Path(str(outcome.data["path"])).read_bytes() == body


@pytest.mark.parametrize("status", [200, 416])
async def test_a_file_that_changed_meanwhile_is_fetched_anew(status: int, tmp_path: Path) -> None:
    old, new = b"[1]" * 50_000, b'{"new": 1}' * 30_000

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        if number == 0:
            send(handler, old, cut=90_000, ETag='"1"')
        elif number == 1 and status == 416:
            send(handler, b"", status=416)
        else:
            send(handler, new, ETag='"2"')

    with serve(answer) as (root, _):
        outcome = await fetch(tmp_path, f"{root}/a.json")
    assert Path(str(outcome.data["path"])).read_bytes() == new


async def test_without_a_name_for_its_version_a_part_is_not_trusted(tmp_path: Path) -> None:
    body = b"x" * 100_000

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        send(handler, body, cut=40_000 if number == 0 else None, ETag='W/"1"')

    with serve(answer) as (root, seen):
        outcome = await fetch(tmp_path, f"{root}/a.json")
    assert "Range" not in seen[1]
    assert outcome.data["size_bytes"] == 100_000


@pytest.mark.parametrize(
    "to", ["http://localhost:9/all.zip", "https://127.0.0.1/all.zip", "file:///etc/passwd"]
)
async def test_a_redirect_to_another_host_is_refused_and_one_on_the_same_host_followed(
    to: str, tmp_path: Path
) -> None:
    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        if handler.path == "/all.zip":
            send(handler, b"", status=302, Location="/new/all.zip")
        elif handler.path == "/new/all.zip":
            send(handler, b"zip")
        else:
            send(handler, b"", status=302, Location=to)

    with serve(answer) as (root, seen):
        assert (await fetch(tmp_path, f"{root}/all.zip")).data["size_bytes"] == 3
        with pytest.raises(ProviderError, match=r"another host|cannot be fetched"):
            await fetch(tmp_path, f"{root}/away.zip")
        assert len(seen) == 3


@pytest.mark.parametrize(("size", "fits"), [(1_000, True), (1_001, False)])
@pytest.mark.parametrize("told", [True, False], ids=["size told", "size not told"])
async def test_a_file_beyond_the_bound_is_refused(size: int, fits: bool, told: bool, tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        if told:
            send(handler, b"y" * size)
            return
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(b"y" * size)
        handler.close_connection = True

    with serve(answer) as (root, _):
        if fits:
            assert (await fetch(tmp_path, f"{root}/a.json", size_bytes_max=1_000)).data["size_bytes"] == size
        else:
            with pytest.raises(ProviderError, match="too large"):
                await fetch(tmp_path, f"{root}/a.json", size_bytes_max=1_000)
            assert [p.suffix for p in tmp_path.iterdir()] == [".lock"]


async def test_a_host_that_trickles_ends_at_the_time_bound(tmp_path: Path) -> None:
    stop = threading.Event()

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        while not stop.wait(0.05):
            handler.wfile.write(b"z")
            handler.wfile.flush()

    with serve(answer) as (root, _):
        started = time.monotonic()
        with pytest.raises(ProviderError, match="only in part") as caught:
            await fetch(tmp_path, f"{root}/a.json", timeout_s=0.5)
        stop.set()
    assert time.monotonic() - started < 60
    assert "the time for it is over" in caught.value.why


@pytest.mark.parametrize(
    ("status", "tries", "says"), [(404, 1, "HTTP 404"), (403, 1, "HTTP 403"), (503, 3, "HTTP 503")]
)
async def test_an_error_that_may_pass_is_tried_again_and_no_other(
    status: int, tries: int, says: str, tmp_path: Path
) -> None:
    with serve(lambda handler, number: send(handler, b"", status=status)) as (root, seen):
        with pytest.raises(ProviderError) as caught:
            await fetch(tmp_path, f"{root}/a.json")
        assert len(seen) == tries
    assert says in str(caught.value)


async def test_an_address_that_names_no_file_of_advisories_is_refused_before_it_is_asked(
    tmp_path: Path,
) -> None:
    with pytest.raises(ProviderError, match="does not say what it is"):
        await fetch(tmp_path, "https://osv.example/all.tar")


@pytest.mark.parametrize(
    "url",
    [
        "http://osv.example/all.zip",
        "ftp://osv.example/all.zip",
        "file:///all.zip",
        "https:///all.zip",
        "https://me:word@osv.example/all.zip",
        "https://osv.example/all.zip#x",
        "https://osv.example:x/all.zip",
        "https://osv.example/" + "a" * 2_000,
        "https://osv.example/a b.zip",
        "osv.example/all.zip",
    ],
)
def test_what_is_no_safe_address_never_becomes_an_action(url: str) -> None:
    with pytest.raises(InvalidAction):
        FetchAdvisories(url)


@pytest.mark.parametrize(
    "url", ["https://osv.example/all.zip?x=[1]", "http://[::1]:80/a.zip", "http://localhost/a.zip"]
)
def test_an_encrypted_address_and_this_machine_are_taken(url: str) -> None:
    assert FetchAdvisories(url).target == url
