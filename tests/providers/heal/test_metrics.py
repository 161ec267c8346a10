"""Do metrics leave, and alerts and queries arrive, as the real Prometheus and Alertmanager speak them?"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from veilig.core.clock import SystemClock
from veilig.core.errors import ProviderError, UsageError
from veilig.core.service import Inventory, MetricBound, Service
from veilig.core.signal import Answer, DependencySeen, Disk, LogHit, LogKind, Run, Sample
from veilig.providers.heal.alerts import ALERTS_MAX, FORGET_S, Alerts, receiver
from veilig.providers.heal.metrics import endpoint, text
from veilig.providers.heal.prometheus import Queries, crossed, fingerprint, instant
from veilig.providers.heal.sampler import Sampler
from watched import Fleet, free_port

SAMPLE = Sample(
    "web", 10.0, run=Run.RUNNING, incarnation="7:1", up_s=3.5, answer=Answer.ERROR, status=503, fails=2,
    latency_ms=12.5, starts=(1.0, 2.0), own_starts=(2.0,), rss_bytes=1 << 20, cpu=0.25, fds=7, threads=3,
    backlog=1, log=(LogHit(LogKind.PORT, 'in "use"', 4),), needs=(DependencySeen("db", False),),
    disks=(Disk('/var/"x"\\y', 5, 10),), good="d", alerts=("a1",),
)  # fmt: skip
INVENTORY = Inventory("/s.json", "", (Service("web", port=8000), Service("db", port=5432)))
TOKEN = "let-" + "me-in"


def program(name: str) -> str:
    """A Debian program, on the PATH or unpacked below VEILIG_TEST_BIN; a missing one is a loud skip."""
    found = shutil.which(name, path=f"{os.environ.get('VEILIG_TEST_BIN', '')}:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install prometheus prometheus-alertmanager")
    return found


async def ask(port: int, method: str, path: str, body: bytes = b"", *lines: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *lines]
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
    whole = (await reader.read()).decode()
    writer.close()
    return int(whole.split(" ")[1]), whole.partition("\r\n\r\n")[2]


async def eventually(what: Callable[[], Awaitable[bool]], within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not await what():
            await asyncio.sleep(0.1)


def notification(*alerts: tuple[str, str, dict[str, Any]]) -> bytes:
    rows = [{"fingerprint": key, "status": status, "labels": labels} for key, status, labels in alerts]
    return json.dumps({"version": "4", "alerts": rows}).encode()


def test_the_text_is_open_metrics() -> None:
    said = text({"web": SAMPLE, "db": Sample("db", 11.0)}, 12.0)
    assert 'veilig_service_run{service="web",veilig_service_run="running"} 1\n' in said
    assert 'veilig_service_run{service="db",veilig_service_run="unknown"} 1\n' in said
    assert 'veilig_service_probe_latency_seconds{service="web"} 0.0125\n' in said
    assert 'veilig_service_starts_last_hour{service="web",by="others"} 1\n' in said
    assert 'veilig_service_disk_free_bytes{service="web",path="/var/\\"x\\"\\\\y"} 5\n' in said
    assert 'veilig_service_dependency_up{service="web",name="db",how="declared"} 0\n' in said
    assert said.endswith("veilig_look_age_seconds 1\n# EOF\n")
    families = [line.split()[2] for line in said.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families))


def test_promtool_takes_the_text() -> None:
    said = text({"web": SAMPLE}, 12.0).replace(" stateset\n", " gauge\n")  # its parser is of the older format
    lines = [line for line in said.splitlines() if not line.startswith(("# UNIT", "# EOF"))]
    command = [program("promtool"), "check", "metrics"]
    done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
    assert "error while linting" not in done.stderr + done.stdout
    assert "parse" not in done.stderr


async def test_the_endpoint_serves_this_machine_and_nothing_else() -> None:
    port = free_port()
    server = await endpoint(f"127.0.0.1:{port}", lambda: {"web": SAMPLE}, lambda: 12.0)
    try:
        status, body = await ask(port, "GET", "/metrics")
        assert (status, body) == (200, text({"web": SAMPLE}, 12.0))
        assert (await ask(port, "GET", "/other"))[0] == 404
        assert (await ask(port, "DELETE", "/metrics"))[0] == 405
        assert (await ask(port, "GET", "/metrics", b"x"))[0] == 413
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"nonsense\r\n\r\n")
        assert b" 400 " in await reader.read()
        writer.close()
    finally:
        server.close()
    with pytest.raises(UsageError, match="this machine only"):
        await endpoint("0.0.0.0:1", dict, lambda: 0.0)
    with pytest.raises(UsageError, match="no address"):
        await endpoint("9468", dict, lambda: 0.0)


async def test_alerts_are_kept_by_fingerprint_for_the_service_they_name() -> None:
    now, news = [0.0], list[int]()
    alerts = Alerts(INVENTORY, lambda: now[0], lambda: news.append(1))
    assert (
        alerts.take(notification(("a1", "firing", {"service": "web"}), ("a2", "firing", {"job": "db"}))) == 2
    )
    assert alerts.take(notification(("a3", "firing", {"instance": "localhost:8000"}))) == 1
    assert (
        alerts.take(notification(("a4", "firing", {"service": "web-2"}), ("a5", "firing", {"job": "wEb"})))
        == 0
    )
    assert (
        alerts.take(notification(("a6", "firing", {"instance": "10.0.0.1:8000", "text": "restart web"}))) == 0
    )
    assert (alerts.of("web"), alerts.of("db"), alerts.dropped) == (("a1", "a3"), ("a2",), 3)
    alerts.take(notification(("a1", "firing", {"service": "web"})))
    assert len(news) == 2  # what is known is no news
    alerts.take(notification(("a1", "resolved", {"service": "web"})))
    assert alerts.of("web") == ("a3",)
    now[0] = FORGET_S
    assert alerts.of("web") == ()


def test_alerts_are_bounded() -> None:
    alerts = Alerts(INVENTORY, lambda: 0.0)
    for start in (0, ALERTS_MAX - 1):
        alerts.take(
            notification(*((f"f{start + n}", "firing", {"service": "web"}) for n in range(ALERTS_MAX)))
        )
    assert len(alerts.of("web")) == ALERTS_MAX
    assert alerts.dropped == ALERTS_MAX - 1


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"alerts": 1}', b'{"alerts": [1]}', b"[" * 100_000, b"\xff",
        notification(("a b", "firing", {})), notification(("a", "on", {})),
        notification(("a" * 65, "firing", {})),
        b'{"alerts": [{"fingerprint": "a", "status": "firing", "labels": 3}]}',
    ],
    ids=lambda body: str(body[:20]),
)  # fmt: skip
def test_what_is_no_notification_is_refused_and_changes_nothing(body: bytes) -> None:
    alerts = Alerts(INVENTORY, lambda: 0.0)
    alerts.take(notification(("a1", "firing", {"service": "web"})))
    with pytest.raises(UsageError):
        alerts.take(body)
    assert alerts.of("web") == ("a1",)


async def test_the_receiver_asks_for_its_token() -> None:
    alerts, port = Alerts(INVENTORY, lambda: 0.0), free_port()
    server = await receiver(f"127.0.0.1:{port}", alerts, token=TOKEN)
    body = notification(("a1", "firing", {"service": "web"}))
    try:
        assert (await ask(port, "POST", "/alerts", body))[0] == 401
        assert (await ask(port, "POST", "/alerts", body, "Authorization: Bearer nothing"))[0] == 401
        assert alerts.of("web") == ()
        assert (await ask(port, "POST", "/alerts", body, f"Authorization: Bearer {TOKEN}")) == (200, "1\n")
        assert (await ask(port, "POST", "/alerts", b"{}", f"Authorization: Bearer {TOKEN}"))[0] == 400
        assert (await ask(port, "GET", "/alerts"))[0] == 405
        assert alerts.of("web") == ("a1",)
    finally:
        server.close()
    with pytest.raises(UsageError, match="need a token"):
        await receiver("0.0.0.0:1", alerts)


def asking(*bounds: MetricBound) -> Queries:
    return Queries(Inventory("/s.json", "", (Service("web", promql=bounds), Service("db"))))


def test_a_query_turns_at_its_bound() -> None:
    above, below = MetricBound("up", above=1.0), MetricBound("up", below=1.0)
    assert [crossed(above, values) for values in ([1.0], [0.5, 1.1], [])] == [False, True, False]
    assert [crossed(below, values) for values in ([1.0], [0.9], [float("nan")])] == [False, True, False]
    keys = {fingerprint("web", above), fingerprint("web", below), fingerprint("db", above)}
    assert len(keys) == 3


async def test_a_server_that_cannot_be_asked_is_a_note_and_no_alert() -> None:
    queries = asking(MetricBound("up", below=1.0, server=f"http://127.0.0.1:{free_port()}"))
    await queries.ask()
    assert queries.of("web") == ()
    assert "cannot be asked" in next(iter(queries.notes.values()))


async def test_an_alert_reaches_the_sample_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("veilig.providers.heal.sampler.CALM_S", 3600.0)  # a look at once, or none
    fleet = Fleet(tmp_path, "web")
    fleet.start("web")
    hook, clock = free_port(), SystemClock()
    alerts = Alerts(fleet.inventory, clock.boottime_s, lambda: sampler.look_again())
    sampler = Sampler(fleet.inventory, fleet.look, clock, alerts=alerts.of)
    server = await receiver(f"127.0.0.1:{hook}", alerts)
    try:
        await sampler.start()
        await sampler.ready.wait()
        await ask(hook, "POST", "/alerts", notification(("a1", "firing", {"service": "web"})))
        async with asyncio.timeout(60):
            while sampler.samples["web"].alerts != ("a1",):
                await asyncio.sleep(0.02)
    finally:
        server.close()
        await sampler.close()
        fleet.kill_all()


async def test_real_prometheus_and_alertmanager(tmp_path: Path) -> None:
    """Prometheus scrapes our metrics, its rule fires, Alertmanager sends it back; a query sees it as well."""
    prometheus, manager = program("prometheus"), program("prometheus-alertmanager")
    metrics, hook, own, am = (free_port() for _ in range(4))
    samples = {"web": SAMPLE}
    news = asyncio.Event()
    alerts = Alerts(INVENTORY, lambda: 0.0, news.set)
    (tmp_path / "rules.yml").write_text(
        "groups: [{name: g, rules: [{alert: Failing, expr: veilig_service_failing > 0, for: 0s}]}]"
    )
    (tmp_path / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{tmp_path}/rules.yml]\n"
        f"alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{am}']}}]}}]}}\n"
        f"scrape_configs: [{{job_name: veilig, static_configs: [{{targets: ['127.0.0.1:{metrics}']}}]}}]\n"
    )
    (tmp_path / "am.yml").write_text(
        f"route: {{receiver: v, group_wait: 0s, group_interval: 1s}}\n"
        f"receivers: [{{name: v, webhook_configs: [{{url: 'http://127.0.0.1:{hook}/alerts',"
        f" http_config: {{authorization: {{credentials: {TOKEN}}}}}}}]}}]\n"
    )
    servers = [
        await endpoint(f"127.0.0.1:{metrics}", lambda: samples, lambda: 12.0),
        await receiver(f"127.0.0.1:{hook}", alerts, token=TOKEN),
    ]
    children = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in (
            [prometheus, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/p",
             f"--web.listen-address=127.0.0.1:{own}"],
            [manager, f"--config.file={tmp_path}/am.yml", f"--storage.path={tmp_path}/a",
             f"--web.listen-address=127.0.0.1:{am}", "--cluster.listen-address="],
        )
    ]  # fmt: skip
    try:
        base = f"http://127.0.0.1:{own}"
        async with asyncio.timeout(60):
            await news.wait()
        (fingerprint,) = alerts.of("web")
        assert len(fingerprint) == 16
        queries = asking(MetricBound("veilig_service_failing", above=0.0, server=base))
        await queries.ask()
        assert len(queries.of("web")) == 1
        assert await instant(base, "1 + 1") == (2.0,)
        with pytest.raises(ProviderError, match="not answered"):
            await instant(base, "sum(")
        samples["web"] = replace(SAMPLE, answer=Answer.OK)
        await eventually(lambda: _gone(alerts, queries), 60)
    finally:
        for child in children:
            child.kill()
            child.wait()
        for server in servers:
            server.close()


async def _gone(alerts: Alerts, queries: Queries) -> bool:
    await queries.ask()
    return alerts.of("web") == () and queries.of("web") == ()
