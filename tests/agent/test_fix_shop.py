"""The main job on a real project: every planted defect fixed with proof, and no kill -9 loses it.

Out of scope here: what each recipe does (tests/repair), what the report looks like (tests/cli).
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from veilig.agent.fix_state import FixOptions
from veilig.app import Setting, run_fix
from veilig.core.action import Action
from veilig.core.event import CLOSING
from veilig.core.ledger import Ledger
from veilig.core.ledger_verify import verify
from veilig.core.provider import Outcome
from veilig.providers.sandbox.wall import Wall

TOP = Path(__file__).parents[2]
SHOP = TOP / "examples" / "shop"
ADVISORIES = TOP / "data" / "advisories" / "pypi-advisories.jsonl.gz"
KINDS = ["dependency", "syntax", "test", *["weakness"] * 4]  # what its README plants
KILLED_AT = (9, 33, 71)  # events of the session after which the process dies: early, half-way, in the proofs
WAIT_S = 120.0

pytestmark = [pytest.mark.slow, pytest.mark.outside_gate]


class Silent:
    """A watcher that hears nothing."""

    def began(self, session: str, law: str) -> None: ...
    def wall(self, wall: Wall) -> None: ...
    def proposed(self, action: Action) -> None: ...
    def observed(self, action: Action, outcome: Outcome) -> None: ...


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    left = shutil.ignore_patterns("__pycache__", ".pytest_cache")
    return Path(shutil.copytree(SHOP, tmp_path / "shop", ignore=left))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    given = {"VEILIG_HOME": str(tmp_path / "home"), "VEILIG_ADVISORIES": str(ADVISORIES)}
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    return kept | given | {"XDG_CONFIG_HOME": str(tmp_path / "none")}


def texts(folder: Path) -> dict[str, bytes]:
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and "__pycache__" not in p.parts)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def veilig(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "veilig.cli.main", *arguments]


def problems(result: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted((p["kind"], p["status"]) for p in result["problems"])


ALL_FIXED = [(kind, "fixed") for kind in KINDS]


async def test_every_planted_defect_is_fixed_with_proof_and_the_users_tree_stays(
    shop: Path, environment: dict[str, str]
) -> None:
    before = texts(shop)
    setting = Setting(environment=environment)
    ended = await run_fix(FixOptions(str(shop)), setting, Silent(), None)
    result = dict(ended.finish.data)
    assert (ended.finish.ok, problems(result)) == (True, ALL_FIXED), ended.finish.summary
    found: Any = result["problems"]
    assert all(p["fix"] and p["proof"] for p in found if p["kind"] != "syntax")
    final: Any = result["final"]
    assert (final["complete"], final["nonpassing"]) == (True, {})
    assert str(result["diff"]).startswith("diff --git ")
    assert texts(shop) == before
    home = Path(environment["VEILIG_HOME"])
    assert verify(home / "ledger.db", home / "anchors").events >= ended.events


def test_with_apply_the_proven_diff_is_in_the_users_tree(shop: Path, environment: dict[str, str]) -> None:
    before = texts(shop)
    argv = veilig("fix", str(shop), "--apply", "--json")
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr + done.stdout[:2000]
    result = json.loads(done.stdout)
    assert problems(result) == ALL_FIXED
    changed = {path for path, text in texts(shop).items() if before.get(path) != text}
    assert {"shop/money.py", "shop/cart.py", "shop/orders.py", "requirements.txt"} <= changed
    assert set(before) <= set(texts(shop))
    assert not any(path.startswith("tests/") for path in changed)


def session_events(home: Path) -> list[str]:
    """Names of the fix session's events so far; none while there is no ledger."""
    if not (home / "ledger.db").exists():
        return []
    with Ledger.open(home / "ledger.db", anchor_dir=home / "anchors", create=False) as ledger:
        return [e.name for e in ledger.events() if e.session.startswith("fix-")]


def killed_after(argv: list[str], environment: dict[str, str], events: int) -> bool:
    """Start `argv`, kill -9 its process once the session has that many events; False when it ended before."""
    home = Path(environment["VEILIG_HOME"])
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        until = time.monotonic() + WAIT_S
        while process.poll() is None and time.monotonic() < until:
            if len(session_events(home)) >= events:
                process.kill()
                process.wait()
                return True
            time.sleep(0.05)  # another process writes the ledger: there is no event to wait for here
        process.kill()
        return False


@pytest.mark.long
def test_a_fix_killed_three_times_is_finished_by_resume(shop: Path, environment: dict[str, str]) -> None:
    home = Path(environment["VEILIG_HOME"])
    before = texts(shop)
    argv = veilig("fix", str(shop), "--json")
    for events in KILLED_AT:
        assert killed_after(argv, environment, events), f"it ended before event {events}"
        argv = veilig("resume", "fix-", "--json")
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr + done.stdout[:2000]
    result = json.loads(done.stdout)
    assert problems(result) == ALL_FIXED
    assert texts(shop) == before
    names = session_events(home)
    assert names.count("session.resumed") == len(KILLED_AT)
    assert names.count("action.started") <= sum(names.count(name) for name in CLOSING)
    assert verify(home / "ledger.db", home / "anchors").events >= len(names)
