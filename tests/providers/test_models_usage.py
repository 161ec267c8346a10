"""Do our prices agree with the library's table, and are they counted right?"""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.usage import RequestUsage

from veilig.providers.models.usage import PRICES, cost_usd

_TABLE = """
import datetime, json, sys
from genai_prices import Usage, calc_price
VENDORS = {"gp": "openai", "cl": "anthropic", "ge": "google"}
day = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)
names = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
found = {}
for name, many in json.loads(sys.argv[1]):
    usages = [Usage(**dict(zip(names, tokens))) for tokens in many]
    vendor = VENDORS[name[:2]]
    prices = [calc_price(u, name, provider_id=vendor, genai_request_timestamp=day) for u in usages]
    found[name] = [float(price.total_price) for price in prices]
print(json.dumps(found))
"""
CASES = [(1000, 0, 0, 0), (1000, 400, 0, 50), (90_000, 0, 0, 1000), (300_000, 100_000, 0, 1000)]


@pytest.fixture(scope="module")
def library() -> dict[str, list[float]]:
    """What the library's own table says: in another process, since it is replaced in this one."""
    asked = json.dumps([[name, CASES] for name in PRICES])
    done = subprocess.run([sys.executable, "-c", _TABLE, asked], capture_output=True, text=True, check=True)
    found: Any = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", PRICES)
def test_a_price_is_the_one_of_the_library(name: str, library: dict[str, list[float]]) -> None:
    ours = [
        cost_usd(
            name,
            RequestUsage(input_tokens=i, cache_read_tokens=c, cache_write_tokens=w, output_tokens=o),
        )
        for i, c, w, o in CASES
    ]
    assert ours == pytest.approx(library[name])


@pytest.mark.parametrize("name", ["gpt-5.5-2026-04-01", "gpt-5.5-latest", "claude-opus-5-20261001"])
def test_a_dated_name_costs_what_its_family_costs(name: str) -> None:
    assert cost_usd(name, RequestUsage(input_tokens=1_000_000 // 4)) is not None


@pytest.mark.parametrize("name", ["gpt-5.55", "gpt-9", "local", "", "gpt-5.5-unknown"])
def test_an_unknown_model_has_no_price(name: str) -> None:
    assert cost_usd(name, RequestUsage(input_tokens=5)) is None


@given(st.sampled_from(sorted(PRICES)), *(st.integers(0, 10**6) for _ in range(4)))
def test_more_tokens_never_cost_less(name: str, read: int, cached: int, output: int, more: int) -> None:
    def cost(given: int, out: int) -> float:
        usage = RequestUsage(input_tokens=given, cache_read_tokens=min(cached, read), output_tokens=out)
        found = cost_usd(name, usage)
        assert found is not None
        return found

    assert 0 <= cost(read, output) <= cost(read + more, output) <= cost(read + more, output + more)
