"""Which upstream gets a request, and what when it fails? Weights, fail-over, a breaker per upstream.

An upstream's `api` says what it is: which of our APIs it speaks itself, what its key travels in, and how it
calls the bound of an answer. The rest is translated (server/dialects).
"""

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from veilig.core.errors import UsageError
from veilig.core.policy_safeguards import ServedModel, UpstreamRule
from veilig.server.dialects.translate import Speech

FAILURES_MAX: Final = 5  # in a row, then it rests
REST_S: Final = 10.0  # before one request tries again
# The upstream did not begin to answer: another may. 500 is not among them: the request may be what breaks it.
# 529: overloaded, as Anthropic says it. 401: our key there is wrong, which is no fault of who asks.
PASSING: Final = frozenset({401, 429, 502, 503, 504, 529})


@dataclass(frozen=True, slots=True)
class Flavour:
    """What one kind of upstream speaks. native: the surfaces whose bytes go on as they came."""

    native: frozenset[str]
    speech: Speech = Speech.CHAT
    key: str = "authorization"
    bound: str = "max_tokens"


OPENAI: Final = frozenset({"chat", "responses", "embeddings"})
# Their own Responses API is young where it exists: it knows fewer kinds of tools than ours does on the way to
# chat. `api: openai` passes it through all the same.
OPEN: Final = Flavour(frozenset({"chat", "embeddings"}))
FLAVOURS: Final = {
    "openai": Flavour(OPENAI, bound="max_completion_tokens"),
    "azure": Flavour(OPENAI, key="api-key", bound="max_completion_tokens"),
    "anthropic": Flavour(frozenset({"messages"}), Speech.MESSAGES, "x-api-key"),
    "vllm": OPEN,
    "sglang": OPEN,
    "llamacpp": OPEN,
    "ollama": OPEN,
}


@dataclass(slots=True)
class Upstream:
    """One server of models and how it has been doing."""

    rule: UpstreamRule
    key: str
    failures: int = 0
    rests_until_s: float = 0.0
    requests: int = 0
    failed: int = 0
    flavour: Flavour = field(init=False)
    _base: str = field(init=False)
    _names: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.flavour = FLAVOURS[self.rule.api]
        self._base = self.rule.url.rstrip("/")
        self._names = dict(self.rule.renames)

    @property
    def name(self) -> str:
        """As the policy calls it."""
        return self.rule.name

    def url(self, path: str) -> str:
        """Where `path` (after /v1) is there."""
        return self._base + path

    def headers(self) -> dict[str, str]:
        """How it is told who we are."""
        if not self.key:
            return {}
        name = self.flavour.key
        return {name: f"Bearer {self.key}" if name == "authorization" else self.key}

    def calls(self, model: str) -> str:
        """How this one calls a model."""
        return self._names.get(model, model)

    def rests(self, now_s: float) -> bool:
        """Did it fail too often just now?"""
        return now_s < self.rests_until_s

    def went(self, well: bool, now_s: float) -> None:
        """Count one attempt; the first after a rest decides whether it rests again."""
        self.requests += 1
        if well:
            self.failures = 0
            return
        self.failed += 1
        self.failures += 1
        if self.failures >= FAILURES_MAX:
            self.rests_until_s = now_s + REST_S


class Pool:
    """All upstreams of the policy. Raises UsageError when one's key is not in the environment."""

    def __init__(self, rules: Sequence[UpstreamRule], environment: dict[str, str] | None = None) -> None:
        known = dict(os.environ) if environment is None else environment
        self.upstreams = [Upstream(rule, _key(rule, known)) for rule in rules]
        self._dice = random.Random()

    def order(self, model: ServedModel, surface: str = "", now_s: float | None = None) -> list[Upstream]:
        """In which order to try them: by lot, with their weights; resting ones and weight 0 last.

        Embeddings go only to who makes them; where nobody does, the first says so.
        """
        now_s = time.monotonic() if now_s is None else now_s
        fit = [u for u in self.upstreams if not model.upstreams or u.name in model.upstreams]
        if surface == "embeddings":  # which nobody translates
            fit = [u for u in fit if surface in u.flavour.native] or fit
        if len(fit) < 2:
            return fit
        drawn = {
            id(u): self._dice.random() ** (1 / u.rule.weight) if u.rule.weight else 0.0 for u in fit
        }  # weighted order without replacement (Efraimidis and Spirakis, 2006)
        return sorted(fit, key=lambda u: (u.rests(now_s), -drawn[id(u)]))


def _key(rule: UpstreamRule, environment: dict[str, str]) -> str:
    if not rule.key_env:
        return ""
    if not (key := environment.get(rule.key_env, "")):
        raise UsageError(
            f"upstream {rule.name!r} needs a key and ${rule.key_env} is not set",
            why="without it every request there would be refused",
            fix=f"export {rule.key_env}, or leave key_env out where no key is needed",
        )
    return key
