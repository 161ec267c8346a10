"""How are people told of an incident? One bounded POST to a channel that the operator's policy names.

Signed so that the receiver can tell it from anybody's: HMAC-SHA256 with the channel's key over the time, a
dot and the body. What is sent is text for people; the answer is not read beyond its status.
"""

import asyncio
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any

from veilig.core.action import Notify
from veilig.core.errors import ProviderError
from veilig.core.policy_model import Channel

TOTAL_S = 4.5  # healing waits for it
TRIES = 3
TRY_S = 1.4
SIGNATURE = "X-Veilig-Signature"
TIMESTAMP = "X-Veilig-Timestamp"
TEXT_CHARS = 3000  # what Slack shows of one message


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A message goes where the policy says, and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def message(action: Notify, channel: Channel, at_s: float) -> bytes:
    """The body, in the channel's form."""
    text = action.text[:TEXT_CHARS]
    if channel.form == "slack":
        return json.dumps({"text": text}).encode()
    return json.dumps({"incident": action.incident, "text": text, "at_s": round(at_s), "v": 1}).encode()


def headers(body: bytes, key: str, at_s: float) -> dict[str, str]:
    """Content type, time and, with a key, the signature."""
    found = {"Content-Type": "application/json", TIMESTAMP: str(round(at_s)), "User-Agent": "veilig"}
    if key:
        signed = f"{round(at_s)}.".encode() + body
        found[SIGNATURE] = "sha256=" + hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()
    return found


async def tell(action: Notify, channels: Sequence[Channel], environment: Mapping[str, str]) -> str:
    """Send it; a line for people. Raises ProviderError when nobody took it within TOTAL_S."""
    channel = next((one for one in channels if one.name == action.channel), None)
    if channel is None:
        raise ProviderError(f"no channel is named {action.channel!r}", why="the policy names none such")
    key = environment.get(channel.secret, "") if channel.secret else ""
    if channel.secret and not key:
        raise ProviderError(
            f"channel {channel.name!r} cannot sign", why=f"the environment has no {channel.secret}",
            fix="set it, or remove `secret` from the channel",
        )  # fmt: skip
    until, why = time.monotonic() + TOTAL_S, ""
    for number in range(TRIES):
        left_s = until - time.monotonic()
        if left_s <= 0.1:
            break
        at_s = time.time()
        body = message(action, channel, at_s)
        request = urllib.request.Request(channel.url, body, headers(body, key, at_s), method="POST")  # noqa: S310  # the policy takes http and https only
        why = await asyncio.to_thread(_post, request, min(TRY_S, left_s))
        if not why:
            return f"told through {channel.name}" + (f" at try {number + 1}" if number else "")
        await asyncio.sleep(0.1)
    raise ProviderError(f"nobody was told through {channel.name!r}", why=why)


def _post(request: urllib.request.Request, timeout_s: float) -> str:
    """Why it was not taken; "" when it was."""
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout_s) as reply:
            return "" if 200 <= reply.status < 300 else f"status {reply.status}"
    except urllib.error.HTTPError as error:
        error.close()
        return f"status {error.code}"
    except (OSError, HTTPException, ValueError) as error:
        return str(error)
