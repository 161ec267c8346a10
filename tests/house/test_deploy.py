"""Are the files of deploy/ what compose, Kubernetes and our own command line understand?"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart import Chart, unknown
from veilig.cli.main import build_parser
from veilig.core.policy import load

DEPLOY = Path(__file__).parents[2] / "deploy"
MODELS = {
    "Deployment": "V1Deployment",
    "Service": "V1Service",
    "ConfigMap": "V1ConfigMap",
    "PodDisruptionBudget": "V1PodDisruptionBudget",
    "HorizontalPodAutoscaler": "V2HorizontalPodAutoscaler",
    "NetworkPolicy": "V1NetworkPolicy",
}
FULL: dict[str, Any] = {
    "gateway": {"enabled": True, "secret": "upstreams"},
    "watch": {"enabled": True, "feed": "/feed", "webhook": "https://x.example/h"},
    "worker": {"autoscale": {"enabled": True}, "nodeSelector": {"veilig": "yes"}},
    "store": "s3://bucket/x",
    "storeSecret": "s3",
    "sources": {"claim": "sources"},
}


@pytest.mark.parametrize("values", [{}, FULL], ids=["as it is", "with everything"])
def test_the_chart_makes_objects_that_kubernetes_knows(values: dict[str, Any]) -> None:
    objects = Chart(DEPLOY / "helm" / "veilig", **values).objects()
    kinds = sorted(f"{one['kind']}/{one['metadata']['name']}" for one in objects)
    assert len(set(kinds)) == len(kinds) == (10 if values else 6), kinds
    for one in objects:
        assert unknown(one, MODELS[one["kind"]]) == [], one["metadata"]["name"]
    pods = {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "Deployment"}
    for name, spec in pods.items():
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        pod = spec["template"]["spec"]
        container = pod["containers"][0]
        command = container["args"]
        build_parser(command[0]).parse_args(command)
        assert {m["name"] for m in container["volumeMounts"]} <= {v["name"] for v in pod["volumes"]}, name
        assert container["securityContext"]["readOnlyRootFilesystem"]
        secrets = [e for e in container["env"] if "PASSWORD" in e["name"]]
        assert [list(e) for e in secrets] == [["name", "valueFrom"]]
    for one in objects:
        if one["kind"] == "Service":
            wanted = one["spec"]["selector"].items()
            chosen = [s for s in pods.values() if wanted <= s["template"]["metadata"]["labels"].items()]
            assert len(chosen) == 1, one["metadata"]["name"]
    policy = next(one for one in objects if one["kind"] == "ConfigMap")["data"]["veilig.yaml"]
    assert yaml.safe_load(policy) == {"mode": "propose"}


def test_every_command_of_the_composition_is_ours_and_no_password_stands_in_it() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    assert set(services) == {"database", "prepare-ledger", "prepare-queue", "serve", "gateway", "worker"}
    for name in sorted(set(services) - {"database"}):
        command = [str(word) for word in services[name]["command"]]
        build_parser(command[0]).parse_args(command)
        waits = services[name]["depends_on"]
        if name.startswith("prepare"):
            assert waits == {"database": {"condition": "service_healthy"}}
        else:
            assert set(waits) == {"prepare-ledger", "prepare-queue"}
            assert "readyz" in str(services[name]["healthcheck"])
    assert not re.search(r"PASSWORD:\s*\S", text)
    assert not re.search(r"://[^/@\s]+:[^/@\s]+@", text)
    assert services["database"]["command"].count("fsync=on") == 1


def test_the_policy_of_the_composition_is_valid_and_grants_no_host() -> None:
    policy = load(DEPLOY / "policy" / "veilig.yaml")
    assert policy.elsewhere.audit_hosts == ()
