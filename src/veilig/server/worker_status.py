"""Does this worker live, does it take sessions, and how many? Three small answers over HTTP."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from veilig.app.fleet_worker import Worker
from veilig.core.errors import ProviderError, UsageError
from veilig.server.metrics import Histogram, Metrics

REQUEST_BYTES_MAX: Final = 8192
PATIENCE_S: Final = 10.0


class Status:
    """The answers, and the histograms between two scrapes."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._waited, self._lasted = Histogram(), Histogram()

    def answer(self, path: str) -> tuple[int, str]:
        """Status and text. /healthz: the process answers. /readyz: it is heard of and takes sessions."""
        match path:
            case "/healthz":
                return 200, "ok\n"
            case "/readyz":
                return (200, "ready\n") if self._worker.ready() else (503, "not ready\n")
            case "/metrics":
                return 200, self.metrics()
            case _:
                return 404, "there is /healthz, /readyz and /metrics\n"

    def metrics(self) -> str:
        """Prometheus' text form; no label holds a session or an org."""
        seen = self._worker.seen
        for times, histogram in ((seen.waited_s, self._waited), (seen.lasted_s, self._lasted)):
            while times:
                histogram.add(times.pop())
        counts = Metrics()
        counts.count("worker_sessions_taken_total", seen.taken)
        for (kind, state), count in seen.ended.items():
            counts.count("worker_sessions_ended_total", count, kind=kind, state=state)
        counts.count("worker_sessions_rescued_total", seen.rescued)
        counts.count("worker_sessions_lost_total", seen.lost)
        counts.count("worker_database_trouble_total", seen.trouble)
        gauges: dict[str, float] = {
            "worker_busy": self._worker.busy,
            "worker_ready": self._worker.ready(),
            "worker_slots": self._worker.plan.slots,
        }
        for (kind, state), (count, oldest_s) in self._worker.asked().items():
            labels = f'{{kind="{kind}",state="{state}"}}'
            gauges[f"queue_sessions{labels}"], gauges[f"queue_oldest_seconds{labels}"] = count, oldest_s
        lines = counts.counted(gauges)
        lines += self._waited.lines("veilig_worker_waited_seconds")
        lines += self._lasted.lines("veilig_worker_session_seconds")
        return "\n".join(lines) + "\n"


@asynccontextmanager
async def serving(worker: Worker, place: str) -> AsyncGenerator[str]:
    """Answer at HOST:PORT; the address as it came out. Raises UsageError, ProviderError."""
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"{place!r} is no HOST:PORT", fix="write for example 127.0.0.1:9464")
    status = Status(worker)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
            words = head.split(b"\r\n", 1)[0].decode("ascii", "replace").split(" ")
            code, text = status.answer(words[1].partition("?")[0]) if len(words) == 3 else (400, "what?\n")
            body = text.encode()
            told = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}.get(code, "Bad Request")
            form = "text/plain; version=0.0.4; charset=utf-8"
            writer.write(
                f"HTTP/1.1 {code} {told}\r\nContent-Type: {form}\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a caller who does not ask gets no answer
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(talk, host.strip("[]"), int(port), limit=REQUEST_BYTES_MAX)
    except OSError as error:
        raise ProviderError(f"cannot answer at {place}", why=str(error), fix="give another port") from error
    async with server:
        name = server.sockets[0].getsockname()
        yield f"{name[0]}:{name[1]}"
