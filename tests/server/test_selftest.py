"""Do the safeguards' own tests work, and does each of them notice when its safeguard does not?"""

from pathlib import Path

import pytest

from fake_models import fake_models
from gateways import running
from veilig.app import selftest
from veilig.monitor.stream import StreamWatch, ToolCall
from veilig.monitor.stream_messages import MessagesWatch

pytestmark = pytest.mark.outside_gate


@pytest.mark.parametrize("surface", ["responses", "chat", "messages"])
async def test_a_watch_that_lets_a_call_through_closes_the_class_within_one_test(
    tmp_path: Path, surface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blind(MessagesWatch if surface == "messages" else StreamWatch):  # type: ignore[misc]
        def _check(self, call: ToolCall) -> None:
            del call

    made, _ = selftest.STREAMS[surface]
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        bench.vet("verified")
        bench.service.try_safeguards()
        assert all(bench.service.working.values()), bench.service.working
        assert (await bench.say(model="cyber")).error["code"] == "no_grant"
        monkeypatch.setitem(selftest.STREAMS, surface, (made, Blind))
        bench.service.try_safeguards()
        reply = await bench.say(model="cyber")
        assert (reply.status, reply.error["code"]) == (503, "safeguard_unavailable")
        monkeypatch.undo()
        bench.service.try_safeguards()
        await bench.desk.flush()
        told = [(e["safeguard"], e["passed"]) for e in bench.events("safeguard.tested")]
        assert told[-2:] == [("tool_calls_held", False), ("tool_calls_held", True)]
        assert "came out wrong" in bench.events("safeguard.tested")[-2]["detail"]
