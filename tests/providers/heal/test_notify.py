"""Are people told once, signed, and never for long?"""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from veilig.core.action import Notify
from veilig.core.errors import ProviderError
from veilig.core.policy_model import Channel
from veilig.providers.heal import notify

TOLD = Notify("ops", "worker-1/1", "worker-1 is on hold: db refuses connections")


class Inbox(HTTPServer):
    """Answers with the next of `statuses`, the last one for ever; a status of 0 hangs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.statuses = [200]
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.calm = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The other side hung up: that is what these tests are about."""


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Inbox)
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((dict(self.headers), body))
        statuses = self.server.statuses
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        if status == 0:
            self.server.calm.wait(10)
            return
        self.send_response(status)
        self.send_header("location", "http://127.0.0.1:9/")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: Any, **more: Any) -> None:
        pass


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield made
    made.calm.set()
    made.shutdown()
    thread.join()
    made.server_close()


def channel(inbox: Inbox, form: str = "generic", secret: str = "") -> list[Channel]:
    return [Channel("r", "ops", f"http://127.0.0.1:{inbox.server_port}/hook", form, secret, 60)]


async def test_a_message_arrives_signed_over_its_time_and_body(inbox: Inbox) -> None:
    key = "k" * 20
    said = await notify.tell(TOLD, channel(inbox, secret="HOOK_KEY"), {"HOOK_KEY": key})
    assert said == "told through ops"
    ((headers, body),) = inbox.got
    assert json.loads(body)["text"] == TOLD.text
    signed = f"{headers[notify.TIMESTAMP]}.".encode() + body
    expected = hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()
    assert headers[notify.SIGNATURE] == f"sha256={expected}"
    assert abs(int(headers[notify.TIMESTAMP]) - time.time()) < 5


async def test_slack_gets_what_it_reads(inbox: Inbox) -> None:
    await notify.tell(TOLD, channel(inbox, "slack"), {})
    ((headers, body),) = inbox.got
    assert json.loads(body) == {"text": TOLD.text}
    assert notify.SIGNATURE not in headers


async def test_a_receiver_that_fails_is_asked_again_twice(inbox: Inbox) -> None:
    inbox.statuses = [500, 503, 204]
    assert await notify.tell(TOLD, channel(inbox), {}) == "told through ops at try 3"
    inbox.statuses, inbox.got = [500], []
    with pytest.raises(ProviderError, match="nobody was told") as caught:
        await notify.tell(TOLD, channel(inbox), {})
    assert (caught.value.why, len(inbox.got)) == ("status 500", 3)


async def test_a_receiver_that_hangs_costs_seconds(inbox: Inbox) -> None:
    inbox.statuses = [0]
    begun = time.monotonic()
    with pytest.raises(ProviderError, match="nobody was told"):
        await notify.tell(TOLD, channel(inbox), {})
    assert time.monotonic() - begun < 60


async def test_a_message_follows_no_redirect(inbox: Inbox) -> None:
    inbox.statuses = [302]
    with pytest.raises(ProviderError) as caught:
        await notify.tell(TOLD, channel(inbox), {})
    assert caught.value.why == "status 302"


async def test_what_cannot_be_signed_or_is_no_channel_is_not_sent(inbox: Inbox) -> None:
    with pytest.raises(ProviderError, match="cannot sign"):
        await notify.tell(TOLD, channel(inbox, secret="HOOK_KEY"), {})
    with pytest.raises(ProviderError, match="no channel is named"):
        await notify.tell(TOLD, [], {})
    assert inbox.got == []
