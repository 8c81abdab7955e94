"""How long an answer may be used: max-age, s-maxage and what they stand against."""

from __future__ import annotations

from tests.cache.suite.script import ORIGIN, STORE, Area, Case, brief, check, first, later, optimal, required

NONE = ("no-freshness-no-reuse",)
MAX_AGE = ("max-age-reused",)
SHARED = ("s-maxage-reused",)


def lasting(slug: str, public: str, seconds: int) -> Case:
    return optimal(slug, public, first(f"Cache-Control: max-age={seconds}"), later(STORE), needs=NONE, rfc="9111 1.2.2")


FRESHNESS = Area(
    "freshness",
    "Freshness by Cache-Control",
    "9111 4.2",
    (
        check("no-freshness-no-reuse", "freshness-none", first(), later(ORIGIN)),
        optimal("max-age-reused", "freshness-max-age", first("Cache-Control: max-age=3600"), later(STORE), needs=NONE),
        required("max-age-over-not-reused", "freshness-max-age-stale", brief(), later(ORIGIN), needs=MAX_AGE),
        required(
            "max-age-0-not-reused", "freshness-max-age-0", first("Cache-Control: max-age=0"), later(ORIGIN), needs=NONE
        ),
        lasting("max-age-2-to-31-minus-1", "freshness-max-age-max-minus-1", 2**31 - 1),
        lasting("max-age-2-to-31", "freshness-max-age-max", 2**31),
        lasting("max-age-2-to-31-plus-1", "freshness-max-age-max-plus-1", 2**31 + 1),
        lasting("max-age-of-eleven-nines", "freshness-max-age-max-plus", 99_999_999_999),
        required(
            "age-beyond-max-age",
            "freshness-max-age-age",
            first("Date: {0}", "Cache-Control: max-age=3600", "Age: 7200"),
            later(ORIGIN),
            needs=MAX_AGE,
            rfc="9111 4.2.3",
        ),
        check(
            "old-date-counts-as-age",
            "freshness-max-age-date",
            first("Date: {-7200}", "Cache-Control: max-age=3600"),
            later(ORIGIN),
            needs=MAX_AGE,
            rfc="9111 4.2.3",
        ),
        optimal(
            "max-age-before-past-expires",
            "freshness-max-age-expires",
            first("Cache-Control: max-age=3600", "Expires: {-7200}", "Date: {0}"),
            later(STORE),
            needs=MAX_AGE,
            rfc="9111 5.3",
        ),
        optimal(
            "max-age-before-invalid-expires",
            "freshness-max-age-expires-invalid",
            first("Cache-Control: max-age=3600", "~Expires: 0", "Date: {0}"),
            later(STORE),
            needs=MAX_AGE,
            rfc="9111 5.3",
        ),
        required(
            "max-age-0-before-future-expires",
            "freshness-max-age-0-expires",
            first("Expires: {3600}", "Cache-Control: max-age=0", "Date: {0}"),
            later(ORIGIN),
            needs=NONE,
            rfc="9111 5.3",
        ),
        optimal(
            "max-age-beside-unknown-directive",
            "freshness-max-age-extension",
            first("Cache-Control: foobar, max-age=3600"),
            later(STORE),
            needs=MAX_AGE,
            rfc="9111 5.2.3",
        ),
        optimal(
            "max-age-in-mixed-case",
            "freshness-max-age-case-insenstive",
            first("Cache-Control: MaX-aGe=3600"),
            later(STORE),
            needs=MAX_AGE,
        ),
        required(
            "negative-max-age",
            "freshness-max-age-negative",
            first("Cache-Control: max-age=-3600"),
            later(ORIGIN),
            needs=NONE,
            rfc="9111 4.2.1",
        ),
        required(
            "private-cache-ignores-s-maxage",
            "freshness-max-age-s-maxage-private",
            first("Cache-Control: s-maxage=3600, max-age=1"),
            later(ORIGIN),
            needs=MAX_AGE,
            rfc="9111 5.2.2.10",
            private_only=True,
        ),
        required(
            "private-cache-ignores-s-maxage-on-another-line",
            "freshness-max-age-s-maxage-private-multiple",
            first("Cache-Control: s-maxage=3600", "Cache-Control: max-age=1"),
            later(ORIGIN),
            needs=MAX_AGE,
            rfc="9111 5.2.2.10",
            private_only=True,
        ),
        required(  # the public suite counts it among the required ones, though its text calls it optimal
            "s-maxage-reused",
            "freshness-s-maxage-shared",
            first("Cache-Control: s-maxage=3600"),
            later(STORE),
            needs=NONE,
            rfc="9111 5.2.2.10",
            shared_only=True,
        ),
        *(
            required(
                slug,
                public,
                first(*gives),
                later(ORIGIN),
                needs=SHARED,
                rfc="9111 5.2.2.10",
                shared_only=True,
            )
            for slug, public, *gives in (
                (
                    "short-s-maxage-before-long-max-age",
                    "freshness-max-age-s-maxage-shared-longer",
                    "Cache-Control: max-age=3600, s-maxage=1",
                ),
                (
                    "short-s-maxage-before-long-max-age-turned-round",
                    "freshness-max-age-s-maxage-shared-longer-reversed",
                    "Cache-Control: s-maxage=1, max-age=3600",
                ),
                (
                    "short-s-maxage-before-long-max-age-on-two-lines",
                    "freshness-max-age-s-maxage-shared-longer-multiple",
                    "Cache-Control: max-age=3600",
                    "Cache-Control: s-maxage=1",
                ),
            )
        ),
        optimal(
            "long-s-maxage-before-short-max-age",
            "freshness-max-age-s-maxage-shared-shorter",
            first("Cache-Control: max-age=1, s-maxage=3600"),
            later(STORE),
            needs=SHARED,
            rfc="9111 5.2.2.10",
            shared_only=True,
        ),
        optimal(
            "long-s-maxage-before-max-age-0-and-past-expires",
            "freshness-max-age-s-maxage-shared-shorter-expires",
            first("Expires: {-10}", "Cache-Control: max-age=0, s-maxage=3600"),
            later(STORE),
            needs=SHARED,
            rfc="9111 5.2.2.10",
            shared_only=True,
        ),
    ),
)
