"""Which bytes of a streamed answer may go on now? Tool calls are held until they are complete and judged.

A client runs a tool when it has seen the end of its call, so nothing of a call leaves before its verdict; it
loses no time, since it could not act earlier. Everything else goes on as it came: the bytes of a stream in
which nothing is stopped are exactly those that arrived, wherever the network cut them.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from veilig.monitor.reading import Unreadable, mapping, mappings

EVENT_BYTES_MAX: Final = 32 << 20  # one server-sent event; an image in base64 fits
_END: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_TEXT_EVENT: Final = b"event: response.output_text.delta\ndata: "
_DATA: Final = re.compile(rb"(?:^|[\r\n])data: ?([^\r\n]*)")
# Calls that the vendor runs itself: a client never acts on them, and they have run when they are shown.
HOSTED: Final = frozenset({
    "web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "mcp_call",
})  # fmt: skip
APPROVAL: Final = "mcp_approval_request"
WINDOW_CHARS: Final = 512  # an indicator that deltas cut in two is found


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One complete call: arguments as the model wrote them."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Why an answer ends here. code: as the API has it."""

    message: str
    code: str = "cyber_policy"


type Judge = Callable[[ToolCall], Stop | None]


def is_call(kind: object) -> bool:
    """Does a client run items of this type? Types that nobody knows yet count as such."""
    return isinstance(kind, str) and kind not in HOSTED and (kind.endswith("_call") or kind == APPROVAL)


def call_of(item: dict[str, Any]) -> ToolCall:
    """The call in an output item of the Responses API."""
    given = next((item[k] for k in ("arguments", "input", "action", "operation") if k in item), item)
    text = given if isinstance(given, str) else orjson.dumps(given).decode()
    return ToolCall(
        str(item.get("call_id") or item.get("id") or ""), str(item.get("name") or item["type"]), text
    )


