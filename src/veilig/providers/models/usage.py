"""How many tokens did an ask take, and what does that cost?

The model library reads both out of a table of every model of every vendor, which takes 77 MB of memory and
0.3 s (measured, genai-prices 0.2.3). Token counts need none of it, and of the prices a short list is enough.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from veilig.core.canonical import JSON

if TYPE_CHECKING:
    from pydantic_ai.usage import RequestUsage

PRICED_ON = "2026-11-21"  # from genai-prices 0.2.3; tests compare every row with the installed version


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens; a request of more than `long_from` tokens costs the factors times it."""

    read: float
    cached: float
    written: float
    output: float
    long_from: int = 0
    long_read: float = 1.0
    long_output: float = 1.0


def _openai(read: float, cached: float, output: float, written: float = 0.0, *, long: bool = True) -> Price:
    if not long:
        return Price(read, cached, written or read, output)
    return Price(read, cached, written or read, output, 272_000, 2.0, 1.5)


def _anthropic(read: float, cached: float, output: float) -> Price:
    return Price(read, cached, read * 1.25, output)


PRICES = {
    "gpt-4.1": _openai(2, 0.5, 8, long=False),
    "gpt-4.1-mini": _openai(0.4, 0.1, 1.6, long=False),
    "gpt-5": _openai(1.25, 0.125, 10, long=False),
    "gpt-5-mini": _openai(0.25, 0.025, 2, long=False),
    "gpt-5.1": _openai(1.25, 0.125, 10, long=False),
    "gpt-5.2": _openai(1.75, 0.175, 14, long=False),
    "gpt-5.3-codex": _openai(1.75, 0.175, 14, long=False),
    "gpt-5.4": _openai(2.5, 0.25, 15),
    "gpt-5.4-mini": _openai(0.75, 0.075, 4.5, long=False),
    "gpt-5.5": _openai(5, 0.5, 30),
    "gpt-5.5-cyber": _openai(12.5, 1.25, 75, long=False),
    "gpt-5.6-cyber": _openai(12.5, 1.25, 75, 15.625, long=False),
    "gpt-5.6-luna": _openai(0.2, 0.02, 1.2, 0.25),
    "gpt-5.6-sol": _openai(4, 0.4, 20, 5),
    "gpt-5.6-terra": _openai(2, 0.2, 12, 2.5),
    "gpt-6-astra": _openai(10, 1, 50, 12.5),
    "gpt-6-cyber": _openai(20, 2, 100, 25, long=False),
    "gpt-6-luna": _openai(0.1, 0.01, 0.5, 0.125),
    "gpt-6-sol": _openai(2, 0.2, 10, 2.5),
    "gpt-6.1-sol": _openai(2, 0.1, 10, 2.5),
    "gpt-6.1-terra": _openai(1, 0.05, 5, 1.25),
    "claude-fable-5": _anthropic(10, 1, 50),
    "claude-fable-5-1": _anthropic(10, 0.25, 50),
    "claude-fable-5-2": _anthropic(8, 0.2, 40),
    "claude-haiku-4-5": _anthropic(1, 0.1, 5),
    "claude-haiku-5-5": Price(0.1, 0.01, 0.125, 0.5, 100_000, 5.0, 5.0),
    "claude-mythos-5-2": _anthropic(8, 0.2, 40),
    "claude-opus-4-8": _anthropic(5, 0.5, 25),
    "claude-opus-5": _anthropic(5, 0.5, 25),
    "claude-opus-5-5": _anthropic(4, 0.2, 20),
    "claude-sonnet-4-6": _anthropic(3, 0.3, 15),
    "claude-sonnet-5": _anthropic(2, 0.2, 10),
    "claude-sonnet-5-5": _anthropic(2, 0.1, 10),
    "gemini-2.5-flash": Price(0.3, 0.03, 0.3, 2.5),
    "gemini-2.5-pro": Price(1.25, 0.125, 1.25, 10, 200_000, 2.0, 1.5),
    "gemini-3.1-flash-lite": Price(0.25, 0.025, 0.25, 1.5),
    "gemini-3.1-pro-preview": Price(2, 0.2, 2, 12, 200_000, 2.0, 1.5),
    "gemini-3.5-flash": Price(1.5, 0.15, 1.5, 9),
}
_DATED = re.compile(r"-(latest|\d{8}|\d{4}-\d{2}-\d{2})$")


def cost_usd(model: str, usage: "RequestUsage") -> float | None:
    """What the vendor's list price makes of `usage`; None when `model` is not on the list."""
    price = PRICES.get(_DATED.sub("", model))
    if price is None:
        return None
    long = bool(price.long_from) and usage.input_tokens > price.long_from
    fresh = max(0, usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens)
    read = (
        fresh * price.read + usage.cache_read_tokens * price.cached + usage.cache_write_tokens * price.written
    )
    output = usage.output_tokens * price.output
    if long:
        read, output = read * price.long_read, output * price.long_output
    return round((read + output) / 1e6, 8)


def told(model: str, usage: "RequestUsage", *, priced: bool) -> dict[str, JSON]:
    """The facts an outcome carries: tokens in (cached ones too), cached, out, and the cost where known."""
    cost = cost_usd(model, usage) if priced else None
    return {
        "tokens_in": usage.input_tokens,
        "tokens_cached": usage.cache_read_tokens,
        "tokens_out": usage.output_tokens,
        "tokens": usage.input_tokens + usage.output_tokens,
        "cost_usd": cost or 0.0,
        "price_known": cost is not None,
    }


def read_usage_without_prices() -> None:
    """Let the model library read token counts without loading its table of prices (see above)."""
    from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot
    from genai_prices.types import Provider, UsageExtractor, UsageExtractorMapping

    def reader(flavor: str, root: str, *fields: tuple[str | list[str], str]) -> UsageExtractor:
        mappings = [UsageExtractorMapping(path, name, required=False) for path, name in fields]
        return UsageExtractor(root, mappings, flavor)

    into, out, cached, written = "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"
    chat = reader(
        "chat",
        "usage",
        ("prompt_tokens", into),
        ("completion_tokens", out),
        (["prompt_tokens_details", "cached_tokens"], cached),
    )
    responses = reader(
        "responses",
        "usage",
        ("input_tokens", into),
        ("output_tokens", out),
        (["input_tokens_details", "cached_tokens"], cached),
        (["input_tokens_details", "cache_write_tokens"], written),
    )
    anthropic = reader(
        "default",
        "usage",
        ("input_tokens", into),
        ("cache_creation_input_tokens", into),
        ("cache_read_input_tokens", into),
        ("cache_read_input_tokens", cached),
        ("cache_creation_input_tokens", written),
        ("output_tokens", out),
    )
    google = reader(
        "default",
        "usageMetadata",
        ("promptTokenCount", into),
        ("toolUsePromptTokenCount", into),
        ("cachedContentTokenCount", cached),
        ("candidatesTokenCount", out),
        ("thoughtsTokenCount", out),
    )
    nowhere = r"(?!)"  # no address names them: they are looked up by id
    set_custom_snapshot(
        DataSnapshot(
            [
                Provider("openai", "OpenAI", nowhere, extractors=[chat, responses]),
                Provider("anthropic", "Anthropic", nowhere, extractors=[anthropic]),
                Provider("google", "Google", nowhere, extractors=[google]),
            ],
            from_auto_update=False,
        )
    )
