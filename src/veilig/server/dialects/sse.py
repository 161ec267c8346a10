"""Where does one server-sent event end and the next begin?"""

import re
from typing import Final

from veilig.monitor.reading import Unreadable

EVENT_BYTES_MAX: Final = 32 << 20
_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE: Final = re.compile(rb"\r\n|\n|\r")


class Events:
    """Fed with what arrives, answers with the data of each event that is complete."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Raises Unreadable when an event does not end."""
        data = self._rest + chunk if self._rest else chunk
        found: list[bytes] = []
        at = 0
        for end in _END.finditer(data):
            found.append(_data(data[at : end.start()]))
            at = end.end()
        self._rest = data[at:]
        if len(self._rest) > EVENT_BYTES_MAX:
            raise Unreadable(f"an event is longer than {EVENT_BYTES_MAX} bytes")
        return [d for d in found if d]

    def finish(self) -> list[bytes]:
        """A last event without its empty line."""
        rest, self._rest = self._rest, b""
        data = _data(rest)
        return [data] if data else []


def _data(event: bytes) -> bytes:
    lines = _LINE.split(event)
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
