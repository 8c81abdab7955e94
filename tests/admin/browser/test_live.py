"""The dashboard over a real application: what others do is seen, and what is done here reaches every process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.admin.browser._live import Host, hosting
from tests.admin.browser.conftest import Visits

if TYPE_CHECKING:
    from playwright.sync_api import Page

WORKERS = 3


@pytest.fixture(scope="module")
def host(tmp_path_factory: Any) -> Iterator[Host]:
    with hosting(tmp_path_factory.mktemp("host") / "shop", WORKERS, vic="viewer", olga="operator") as running:
        yield running


def card(page: Page, name: str) -> Any:
    return page.locator("article").filter(has=page.get_by_role("heading", name=name, exact=True))


def badge(page: Page, name: str, word: str) -> None:
    card(page, name).locator("header .badge", has_text=word).wait_for()


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what has this name has the focus, and can be seen to have it."""
    for _ in range(150):
        page.keyboard.press("Tab")
        here, outline = page.evaluate(
            """() => { const each = document.activeElement; return [
                each.getAttribute("aria-label") ?? each.labels?.[0]?.textContent.trim() ?? each.textContent.trim(),
                getComputedStyle(each).outlineStyle]; }"""
        )
        if here.startswith(name):
            assert outline != "none"
            return
    raise AssertionError(name)


def test_a_trip_and_a_release_by_another_process_are_seen_at_once(visit: Visits, host: Host) -> None:
    page = visit(host.url, host.tokens["vic"])  # without the slash at the end, which the page is served with
    assert page.url == f"{host.url}/"
    badge(page, "tax", "closed")
    assert page.get_by_role("button", name="Trip").count() == 0
    assert f"{WORKERS} processes on this host" in page.locator("#reach").inner_text()
    host.command("trip", "tax", "--reason", "the provider asks for it", "--for", "10m")
    badge(page, "tax", "held open")
    card(page, "tax").get_by_text("the provider asks for it").wait_for()
    card(page, "tax").get_by_text(f"{WORKERS} processes held open").wait_for()
    assert "tax" in page.locator("#attention").inner_text()
    assert "tax held open" in page.locator("#verdict").inner_text()
    page.locator("#audit tr", has_text="the provider asks for it").first.wait_for()
    host.command("release", "tax", "--reason", "the provider is back")
    badge(page, "tax", "closed")
    card(page, "tax").get_by_text(f"{WORKERS} processes closed").wait_for()


def test_trip_and_release_need_no_pointer_and_reach_every_process(
    visit: Visits, host: Host, artifact: Callable[[str], str]
) -> None:
    page = visit(host.url + "/", host.tokens["olga"])
    badge(page, "payments", "closed")
    keys = page.keyboard
    tab_to(page, "Trip payments")
    keys.press("Enter")
    tab_to(page, "Reason")
    keys.type("PSP maintenance")
    tab_to(page, "15 min")
    keys.press("Space")
    page.screenshot(path=artifact("live-trip.png"))
    keys.press("Enter")
    dialog = page.get_by_role("dialog", name="Trip payments")
    dialog.get_by_text(f"Applied in {WORKERS} of {WORKERS} processes.").wait_for()
    keys.press("Enter")  # the focus is on Close
    dialog.wait_for(state="hidden")
    badge(page, "payments", "held open")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Trip payments…"
    page.screenshot(path=artifact("live-held.png"), full_page=True)
    tab_to(page, "Release payments")
    keys.press("Enter")
    tab_to(page, "Reason")
    keys.type("they are back")
    keys.press("Enter")
    dialog = page.get_by_role("dialog", name="Release payments")
    dialog.get_by_text(f"Applied in {WORKERS} of {WORKERS} processes.").wait_for()
    keys.press("Escape")
    badge(page, "payments", "closed")
    assert page.evaluate("document.querySelector('article:focus-within h3').textContent") == "payments"
    page.locator("#audit tr", has_text="they are back").first.wait_for()
    assert "olga (dashboard)" in page.locator("#audit tr", has_text="they are back").first.inner_text()


def test_retries_are_turned_off_and_a_refusal_names_what_is_allowed(visit: Visits, host: Host) -> None:
    page = visit(host.url + "/", host.tokens["olga"])
    card(page, "mail").get_by_role("button", name="Trip").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Retries off").check()
    dialog.get_by_label("Reason").fill("They ask for less load")
    dialog.get_by_role("radio", name="other").check()
    dialog.get_by_label("Other length").fill("3d")
    dialog.get_by_role("button", name="Turn retries off").click()
    dialog.get_by_role("alert").get_by_text("ttl").first.wait_for()
    dialog.get_by_label("Other length").fill("90s")
    dialog.get_by_role("button", name="Check only").click()
    dialog.get_by_text("Nothing stands in the way").wait_for()
    dialog.get_by_role("button", name="Turn retries off").click()
    dialog.get_by_text(f"Applied in {WORKERS} of {WORKERS} processes.").wait_for()
    dialog.get_by_role("button", name="Close").click()
    card(page, "mail").locator(".traits", has_text="retries off").wait_for()


def test_a_hold_that_somebody_placed_meanwhile_is_not_passed_over_unseen(visit: Visits, host: Host) -> None:
    page = visit(host.url + "/", host.tokens["olga"])
    card(page, "ledger").get_by_role("button", name="Trip").click()
    dialog = page.get_by_role("dialog")
    host.command("trip", "ledger", "--reason", "somebody was faster", "--for", "5m", "--percent", "50")
    dialog.get_by_label("Observe").check()
    dialog.get_by_label("Reason").fill("comparing thresholds")
    dialog.get_by_label("45 min").check()
    send = dialog.get_by_role("button", name="Hold", exact=True)
    send.click()
    dialog.get_by_role("alert").get_by_text("The holds have changed since you opened this.").wait_for()
    card(page, "ledger").get_by_text("somebody was faster").wait_for()
    send.click()
    dialog.get_by_text(f"Applied in {WORKERS} of {WORKERS} processes.").wait_for()
    dialog.get_by_role("button", name="Close").click()
    badge(page, "ledger", "held open, 50%")
    card(page, "ledger").get_by_text("masked").wait_for()
