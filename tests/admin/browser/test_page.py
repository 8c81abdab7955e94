"""The dashboard in a real browser, over made-up data: what it shows, keeps to itself, and lets people do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.admin.browser._canned import iso
from tests.admin.browser._stub import Stub
from tests.admin.browser.conftest import Visits

if TYPE_CHECKING:
    from playwright.sync_api import Page

VIEWER = "rsl_see_5ec12e7"
OPERATOR = "rsl_act_5ec12e7"
ADMIN = "rsl_all_5ec12e7"


SMALL = """() => [...document.querySelectorAll("button, select, input, a[href]")].flatMap((each) => {
    const box = (each.closest("label.option, .switch label") ?? each).getBoundingClientRect();
    return box.width && (box.width < 24 || box.height < 24) && !each.matches(".skip") ? [each.outerHTML] : [];
})"""


def card(page: Page, name: str) -> Any:
    return page.locator("article").filter(has=page.get_by_role("heading", name=name, exact=True))


def names(page: Page) -> list[str]:
    return page.locator("#cards h3").all_inner_texts()


def until(page: Page, condition: str) -> None:
    # Not `wait_for_function`: that would need the policy to allow `eval`.
    end = time.monotonic() + 15
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def axe(page: Page, *only: str, inside: str | None = None) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    options = {"resultTypes": ["violations"], **({"runOnly": list(only)} if only else {})}
    found = Axe().run(page, context=inside, options=options).response["violations"]
    return [f"{each['id']}: {node['html']} {node['failureSummary']}" for each in found for node in each["nodes"]]


def test_a_token_in_the_address_is_taken_and_left_nowhere(visit: Visits, stub: Stub) -> None:
    page = visit(stub.url, OPERATOR)
    assert page.url == stub.url
    page.get_by_label("Theme").select_option("dark")
    kept = page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, history.state, name])"
    )
    assert "resilient.view" in kept
    assert "5ec12e7" not in kept
    assert "5ec12e7" not in page.content()
    assert page.context.cookies() == []
    page.reload()
    page.get_by_role("heading", name="Sign in").wait_for()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_token_is_asked_for_and_a_wrong_one_is_refused_in_words(visit: Visits, stub: Stub) -> None:
    page = visit(stub.url)
    field = page.get_by_label("Token")
    field.wait_for()
    assert axe(page) == []
    field.fill("rsl_no_5ec12e7")
    page.keyboard.press("Enter")
    page.get_by_role("alert").filter(has_text="No valid token.").wait_for()
    assert field.input_value() == ""
    field.fill(VIEWER)
    page.keyboard.press("Enter")
    card(page, "payments").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    assert page.locator("article").count() == 0


def test_who_may_only_look_is_offered_no_action(visit: Visits, stub: Stub) -> None:
    page = visit(stub.url, VIEWER)
    assert len(names(page)) == 12
    for view in ("Table", "Cards"):
        page.get_by_role("radio", name=view).check()
        words = page.get_by_role("button").all_inner_texts()
        assert not [each for each in words if "…" in each]
    assert page.locator("dialog").count() == 0
    assert page.locator("[aria-haspopup]").count() == 0


def test_an_operator_may_release_own_holds_only_and_an_admin_all(visit: Visits, stub: Stub) -> None:
    page = visit(stub.url, OPERATOR)  # this is alice
    assert card(page, "payments").get_by_role("button", name="Release").count() == 1
    assert card(page, "tax").get_by_role("button", name="Release").count() == 0
    page = visit(stub.url, ADMIN)
    assert card(page, "payments").get_by_role("button", name="Release").count() == 2
    assert card(page, "tax").get_by_role("button", name="Release").count() == 1


def test_a_card_says_everything_in_words(visit: Visits, stub: Stub) -> None:
    page = visit(stub.url, VIEWER)
    text = " ".join(card(page, "payments").inner_text().split())
    for part in (
        "held open since", "UTC (15 min ago)", "rejected 118/s", "p50 48 ms", "p90 125 ms", "p99 341 ms",
        "4 processes held open", "retries on", "PSP maintenance until they call back", "alice · CHG-4411 · until",
        "masked", "ends in 24:",
    ):  # fmt: skip
        assert part in text, text
    assert "1 open, 3 closed" in card(page, "search").inner_text()
    assert "failure ratio" in card(page, "search").inner_text()
    assert "retries off" in card(page, "fraud-score").inner_text()
    assert "returning, 25% admitted" in card(page, "ledger-eu").inner_text()
    chart = card(page, "search").get_by_role("img")
    assert re.match(r"Last two minutes: [\d,]+ calls, peak .*/s, \d+% errors", chart.get_attribute("aria-label"))
    listed = page.locator("#attention > li").all_inner_texts()
    assert [each.split("\n")[0] for each in listed] == [
        "payments",
        "search",
        "recommendations",
        "Process 4414 on web-1",
        "fraud-score",
        "ledger-eu",
        "tax",
        "cart",
    ]
    assert "Storage array is moved" in page.locator("#windows").inner_text()
    assert page.locator("#processes tr").count() == 4
    assert "refused" in page.locator("#audit tr").nth(1).inner_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_and_every_target_is_large_enough(
    theme: Any, visit: Visits, stub: Stub, artifact: Callable[[str], str]
) -> None:
    only = ["color-contrast"] if theme == "dark" else []  # all else is the same in both
    page = visit(stub.url, ADMIN, color_scheme=theme, reduced_motion="reduce")
    assert axe(page, *only) == []
    page.screenshot(path=artifact(f"dashboard-{theme}.png"), full_page=True)
    assert page.evaluate(SMALL) == []
    page.get_by_role("radio", name="Table").check()
    page.locator("#rows tr").first.wait_for()
    assert axe(page, *only, inside="#table") == []
    assert page.evaluate(SMALL) == []
    page.screenshot(path=artifact(f"dashboard-table-{theme}.png"))
    page.locator("#rows").get_by_role("button", name="Trip inventory").click()
    assert axe(page, *only, inside="#trip") == []
    assert page.evaluate(SMALL) == []
    page.screenshot(path=artifact(f"dashboard-trip-{theme}.png"))


def test_forced_colours_and_narrow_windows_keep_everything_in_sight(
    visit: Visits, stub: Stub, artifact: Callable[[str], str]
) -> None:
    page = visit(stub.url, ADMIN, forced_colors="active")
    page.screenshot(path=artifact("dashboard-forced-colours.png"), full_page=True)
    glyph = page.locator(".card .glyph .body").first
    assert glyph.evaluate("each => getComputedStyle(each).fill") == page.evaluate(
        "getComputedStyle(document.body).color"
    )
    page.set_viewport_size({"width": 320, "height": 800})
    page.screenshot(path=artifact("dashboard-narrow.png"), full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_a_refusal_of_the_api_is_shown_in_the_dialog_and_nothing_is_lost(visit: Visits, stub: Stub) -> None:
    page = visit(stub.url, OPERATOR)
    opener = card(page, "inventory").get_by_role("button", name="Trip")
    opener.click()
    dialog = page.get_by_role("dialog", name="Trip inventory")
    stub.refusal = (
        409,
        {
            "detail": "Interlock rules forbid it.",
            "violations": [{"id": "min-2", "message": "1 of 3 would stay available, 2 must"}],
        },
    )
    send = dialog.get_by_role("button", name="Trip", exact=True)
    send.click()  # without a reason and an end, the form itself refuses
    assert dialog.get_by_label("Reason").evaluate("each => each.validity.valueMissing")
    dialog.get_by_label("Reason").fill("too slow for us")
    send.click()
    assert dialog.get_by_label("15 min").evaluate("each => each.validity.valueMissing")
    assert stub.requests == []
    dialog.get_by_role("radio", name="other").check()
    dialog.get_by_label("Other length").fill("1h30m")
    send.click()
    dialog.get_by_role("alert").get_by_text("min-2: 1 of 3 would stay available, 2 must").wait_for()
    assert dialog.get_by_label("Reason").input_value() == "too slow for us"
    stub.refusal = (404, {"detail": "Nobody knows 'inventory'.", "close_matches": ["inventory-eu"]})
    send.click()
    dialog.get_by_role("alert").get_by_text("inventory-eu").wait_for()
    stub.refusal = None
    dialog.get_by_role("button", name="Check only").click()
    dialog.get_by_text("Nothing stands in the way; nothing was changed. It would meet 210/s calls").wait_for()
    send.click()
    dialog.get_by_text("Applied in 4 of 4 processes.").wait_for()
    assert stub.requests[-1][2] == {
        "mode": "forced_open", "reason": "too slow for us", "ttl": "1h30m", "percent": 100, "disposition": "fallback",
    }  # fmt: skip
    page.keyboard.press("Escape")
    assert opener.evaluate("each => each === document.activeElement")


def test_each_mode_sends_only_what_fits_it(visit: Visits, stub: Stub) -> None:
    page = visit(stub.url, OPERATOR)
    for label, body in {
        "Observe": {"mode": "observe"},
        "Hold closed": {"mode": "forced_closed"},
        "Retries off": {"mode": "no_retries"},
        "Hold open": {"mode": "forced_open", "percent": 20, "disposition": "reject"},
    }.items():
        card(page, "mail").get_by_role("button", name="Trip").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label(label).check()
        assert dialog.get_by_label("Percent").is_visible() == (label == "Hold open")
        if label == "Hold open":
            dialog.get_by_label("Percent").fill("20")
            dialog.get_by_label("Refused calls").select_option("reject")
        dialog.get_by_label("Reason").fill("why not")
        dialog.get_by_label("45 min").check()
        dialog.get_by_label("Ticket").fill("CHG-1")
        dialog.locator("button[type=submit]").click()
        dialog.get_by_role("button", name="Close").click()
        assert stub.requests[-1] == (
            "PUT",
            "/ops/resilient/v1/downstreams/mail/hold",
            {"reason": "why not", "ttl": "45m", "ticket": "CHG-1", **body},
        )  # fmt: skip


def test_a_paused_page_stands_still_and_then_catches_up(visit: Visits, stub: Stub) -> None:
    page = visit(stub.url, OPERATOR)
    page.get_by_role("button", name="Pause").click()
    before = page.locator("body").inner_html()
    stub.change("mail", state="open", states={"open": 4}, rate=77.0)
    page.wait_for_timeout(1_700)  # countdowns, announcements and deltas would all have come by now
    assert page.locator("body").inner_html() == before
    assert "Paused" in page.locator("#banner").inner_text()
    page.get_by_role("button", name="Resume").click()
    card(page, "mail").get_by_text("77/s").wait_for()
    assert page.locator("#banner").is_hidden()


def test_the_page_is_drawn_no_more_often_than_asked_for(visit: Visits, stub: Stub) -> None:
    page = visit(stub.url, VIEWER)
    page.get_by_label("Update").select_option("every 15 s")
    page.wait_for_timeout(50)
    stub.change("mail", rate=78.0)
    page.wait_for_timeout(1_300)
    assert "3.4/s" in card(page, "mail").inner_text()
    page.get_by_label("Update").select_option("at once")
    card(page, "mail").get_by_text("78/s").wait_for()


def test_transitions_are_announced_in_one_batch_and_nothing_else_is(visit: Visits, stub: Stub) -> None:
    page = visit(stub.url, VIEWER)
    page.evaluate(
        """() => { window.said = []; new MutationObserver(() => said.push(announce.textContent))
                   .observe(announce, {childList: true}); }"""
    )
    stub.change("mail", rate=50.0)
    stub.change("mail", state="open", states={"open": 4})
    stub.change("cart", state="half_open", states={"half_open": 4})
    until(page, "said.length")
    page.wait_for_timeout(300)
    assert page.evaluate("said") == ["mail is open and cart is half-open."]


def test_what_has_focus_or_pointer_is_never_moved(visit: Visits, stub: Stub) -> None:
    page = visit(stub.url, OPERATOR)
    before = names(page)
    card(page, "mail").get_by_role("button", name="Trip").focus()
    stub.change("inventory", state="open", states={"open": 4})
    card(page, "inventory").get_by_text("open", exact=True).wait_for()
    assert names(page) == before
    page.get_by_label("Filter").focus()
    until(page, "document.querySelectorAll('#cards h3')[1].textContent === 'inventory'")
    before = names(page)
    card(page, "mail").hover()
    stub.change("ledger-us", state="open", states={"open": 4})
    card(page, "ledger-us").get_by_text("open", exact=True).wait_for()
    assert names(page) == before
    page.locator(".brand").hover()
    until(page, "document.querySelectorAll('#cards h3')[2].textContent === 'ledger-us'")


def test_the_filter_and_the_order_are_the_operators(visit: Visits, stub: Stub) -> None:
    page = visit(stub.url, VIEWER)
    page.get_by_label("Filter").fill("ledger")
    assert names(page) == ["ledger-eu", "ledger-us"]
    assert "2 of 12" in page.locator("#downstreams-count").inner_text()
    page.get_by_label("Filter").fill("carol")
    assert names(page) == ["fraud-score"]
    page.get_by_label("Filter").fill("nobody has this")
    page.get_by_text("No downstream fits the filter.").wait_for()
    page.get_by_label("Filter").fill("")
    page.get_by_label("Sort").select_option("by calls")
    assert names(page)[:3] == ["cart", "inventory", "https://images.internal.example:8443"]
    page.get_by_role("radio", name="Table").check()
    page.get_by_role("columnheader", name="Downstream").get_by_role("button").click()
    rows = page.locator("#rows th").all_inner_texts()
    assert rows == sorted(rows)
    assert page.get_by_role("columnheader", name="Downstream").get_attribute("aria-sort") == "ascending"


def test_a_page_that_hears_nothing_turns_grey_and_says_stalled(visit: Visits, stub: Stub) -> None:
    page = visit(stub.url, VIEWER)
    page.clock.install()
    page.reload()
    page.get_by_label("Token").fill(VIEWER)
    page.keyboard.press("Enter")
    card(page, "payments").wait_for()
    stub.silent = True
    page.clock.run_for(12_000)
    assert page.locator("#banner").is_hidden()
    page.clock.run_for(6_000)
    page.locator("#banner").get_by_text("Stalled: nothing new for").wait_for()
    assert "grayscale" in page.locator("#page").evaluate("each => getComputedStyle(each).filter")
    stub.silent = False
    stub.change("mail", rate=79.0)
    page.clock.run_for(1_500)
    page.locator("#banner").wait_for(state="hidden")
    # A server that speaks but cannot see is no better, and its words are shown.
    stub.push("problem", {"detail": "the record is locked"})
    for _ in range(20):
        page.clock.run_for(1_000)
    page.locator("#banner").get_by_text("The server says: the record is locked").wait_for()


def test_a_cut_stream_is_taken_up_where_it_ended(visit: Visits, stub: Stub) -> None:
    page = visit(stub.url, VIEWER)
    stub.change("mail", rate=80.0)
    card(page, "mail").get_by_text("80/s").wait_for()
    stub.cut_streams()
    until(page, "pulse.dataset.mode !== 'live'")
    until(page, "pulse.dataset.mode === 'live'")
    assert stub.seen_ids == ["", "boot-1"]


def test_without_streams_the_page_polls(visit: Visits, stub: Stub) -> None:
    stub.streams_offered = False
    page = visit(stub.url, VIEWER)
    page.get_by_text("Polling").wait_for()
    stub.change("mail", rate=81.0)
    card(page, "mail").get_by_text("81/s").wait_for()


def test_text_of_others_is_never_markup(visit: Visits, stub: Stub) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    stub.overview["verdict"] = hostile
    stub.overview["downstreams"][0]["holds"][0].update(reason=hostile, actor=hostile, ticket=hostile)
    stub.overview["downstreams"][1]["name"] = hostile
    page = visit(stub.url, ADMIN)
    assert page.locator("#verdict").inner_text() == hostile
    assert page.locator("img").count() == 0
    card(page, hostile).get_by_role("button", name="Trip").click()
    page.get_by_role("heading", name=f"Trip {hostile}").wait_for()
    stub.push("event", {"seq": 1, "at": iso(), "name": hostile, "downstream": hostile, "fields": {"reason": hostile}})
    page.locator("#activity li").first.wait_for()
    assert page.locator("img").count() == 0
