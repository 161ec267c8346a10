"""Does the policy bound the coding agent: its copy, its commands, hosts, secrets, and what it brings back?"""

from dataclasses import replace

import pytest

from veilig.core.action import Action
from veilig.core.action_json import from_json
from veilig.core.actor import Actor, ActorKind
from veilig.core.policy import Decision, Policy, allows_secret, builtin_policy, decide, in_copy, parse
from veilig.core.policy_examples import kindest
from veilig.core.policy_rules import diff_paths

AGENT = Actor("agent:fix", ActorKind.AGENT)


def act(kind: str, **fields: object) -> Action:
    return from_json({"kind": kind, **fields})


def ruled(policy: Policy | str, action: Action, **facts: object) -> Decision:
    """The decision in the kindest moment, with these facts changed."""
    policy = parse(policy) if isinstance(policy, str) else policy
    return decide(policy, action, AGENT, replace(kindest(action), **facts))


BUILTIN = [
    (act("file.read", path="src/a.py"), "allow"),
    (act("file.write", path="src/a.py", content=""), "allow"),
    (act("file.write", path=".git/hooks/pre-commit", content=""), "deny"),
    (act("file.write", path="./.git/config", content=""), "deny"),
    (act("file.write", path="sub/.GIT/config", content=""), "deny"),
    (act("file.write", path=".g\u200cit/config", content=""), "deny"),
    (act("file.write", path=".git /config", content=""), "deny"),
    (act("file.write", path="Veilig.YAML", content=""), "deny"),
    (act("file.write", path=".gitignore", content=""), "allow"),
    (act("file.delete", path=".veilig/state", before="0"), "deny"),
    (act("file.read", path=".git/config"), "allow"),
    (act("workspace.open", source="/src/shop"), "allow"),
    (act("workspace.diff"), "allow"),
    (act("audit.scan"), "allow"),
    (act("tests.run"), "allow"),
    (act("tests.run", command=["make", "check"]), "allow"),
    (act("tests.run", command=["python", "-m", "unittest"]), "allow"),
    (act("repair.propose", failure="{}"), "allow"),
    (act("repair.search", failing=[], lines=[]), "allow"),
    (act("command.run", argv=["python", "-c", "1"]), "allow"),
    (act("command.run", argv=["git", "push"]), "allow"),
    (act("command.run", argv=["/tmp/python", "-c", "1"]), "allow"),
    (act("command.run", argv=["python", "-c", "1"], hosts=["pypi.org"]), "deny"),
    (act("workspace.apply", root="/src/shop", diff="--- a/x\n+++ b/x\n", base=[["x", "0"]]), "ask"),
    (act("git.branch", root="/src/shop", branch="fix", diff="+++ b/x\n", message="m", base=[]), "ask"),
    (act("policy.edit", root="/src/shop", before="", content="mode: act\n"), "ask"),
    (act("policy.edit", root="/src/shop", before="", content="moed: act\n"), "deny"),
    (act("model.ask", model="m", prompt="", tokens_max=1), "allow"),
    (act("model.ask", model="m", prompt="", tokens_max=1_000_000), "deny"),
    (act("file.view", path="a.png"), "allow"),
    (act("output.read", ref="ab"), "allow"),
    (act("workspace.restore", tree="ab"), "allow"),
    (act("service.restart", service="worker-1"), "deny"),
    (act("advisories.fetch", url="https://osv.example/all.zip"), "ask"),
    (act("repository.fetch", url="https://git.example/a.git"), "deny"),
    (act("security_group.describe", group="web"), "deny"),
]  # fmt: skip


@pytest.mark.parametrize(("action", "verdict"), BUILTIN, ids=[f"{a.kind}-{a.target}-{v}" for a, v in BUILTIN])
def test_the_builtin_policy_works_in_the_copy_and_asks_before_anything_leaves_it(
    action: Action, verdict: str
):
    assert ruled(builtin_policy(), action).verdict == verdict


