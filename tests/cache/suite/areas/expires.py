"""Freshness by Expires, and how its date is read."""

from __future__ import annotations

from tests.cache.suite.script import ORIGIN, STORE, Area, Case, first, later, optimal, required, soon

NONE = ("no-freshness-no-reuse",)
FUTURE = ("future-expires-reused",)
MONTH = 30 * 24 * 3600

EXPIRES = Area(
    "expires",
    "Freshness by Expires",
    "9111 5.3",
    (
        optimal(
            "future-expires-reused",
            "freshness-expires-future",
            first(f"Expires: {{{MONTH}}}", "Date: {0}"),
            later(STORE),
            needs=NONE,
        ),
        required(
            "past-expires-not-reused",
            "freshness-expires-past",
            first(f"Expires: {{-{MONTH}}}", "Date: {0}"),
            later(ORIGIN),
            needs=FUTURE,
        ),
        required(
            "expires-now-not-reused",
            "freshness-expires-present",
            first("Expires: {0}", "Date: {0}"),
            soon(ORIGIN),
            needs=NONE,
        ),
        required(
            "expires-before-date-both-ahead",
            "freshness-expires-old-date",
            first("Expires: {300}", "Date: {400}"),
            later(ORIGIN),
            needs=FUTURE,
            rfc="9111 4.2.1",
        ),
        required(
            "expires-0-is-past",
            "freshness-expires-invalid",
            first("~Expires: 0", "Date: {0}"),
            later(ORIGIN),
            needs=FUTURE,
        ),
        optimal(
            "expires-without-valid-date",
            "freshness-expires-invalid-date",
            first("~Date: foo", "Expires: {10}"),
            soon(STORE),
            needs=FUTURE,
        ),
        required(
            "age-beyond-expires-slow-date",
            "freshness-expires-age-slow-date",
            first("Date: {-10}", "Expires: {10}", "Age: 25"),
            soon(ORIGIN),
            needs=FUTURE,
            rfc="9111 4.2.3",
        ),
        required(
            "age-beyond-expires-fast-date",
            "freshness-expires-age-fast-date",
            first("Date: {10}", "Expires: {20}", "Age: 15"),
            soon(ORIGIN),
            needs=FUTURE,
            rfc="9111 4.2.3",
        ),
    ),
)


def valid(slug: str, public: str, date: str) -> Case:
    return optimal(slug, public, first(f"~Expires: {date}", "Date: {0}"), later(STORE), needs=FUTURE)


def invalid(slug: str, public: str, date: str, *, wait: float = 3) -> Case:
    return required(
        slug, public, first(f"~Expires: {date}", "Date: {0}"), soon(ORIGIN, wait=wait), needs=FUTURE, rfc="9110 5.6.7"
    )


EXPIRES_PARSING = Area(
    "expires-parsing",
    "Expires parsing",
    "9110 5.6.7",
    (
        valid("expires-in-2038", "freshness-expires-32bit", "Tue, 19 Jan 2038 14:14:08 GMT"),
        valid("expires-in-2286", "freshness-expires-far-future", "Sun, 21 Nov 2286 04:46:39 GMT"),
        valid("expires-in-rfc850", "freshness-expires-rfc850", "Thursday, 18-Aug-50 02:01:18 GMT"),
        valid("expires-in-asctime", "freshness-expires-ansi-c", "Thu Aug  8 02:01:18 2050"),
        valid("expires-weekday-in-capitals", "freshness-expires-wrong-case-weekday", "THU, 18 Aug 2050 02:01:18 GMT"),
        valid("expires-month-in-capitals", "freshness-expires-wrong-case-month", "Thu, 18 AUG 2050 02:01:18 GMT"),
        valid("expires-zone-in-mixed-case", "freshness-expires-wrong-case-tz", "Thu, 18 Aug 2050 02:01:18 gMT"),
        invalid("expires-in-utc", "freshness-expires-invalid-utc", "Thu, 18 Aug 2050 02:01:18 UTC"),
        invalid("expires-in-another-zone", "freshness-expires-invalid-aest", "Thu, 18 Aug 2050 02:01:18 AEST"),
        invalid("expires-year-of-two-digits", "freshness-expires-invalid-2-digit-year", "Thu, 18 Aug 50 02:01:18 GMT"),
        invalid("expires-without-comma", "freshness-expires-invalid-no-comma", "Thu 18 Aug 2050 02:01:18 GMT"),
        invalid(
            "expires-with-more-spaces",
            "freshness-expires-invalid-multiple-spaces",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            wait=0,
        ),
        invalid(
            "expires-with-dashes", "freshness-expires-invalid-date-dashes", "Thu, 18-Aug-2050 02:01:18 GMT", wait=0
        ),
        invalid(
            "expires-time-with-points",
            "freshness-expires-invalid-time-periods",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            wait=0,
        ),
        invalid(
            "expires-hour-of-one-digit",
            "freshness-expires-invalid-1-digit-hour",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            wait=0,
        ),
        required(
            "expires-on-two-lines-invalid",
            "freshness-expires-invalid-multiple-lines",
            first("Expires: Thu, 18 Aug 2050 2:01:18 GMT", "Expires: Thu, 18 Aug 2050 2:01:19 GMT", "Date: {0}"),
            soon(ORIGIN),
            needs=FUTURE,
        ),
    ),
)