@dataclass(slots=True)
class StreamWatch:
    """Fed with what arrives, answers with what may go on. stopped: why nothing more may.

    usage, model: as the upstream said them. heard: called with each new piece of the answer's text.
    tail_chars: so much text waits until more came, so that what is found in it can still be kept back.
    """

    judge: Judge
    heard: Callable[[str], Stop | None]
    tail_chars: int = 0
    usage: dict[str, Any] | None = None
    model: str = ""
    stopped: Stop | None = None
    ended: bool = False
    _rest: bytes = b""
    _unsent: bytes = b""
    _held: list[bytes] = field(default_factory=list[bytes])
    _open: set[object] = field(default_factory=set[object])
    _calls: dict[tuple[int, int], list[str]] = field(default_factory=dict[tuple[int, int], list[str]])
    _judged: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])
    _text: list[str] = field(default_factory=list[str])
    _tail: str = ""
    _late: deque[tuple[int, bytes]] = field(default_factory=deque[tuple[int, bytes]])
    _chars: int = 0
    _number: int = -1
    _response: dict[str, Any] | None = None

    def feed(self, chunk: bytes) -> bytes:
        """What may go on. Raises Unreadable for an event that is no JSON or never ends; see `unsent`."""
        if self.stopped is not None:
            return b""
        data = self._rest + chunk if self._rest else chunk
        out: list[bytes] = []
        at = passed = 0
        plain = b"\r" not in data and not self.tail_chars
        try:
            for end in _ends(data, plain):
                if plain and not self._open and not self._calls and not self._held:
                    if self._is_text(data, at, end - 2):
                        at = end  # goes on together with what comes before and after it
                        continue
                    if passed < at:
                        out.append(data[passed:at])
                passed = end
                self._event(data[at:end], out)
                at = end
                if self.stopped is not None:
                    self._rest = b""
                    return b"".join(out)
            if passed < at:
                out.append(data[passed:at])
                passed = at
            if len(data) - at > EVENT_BYTES_MAX:
                raise Unreadable(f"an event is longer than {EVENT_BYTES_MAX} bytes")
            self._hear()
        except Exception:
            self._unsent = b"".join([*self._waiting(), *out, *self._held, data[at:]])
            raise
        self._rest = data[at:]
        if self.stopped is not None:
            return b""
        return b"".join(self._ripe() if self.tail_chars else out)

    def finish(self) -> bytes:
        """What is left when the upstream ends: a last event without its empty line is judged too."""
        if self.stopped is not None:
            return b""
        out: list[bytes] = []
        if self._rest:
            event, self._rest = self._rest, b""
            self._event(event, out)
        if self.stopped is None and self._calls:
            self._judge_chat()
        self._hear()
        if self.stopped is not None:
            return b""
        if self._held and not self._open:
            out.extend(self._held)
            self._held = []
        # A call that began and never ended stays here: no client could run it.
        return b"".join([*self._waiting(), *out])

    def unsent(self) -> bytes:
        """After an exception: all that has not gone on, for a caller whose policy lets it pass unread."""
        return self._unsent

    def stop_bytes(self) -> bytes:
        """The event that tells the client why the answer ends."""
        if self.stopped is None:
            return b""
        error = {"type": "invalid_request", "code": self.stopped.code, "message": self.stopped.message}
        if self._response is None:
            return b"data: " + orjson.dumps({"error": {**error, "param": None}}) + b"\n\n"
        failed: dict[str, Any] = {**self._response, "status": "failed", "output": [], "error": error}
        value: dict[str, Any] = {
            "type": "response.failed",
            "sequence_number": self._number + 1,
            "response": failed,
        }
        return b"event: response.failed\ndata: " + orjson.dumps(value) + b"\n\n"

    def _waiting(self) -> list[bytes]:
        found = [event for _, event in self._late]
        self._late.clear()
        return found

    def _ripe(self) -> list[bytes]:
        """What is far enough from the end of the text so far. All, once the answer is over."""
        if self.ended:
            return self._waiting()
        found: list[bytes] = []
        while self._late and self._late[0][0] <= self._chars - self.tail_chars:
            found.append(self._late.popleft()[1])
        return found

    # --- one event ------------------------------------------------------------------------------------

    def _is_text(self, data: bytes, at: int, end: int) -> bool:
        """Is it a piece of text and nothing else? Most events are: this is the shorter way through them."""
        if data.startswith(b"data: {", at) and data.find(b"\n", at, end) < 0:
            start = at + 6
        elif data.startswith(_TEXT_EVENT, at) and data.find(b"\n", at + len(_TEXT_EVENT), end) < 0:
            start = at + len(_TEXT_EVENT)
        else:
            return False
        try:
            value = orjson.loads(data[start:end])
            if start != at + 6:
                text, number = value["delta"], value["sequence_number"]
                if value["type"] != "response.output_text.delta" or type(number) is not int:
                    return False
                self._number = number
            else:
                (choice,) = value["choices"]
                text = choice["delta"]["content"]
                if len(choice["delta"]) != 1 or choice.get("finish_reason") or value.get("usage"):
                    return False
                if not self.model:
                    self.model = str(value.get("model") or "")
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
            return False  # some other shape: read with care
        if type(text) is not str:
            return False
        self._text.append(text)
        self._chars += len(text)
        return True

    def _event(self, event: bytes, out: list[bytes]) -> None:
        data = _data_of(event)
        if data and data != b"[DONE]":
            try:
                value = orjson.loads(data)
            except orjson.JSONDecodeError as error:
                raise Unreadable("an event is not JSON") from error
            self._value(mapping(value))
        elif data and self._calls:
            self._judge_chat()
        if self.stopped is not None:
            self._held = []
        elif self._open or self._calls:
            self._held.append(event)
        elif self.tail_chars:
            self._late.extend((self._chars, e) for e in (*self._held, event))
            self._held = []
        else:
            if self._held:
                out.extend(self._held)
                self._held = []
            out.append(event)

    def _value(self, value: dict[str, Any]) -> None:
        kind = value.get("type")
        if not isinstance(kind, str):
            self._chat(value)
            return
        if not self._open and isinstance(number := value.get("sequence_number"), int):
            self._number = number
        if kind == "response.output_text.delta":
            if isinstance(value.get("delta"), str):
                self._say(value["delta"])
        elif kind == "response.output_item.added":
            if is_call(mapping(value.get("item")).get("type")):
                self._open.add(value.get("output_index"))
        elif kind == "response.output_item.done":
            item = mapping(value.get("item"))
            if is_call(item.get("type")):
                self._check(call_of(item))
                self._open.discard(value.get("output_index"))
        elif "call" in kind and kind.endswith((".delta", ".done")) and not _hosted(kind):
            self._open.add(value.get("output_index"))  # whatever came before it
        elif value.get("response") is not None:
            self._whole(mapping(value["response"]), str(kind))

    def _whole(self, response: dict[str, Any], kind: str) -> None:
        if self._response is None:
            self._response = response
        self.model = str(response.get("model") or self.model)
        self.usage = response.get("usage") or self.usage
        for item in mappings(response.get("output")):
            if is_call(item.get("type")):
                self._check(call_of(item))
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            self.ended = True
            self._open.clear()  # every call of the answer is in `output`, and was judged

    def _chat(self, value: dict[str, Any]) -> None:
        self.model = str(value.get("model") or self.model)
        self.usage = value.get("usage") or self.usage
        for choice in mappings(value.get("choices")):
            delta = mapping(choice.get("delta") or choice.get("message"))
            if isinstance(delta.get("content"), str):
                self._say(delta["content"])
            for call in _calls_in(delta):
                key = (choice.get("index", 0), call.get("index", 0))
                parts = self._calls.setdefault(key, ["", "", ""])
                made = mapping(call.get("function") or call.get("custom"))
                parts[0] = str(call.get("id") or parts[0])
                parts[1] += str(made.get("name") or "")
                parts[2] += str(made.get("arguments") or made.get("input") or "")
            if choice.get("finish_reason"):
                self.ended = True
                if self._calls:
                    self._judge_chat()

    def _judge_chat(self) -> None:
        for call_id, name, arguments in self._calls.values():
            self._check(ToolCall(call_id, name, arguments))
        self._calls.clear()

    def _check(self, call: ToolCall) -> None:
        key = (call.id, call.name, call.arguments)
        if self.stopped is None and key not in self._judged:
            self._judged.add(key)
            self.stopped = self.judge(call)

    def _say(self, text: str) -> None:
        self._text.append(text)
        self._chars += len(text)

    def _hear(self) -> None:
        if self._text and self.stopped is None:
            text = "".join(self._text)
            self._text.clear()
            self.stopped = self.heard(self._tail + text)
            self._tail = (self._tail + text)[-WINDOW_CHARS:]


