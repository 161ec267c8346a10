"""Does a budget hold when the gateway is killed, and does a standing outlive the crash?"""

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest

from fake_models import fake_models
from served import Served, gateway_process

pytestmark = [pytest.mark.outside_gate, pytest.mark.slow, pytest.mark.faults]
BUDGET = 2000


def ask(served: Served, times: int) -> int:
    """How many of so many requests were served."""
    client = openai.OpenAI(base_url=served.url, api_key=served.key, max_retries=0)
    done = 0
    for _ in range(times):
        try:
            client.responses.create(model="m", input="hi", max_output_tokens=100)
            done += 1
        except openai.RateLimitError as error:
            assert "used up" in str(error)
    return done


async def test_a_killed_gateway_forgets_no_spending_and_no_standing(tmp_path: Path) -> None:
    """42 tokens a request: 47 fit into the budget; what a crash held on lease counts as spent."""
    async with fake_models() as fake:

        def drive() -> tuple[int, int, Any]:
            limit = ("access", "budget", "org:acme", "--per", "total", "--tokens", str(BUDGET))
            with gateway_process(tmp_path, fake.url, stop=False) as served:
                served.veilig(*limit)
                before = ask(served, 15)
                served.veilig("cases", "level", "org:acme", "warn", "--reason", "before the crash")
                served.process.kill()
                served.process.wait()
            with gateway_process(tmp_path, fake.url, known=served.key) as served:
                after = ask(served, 60)
                return before, after, served.veilig(*limit)

        before, after, spent = await asyncio.to_thread(drive)
    assert before == 15
    assert (15 + after) * 42 <= BUDGET
    assert after >= 20, "a crash costs one lease, not the rest of the budget"
    assert spent["spent_tokens"] <= BUDGET
    assert len(fake.requests) == 15 + after
