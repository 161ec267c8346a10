"""Does `veilig audit --fleet` read each repository once, say what failed, go on after a stop and compare?"""

import json
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from git_server import commit, git_server
from terminal import Terminal

pytestmark = pytest.mark.outside_gate

WEAK = "import subprocess\nimport sys\n\n\nsubprocess.run(f'ls {sys.argv[1]}', shell=True)\n"
FINE = "print('fine')\n"
MORE = "import os\nimport sys\n\n\nos.system('ls ' + sys.argv[1])\n"
TOKEN = "tok" + "en-of-the-" + "fleet"


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()][1:]


def test_a_fleet_is_read_once_each_and_compared_with_the_last_time(veilig: Terminal) -> None:
    for name in ("a", "b", "c"):
        veilig.project(name, app=WEAK if name != "c" else FINE, **{"requirements.txt": "jinja2==2.10\n"})
    served = veilig.folder / "served"
    veilig.project("served/far", app=FINE, hook=FINE)
    first = commit(served / "far")
    (served / "far" / "app.py").write_text(WEAK)
    commit(served / "far")
    with git_server(served) as server:
        (veilig.folder / "veilig.yaml").write_text(f"audit:\n  hosts: ['{server.url[7:]}']\n")
        far = f"{server.url}/far/.git"
        names = [
            "a",
            "b",
            "c",
            "missing",
            far,
            f"{far} {first}",
            f"{far} nothing",
            "https://git.invalid/x.git",
        ]
        (veilig.folder / "repos.txt").write_text("\n".join(names))
        outputs = ("--output", "f.jsonl", "--output", "f.sarif", "--output", "f.html")
        server.token = ""
        said = veilig("audit", "--fleet", "repos.txt", "--policy", "veilig.yaml", "--jobs", "2", *outputs)
        assert said.code == 1, said.err
        found = {r["label"]: r for r in lines_of(veilig.folder / "f.jsonl")}
        assert {name: r["status"] for name, r in found.items() if name not in ("a", "b")} == {
            "c": "audited",
            "missing": "failed",
            far: "audited",
            f"{far}@{first}": "audited",
            f"{far}@nothing": "failed",
            "https://git.invalid/x.git": "refused",
        }
        assert sorted(found[name]["status"] for name in ("a", "b")) == ["audited", "same"]
        assert found["a"]["findings"] == found["b"]["findings"]
        assert {f["rule"] for f in found["a"]["findings"]} >= {"pin"}
        assert found[f"{far}@{first}"]["commit"] == first
        assert (found[far]["findings"] != [], found[f"{far}@{first}"]["findings"]) == (True, [])
        assert "audit.hosts" in found["https://git.invalid/x.git"]["reason"]
        _check_sarif(json.loads((veilig.folder / "f.sarif").read_text()), far)
        page = (veilig.folder / "f.html").read_text()
        assert all(label in page for label in ("missing", "git.invalid", "refused"))
        assert ('http-equiv="refresh"' in page, "src=" in page) == (False, False)

        # The second campaign: b lost its weakness, c gained one, far is behind a token now.
        (veilig.folder / "b" / "app.py").write_text(FINE + "# b\n")
        (veilig.folder / "c" / "app.py").write_text(MORE)
        server.token = "Basic"
        token = ("--git-token", f"{server.url[7:]}=FLEET_TOKEN")
        words = ("audit", "--fleet", "repos.txt", "--policy", "veilig.yaml", *token, *outputs)
        again = veilig(*words, FLEET_TOKEN=TOKEN)
        assert again.code == 1, again.err
        now = {r["label"]: r for r in lines_of(veilig.folder / "f.jsonl")}
        assert {name: now[name]["status"] for name in ("a", "b", "c", far)} == {
            "a": "known", "b": "audited", "c": "audited", far: "known",
        }  # fmt: skip
        pins = sum(f["rule"] == "pin" for f in now["a"]["findings"])
        counted = {name: (now[name]["new"], now[name]["gone"]) for name in ("a", "b", "c", far, "missing")}
        assert counted == {
            "a": (0, 0), "b": (0, len(found["b"]["findings"]) - pins),
            "c": (len(now["c"]["findings"]) - pins, 0), far: (0, 0), "missing": (None, None),
        }  # fmt: skip
        sent = [h["Authorization"] for h in server.headers if "Authorization" in h]
        assert sent
        kept = b"".join(p.read_bytes() for p in veilig.home.rglob("*") if p.is_file())
        assert TOKEN.encode() not in kept and sent[0].encode() not in kept

        # A server that sends elsewhere is not followed.
        server.token, server.elsewhere = "", "http://127.0.0.1:9"
        (veilig.folder / "one.txt").write_text(far)
        moved = veilig("audit", "--fleet", "one.txt", "--policy", "veilig.yaml")
        assert (moved.code, "another place" in moved.out) == (3, True), moved.out


def _check_sarif(document: dict[str, Any], far: str) -> None:
    runs = {run["automationDetails"]["id"]: run for run in document["runs"]}
    assert len(runs) == 8
    assert document["version"] == "2.1.0"
    assert runs["veilig/a/"]["results"] == runs["veilig/b/"]["results"] != []
    assert runs[f"veilig/{far}/"]["versionControlProvenance"][0]["repositoryUri"] == far
    lost = runs["veilig/missing/"]["invocations"][0]
    assert lost["executionSuccessful"] is False
    assert "is not a folder" in lost["toolExecutionNotifications"][0]["message"]["text"]


def test_a_killed_campaign_goes_on_where_it_was(veilig: Terminal) -> None:
    names = [f"r{number}" for number in range(6)]
    for number, name in enumerate(names):
        veilig.project(name, app=WEAK + f"# {number}\n")
    (veilig.folder / "repos.txt").write_text("\n".join(names))
    words = ("audit", "--fleet", "repos.txt", "--jobs", "1", "--output", "f.jsonl")
    process = subprocess.Popen(
        veilig.argv(*words),
        cwd=veilig.folder,
        env=veilig.environment(),
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    campaigns = veilig.home / "campaigns"
    while process.poll() is None:  # until two repositories are done
        if sum(file.read_text().count("\n") for file in campaigns.glob("*/results.jsonl")) >= 2:
            break
        os.sched_yield()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    results = next(campaigns.glob("*/results.jsonl"))
    kept = [json.loads(line)["session"] for line in results.read_text().splitlines()]
    with results.open("a") as file:
        file.write('{"label": "r5", "pla')  # as if it had died in the middle of a line
    said = veilig(*words)
    assert (said.code, f"goes on after {len(kept)}" in said.err) == (1, True), said.err
    found = lines_of(veilig.folder / "f.jsonl")
    assert [r["label"] for r in found] == names
    assert [r["session"] for r in found[: len(kept)]] == kept
    assert Counter(r["status"] for r in found)["audited"] == len(names)
