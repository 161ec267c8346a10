"""A server on loopback that plays a model from a script: real HTTP, real streams, no model.

    with replay(["hello", call("shell", command="ls"), Answer(text="done")]) as server:
        ... ask a model at server.url (OpenAI forms; `server.root` for the other vendors) ...
        assert server.requests[1].results == [("call_1", "a.txt\\n")]

A script is a sequence of answers (text stands for `Answer(text=...)`), or a function that gets each request
and returns its answer. It speaks /v1/responses, /v1/chat/completions, /v1/messages and Google's
:generateContent and :streamGenerateContent, streaming or not as the request asks.
"""

import json
import ssl
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import replay_forms as forms
from replay_values import Answer, Call, Request

__all__ = ["Answer", "Call", "Request", "Server", "call", "cut", "fail", "overflow", "refuse", "replay"]

type Script = Sequence[Answer | str] | Callable[[Request], Answer | str]


def call(name: str, /, **arguments: Any) -> Answer:
    """The model wants one tool."""
    return Answer(calls=(Call(name, arguments),))


def refuse(text: str = "I will not help with that.") -> Answer:
    """The model refuses."""
    return Answer(refusal=text)


def cut(text: str, *, events: int = 3) -> Answer:
    """The stream breaks off after `events` events: the connection is closed without a last word."""
    return Answer(text=text, cut_after=events)


def fail(status: int, message: str = "no", *, code: str = "", retry_after: float | None = None) -> Answer:
    """An error of the server, before any stream."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Answer(status=status, error=message, code=code, headers=headers)


def overflow() -> Answer:
    """The conversation does not fit the window, as OpenAI words it."""
    message = "This model's maximum context length is 1000 tokens. Please reduce the length of the messages."
    return fail(400, message, code="context_length_exceeded")


@dataclass
class Server:
    """A running replay. url: for OpenAI's forms, with /v1; root: without."""

    root: str
    script: Script
    requests: list[Request] = field(default_factory=list[Request])
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    def answer(self, request: Request) -> Answer:
        """What the script says to `request`; calls without an id get `call_N`, counted over all requests."""
        with self.lock:
            number = len(self.requests)
            self.requests.append(request)
            made = sum(len(r.answered.calls) for r in self.requests if r.answered)
            if callable(self.script):
                found = self.script(request)
            elif number < len(self.script):
                found = self.script[number]
            else:
                found = Answer(status=400, error=f"the script has only {len(self.script)} answers")
            found = Answer(text=found) if isinstance(found, str) else found
            named = tuple(replace(c, id=c.id or f"call_{made + i}") for i, c in enumerate(found.calls, 1))
            request.answered = replace(found, calls=named)
            return request.answered


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each turn waits 44 ms for a delayed ACK
    wbufsize = -1
    replayed: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Tests print what they need."""

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(forms.form_of(self.path), self.path, json.loads(raw), headers, len(raw))
        answer = self.replayed.answer(request)
        if answer.delay_s:
            time.sleep(answer.delay_s)
        if answer.raw is not None:
            self._send(answer.status, answer.raw, "text/html", answer.headers)
        elif answer.status != 200:
            body = json.dumps(forms.error_body(request.form, answer)).encode()
            self._send(answer.status, body, "application/json", answer.headers)
        elif request.stream:
            self._stream(forms.events(request, answer), answer)
        else:
            body = json.dumps(forms.whole(request, answer)).encode()
            self._send(200, body, "application/json", answer.headers)

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _stream(self, events: list[bytes], answer: Answer) -> None:
        whole = answer.cut_after is None
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events[: answer.cut_after]:
            if answer.pause_s:
                self.wfile.flush()
                time.sleep(answer.pause_s)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        if whole:
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()
        self.close_connection = not whole


@contextmanager
def replay(script: Script, certificate: Path | None = None) -> Generator[Server]:
    """Serve `script` on a free port of 127.0.0.1 for the block; over TLS with a certificate and its key."""

    class Handler(_Handler):
        pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up in the middle is part of the tests."""

    server = Quiet(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "https" if certificate else "http"
    Handler.replayed = Server(f"{scheme}://127.0.0.1:{server.server_port}", script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield Handler.replayed
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
