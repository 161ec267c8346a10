"""Is every odd policy file refused, with the place and a way out, and nothing but PolicyError?"""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from veilig.core.errors import PolicyError
from veilig.core.policy import PolicyFileError, builtin_policy, check, load, parse
from veilig.core.suggest import nearest

CONTRACT = (Path(__file__).parents[2] / "examples" / "policies" / "contract.yaml").read_text()


def problems(text: str | bytes) -> list[str]:
    """`line:column what` of each problem."""
    with pytest.raises(PolicyFileError) as caught:
        parse(text)
    return [f"{p.mark.line}:{p.mark.column} {p.what}" for p in caught.value.problems]


def test_the_contract_loads_unchanged_in_mode_propose():
    policy = parse(CONTRACT)
    assert (policy.mode, policy.healing.enabled, policy.healing.max_scale) == ("propose", True, 10)
    (rule,) = policy.healing.services
    assert (rule.pattern.text, rule.restarts_per_hour, rule.restarts_total_per_hour) == ("worker-*", 3, 9)
    assert policy.healing.security_readonly


DOUBT = " without quotes means different things to different readers"
REFUSED = [
    ("mode: observ", "1:7 mode is 'observ'"),
    ("mode: yes", "1:7 'yes'" + DOUBT),
    ("mode: 'yes'", "1:7 mode is 'yes'"),
    ("agent: {enabled: on}", "1:18 'on'" + DOUBT),
    ("agent: {enabled: True}", "1:18 'True'" + DOUBT),
    ("agent: {enabled: 'true'}", "1:18 agent.enabled is the text 'true'"),
    ("agent: {enabled: 1}", "1:18 agent.enabled is the number 1"),
    ("mode: act\nmode: observe", "2:1 key 'mode' stands twice"),
    ("mode: !!str act", "1:7 tag 'tag:yaml.org,2002:str'"),
    ("mode: !x act", "1:7 tag '!x'"),
    ("mode: &a act", "1:7 anchor &a"),
    ("agent: *a", "1:8 alias *a"),
    ("<<: {mode: act}", "1:1 '<<'" + DOUBT),
    ("? [a]\n: b", "1:3 a key that is no text"),
    ("1: b", "1:1 a key that is no text"),
    ("mode:", "1:6 a value is missing"),
    ("mode: ~", "1:7 '~'" + DOUBT),
    ("mode: act\n---\nmode: act", "2:1 a second document"),
    ("mode: act\n\tx: 1", "2:1 a tab in the indentation"),
    ("- mode", "1:1 the file is a list"),
    ("act", "1:1 the file is the text 'act'"),
    ("", "1:1 the file is empty"),
    ("# only a comment\n", "1:1 the file is empty"),
    ("---\n", "2:1 a value is missing"),
    ("mode: [", "1:8 this is no YAML: did not find expected node content"),
    ("mode: \"\\UFFFFFFFF\"", "1:10 this is no YAML: found invalid Unicode character escape code"),
    ("models: {requests_per_hour: -1}", "1:29 models.requests_per_hour is the number -1"),
    ("models: {requests_per_hour: 1000001}", "1:29 models.requests_per_hour is the number 1000001"),
    ("models: {requests_per_hour: 1.0}", "1:29 models.requests_per_hour is the number 1.0"),
    ("models: {requests_per_hour: true}", "1:29 models.requests_per_hour is the boolean true"),
    ("agent: {budgets: {cost_usd: .nan}}", "1:29 '.nan'" + DOUBT),
    ("agent: {budgets: {cost_usd: .inf}}", "1:29 '.inf'" + DOUBT),
    ("agent: {budgets: {cost_usd: 1e3}}", "1:29 '1e3'" + DOUBT),
    ("agent: {budgets: {steps: 0x10}}", "1:26 '0x10'" + DOUBT),
    ("agent: {budgets: {steps: 010}}", "1:26 '010'" + DOUBT),
    ("agent: {budgets: {steps: 1_0}}", "1:26 '1_0'" + DOUBT),
    ("agent: {budgets: {steps: 1:30}}", "1:26 '1:30'" + DOUBT),
    ("agent: {commands: [python -m pytest]}", "1:20 agent.commands[0] is the text 'python -m pytest'"),
    ("agent: {commands: [[]]}", "1:20 agent.commands[0] has 0 items"),
    ("agent: {commands: [['**']]}", "1:20 agent.commands[0] covers every program"),
    ("agent: {commands: [['*', x]]}", "1:20 agent.commands[0] covers every program"),
    ("agent: {commands: [[a, '**', b]]}", "1:20 agent.commands[0] has `**` before its last argument"),
    ("agent: {unlisted_commands: allow}", "1:28 agent.unlisted_commands is 'allow'"),
    ("agent: {hosts: ['*']}", "1:17 agent.hosts '*' covers every host"),
    ("models: {allowed: ['*']}", "1:19 models.allowed '*' covers every model"),
    ("approval_gateways: {destructive_ops: never}", "1:38 approval_gateways.destructive_ops is 'never'"),
    ("approval_gateways: {database: always}", "1:21 unknown key 'database' in approval_gateways"),
    ("freeze: [{cron: '0 18 * * FRI'}]", "1:10 freeze[0] is no window"),
    ("freeze: [{hours: 3}]", "1:10 freeze[0] is no window"),
    ("freeze: [{start: 2026-12-24}]", "1:10 freeze[0] has only one end"),
    ("freeze: [{start: 2026-12-24, end: 2026-12-23}]", "1:35 freeze[0] ends before it starts"),
    (
        "approvers: {changes: {roles: [dba], quorum: 2}}\ncollaboration: {roles: {dba: [ann, ann]}}",
        "1:22 approvers.changes needs 2 people of role dba",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "first"), REFUSED, ids=[t.replace("\n", " ")[:40] for t, _ in REFUSED])
