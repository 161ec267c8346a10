"""How does the Codex CLI take one turn against a gateway of ours? In a home of its own, for that turn."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final, cast

import orjson

from veilig.providers.clients import run_client

TURN_S: Final = 120.0
KEPT: Final = ("PATH", "LANG", "LC_ALL", "TERM", "HOME", "TMPDIR", "SHELL")
CONFIG: Final = """
model = "{model}"
model_provider = "veilig"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
[model_providers.veilig]
name = "veilig gateway"
base_url = "{url}"
env_key = "VEILIG_API_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
stream_idle_timeout_ms = 20000
supports_websockets = {websockets}
[analytics]
enabled = false
"""


def find_codex() -> str:
    """The Codex CLI: what VEILIG_CODEX names, else what is on the PATH; "" where there is none."""
    return os.environ.get("VEILIG_CODEX") or shutil.which("codex") or ""


async def codex_turn(
    program: str, *, url: str, key: str, model: str, prompt: str, folder: Path, websockets: bool = False
) -> list[dict[str, Any]]:
    """Its JSON events, in order. Raises ProviderError.

    No sandbox of Codex's own: the model is our script, whose only commands are those of the check.
    """
    # Not below the temporary folder: Codex refuses its own companion programs there.
    home = Path(tempfile.mkdtemp(prefix=".veilig-codex-check-", dir=Path.home()))
    try:
        text = CONFIG.format(url=url, model=model, websockets=str(websockets).lower())
        (home / "config.toml").write_text(text)
        environment = {k: os.environ[k] for k in KEPT if k in os.environ}
        environment |= {"CODEX_HOME": str(home), "VEILIG_API_KEY": key}
        argv = (program, "exec", "--skip-git-repo-check", "--json", prompt)
        said = await run_client(argv, folder=folder, environment=environment, limit_s=TURN_S)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    events: list[dict[str, Any]] = []
    for line in said.splitlines():
        if line.startswith("{"):
            events.append(cast(dict[str, Any], orjson.loads(line)))
    return events
