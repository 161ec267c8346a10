"""Does `veilig gateway check --clients` say what real clients show, and which are not here or fail?"""

from pathlib import Path

import pytest

from terminal import Terminal
from veilig.app.clients import find_codex

pytestmark = [pytest.mark.outside_gate, pytest.mark.slow]
OURS = Path(__file__).resolve().parents[2] / ".venv/codex/node_modules/.bin/codex"
FEATURES = {
    "models", "chat", "chat, streamed", "responses", "responses, streamed", "tool call", "embeddings",
    "denied tool call", "safety case", "reroute is said", "suspension",
}  # fmt: skip


def test_a_client_that_cannot_run_fails_the_check_and_the_sdk_shows_every_feature(tmp_path: Path) -> None:
    said = Terminal(tmp_path)("gateway", "check", "--clients", "--json", VEILIG_CODEX="/nowhere/codex")
    rows = said.json
    works = {r["feature"] for r in rows if r["client"].startswith("openai") and r["works"]}
    assert works == FEATURES, rows
    assert {r["works"] for r in rows if r["client"] == "codex"} == {False}
    assert "cannot be run" in str(rows)
    assert said.code == 3
    assert not list((tmp_path / "home").rglob("*.db")), "the check keeps nothing"


def test_codex_shows_every_feature_of_the_check(tmp_path: Path) -> None:
    codex = find_codex() or str(OURS)
    if not Path(codex).exists():
        pytest.skip("no Codex CLI here: npm i @openai/codex, then VEILIG_CODEX=node_modules/.bin/codex")
    home = {"HOME": str(Path.home())}  # Codex will not live below the temporary folder
    said = Terminal(tmp_path)("gateway", "check", "--clients", VEILIG_CODEX=codex, **home)
    assert said.code == 0, said.out
    assert said.out.count("works") == len(FEATURES) + 4
    assert "codex            denied tool call         works   the tool did not run" in said.out