def _ends(data: bytes, plain: bool) -> Iterator[int]:
    """Where events end. plain: no carriage return is in it."""
    if not plain:
        yield from (found.end() for found in _END.finditer(data))
        return
    end = data.find(b"\n\n")
    while end >= 0:
        yield end + 2
        end = data.find(b"\n\n", end + 2)


def _data_of(event: bytes) -> bytes:
    """The data of an event; the two common forms without an expression."""
    end = len(event) - 2
    at = 0
    if event.startswith(b"event: "):
        at = event.find(b"\n") + 1
    if event.startswith(b"data: ", at) and event.find(b"\n", at) == end and event.endswith(b"\n\n"):
        return event[at + 6 : end]
    found = _DATA.findall(event)
    return found[0] if len(found) == 1 else b"\n".join(found)


def _hosted(kind: str) -> bool:
    return any(f".{name}" in kind for name in HOSTED)


def _calls_in(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The tool calls of a chat message or delta, the old single one included."""
    calls = mappings(message.get("tool_calls"))
    if message.get("function_call") is not None:
        calls.append({"index": -1, "function": message["function_call"]})
    return calls


def judge_whole(value: dict[str, Any], judge: Judge, heard: Callable[[str], Stop | None]) -> Stop | None:
    """The same for an answer that is not streamed: every call in it, then its text. Raises Unreadable."""
    texts: list[str] = []
    for item in mappings(value.get("output")):
        if is_call(item.get("type")):
            if stop := judge(call_of(item)):
                return stop
        elif item.get("type") == "message":
            texts.extend(p["text"] for p in mappings(item.get("content")) if isinstance(p.get("text"), str))
    if value.get("type") == "message":  # of the Messages API
        for block in mappings(value.get("content")):
            if block.get("type") == "tool_use":
                arguments = orjson.dumps(block.get("input") or {}).decode()
                call = ToolCall(str(block.get("id") or ""), str(block.get("name") or ""), arguments)
                if stop := judge(call):
                    return stop
            elif isinstance(block.get("text"), str):
                texts.append(block["text"])
    for choice in mappings(value.get("choices")):
        message = mapping(choice.get("message"))
        for call in _calls_in(message):
            made = mapping(call.get("function") or call.get("custom"))
            text = str(made.get("arguments") or made.get("input") or "")
            if stop := judge(ToolCall(str(call.get("id") or ""), str(made.get("name") or ""), text)):
                return stop
        if isinstance(message.get("content"), str):
            texts.append(message["content"])
    return heard("\n".join(texts)) if texts else None
