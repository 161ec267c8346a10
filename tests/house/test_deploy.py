"""Are the files of deploy/ what compose, Kubernetes and our own command line understand?"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart import Chart, unknown
from veilig.cli.main import build_parser
from veilig.core.policy import load
from veilig.providers.sandbox import seccomp

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
    "worker": {"autoscale": {"enabled": True, "waitingPerWorker": 4}, "nodeSelector": {"veilig": "yes"}},
    "wall": {"seccompProfile": "Localhost", "localhostProfile": "veilig.json", "procMount": "Unmasked"},
    "telemetry": {"endpoint": "http://otel:4318"},
    "networkPolicy": {"workerEgress": [{"ports": [{"port": 443}]}]},
    "store": "s3://bucket/x",
    "storeSecret": "s3",
    "sources": {"claim": "sources"},
}


@pytest.mark.parametrize("values", [{}, FULL], ids=["as it is", "with everything"])
def test_the_chart_makes_objects_that_kubernetes_knows(values: dict[str, Any]) -> None:
    objects = Chart(DEPLOY / "helm" / "veilig", **values).objects()
    kinds = sorted(f"{one['kind']}/{one['metadata']['name']}" for one in objects)
    assert len(set(kinds)) == len(kinds) == (13 if values else 7), kinds
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
        bounds = container["securityContext"]
        assert bounds["capabilities"] == {"drop": ["ALL"]} and not bounds["allowPrivilegeEscalation"]
        grace_s = pod.get("terminationGracePeriodSeconds", 30)
        assert grace_s >= (120 if name == "one-worker" else 60 if name != "one-watch" else 30), name
    named = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    for name in {"one-worker", "one-serve", "one-gateway"} & set(pods):
        walls = named["NetworkPolicy", name]["spec"]
        assert walls["podSelector"]["matchLabels"].items() <= pods[name]["selector"]["matchLabels"].items()
        assert walls["policyTypes"] == ["Ingress", "Egress"] and all(walls["egress"])
    for one in objects:
        if one["kind"] == "Service":
            wanted = one["spec"]["selector"].items()
            chosen = [s for s in pods.values() if wanted <= s["template"]["metadata"]["labels"].items()]
            assert len(chosen) == 1, one["metadata"]["name"]
    policy = next(one for one in objects if one["kind"] == "ConfigMap")["data"]["veilig.yaml"]
    assert yaml.safe_load(policy) == {"mode": "propose"}


def rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects of the chart, by Helm itself: its program, or its library as a wheel."""
    chart = DEPLOY / "helm" / "veilig"
    if program := shutil.which("helm"):
        words = [program, "template", "one", str(chart), "--values", "-"]
        said = subprocess.run(words, input=json.dumps(values), capture_output=True, text=True, check=True)
        return [one for one in yaml.safe_load_all(said.stdout) if one]
    helm: Any = pytest.importorskip(
        "helm_python", reason="HELM WAS NOT ASKED: put helm on the PATH, or pip install helm-python-sdk"
    )
    assert helm.lint(str(chart))["errors"] == []
    with helm.Chart.load(str(chart)) as loaded:
        texts = loaded.render(values, name="one", namespace="default").values()
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


@pytest.mark.outside_gate
@pytest.mark.parametrize("values", [{}, FULL], ids=["as it is", "with everything"])
def test_helm_makes_the_same_objects(values: dict[str, Any]) -> None:
    def key(one: dict[str, Any]) -> tuple[str, str]:
        return one["kind"], one["metadata"]["name"]

    ours = Chart(DEPLOY / "helm" / "veilig", **values).objects()
    assert sorted(rendered(values), key=key) == sorted(ours, key=key)


def test_an_autoscaler_may_go_by_what_waits_in_the_queue() -> None:
    objects = Chart(DEPLOY / "helm" / "veilig", **FULL).objects()
    [scaler] = [one["spec"] for one in objects if one["kind"] == "HorizontalPodAutoscaler"]
    cpu, waiting = scaler["metrics"]
    assert cpu["resource"]["name"] == "cpu"
    assert waiting["external"] == {
        "metric": {"name": "veilig_queue_waiting"},
        "target": {"type": "AverageValue", "averageValue": "4"},
    }


def test_a_container_is_refused_what_the_wall_in_it_refuses_but_for_what_makes_the_wall() -> None:
    profile = json.loads((DEPLOY / "seccomp.json").read_text())
    refused = {name: rule["errnoRet"] for rule in profile["syscalls"] for name in rule["names"]}
    assert {rule["action"] for rule in profile["syscalls"]} == {"SCMP_ACT_ERRNO"}
    makes_the_wall = {"mount", "umount2", "pivot_root"}
    io_uring = {name for name in seccomp.ABSENT if name.startswith("io_uring")}
    assert refused == dict.fromkeys(set(seccomp.REFUSED) - makes_the_wall, 1) | dict.fromkeys(io_uring, 38)


def test_every_command_of_the_composition_is_ours_and_no_password_stands_in_it() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    ours = {"prepare-ledger", "prepare-queue", "serve", "gateway", "worker"}
    assert set(services) == ours | {"database", "prometheus"}
    for name in sorted(ours):
        command = [str(word) for word in services[name]["command"]]
        build_parser(command[0]).parse_args(command)
        waits = services[name]["depends_on"]
        assert services[name]["cap_drop"] == ["ALL"] and services[name]["read_only"], name
        assert "no-new-privileges" in services[name]["security_opt"], name
        assert ("seccomp=seccomp.json" in services[name]["security_opt"]) == (name in {"serve", "worker"})
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
