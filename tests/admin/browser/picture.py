"""Make the picture of the README anew: a real application in trouble, as the dashboard shows it.

`python -m tests.admin.browser.picture [FILE]`; it takes two minutes, since that is what the charts show, and Pillow.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.admin.browser._live import ROOT, Host, hosting
from tests.admin.browser.conftest import ARGUMENTS

SIZE = {"width": 1280, "height": 860}
WORKERS = 4
CALM = 100.0
"""Seconds before anything is held."""

HOLDS = (
    ("payments", "alice", {"mode": "forced_open", "reason": "PSP maintenance until they call back", "ttl": "45m"}),
    ("recommendations", "bob", {"mode": "no_retries", "reason": "They ask for less load", "ttl": "2h"}),
)


def place(host: Host, name: str, who: str, hold: dict[str, str]) -> None:
    """Place a hold by the API."""
    request = urllib.request.Request(
        f"{host.url}/v1/downstreams/{name}/hold",
        json.dumps({**hold, "ticket": "CHG-4411"}).encode(),
        {"Authorization": f"Bearer {host.tokens[who]}", "Content-Type": "application/json"},
        method="PUT",
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def smaller(file: str) -> None:
    """Write a picture again with a palette, which is enough for a page of few colours."""
    with Image.open(file) as picture:
        palette = picture.convert("RGB").quantize(colors=256, dither=Image.Dither.NONE)
    palette.save(file, optimize=True)


def main(file: str = str(ROOT / "docs/_static/dashboard.png")) -> None:
    """Run the application for two minutes and take the picture."""
    with (
        tempfile.TemporaryDirectory() as folder,
        hosting(Path(folder) / "shop", WORKERS, alice="admin", bob="operator") as host,
    ):
        time.sleep(CALM)
        for each in HOLDS:
            place(host, *each)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("chromium-browser"), args=list(ARGUMENTS)
            )
            page = browser.new_page(viewport=SIZE, color_scheme="light")
            page.goto(f"{host.url}/#token={host.tokens['alice']}")
            page.locator("article").first.wait_for()
            time.sleep(20)
            page.screenshot(path=file)
            browser.close()
    smaller(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
