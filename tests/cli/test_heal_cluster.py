"""A deploy whose pods never get ready goes back where the policy grants it: real healer, broker and law.

The cluster is a STAND-IN (support/cluster.py).
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from cluster import Cluster
from fleet import until
from terminal import Terminal

pytestmark = pytest.mark.outside_gate

POLICY = """\
mode: act
autonomous_healing:
  enabled: true
  scope:
    services:
      - {name: "web", actions: [restart, rollback], max_restarts_per_hour: 3}
"""


@pytest.fixture
def cluster(veilig: Terminal) -> Iterator[Cluster]:
    made = Cluster(veilig.folder)
    made.deploy("web", "web:1")
    made.deploy("worker", "worker:1")
    yield made
    made.close()


def test_a_bad_deploy_goes_back_to_what_served_and_the_other_deployment_is_left_alone(
    veilig: Terminal, cluster: Cluster
) -> None:
    names = ("web", "worker")
    told = {
        name: {"provider": "kubernetes", "unit": f"shop/{name}?context=look", "writer": "context=act"}
        for name in names
    }
    (veilig.folder / "services.json").write_text(json.dumps(told))
    (veilig.folder / "veilig.yaml").write_text(POLICY)
    log = veilig.folder / "healer.log"
    words = ("heal", "--watch", "--services", "services.json", "--policy", "veilig.yaml")
    with log.open("wb") as out:
        healer = subprocess.Popen(
            veilig.argv(*words), cwd=veilig.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            env=veilig.environment() | {"KUBECONFIG": str(cluster.config)}, start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: "services 2 of" in log.read_text() and "read_write" in log.read_text(), 90)
        until(lambda: _healthy(veilig, "web"), 90)
        cluster.deploy("web", "web:2-bad")
        until(lambda: _image(cluster, "web") == "web:1", 90)
        until(lambda: "well  after" in log.read_text(), 90)
    finally:
        print(log.read_text())  # of a test that failed
        os.killpg(healer.pid, signal.SIGKILL)
        healer.wait()
    assert "bad deploy" in log.read_text()
    done = [token for token, dry in cluster.patches if not dry]
    assert done == ["t-act"]  # one rollback, and nothing of the other


def _healthy(veilig: Terminal, name: str) -> bool:
    rows = veilig("heal", "status", "--json", "--policy", "veilig.yaml").json["services"]
    return any(row["service"] == name and row["state"] == "healthy" for row in rows)


def _image(cluster: Cluster, name: str) -> str:
    return str(cluster.deployments[name]["spec"]["template"]["spec"]["containers"][0]["image"])
