"""Who outside is told that an advisory concerns repositories? One signed message for each bump."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import aiohttp
import orjson

from veilig.campaign.sboms import Alert
from veilig.server.webhooks import TIMEOUT_S, Target, signed

REPOSITORIES_MAX: Final = 1000  # in one message; the count says how many there are
TRIES: Final = 2


async def tell(target: Target, groups: Sequence[Sequence[Alert]]) -> list[bool]:
    """For each group of alerts (one advisory, package and version) whether its message was taken.

    A message may come twice when we die between sending and writing that down: `id` is the same then.
    """
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as http:
        return [await _told(http, target, group) for group in groups]


async def _told(http: aiohttp.ClientSession, target: Target, group: Sequence[Alert]) -> bool:
    first = group[0]
    named = [{"repository": a.repository, "place": a.place, "ref": a.ref} for a in group[:REPOSITORIES_MAX]]
    body = orjson.dumps(
        {
            "id": f"{first.advisory}/{first.package}/{first.version}/{first.id}",
            "kind": "advisory.concerns",
            "advisory": first.advisory,
            "summary": first.summary,
            "package": first.package,
            "version": first.version,
            "proposed": first.clean,
            "count": len(group),
            "repositories": named,
        }
    )
    for attempt in range(TRIES):
        if attempt:
            await asyncio.sleep(1.0)
        headers = {"Content-Type": "application/json", "User-Agent": "veilig"}
        if target.secret:
            headers["X-Veilig-Signature"] = signed(target.secret, int(time.time()), body)
        try:
            async with http.post(target.url, data=body, headers=headers, allow_redirects=False) as answer:
                if answer.status < 300:
                    return True
        except (aiohttp.ClientError, TimeoutError):
            continue
    return False