def test_a_file_that_could_be_misread_is_refused_where_it_stands(text: str, first: str):
    assert problems(text)[0] == first


SERVICES = [
    ("name: '*', actions: [restart]", "'*' covers every service"),
    ("name: '***', actions: [restart]", "has `**`"),
    ("name: 'Worker', actions: [restart]", "is no pattern of the characters"),
    ("name: 'w{a,b}', actions: [restart]", "is no pattern of the characters"),
    ("name: 'w[0-9]', actions: [restart]", "is no pattern of the characters"),
    ("name: 'w\u043erker', actions: [restart]", "is no pattern of the characters"),
    ("name: w, actions: [restat]", "actions[0] is 'restat'"),
    ("name: w, actions: restart", "is the text 'restart'"),
    ("actions: [restart]", "key 'name' is missing"),
]


@pytest.mark.parametrize(("entry", "what"), SERVICES, ids=[e for e, _ in SERVICES])
def test_a_service_rule_that_says_too_much_is_refused(entry: str, what: str):
    text = "autonomous_healing: {enabled: true, scope: {services: [{" + entry + "}]}}"
    assert what in problems(text)[0]


def test_a_bare_star_is_accepted_where_the_author_means_all():
    text = "autonomous_healing: {scope: {services: [{name: '*', all: true}]}}"
    assert parse(text).healing.services[0].pattern.matches("anything")


def test_the_message_shows_line_caret_expectation_and_nearest_key():
    with pytest.raises(PolicyFileError) as caught:
        parse("autonomous_healing:\n  enabled: true\n  scpoe: {}\n", "etc/veilig.yaml")
    assert str(caught.value).splitlines()[:6] == [
        "etc/veilig.yaml does not validate: 1 problem",
        "etc/veilig.yaml:3:3: unknown key 'scpoe' in autonomous_healing",
        "    3 |   scpoe: {}",
        "          ^^^^^",
        "  expected: enabled, scope, notify",
        "  fix: did you mean 'scope'?",
    ]


def test_ten_problems_are_shown_and_the_rest_counted():
    text = "".join(f"key{i}: 1\n" for i in range(13))
    with pytest.raises(PolicyFileError) as caught:
        parse(text)
    assert len(caught.value.problems) == 13
    assert "veilig.yaml:10:1: unknown key 'key9'" in str(caught.value)
    assert "key10" not in str(caught.value)
    assert "and 3 more" in str(caught.value)


def test_bytes_that_are_no_utf8_are_placed():
    assert problems(b"mode: act\nx: \xff\n") == ["2:1 byte 13 is not UTF-8"]


