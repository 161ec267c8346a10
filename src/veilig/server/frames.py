"""How does one message reach a thousand sockets without being made a thousand times? As a finished frame.

uvicorn's WebSocket protocol, with one more door: an application may hand over the bytes of a whole frame,
made once for everybody, where the socket can take them now. What it cannot take goes the usual, waiting way.
"""

from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

DOOR: Final = "veilig.frame"

type Door = Callable[[bytes], bool]


class FrameProtocol(WebSocketsSansIOProtocol):
    """Offers `scope["extensions"][DOOR]`."""

    async def run_asgi(self) -> None:
        """Put the door into the scope before the application sees it."""
        self.scope.setdefault("extensions", {})[DOOR] = self.frame  # pyright: ignore[reportArgumentType]  # an extension of ours
        await super().run_asgi()

    def frame(self, data: bytes) -> bool:
        """Whether the socket took the frame now; False when it is full, closing or gone."""
        if not self.writable.is_set() or self.close_sent or self.transport.is_closing():
            return False
        self.transport.write(data)
        return True


def framed(message: str) -> bytes:
    """An unmasked text frame (RFC 6455, 5.2): what a server sends."""
    data = message.encode()
    size = len(data)
    if size < 126:
        return bytes((0x81, size)) + data
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + data
    return b"\x81\x7f" + size.to_bytes(8, "big") + data


def door_of(scope: Any) -> Door | None:
    """The door, where the server has one."""
    extensions: dict[str, Any] = scope.get("extensions") or {}
    return extensions.get(DOOR)
