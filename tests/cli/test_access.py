"""Can an administrator do everything from the terminal: people, keys, vouching, grants, cases, scores?"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from terminal import Said, Terminal

type Run = Callable[..., Said]
POLICY = """
access:
  classes: [{name: high, least_tier: verified, grant: true, safeguards: [ladder, monitor]}]
monitor: {enabled: true}
gateway:
  enabled: true
  upstreams: [{name: u, url: "http://127.0.0.1:9/v1"}]
  models: [{name: cyber, class: high}]
"""


@pytest.fixture
def at(inside: Run, veilig: Terminal) -> Run:
    """The command line with a policy; ann is known."""
    (veilig.folder / "p.yaml").write_text(POLICY)

    def run(*words: str, **more: str) -> Said:
        return inside(*words, "--policy", "p.yaml", **more)

    assert run("access", "add", "ann", "--org", "acme").code == 0
    return run


def test_a_key_is_shown_once_and_kept_as_a_hash(at: Run, veilig: Terminal) -> None:
    made = at("access", "key", "new", "ann", "--json").json
    assert made["text"].startswith("vk-")
    assert made["text"].encode() not in (veilig.home / "ledger.db").read_bytes()
    assert made["text"] not in at("access", "key", "list").out
    assert at("access", "key", "revoke", made["key"]).code == 0
    assert "revoked" in at("access", "key", "list").out


def test_a_tier_takes_two_people_and_a_grant_takes_the_tier(at: Run) -> None:
    refused = at("access", "grant", "ann", "high", "--for", "30d")
    assert refused.code == 4
    assert "a grant does not replace vetting" in refused.err
    assert at("access", "vouch", "ann", "verified").code == 4  # no reason
    first = at("access", "vouch", "ann", "verified", "--reason", "we work together", "--json").json
    assert first["missing"] == 1
    assert at("access", "vouch", "ann", "verified", "--reason", "again", "--json").json["missing"] == 1
    assert at("access", "show", "ann", "--json").json[0]["tier"] == "new"


def test_one_voucher_is_enough_for_standard(at: Run) -> None:
    assert at("access", "vouch", "ann", "standard", "--reason", "a colleague", "--json").json["missing"] == 0
    assert at("access", "show", "ann", "--json").json[0]["tier"] == "standard"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("access", "add", "ann", "--org", "acme"), "known already"),
        (("access", "key", "new", "bob"), "no subject 'bob'"),
        (("access", "key", "revoke", "key-0"), "no key"),
        (("access", "grant", "ann", "none", "--for", "1d"), "no class"),
        (("access", "withdraw", "grant-0"), "no grant"),
        (("access", "budget", "ann", "--tokens", "5"), "no account"),
        (("access", "budget", "subject:ann"), "--tokens or --usd"),
        (("access", "attest", "ann"), "--file or --token"),
        (("cases", "show", "case-0"), "no case"),
        (("cases", "appeal", "case-0", "--reason", "x"), "no such case"),
        (("cases", "decide", "case-0", "grant", "--reason", "x"), "no open appeal"),
        (("cases", "level", "ann", "warn", "--reason", "x"), "no subject"),
    ],
)
def test_a_wrong_command_says_what_to_do(at: Run, words: tuple[str, ...], said: str) -> None:
    done = at(*words)
    assert done.code in (2, 4)
    assert said in done.err


def test_a_scope_is_read_from_a_file_and_wrong_ones_are_refused(at: Run, veilig: Terminal) -> None:
    good, bad = veilig.folder / "good.yaml", veilig.folder / "bad.yaml"
    good.write_text("hosts: [lab.test, '*.lab.test']\nrepositories: [https://git.test/lab]\n")
    assert at("access", "scope", "ann", str(good), "--json").json["hosts"] == ["lab.test", "*.lab.test"]
    for text in ("hosts: lab.test", "host: [x.test]", "- x", "hosts: [' a b ']", "{"):
        bad.write_text(text)
        assert at("access", "scope", "ann", str(bad)).code == 2


def test_a_level_opens_a_case_that_an_appeal_is_made_in_and_not_decided_by_its_owner(at: Run) -> None:
    made = at("cases", "level", "subject:ann", "suspend", "--reason", "seen in the logs", "--json").json
    assert made["level"] == "suspend"
    assert at("cases", "appeal", made["case"], "--reason", "it was an exercise").code == 0
    refused = at("cases", "decide", made["case"], "grant", "--reason", "fine")
    assert refused.code == 4
    assert "may not decide" in refused.err
    assert "seen in the logs" in at("cases", "show", made["case"]).out
    assert [c["appeal"] for c in at("cases", "list", "--open", "--json").json] == ["open"]


def test_check_says_which_safeguards_work_and_which_classes_may_be_served(at: Run) -> None:
    done = at("gateway", "check", "--json")
    assert done.code == 0
    assert done.json["classes"] == {"high": True}
    assert all(s["works"] for s in done.json["safeguards"].values())


def test_check_closes_a_class_without_its_safeguard(inside: Run, veilig: Terminal) -> None:
    (veilig.folder / "p.yaml").write_text(POLICY.replace("monitor: {enabled: true}", ""))
    done = inside("gateway", "check", "--policy", "p.yaml", "--json")
    assert done.code == 3
    assert done.json["classes"] == {"high": False}


def test_the_gateway_does_not_start_without_somewhere_to_send_requests(inside: Run) -> None:
    done = inside("gateway")
    assert done.code == 2
    assert "gateway.enabled" in done.err


def test_texts_and_tool_calls_are_scored_line_by_line(inside: Run, tmp_path: Path) -> None:
    lines = [{"text": "please add a test"}, {"tool": "sh", "arguments": "xmrig -o stratum+tcp://p.test"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = inside("monitor", "score", "--jsonl", str(tmp_path / "in.jsonl"))
    first, second = (json.loads(line) for line in done.out.splitlines())
    assert 0 <= first["score"] < 0.5
    assert first["signals"] == []
    assert second["signals"][0]["evidence"] == ["rule:mining", "attack:T1496"]
    (tmp_path / "in.jsonl").write_text('{"no": 1}\n')
    assert "no `text`" in inside("monitor", "score", str(tmp_path / "in.jsonl")).err


def test_feeds_are_counted_with_what_was_refused(inside: Run, veilig: Terminal) -> None:
    patterns = ["[domain-name:value = 'bad-one.test']", "[a:b LIKE 'c']"]
    objects = [
        {"type": "indicator", "id": f"indicator--{i}", "modified": "2026-11-01T00:00:00Z", "pattern": p}
        for i, p in enumerate(patterns)
    ]
    (veilig.folder / "f.json").write_text(json.dumps({"objects": objects}))
    (veilig.folder / "p.yaml").write_text(
        f"monitor: {{feeds: [{{name: f, path: '{veilig.folder}/f.json'}}]}}\n"
    )
    seen = inside("monitor", "feeds", "--policy", "p.yaml", "--json").json
    assert seen == {"live": 1, "refused": {"a pattern of more than single observables": 1}, "feeds": ["f"]}
