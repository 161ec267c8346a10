"""Do the workers of a fleet audit and mend a list as one machine would, whoever of them dies?"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from crew import Crew
from terminal import Terminal
from veilig.app import fleet

pytestmark = pytest.mark.outside_gate

WEAK = "import subprocess\nimport sys\n\n\nsubprocess.run(f'ls {sys.argv[1]}', shell=True)\n"


def results(crew: Crew) -> int:
    return crew.number("SELECT count(result) FROM veilig_fleet.fleet_repository")


def lines_of(file: Path) -> dict[str, dict[str, Any]]:
    return {r["label"]: r for r in map(json.loads, file.read_text().splitlines()[1:])}


def test_a_list_is_audited_once_although_a_worker_and_the_commander_die(crew: Crew) -> None:
    at = Terminal(crew.folder)
    for name, code in (("a", WEAK), ("b", WEAK), ("c", WEAK + "# c\n")):
        at.project(name, app=code, **{"requirements.txt": "jinja2==2.10\n"})
    (crew.folder / "repos.txt").write_text("a\nb\nc\nmissing\nhttps://git.invalid/x.git\n")
    words = ("audit", "--fleet", "repos.txt", "--database", "--store", str(crew.store))
    for name in ("one", "two"):
        crew.worker(name)
    crew.start("commander", *words)
    crew.until(lambda: any(job.state == fleet.State.WORKING for job in fleet.jobs(crew.url)))
    crew.kill("commander")
    working = next(job.worker for job in fleet.jobs(crew.url) if job.worker)
    pids = {f":{process.pid}": name for name, process in crew.running.items()}
    crew.kill(next(name for end, name in pids.items() if working.endswith(end)))
    crew.until(lambda: results(crew) >= 1)
    outputs = ("--output", "f.jsonl", "--output", "f.sarif", "--output", "f.html")
    said = crew("another", *words, *outputs)  # on another machine: the database is the truth
    found = lines_of(crew.folder / "f.jsonl")
    assert said.code == 1, (said.err, found)
    assert "missing is not a folder" in found["missing"]["reason"]
    assert list(found) == ["a", "b", "c", "missing", "https://git.invalid/x.git"]
    assert sorted(found[name]["status"] for name in ("a", "b")) == ["audited", "same"]
    assert [found[name]["status"] for name in list(found)[2:]] == ["audited", "failed", "refused"]
    assert found["a"]["findings"] == found["b"]["findings"] != []
    query = "SELECT count(*) FROM veilig.events WHERE name = 'session.started' AND session LIKE 'audit-%'"
    assert crew.number(query) == 2  # no content twice, and the dead worker's session went on
    runs = json.loads((crew.folder / "f.sarif").read_text())["runs"]
    by_id = {run["automationDetails"]["id"]: run for run in runs}
    assert len(by_id) == 5
    assert by_id["veilig/a/"]["results"] == by_id["veilig/b/"]["results"] != []
    assert by_id["veilig/missing/"]["invocations"][0]["executionSuccessful"] is False
    assert "still running" not in (crew.folder / "f.html").read_text()

    (crew.folder / "c" / "app.py").write_text("print(3)\n")
    again = crew("third", *words, "--output", "g.jsonl")
    now = lines_of(crew.folder / "g.jsonl")
    assert [now[name]["status"] for name in "abc"] == ["known", "known", "audited"], again.err
    assert (now["a"]["new"], now["a"]["gone"], now["c"]["gone"]) == (0, 0, 1)
    (crew.folder / "X-1.json").write_text(json.dumps(record("X-1", "jinja2", "3.0")))
    told = crew("third", "advisories", "watch", "--from", "X-1.json", "--once", "--database", "--json")
    assert sorted(json.loads(line)["repository"] for line in told.out.splitlines()) == ["a", "b", "c"]
    other = f"{crew.url}?org=other"
    assert crew("third", "advisories", "alerts", "--database", other).out == ""


def record(name: str, package: str, fixed: str) -> dict[str, Any]:
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}]
    affected = [{"package": {"ecosystem": "PyPI", "name": package}, "ranges": ranges}]
    return {"id": name, "modified": "2026-11-22T00:00:00Z", "summary": "x", "affected": affected}


@pytest.mark.long
def test_patches_come_back_and_a_campaign_that_is_stopped_goes_on(crew: Crew) -> None:
    at = Terminal(crew.folder)
    for name in ("deep/one", "two"):
        at.project(name, app=WEAK)
    (crew.folder / "repos.txt").write_text("gone\ndeep/one\ntwo\n")
    words = ("fix", "--fleet", "repos.txt", "--out", "out", "--database", "--store", str(crew.store))
    queued = crew("one", *words, "--detach")
    assert (queued.code, queued.out[:16]) == (0, "queued  campaign"), queued.err
    assert crew("one", "fix", "two", "--database").code == 2  # it belongs to a list
    # What somebody cancelled is queued again by the same command.
    for job in fleet.jobs(crew.url):
        if not job.session.endswith("-0"):
            assert fleet.cancel(crew.url, job.session)
    crew.worker("mender")
    said = crew("two", *words, "--json")
    found = {r["label"]: r for r in map(json.loads, said.out.splitlines()) if "label" in r}
    assert {name: (r["status"], r["patch"]) for name, r in found.items()} == {
        "gone": ("failed", ""), "deep/one": ("fixed", "deep-one.patch"), "two": ("fixed", "two.patch"),
    }, said.err  # fmt: skip
    assert sum(r["reason"].startswith("as ") for r in found.values()) == 1
    patch = crew.folder / "out" / "deep-one.patch"
    subprocess.run(["patch", "-p1", "-d", "deep/one", "-i", str(patch)], cwd=crew.folder, check=True)
    assert "shell=True" not in (crew.folder / "deep" / "one" / "app.py").read_text()
    listed = crew("two", "queue", "campaigns", "--json")
    assert [(c["kind"], c["ended"], c["repositories"]) for c in listed.json] == [("fix", 3, 3)]
    wrote = crew(
        "three", "queue", "report", "--store", str(crew.store), listed.json[0]["id"], "--output", "x.jsonl"
    )
    assert (wrote.code, len(lines_of(crew.folder / "x.jsonl"))) == (0, 3), wrote.err
