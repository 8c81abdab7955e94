"""Make the picture of the README anew: a real application in trouble, as the dashboard shows it.

`python -m tests.admin.browser.picture [FILE]`; it takes two minutes, since that is what the charts show.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.admin.browser._live import ROOT, hosting
from tests.admin.browser.conftest import ARGUMENTS

SIZE = {"width": 1280, "height": 860}
WORKERS = 4
CALM = 100.0
"""Seconds before anything is held."""

HOLDS = (
    ("trip", "payments", "--reason", "PSP maintenance until they call back", "--for", "45m", "--ticket", "CHG-4411"),
    ("retries", "off", "recommendations", "--reason", "They ask for less load", "--for", "2h"),
)


def main(file: str = str(ROOT / "docs/_static/dashboard.png")) -> None:
    """Run the application for two minutes and take the picture."""
    with tempfile.TemporaryDirectory() as folder, hosting(Path(folder) / "shop", "admin", workers=WORKERS) as host:
        time.sleep(CALM)
        for each in HOLDS:
            host.command(*each)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("chromium-browser"), args=list(ARGUMENTS)
            )
            page = browser.new_page(viewport=SIZE, color_scheme="light")
            page.goto(f"{host.url}/#token={host.tokens['admin']}")
            page.locator("article").first.wait_for()
            time.sleep(20)
            page.screenshot(path=file)
            browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
