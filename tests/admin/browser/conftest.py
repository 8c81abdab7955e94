"""A real Chromium for the tests of the dashboard, and what must hold on every page that it opens."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.admin.browser._stub import Stub, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT = 15_000
SECRET = "5ec12e7"
WATCH = """
window.broken = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.broken.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


def chromium() -> str:
    """Return the path of Chromium; without one skip, and in CI fail."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        message = "Chromium is not installed (looked for chromium and chromium-browser), the dashboard is not tested"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium once for the tests of a file."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield started
        started.close()


@dataclass
class Visits:
    """Opens pages, and notes whatever they do that they must not do."""

    browser: Browser
    contexts: list[Any] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    site: str = ""

    def __call__(
        self, url: str, token: str = "", *, ready: str = "#page .card, #page tr[data-tone]", **context: Any
    ) -> Page:
        """Open the dashboard at a URL, signed in with a token, and wait until it shows something."""
        self.site = urlsplit(url).netloc
        opened = self.browser.new_context(viewport={"width": 1280, "height": 900}, **context)
        opened.set_default_timeout(TIMEOUT)
        opened.add_init_script(WATCH)
        self.contexts.append(opened)
        page = opened.new_page()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("request", lambda request: self.addresses.append(request.url))
        page.goto(f"{url}#token={token}" if token else url)
        if token:
            page.wait_for_selector(ready)
        return page

    def _console(self, message: Any) -> None:
        # Chromium itself reports refusals of the API, which tests provoke.
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            self.wrong.append(f"console: {message.text}")

    def close(self) -> list[str]:
        """Close every page; return what was wrong."""
        for context in self.contexts:
            for page in context.pages:
                self.wrong += [f"policy: {each}" for each in page.evaluate("window.broken")]
            context.close()
        strangers = {each for each in self.addresses if urlsplit(each).netloc != self.site}
        self.wrong += [f"request to a stranger: {each}" for each in strangers]
        self.wrong += [f"token in an address: {each}" for each in self.addresses if SECRET in each]
        return self.wrong


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visits]:
    """Open pages; none of them may break its policy, log an error, or talk to a stranger."""
    visits = Visits(browser)
    yield visits
    assert visits.close() == []


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Run a server of made-up data, under two levels of a prefix."""
    with running("/ops/resilient") as server:
        yield server


@pytest.fixture
def artifact(tmp_path: Path) -> Callable[[str], str]:
    """Return where a picture is kept: in RESILIENT_ARTIFACTS, if that is set."""
    folder = Path(os.environ.get("RESILIENT_ARTIFACTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return lambda name: str(folder / name)