def test_another_folder_than_the_sessions_own_is_denied_and_so_is_an_unknown_one():
    apply = act("workspace.apply", root="/etc", diff="+++ b/x\n", base=[])
    assert ruled(builtin_policy(), apply, root="/src/shop").verdict == "deny"
    assert ruled(builtin_policy(), apply, root="").verdict == "deny"
    assert ruled(builtin_policy(), act("workspace.open", source="/root"), root="/src").verdict == "deny"
    assert ruled(builtin_policy(), act("workspace.open", source="/src/"), root="/src").verdict == "allow"


PATCHES = [
    ("--- a/veilig.yaml\n+++ b/veilig.yaml\n", "deny"),
    ("--- /dev/null\n+++ b/.git/hooks/pre-commit\n", "deny"),
    ("diff --git a/x b/.git/x\nsimilarity index 100%\nrename from x\nrename to .git/x\n", "deny"),
    ("diff --git a/.git/hooks/h b/.git/hooks/h\nold mode 100644\nnew mode 100755\n", "deny"),
    ('--- a/x\n+++ "b/.git\\057hooks"\n', "deny"),
    ("", "deny"),
    ("--- a/src/x.py\n+++ b/src/x.py\n", "ask"),
    ("--- a/src/my file.py\t2026-01-01\n+++ b/src/my file.py\t2026-01-01\n", "ask"),
]


@pytest.mark.parametrize(("diff", "verdict"), PATCHES, ids=[d[:30] for d, _ in PATCHES])
def test_a_patch_is_judged_by_every_path_it_names(diff: str, verdict: str):
    action = act("workspace.apply", root="/src/shop", diff=diff, base=[])
    assert ruled(builtin_policy(), action).verdict == verdict


def test_the_paths_of_a_diff_are_read_without_guessing():
    assert diff_paths("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n") == {"x"}
    assert diff_paths("diff --git a/x b/y\n") is None
    assert diff_paths("--- a/x\u2028y\n") is None


PATHS = "agent: {paths: {read: ['src/**'], write: ['src/*.py'], deny: ['src/secret', '**/*.pem']}}"


@pytest.mark.parametrize(
    ("kind", "path", "verdict"),
    [
        ("file.read", "src/a.py", "allow"),
        ("file.read", "src/sub/b.txt", "allow"),
        ("file.read", "other.py", "deny"),
        ("file.read", "src/secret", "deny"),
        ("file.read", "src/SECRET/key", "deny"),
        ("file.read", "src/./secret/key", "deny"),
        ("file.read", "src/secrets", "allow"),
        ("file.read", "src/x/Cert.PEM", "deny"),
        ("file.write", "src/a.py", "allow"),
        ("file.write", "src/sub/a.py", "deny"),
        ("file.write", "src/a.txt", "deny"),
    ],
)
def test_paths_are_read_and_written_where_a_glob_says_and_denied_in_any_spelling(
    kind: str, path: str, verdict: str
):
    fields = {"path": path, "content": ""} if kind == "file.write" else {"path": path}
    assert ruled(PATHS, act(kind, **fields)).verdict == verdict
    if kind == "file.read":
        assert in_copy(parse(PATHS), path) == (verdict == "allow")


@pytest.mark.parametrize(
    ("argv", "verdict"),
    [
        (["make"], "deny"),
        (["make", "test"], "allow"),
        (["make", "test", "x"], "deny"),
        (["make", "deploy"], "deny"),
        (["python"], "allow"),
        (["python", "-m", "pytest"], "allow"),
        (["Python"], "deny"),
    ],
)
def test_commands_match_word_by_word_and_a_deny_wins(argv: list[str], verdict: str):
    text = "agent: {commands: [[python, '**'], [make, '*'], {argv: [make, deploy], verdict: deny}]}"
    assert ruled(text, act("command.run", argv=argv)).verdict == verdict


HOSTS = """
agent:
  commands: [[a]]
  hosts: [pypi.org, "*.example.org", "db.lan:5432", {host: x.example.org, verdict: deny}]
"""


