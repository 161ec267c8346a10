"""Who is told of a session while it runs? A collector that the environment names, over OTLP/HTTP.

Nothing fails with it: what cannot be sent is lost there, never in the ledger, and is said.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from veilig.agent.spans import Span, Spans
from veilig.core.errors import LedgerError
from veilig.core.ledger_event import Event

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import ReadableSpan

ENDPOINT, TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"  # as the conventions name it
LOOK_S = 1.0  # a span is seen soon enough; the ledger hardly notices
SEND_S = 5.0  # a collector that is slower than that loses the batch
LAST_S = 8.0  # how long the end of a session waits for its last spans

_log = logging.getLogger(__name__)


def endpoint(environment: Mapping[str, str]) -> str:
    """Where spans go; empty when nobody asked for them or the SDK is switched off."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return ""
    if place := environment.get(TRACES_ENDPOINT):
        return place
    base = environment.get(ENDPOINT, "")
    return f"{base.rstrip('/')}/v1/traces" if base else ""


class Telemetry:
    """Follows one session in the ledger from a thread of its own and sends each span that has ended."""

    def __init__(
        self,
        read: Callable[[int], Iterable[Event]],
        session: str,
        environment: Mapping[str, str],
        version: str,
        *,
        sent_after: int,
    ) -> None:
        """read: the session's events after a number. sent_after: of earlier ones nothing is sent again."""
        content = environment.get(CONTENT, "").lower() == "true"
        self._read = read
        self._place = endpoint(environment)
        self._version = version
        self._spans = Spans(session, content=content)
        self._sent_after = sent_after
        self._after = 0
        self._stop = threading.Event()
        self._told = False
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        if self._place:
            self._thread.start()

    def close(self) -> None:
        """Send what is left, for a bounded time. Call it while the ledger is open."""
        self._stop.set()
        if self._place:
            self._thread.join(LAST_S)

    def _run(self) -> None:
        exporter = self._exporter()
        if exporter is None:
            return
        try:
            while not self._stop.wait(LOOK_S):
                self._send(exporter)
            self._send(exporter)
        except LedgerError as error:
            self._say(str(error))
        finally:
            exporter.shutdown()

    def _exporter(self) -> "OTLPSpanExporter | None":
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError:
            self._say("it needs the extra: pip install 'veilig[otel]'")
            return None
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # one line of ours says it
        return OTLPSpanExporter(endpoint=self._place, timeout=SEND_S)

    def _send(self, exporter: "OTLPSpanExporter") -> None:
        from opentelemetry.sdk.trace.export import SpanExportResult

        ready: list[Span] = []
        for event in self._read(self._after):
            self._after = event.seq
            ended = self._spans.take(event)
            ready += ended if event.seq > self._sent_after else []
        if (
            ready
            and exporter.export([_readable(s, self._version) for s in ready]) != SpanExportResult.SUCCESS
        ):
            self._say(f"{self._place} did not take them; `veilig sessions export` has them all")

    def _say(self, why: str) -> None:
        if not self._told:
            self._told = True
            _log.warning("telemetry: spans were not sent: %s", why)


def _readable(span: Span, version: str) -> "ReadableSpan":
    """A span as OpenTelemetry's own exporter wants it."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event as Moment
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
    from opentelemetry.trace.status import Status, StatusCode

    def context(own: str) -> SpanContext:
        flags = TraceFlags(TraceFlags.SAMPLED)
        return SpanContext(int(span.trace, 16), int(own, 16), is_remote=False, trace_flags=flags)

    return ReadableSpan(
        span.name,
        context=context(span.id),
        parent=context(span.parent) if span.parent else None,
        resource=Resource.create({"service.name": "veilig", "service.version": version}),
        attributes=dict(span.attributes),
        events=[Moment(name, timestamp=at * 1_000_000) for name, at in span.moments],
        kind=SpanKind.CLIENT if span.client else SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
        start_time=span.start_ms * 1_000_000,
        end_time=span.end_ms * 1_000_000,
        instrumentation_scope=InstrumentationScope("veilig", version),
    )
