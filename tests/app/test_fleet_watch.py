"""What operators see of a fleet: metrics that Prometheus' own parser takes, rules, a dashboard, traces."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector import attributes, collector
from postgres import NoPostgres
from server_ledger import Server
from terminal import Terminal
from veilig.app import fleet
from veilig.app.fleet_worker import Plan, Worker
from veilig.app.wiring import Setting
from veilig.server.metrics import HELP, Metrics
from veilig.server.worker_status import Status

pytestmark = pytest.mark.outside_gate

DEPLOY = Path(__file__).parents[2] / "deploy"


def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("PROMTOOL WAS NOT ASKED: apt-get install prometheus")
    return found


def families(text: str) -> set[str]:
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}


def worker_text() -> str:
    worker = Worker(Plan("postgresql://nowhere/x", Setting(), slots=3))
    worker.seen.taken = 12_345_678
    worker.seen.ended[("audit", "done")] = 2
    worker.seen.waited_s += [0.01, 3.0]
    worker._queue = {("audit", "queued"): (100_000, 12.5), ("fix", "held"): (1, 90_000.25)}
    return Status(worker).metrics()


def gateway_text() -> str:
    metrics = Metrics()
    for name, text in HELP.items():
        if name.endswith("_total") and not name.startswith(("worker_", "upstream_")):
            metrics.count(name, 1.5, text=text)
    metrics.duration.add(0.3)
    gauges = {'upstream_failed_total{upstream="a"}': 1.0, 'upstream_failed_total{upstream="b"}': 2.0}
    gauges |= {'upstream_requests_total{upstream="a"}': 1.0, "upstream_rests": 0.0, "ready": 1.0}
    return metrics.text(
        gauges | {'info{version="1"}': 1.0, "safeguard_works": 1.0, "requests_under_way": 3.0}
    )


@pytest.mark.parametrize("text", [worker_text(), gateway_text()], ids=["worker", "gateway"])
def test_the_parser_of_prometheus_takes_the_metrics_and_finds_nothing_to_say(text: str) -> None:
    said = subprocess.run([promtool(), "check", "metrics"], input=text, capture_output=True, text=True)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_every_family_says_what_it_is_and_a_large_count_stays_exact() -> None:
    text = worker_text()
    assert "veilig_worker_sessions_taken_total 12345678\n" in text
    assert 'veilig_queue_oldest_seconds{kind="fix",state="held"} 90000.25\n' in text
    for whole in (text, gateway_text()):
        assert len(families(whole)) == whole.count("# TYPE ") == whole.count("# HELP ")
    assert families(text) | families(gateway_text()) == {f"veilig_{name}" for name in HELP}


def test_the_rules_hold_and_are_about_metrics_that_exist() -> None:
    folder = DEPLOY / "prometheus"
    known = {f"veilig_{name}" for name in HELP}
    dashboard = json.loads((DEPLOY / "grafana" / "veilig.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked.append("\n".join(re.findall(r"expr:(.*?)\n\s+(?:for|labels):", rules_text(), re.DOTALL)))
    named = {re.sub("_bucket$", "", name) for text in asked for name in re.findall(r"veilig_\w+", text)}
    assert named <= known and len(named) > 15, named - known
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for words in (
        ["check", "rules", "veilig.rules.yaml"],
        ["test", "rules", "veilig.rules.test.yaml"],
        ["check", "config", "prometheus.yaml"],
    ):
        said = subprocess.run([promtool(), *words], cwd=folder, capture_output=True, text=True)
        assert said.returncode == 0, said.stdout + said.stderr


def rules_text() -> str:
    return (DEPLOY / "prometheus" / "veilig.rules.yaml").read_text()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    try:
        made = Server()
    except NoPostgres as error:
        pytest.skip(f"NO POSTGRESQL WAS TESTED: {error}")
    yield made
    made.close()


def test_a_session_of_the_queue_is_one_trace_and_the_depth_is_what_waits(
    server: Server, tmp_path: Path
) -> None:
    fleet.prepare(server.cluster.conninfo("boss", "fleet"), "worker")
    host = str(server.cluster.folder).replace("/", "%2F")
    url = f"postgresql://worker@{host}:{server.cluster.port}/fleet"
    place, veilig = str(server.address(server.org())), Terminal(tmp_path)
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "app.py").write_text("def f(request):\n    return eval(request.args['x'])\n")
    words = ("--database", url, "--json")
    session = veilig("queue", "put", "audit", str(tmp_path / "project"), *words).json["session"]
    fleet.enqueue_all(url, [fleet.Work("review")] * 3)
    with collector() as found:
        ended = veilig(
            "worker", "--database", url, "--store", str(tmp_path / "store"), "--kinds", "audit", "--drain",
            VEILIG_LEDGER=place, OTEL_EXPORTER_OTLP_ENDPOINT=found.url,
        )  # fmt: skip
    assert ended.code == 0, ended.err
    lines = [json.loads(line) for line in ended.err.splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines if line.get("session") == session] == [
        "session.taken",
        "session.left",
    ]
    (root,) = found.named("invoke_agent")
    assert attributes(root)["gen_ai.conversation.id"] == session
    assert attributes(root)["veilig.state"] == "done"
    acts = found.named("execute_tool")
    assert "execute_tool audit.scan" in {act.name for act in acts}
    assert {span.trace_id for span in found.spans} == {root.trace_id}

    from veilig.providers.fleet.queue import Queue

    async def depth() -> dict[tuple[str, str], tuple[int, float]]:
        async with Queue.open(url) as queue:
            return await queue.depth()

    [(key, (count, age_s))] = asyncio.run(depth()).items()
    assert (key, count) == (("review", "queued"), 3)
    assert 0 <= age_s < 3600
