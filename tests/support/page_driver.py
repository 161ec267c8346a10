"""Debian's chromium in front of a real `veilig serve`, and what goes over its wires."""

import contextlib
import os
import shutil
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
WAIT_MS = 180_000  # for an event on a busy machine, never a measure of speed
SHOTS = os.environ.get("VEILIG_SHOTS", "")  # a folder: pictures for the documentation


@dataclass
class Window:
    """One person's browser window. wire: every body and every frame that came to it."""

    page: Any
    wire: list[str] = field(default_factory=list[str])
    errors: list[str] = field(default_factory=list[str])

    def script(self, source: str) -> Any:
        return self.page.evaluate(source)

    def text(self) -> str:
        """All of the document: what is shown, attributes and what fields hold."""
        fields = "[...document.querySelectorAll('input,textarea')].map(e => e.value)"
        return self.script(f"document.documentElement.outerHTML + {fields}")

    def seqs(self) -> list[int]:
        return self.script("veilig.events.map(e => e.seq)")

    def shot(self, name: str) -> None:
        if SHOTS:
            self.page.screenshot(path=str(Path(SHOTS) / f"{name}.png"))


def chromium_path() -> str:
    """Where Debian put it; a loud skip without it or without the driver."""
    pytest.importorskip("playwright", reason="playwright is not installed (group dev)")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    return found


@contextlib.contextmanager
def chromium() -> Generator[Any]:
    """A browser, ended with everything in it."""
    path = chromium_path()
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


def window(browser: Any, *, width: int = 1440, height: int = 900, scheme: str = "light") -> Window:
    """A window of somebody who has never been here."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
    )
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    made = Window(page)
    page.on("pageerror", lambda error: made.errors.append(str(error)))
    devtools = context.new_cdp_session(page)
    devtools.send("Network.enable")
    for event in ("webSocketFrameReceived", "webSocketFrameSent", "eventSourceMessageReceived"):
        devtools.on(f"Network.{event}", lambda told: made.wire.append(str(told)))
    page.on("response", lambda answer: _keep(made, answer))
    return made


def _keep(made: Window, answer: Any) -> None:
    from playwright.sync_api import Error

    if "/api/" in answer.url:
        try:
            made.wire.append(answer.text())
        except Error as error:  # a download, or the page has gone on: its bytes are looked at elsewhere
            made.wire.append(f"unread: {answer.url} {error.message[:80]}")


def serious(one: Window) -> list[str]:
    """What axe-core finds serious or critical on what is shown now."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm ci --ignore-scripts in web/")
    devtools = one.page.context.new_cdp_session(one.page)
    devtools.send("Runtime.evaluate", {"expression": AXE.read_text()})  # not through the page's CSP
    found = one.script("axe.run(document, {resultTypes: ['violations']})")
    devtools.detach()
    return [
        f"{v['impact']} {v['id']}: {[n['target'] for n in v['nodes']][:3]}"
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
    ]
