"""Does `collaboration.page` of the policy bound what `veilig serve` may do?"""

from pathlib import Path

import pytest

from veilig.core.errors import UsageError
from veilig.core.policy import Policy, parse
from veilig.core.policy_load import PolicyFileError
from veilig.core.policy_page import PageOidc, PageRules

WHOLE = """
collaboration:
  page:
    listen: 127.0.0.1:9000
    url: https://veilig.example.org
    roots: [/srv/projects, ~/work]
    services: [/etc/veilig/services.json]
    session_hours: 8
    requests_per_minute: 600
    oidc: {issuer: https://id.example.org, client: veilig, secret_env: OIDC_SECRET}
    webhooks: [{url: https://hooks.example.org/veilig, secret_env: HOOK_KEY}]
"""


def page(text: str) -> PageRules:
    policy: Policy = parse(text)
    return policy.elsewhere.page


def test_a_file_that_says_nothing_means_this_machine_and_a_working_day() -> None:
    assert page("mode: propose") == PageRules()
    assert PageRules().listen.startswith("127.0.0.1:")


def test_every_key_is_taken_over() -> None:
    assert page(WHOLE) == PageRules(
        "127.0.0.1:9000", "https://veilig.example.org", ("/srv/projects", "~/work"), 8 * 3600, 600,
        PageOidc("https://id.example.org", "veilig", "OIDC_SECRET"),
        (("https://hooks.example.org/veilig", "HOOK_KEY"),), ("/etc/veilig/services.json",),
    )  # fmt: skip


@pytest.mark.parametrize(
    "line",
    ["session_hours: 0", "session_hours: 721", "requests_per_minute: 59", "rots: [/srv]", "roots: /srv",
     "services: a.json", "oidc: {client: veilig}", "webhooks: [{url: ftp://x}]"],
)  # fmt: skip
def test_what_is_no_bound_is_refused(line: str) -> None:
    with pytest.raises(PolicyFileError):
        page(f"collaboration: {{page: {{{line}}}}}")


def test_what_is_named_at_the_terminal_must_lie_within_the_roots(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in" / "shop", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
    rules = PageRules(roots=(str(tmp_path / "in"),))
    assert rules.allowed((), Path()) == (tmp_path / "in",)
    assert rules.allowed((inside,), Path()) == (inside,)
    (tmp_path / "in" / "way").symlink_to(outside)
    for wrong in (outside, tmp_path, tmp_path / "in" / ".." / "out", tmp_path / "in" / "way"):
        with pytest.raises(UsageError):
            rules.allowed((wrong,), Path())
    assert PageRules().allowed((), outside) == (outside,)
    assert PageRules().allowed((outside,), inside) == (outside,)
    with pytest.raises(UsageError):
        PageRules(roots=("projects",)).allowed((), Path())


def test_only_services_files_that_somebody_named_are_healed_from_the_page(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    assert PageRules().watched(()) == ()
    assert PageRules().watched((one,)) == (one,)
    rules = PageRules(services=(str(one),))
    assert rules.watched(()) == rules.watched((one,)) == (one,)
    for wrong in (PageRules(services=("one.json",)), rules):
        with pytest.raises(UsageError):
            wrong.watched((other,))