def test_utf16_and_nul_are_refused():
    assert problems("mode: act".encode("utf-16"))
    assert problems("mode: a\0ct")


@pytest.mark.parametrize(("size", "ok"), [(1 << 20, True), ((1 << 20) + 1, False)])
def test_one_mebibyte_is_the_bound(size: int, ok: bool):
    text = "mode: act\n#"
    text += "x" * (size - len(text))
    if ok:
        assert parse(text).mode == "act"
    else:
        assert problems(text) == [f"1:1 the file has {size} bytes"]


@pytest.mark.parametrize("text", ["[" * 5000, "a: " + "{a: " * 3000, "- " * 4000])
def test_deep_nesting_is_refused_without_a_crash(text: str):
    assert problems(text)


def test_a_terminal_escape_in_the_file_does_not_reach_the_terminal():
    with pytest.raises(PolicyFileError) as caught:
        parse('"a\\e[31mb": 1\n')
    assert "\x1b" not in str(caught.value)


def test_a_byte_order_mark_is_no_key():
    assert parse(b"\xef\xbb\xbfmode: act\n").mode == "act"


def test_an_unreadable_file_stops_everything_and_says_so(tmp_path: Path):
    with pytest.raises(PolicyError, match="cannot read the policy"):
        load(tmp_path / "veilig.yaml")
    with pytest.raises(PolicyError, match="cannot read the policy"):
        check(tmp_path)


def test_check_lists_problems_and_load_raises_for_the_same_file(tmp_path: Path):
    path = tmp_path / "veilig.yaml"
    path.write_text("mode: act\nmoed: act\n")
    assert [str(p).splitlines()[0] for p in check(path)] == [f"{path}:2:1: unknown key 'moed'"]
    with pytest.raises(PolicyFileError):
        load(path)
    path.write_text("mode: act\n")
    assert check(path) == []


def test_the_digest_is_of_the_text_and_the_builtin_has_one():
    assert parse("mode: act\n").digest == parse("mode: act\n", "other.yaml").digest
    assert parse("mode: act\n").digest != parse("mode: act \n").digest
    assert len(builtin_policy().digest) == 64


def test_a_file_without_agent_section_keeps_the_builtin_commands_and_one_with_it_replaces_them():
    assert parse("mode: act").agent.commands == builtin_policy().agent.commands
    assert parse("mode: act").agent.unlisted == "ask"
    assert parse("agent: {commands: []}").agent.commands == ()
    assert parse("agent: {tests: ask}").agent.unlisted == "deny"


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200)))
@example("\ud800")
@example("a: \x85b")
@example("%YAML 9.1\n---\na: 1")
@example("%TAG ! x\n--- !a b")
@example("\u2028- a\n\u2029b")
def test_any_text_is_a_policy_or_a_policy_error(data: str | bytes):
    try:
        parse(data)
    except PolicyError as error:
        assert str(error)


ODD = ["[", "]", "{", "}", ",", "\n", "\n  ", "*", "&a", "!!x", "'", "- "]
WORDS = [*CONTRACT.replace(":", " : ").split(), *ODD]


@given(st.lists(st.sampled_from(WORDS), max_size=30), st.integers(0, len(CONTRACT)), st.integers(0, 20))
def test_a_damaged_contract_is_a_policy_or_a_policy_error(words: list[str], at: int, cut: int):
    for text in (" ".join(words), CONTRACT[:at] + " ".join(words[:3]) + CONTRACT[at + cut :]):
        try:
            parse(text)
        except PolicyError as error:
            assert str(error)


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("scpoe", "scope"),
        ("servces", "services"),
        ("MODE", "mode"),
        ("xyz", None),
        ("", None),
        ("m" * 65, None),
    ],
)
def test_the_nearest_name_is_a_slip_of_the_hand_not_a_guess(word: str, near: str | None):
    assert nearest(word, ["scope", "services", "mode", "security_groups"]) == near


def test_the_features_a_policy_may_require_are_those_the_walls_probe():
    from veilig.core.policy_schema import FEATURES
    from veilig.providers.sandbox.wall import Feature

    assert set(FEATURES) == {str(f) for f in Feature}