@pytest.mark.parametrize(
    ("host", "verdict"),
    [
        ("pypi.org", "allow"),
        ("PyPI.org.", "allow"),
        ("pypi.org:443", "allow"),
        ("pypi.org:80", "deny"),
        ("pypi.org.evil.net", "deny"),
        ("evilpypi.org", "deny"),
        ("a.example.org", "allow"),
        ("a.b.example.org", "allow"),
        ("example.org", "deny"),
        ("x.example.org", "deny"),
        ("db.lan:5432", "allow"),
        ("db.lan", "deny"),
        ("127.0.0.1", "deny"),
    ],
)
def test_a_command_reaches_only_hosts_that_are_named(host: str, verdict: str):
    assert ruled(HOSTS, act("command.run", argv=["a"], hosts=[host])).verdict == verdict
    assert ruled(HOSTS, act("command.run", argv=["a"], hosts=["pypi.org", host])).verdict == verdict


def test_an_unlisted_command_is_grantable_but_not_one_that_reaches_the_network():
    text = "agent: {commands: [], unlisted_commands: ask, hosts: [pypi.org]}"
    assert ruled(text, act("command.run", argv=["a"])).grantable
    assert not ruled(text, act("command.run", argv=["a"], hosts=["pypi.org"])).grantable
    apply = act("workspace.apply", root="/src", diff="+++ b/x\n", base=[])
    assert ruled(text, apply).grantable


def test_the_agents_switch_stops_changes_and_leaves_reading():
    text = "agent: {enabled: false}"
    assert ruled(text, act("file.write", path="a", content="")).verdict == "deny"
    assert ruled(text, act("tests.run")).verdict == "deny"
    assert ruled(text, act("file.read", path="a")).verdict == "allow"


@pytest.mark.parametrize(("timeout_s", "verdict"), [(10, "allow"), (10.5, "deny")])
def test_a_command_may_not_outlast_the_wall(timeout_s: float, verdict: str):
    action = act("tests.run", timeout_s=timeout_s)
    assert ruled("sandbox: {wall_s: 10}", action).verdict == verdict


@pytest.mark.parametrize(
    ("model", "tokens", "verdict"),
    [("local/a", 100, "allow"), ("local/a", 101, "deny"), ("other", 1, "deny"), ("xlocal/a", 1, "deny")],
)
def test_a_model_is_asked_when_named_and_within_its_bound(model: str, tokens: int, verdict: str):
    text = "models: {allowed: ['local/*'], tokens_per_answer: 100}"
    assert ruled(text, act("model.ask", model=model, prompt="", tokens_max=tokens)).verdict == verdict


def test_a_secret_from_a_file_returns_to_files_and_one_from_the_environment_goes_nowhere():
    policy = builtin_policy()
    write = act("file.write", path="a", content="")
    assert allows_secret(policy, "API_KEY", "file:.env", write)
    assert not allows_secret(policy, "API_KEY", "env:API_KEY", write)
    assert not allows_secret(
        policy, "API_KEY", "file:.env", act("model.ask", model="m", prompt="", tokens_max=1)
    )
    reach = act("command.run", argv=["a"], hosts=["pypi.org"])
    assert not allows_secret(policy, "API_KEY", "file:.env", reach)


def test_a_secret_reaches_only_the_hosts_its_rule_names():
    rule = "{name: TWINE_*, from: [env], to: [command.run], hosts: [upload.pypi.org]}"
    policy = parse("agent: {secrets: [" + rule + "]}")
    for hosts, allowed in (([], True), (["upload.pypi.org"], True), (["upload.pypi.org", "x.org"], False)):
        action = act("command.run", argv=["twine"], hosts=hosts)
        assert allows_secret(policy, "TWINE_PASSWORD", "env:TWINE_PASSWORD", action) == allowed
    assert not allows_secret(policy, "AWS_KEY", "env:AWS_KEY", act("command.run", argv=["twine"]))
