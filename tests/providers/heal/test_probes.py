"""What does a probe say of real servers: well, ill, slow, half an answer, nobody there?"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from veilig.core.service import Service
from veilig.core.signal import Answer
from veilig.providers.heal.probes import SAID_CHARS, clean_environment, probe, reachable

type Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(*answers: bytes, hang_s: float = 0.0) -> AsyncGenerator[tuple[int, list[bytes]]]:
    """A server that gives these bytes, one after another, and the requests it got."""
    left, got = list(answers), list[bytes]()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(4096))
        try:
            if left:
                writer.write(left.pop(0))
                await writer.drain()
            await asyncio.sleep(hang_s)
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], got
    finally:
        server.close()


def ok(body: bytes = b"ok", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def of(port: int, path: str = "/health", timeout_s: float = 1.0) -> Service:
    return Service("web", health=f"http://127.0.0.1:{port}{path}", health_timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("reply", "answer", "status", "said"),
    [
        (ok(b"all  is\nwell"), Answer.OK, 200, "all is well"),
        (ok(b"", b"204 No Content"), Answer.OK, 204, "HTTP 204"),
        (ok(b"no", b"399 Odd"), Answer.OK, 399, "no"),
        (ok(b"no", b"400 Bad"), Answer.ERROR, 400, "no"),
        (ok(b"dependency down", b"503 Service Unavailable"), Answer.ERROR, 503, "dependency down"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", Answer.OK, 200, "until the end"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Answer.OK,
            200,
            "ok",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nhalf",
            Answer.BROKEN,
            0,
            "half an answer: 4 of 90 bytes",
        ),
        (b"HTTP/1.1 200", Answer.BROKEN, 0, "half an answer"),
        (b"+PONG\r\n\r\n", Answer.BROKEN, 0, "what answers does not speak HTTP"),
        (b"", Answer.BROKEN, 0, "closed without an answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (20 << 10), Answer.BROKEN, 0, "more than"),
    ],
    ids=lambda value: value[:30].decode("latin-1") if isinstance(value, bytes) else None,
)
async def test_an_answer_gets_its_exact_class(reply: bytes, answer: Answer, status: int, said: str) -> None:
    async with serving(reply) as (port, _):
        seen = await probe(of(port))
    assert (seen.answer, seen.status) == (answer, status)
    assert seen.said.startswith(said)


async def test_nobody_there_is_refused_and_silence_is_a_timeout() -> None:
    async with serving(hang_s=5) as (port, _):
        silent = await probe(of(port, timeout_s=0.2))
    assert silent.answer == Answer.TIMEOUT
    assert 200 <= silent.latency_ms < 4500
    assert (await probe(of(port))).answer == Answer.REFUSED
    assert (await probe(Service("web", health=f"http://localhost:{port}/"))).answer == Answer.REFUSED
    assert (await reachable("127.0.0.1", port)).answer == Answer.REFUSED


async def test_half_a_body_that_never_ends_is_a_timeout() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nhalf", hang_s=5) as (port, _):
        assert (await probe(of(port, timeout_s=0.2))).answer == Answer.TIMEOUT


async def test_only_the_first_bytes_of_a_body_are_waited_for() -> None:
    async with serving(ok(b"x" * 100_000), hang_s=5) as (port, _):
        seen = await probe(of(port))
    assert (seen.answer, len(seen.said)) == (Answer.OK, SAID_CHARS)


async def test_a_redirect_is_followed_on_the_same_host_only() -> None:
    moved = b"HTTP/1.1 301 Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"
    async with serving(moved % b"/health/", ok(b"deep", b"500 No")) as (port, got):
        seen = await probe(of(port))
        assert (seen.answer, seen.status, len(got)) == (Answer.ERROR, 500, 2)
    async with serving(ok(b"other", b"500 No")) as (other, untouched):
        async with serving(moved % f"http://127.0.0.1:{other}/".encode()) as (port, _):
            seen = await probe(of(port))
        assert (seen.answer, seen.status, untouched) == (Answer.OK, 301, [])


async def test_a_port_alone_is_asked_for_a_connection() -> None:
    async with serving() as (port, _):
        assert (await probe(Service("db", port=port))).answer == Answer.OK
    assert (await probe(Service("db", port=port))).answer == Answer.REFUSED
    assert (await probe(Service("db"))).answer == Answer.NONE


async def test_a_password_in_the_address_is_sent_and_what_is_said_is_sealed() -> None:
    async with serving(ok(b"token abcdef")) as (port, got):
        address = f"http://ann:b%40d@127.0.0.1:{port}/"
        seen = await probe(Service("web", health=address), lambda text: text.replace("abcdef", "*"))
    assert seen.said == "token *"
    assert b"Authorization: Basic YW5uOmJAZA==\r\n" in got[0]
    assert b"ann" not in got[0]


@pytest.mark.parametrize(
    ("code", "answer", "said"),
    [
        ("print('fine')", Answer.OK, "fine"),
        ("import sys; sys.exit('no database')", Answer.ERROR, "exit 1: no database"),
        ("import os; os.kill(os.getpid(), 9)", Answer.ERROR, "signal 9"),
        ("import time; time.sleep(60)", Answer.TIMEOUT, ""),
        ("print('x' * 1000000)", Answer.OK, "xxx"),
    ],
)
async def test_a_command_is_well_when_it_ends_with_0(code: str, answer: Answer, said: str) -> None:
    limit_s = 0.4 if answer == Answer.TIMEOUT else 10.0
    seen = await probe(Service("job", health_cmd=(sys.executable, "-c", code), health_timeout_s=limit_s))
    assert seen.answer == answer
    assert said in seen.said


async def test_a_command_that_leaves_a_child_behind_has_ended() -> None:
    seen = await probe(Service("job", health_cmd=("sh", "-c", "sleep 99 & echo done"), health_timeout_s=30))
    assert (seen.answer, seen.said) == (Answer.OK, "done")


async def test_a_command_that_is_not_there_is_broken(tmp_path: Path) -> None:
    seen = await probe(Service("job", health_cmd=(str(tmp_path / "none"),)))
    assert seen.answer == Answer.BROKEN


async def test_address_and_command_must_both_be_well() -> None:
    async with serving(ok(), ok(b"", b"500 No")) as (port, _):
        both = Service("web", health=f"http://127.0.0.1:{port}/", health_cmd=("false",))
        assert (await probe(both)).answer == Answer.ERROR
        assert (await probe(both)).status == 500


def test_a_command_does_not_get_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEILIG_HOME", "/x")
    monkeypatch.setenv("API_" + "KEY", "y")
    given = clean_environment(Service("job", env=(("MODE", "test"),)))
    assert given.keys() <= {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "MODE"}
    assert given["MODE"] == "test"
