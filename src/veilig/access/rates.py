"""How fast may one key go? A token bucket per minute and what is under way.

A Rate is kept in memory by one process; several write its state down in turn (`app/speeds.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from veilig.core.policy_safeguards import TierLimits

MINUTE_S = 60.0
THROTTLED_SHARE = 0.1  # of the limits, at level throttle


@dataclass(slots=True)
class Bucket:
    """Fills evenly to `size` within a minute. left may be negative: a debt that time pays."""

    size: float
    left: float
    at_s: float

    def fill(self, now_s: float, size: float) -> None:
        """Bring it to `now_s` and to a size that may have changed; a clock that went back adds nothing."""
        if size != self.size:
            self.left = min(self.left, size) if size < self.size else self.left
            self.size = size
        if now_s > self.at_s:
            self.left = min(size, self.left + (now_s - self.at_s) * size / MINUTE_S)
            self.at_s = now_s

    def wait_s(self, wanted: float) -> float:
        """How long until `wanted` is there; 0 when it is."""
        if self.left >= wanted:
            return 0.0
        return (wanted - self.left) * MINUTE_S / self.size if self.size > 0 else MINUTE_S


class Rate:
    """One key's requests and tokens per minute, and its requests under way."""

    __slots__ = ("_requests", "_tokens", "under_way")

    def __init__(self, now_s: float, limits: TierLimits) -> None:
        requests, tokens = float(limits.requests_per_minute), float(limits.tokens_per_minute)
        self._requests = Bucket(requests, requests, now_s)
        self._tokens = Bucket(tokens, tokens, now_s)
        self.under_way = 0

    @classmethod
    def of_state(cls, state: Mapping[str, float], now_s: float, limits: TierLimits) -> Self:
        """What `state` was of; a key that nobody has used yet has all its limits."""
        made = cls(now_s, limits)
        for name, bucket in (("requests", made._requests), ("tokens", made._tokens)):
            if name in state:
                bucket.left, bucket.size = state[name], state[f"{name}_size"]
                bucket.at_s = state["at_s"]
        return made

    def state(self) -> dict[str, float]:
        """What another process goes on from. Both buckets are filled to the same moment by `enter`."""
        return {
            "requests": self._requests.left,
            "requests_size": self._requests.size,
            "tokens": self._tokens.left,
            "tokens_size": self._tokens.size,
            "at_s": min(self._requests.at_s, self._tokens.at_s),
        }

    def enter(self, now_s: float, limits: TierLimits, tokens: int) -> tuple[str, float]:
        """("", 0) and one more under way; or which limit says no, and seconds until it may not.

        tokens: at least what the request will read. Call `leave` for each one that entered.
        """
        requests, size = self._requests, self._tokens
        requests.fill(now_s, float(limits.requests_per_minute))
        size.fill(now_s, float(limits.tokens_per_minute))
        if self.under_way >= limits.concurrent:
            return f"{limits.concurrent} requests of this key are under way", 1.0
        if wait_s := requests.wait_s(1.0):
            return f"{limits.requests_per_minute} requests per minute", wait_s
        if wait_s := size.wait_s(min(float(tokens), size.size)):  # a large one may go when all is there
            return f"{limits.tokens_per_minute} tokens per minute", wait_s
        requests.left -= 1.0
        size.left -= tokens
        self.under_way += 1
        return "", 0.0

    def leave(self, more_tokens: int) -> None:
        """A request ended; more_tokens: what it used beyond what `enter` was told (may be negative)."""
        self.under_way -= 1
        self.used(more_tokens)

    def used(self, more_tokens: int) -> None:
        """Charge or give back tokens."""
        self._tokens.left = min(self._tokens.size, self._tokens.left - more_tokens)


def throttled(limits: TierLimits) -> TierLimits:
    """What is left of the limits at level throttle; never nothing."""
    return TierLimits(
        max(1, int(limits.requests_per_minute * THROTTLED_SHARE)),
        max(1, int(limits.tokens_per_minute * THROTTLED_SHARE)),
        1,
    )
