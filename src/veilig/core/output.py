"""How does output reach the ledger while an action runs? Redacted, in chunks, not waiting for the disk."""

import asyncio
import codecs

from veilig.core.action_json import JSON
from veilig.core.ledger import Ledger
from veilig.core.limits import OUTPUT_BYTES_MAX, OUTPUT_CHUNK_BYTES
from veilig.core.redact import Redactor, StreamRedactor

SHOWN_EVERY_S = 0.2  # whoever watches a slow command sees what it has said, and the ledger few events


class OutputLog:
    """Takes raw bytes of named streams; appends `action.output` events whose secrets are handles.

    Chunks are not fsynced (losing the last of them in a crash loses no truth: the result is
    durable or the act is in doubt). Beyond OUTPUT_BYTES_MAX per action bytes are counted, not kept.
    """

    def __init__(self, ledger: Ledger, session: str, ref: str, redactor: Redactor) -> None:
        self._ledger = ledger
        self._session = session
        self._ref = ref
        self._redactor = redactor
        self._streams: dict[str, StreamRedactor] = {}
        self._pending: dict[str, str] = {}
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._tasks: list[asyncio.Task[object]] = []
        self._kept = 0
        self._dropped: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def write(self, stream: str, data: bytes) -> None:
        """Take `data` of `stream`; it is shown once it can hold no half of a secret, or has waited long."""
        redactor = self._streams.get(stream)
        if redactor is None:
            redactor = self._streams[stream] = self._redactor.stream()
        self._keep(stream, redactor.feed(data))
        self._wait()

    def _wait(self) -> None:
        """Come back when there is something to show: what was found clean, or what is held too long."""
        waits = [wait_s for redactor in self._streams.values() if (wait_s := redactor.waits_s()) is not None]
        if any(self._pending.values()):
            waits.append(SHOWN_EVERY_S)
        if not waits:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + min(waits)
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = loop.call_at(due, self._show)

    def _show(self) -> None:
        """Append what has waited for more; of what could be half of a secret only what `late` lets go."""
        self._timer = None
        for stream, redactor in self._streams.items():
            self._keep(stream, redactor.late())
            self._append(stream)
        self._wait()

    async def close(self) -> None:
        """Flush what was held back and wait until everything is in the ledger."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for stream, redactor in self._streams.items():
            self._keep(stream, redactor.flush(), last=True)
            self._append(stream)
        if self._tasks:
            await asyncio.gather(*self._tasks)

    def _keep(self, stream: str, clean: bytes, *, last: bool = False) -> None:
        taken = clean[: max(0, OUTPUT_BYTES_MAX - self._kept)]
        self._kept += len(taken)
        self._dropped[stream] = self._dropped.get(stream, 0) + len(clean) - len(taken)
        if stream not in self._decoders:
            self._decoders[stream] = codecs.getincrementaldecoder("utf-8")("replace")
        text = self._pending.get(stream, "") + self._decoders[stream].decode(taken, last)
        self._pending[stream] = text
        if len(text) >= OUTPUT_CHUNK_BYTES:
            self._append(stream)

    def _append(self, stream: str) -> None:
        text, dropped = self._pending.get(stream, ""), self._dropped.get(stream, 0)
        if not text and not dropped:
            return
        body: dict[str, JSON] = {"ref": self._ref, "stream": stream, "text": text, "dropped_bytes": dropped}
        self._pending[stream] = ""
        self._dropped[stream] = 0
        write = self._ledger.submit(lambda tx: tx.append("action.output", self._session, body), durable=False)
        self._tasks.append(asyncio.ensure_future(write))
