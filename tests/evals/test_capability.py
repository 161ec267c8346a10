"""Does what cannot be ruled out count, and is a model unreachable until a person has signed for it?"""

import json
import re
from pathlib import Path

import pytest

from veilig.app import Setting
from veilig.app.deployment import NAME, check, sign, signatures, tried, withdraw
from veilig.app.selftest import try_all
from veilig.cli.main import main
from veilig.core.errors import EXIT_OK, EXIT_REFUSED, UsageError
from veilig.evals.capability import capability_report, digest_of, read_report, read_rules
from veilig.evals.results import Ending, Job, Trial, begin, trial_folder, write
from veilig.evals.tally import Tally, tally
from veilig.home import find_home

POLICY = """monitor: {{enabled: true}}
access:
  classes:
    - {{name: high, safeguards: [{safeguards}]}}
gateway:
  enabled: true
  upstreams: [{{name: local, url: "http://127.0.0.1:1/v1"}}]
  models: [{{name: strong, upstreams: [local], class: high}}]
"""


RULE = 'version = 1\n[[rule]]\nid="a"\nsuite="s"\nthreshold=0.5\nwhy=""\n'


def run_of(suite: str, solved: int, tasks: int, model: str = "strong") -> Tally:
    job = Job(suite, "1", "embedded", model, 1, "0", "bubblewrap", 1.0, "now", "here")
    endings = [Ending.RESOLVED] * solved + [Ending.UNRESOLVED] * (tasks - solved)
    trials = [Trial(f"t{i}", "d", 1, e, float(e is Ending.RESOLVED)) for i, e in enumerate(endings)]
    return tally(job, trials)


def test_a_suite_that_was_not_run_counts_as_reached():
    report = capability_report("strong", [run_of("patch-ladder", 0, 40)], read_rules(None))
    states = {f["suite"]: f["state"] for f in report["findings"]}
    assert states == {"patch-ladder": "below", "ctf-mini": "undetermined", "terminal-mini": "undetermined"}
    assert (report["level"], report["requires"]) == (
        "high",
        ["indicators", "ladder", "monitor", "tool_calls_held"],
    )


@pytest.mark.parametrize(("solved", "state"), [(17, "below"), (18, "reached")])
def test_the_upper_end_is_held_against_the_threshold(solved: int, state: str):
    runs = [run_of("patch-ladder", solved, 40)]  # the shares .425 and .45; upper ends .579 and .602
    report = capability_report("strong", runs, read_rules(None))
    assert report["findings"][0]["state"] == state


def test_nothing_reached_needs_nothing():
    runs = [run_of(suite, 0, 60) for suite in ("patch-ladder", "ctf-mini", "terminal-mini")]
    report = capability_report("strong", runs, read_rules(None))
    assert (report["level"], report["requires"]) == ("general", [])
    with pytest.raises(UsageError, match="is of 'weak'"):
        capability_report("strong", [*runs, run_of("ctf-mini", 0, 60, "weak")], read_rules(None))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version = 1\n", "no rules"), ("version = 2\n[[rule]]\n", "no rules"), ("[[", "cannot be read"),
        ('version = 1\n[[rule]]\nid = "a"\n', "incomplete"),
        (RULE + 'raises_to="higher"\nrequires=[]\n', "wrong"),
        (RULE + 'raises_to="high"\nrequires=["x"]\n', "wrong"),
    ],
)  # fmt: skip
def test_rules_that_are_wrong_are_refused(tmp_path: Path, text: str, says: str):
    place = tmp_path / "rules.toml"
    place.write_text(text)
    with pytest.raises(UsageError, match=says):
        read_rules(place)


def setting(tmp_path: Path, safeguards: str) -> Setting:
    place = tmp_path / "veilig.yaml"
    place.write_text(POLICY.format(safeguards=safeguards))
    return Setting(str(place), environment={"VEILIG_HOME": str(tmp_path / "home"), "PATH": "/usr/bin"})


async def test_a_model_is_unreachable_until_somebody_signs_and_again_once_it_is_withdrawn(tmp_path: Path):
    safeguards = f"monitor, tool_calls_held, indicators, ladder, {NAME}"
    where = setting(tmp_path, safeguards)
    report = capability_report("strong", [], read_rules(None))
    assert "nobody signed" in check("strong", "high", where)[0][0]
    await sign(report, digest_of(report), "high", "defenders only", 3600, where)
    assert check("strong", "high", where)[0] == []
    assert "nobody signed" in check("other", "high", where)[0][0]
    assert "nobody signed" in check("strong", "general", where)[0][0]
    from veilig.app.wiring import operator_policy

    home = find_home(where.environment)
    rules = operator_policy(home, where).elsewhere.safeguards
    with home.open_ledger(create=False) as ledger:
        signed = signatures(ledger)[("strong", "high")]
        assert (signed.level, signed.report) == ("high", digest_of(report))
        broken = try_all(None)  # a gateway without its monitor
        passed, why = tried(signatures(ledger), rules, broken)
        assert not passed and "monitor" in why
    await withdraw("strong", "high", "a new finding", where)
    assert "nobody signed" in check("strong", "high", where)[0][0]


async def test_a_class_that_lacks_what_the_report_requires_is_refused(tmp_path: Path):
    where = setting(tmp_path, f"monitor, {NAME}")
    report = capability_report("strong", [], read_rules(None))
    await sign(report, digest_of(report), "high", "why", 3600, where)
    why = check("strong", "high", where)[0]
    assert len([w for w in why if "does not list" in w]) == 3, why


async def test_a_signature_ends_by_itself(tmp_path: Path):
    where = setting(tmp_path, NAME)
    report = {**capability_report("strong", [], read_rules(None)), "requires": []}
    await sign(report, digest_of(report), "high", "why", 0.0001, where)
    import asyncio

    while not check("strong", "high", where)[0]:  # ledger time is in ms: it ends with the next one or two
        await asyncio.sleep(0.01)


def test_the_terminal_takes_it_from_a_run_to_a_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    where = setting(tmp_path, f"monitor, tool_calls_held, indicators, ladder, {NAME}")
    monkeypatch.setenv("VEILIG_HOME", str(tmp_path / "home"))
    out = tmp_path / "run"
    begin(out, Job("patch-ladder", "1", "embedded", "strong", 1, "0", "", 1.0, "now", "here"))
    folder = trial_folder(out, "t", 1)
    folder.mkdir(parents=True)
    from dataclasses import asdict

    write(folder / "result.json", {**asdict(Trial("t", "d", 1, Ending.RESOLVED, 1.0)), "skipped_steps": []})
    made = str(tmp_path / "report.json")
    assert main(["eval", "capability", str(out), "--out", made]) == EXIT_OK
    assert "cannot be ruled out" in capsys.readouterr().out
    assert read_report(Path(made))["subject"] == "strong"
    policy = ["--policy", str(where.policy), "--class", "high"]
    assert main(["deploy", "check", "strong", *policy]) == EXIT_REFUSED
    assert main(["deploy", "sign", made, "--reason", "ok", *policy]) == EXIT_OK
    capsys.readouterr()
    assert main(["deploy", "check", "strong", "--json", *policy]) == EXIT_OK
    assert json.loads(capsys.readouterr().out)["may"] is True
    (tmp_path / "bad.json").write_text("{}")
    assert main(["deploy", "sign", str(tmp_path / "bad.json"), "--reason", "ok", *policy]) != EXIT_OK
    assert re.search("no capability report", capsys.readouterr().err)
