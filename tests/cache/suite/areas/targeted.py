"""CDN-Cache-Control (RFC 9213), which speaks to the caches of a content delivery network only."""

from __future__ import annotations

from typing import Any

from tests.cache.suite.script import (
    ORIGIN,
    STORE,
    Area,
    Case,
    Source,
    Step,
    check,
    first,
    later,
    optimal,
    required,
    soon,
)

NONE = ("no-freshness-no-reuse",)
MAX_AGE = ("cdn-max-age-reused",)
LONG = ("Expires: {10000}", "Date: {0}")


def cdn(kind: Any, slug: str, public: str, *steps: Step, **more: Any) -> Case:
    return kind(slug, public, *steps, gateway_only=True, **more)


def told(
    kind: Any,
    slug: str,
    public: str,
    source: Source,
    directive: str,
    *gives: str,
    needs: tuple[str, ...] = MAX_AGE,
    wait: float = 3,
) -> Case:
    """Let an answer in with a targeted directive beside others."""
    line = f"~CDN-Cache-Control: {directive}"
    return cdn(kind, slug, public, first(line, *gives), soon(source, wait=wait), needs=needs)


def beside(slug: str, public: str, shows: str, *gives: str) -> Case:
    step = first("Cache-Control: max-age=1", "CDN-Cache-Control: max-age=10000", "Date: {0}", *gives)
    return cdn(check, slug, public, step, later(shows=(shows,)), needs=MAX_AGE)


CC_LONG = "Cache-Control: max-age=10000"
CC_SHORT = "Cache-Control: max-age=1"

TARGETED = Area(
    "targeted",
    "CDN-Cache-Control",
    "9213",
    (
        told(optimal, "cdn-max-age-reused", "cdn-max-age", STORE, "max-age=3600", needs=NONE),
        told(optimal, "cdn-max-age-2-to-31", "cdn-max-age-max", STORE, f"max-age={2**31}", needs=NONE),
        told(optimal, "cdn-max-age-of-eleven-nines", "cdn-max-age-max-plus", STORE, "max-age=99999999999", needs=NONE),
        told(required, "cdn-age-beyond-max-age", "cdn-max-age-age", ORIGIN, "max-age=3600", "Date: {0}", "Age: 7200"),
        told(check, "cdn-space-before-equals", "cdn-max-age-space-before-equals", ORIGIN, "max-age =100", CC_SHORT),
        told(check, "cdn-space-after-equals", "cdn-max-age-space-after-equals", ORIGIN, "max-age= 100", CC_SHORT),
        told(required, "cdn-max-age-0", "cdn-max-age-0", ORIGIN, "max-age=0"),
        told(optimal, "cdn-unknown-directive", "cdn-max-age-extension", STORE, "foobar, max-age=3600"),
        told(check, "cdn-mixed-case", "cdn-max-age-case-insensitive", STORE, "MaX-aGe=3600"),
        told(
            optimal,
            "cdn-before-past-expires",
            "cdn-max-age-expires",
            STORE,
            "max-age=3600",
            "Expires: {-10000}",
            "Date: {0}",
        ),
        told(
            optimal,
            "cdn-before-invalid-expires",
            "cdn-max-age-cc-max-age-invalid-expires",
            STORE,
            "max-age=3600",
            "~Expires: 0",
            "Date: {0}",
        ),
        told(required, "cdn-0-before-future-expires", "cdn-max-age-0-expires", ORIGIN, "max-age=0", *LONG),
        told(optimal, "cdn-long-before-short", "cdn-max-age-short-cc-max-age", STORE, "max-age=3600", CC_SHORT),
        told(
            required,
            "cdn-short-before-long",
            "cdn-max-age-long-cc-max-age",
            ORIGIN,
            "max-age=1",
            "Cache-Control: max-age=3600",
        ),
        *(
            cdn(required, slug, public, first(f"CDN-Cache-Control: {word}", CC_LONG, *LONG), soon(ORIGIN))
            for slug, public, word in (
                ("cdn-private-not-stored", "cdn-private", "private"),
                ("cdn-no-cache-not-reused", "cdn-no-cache", "no-cache"),
            )
        ),
        told(
            required, "cdn-no-store-not-stored", "cdn-no-store-cc-fresh", ORIGIN, "no-store", CC_LONG, *LONG, needs=NONE
        ),
        told(
            required,
            "cdn-max-age-before-no-store",
            "cdn-fresh-cc-nostore",
            STORE,
            "max-age=10000",
            "Cache-Control: no-store",
            needs=NONE,
        ),
        told(
            required,
            "cdn-unreadable-ignored",
            "cdn-cc-invalid-sh-type-unknown",
            ORIGIN,
            "max-age=10000, &&&&&",
            "Cache-Control: no-store",
        ),
        told(
            required,
            "cdn-wrong-type-ignored",
            "cdn-cc-invalid-sh-type-wrong",
            ORIGIN,
            'max-age="10000"',
            "Cache-Control: no-store",
        ),
        cdn(
            check,
            "cdn-field-passed-on",
            "cdn-remove-header",
            Step(gives=(CC_LONG, "~CDN-Cache-Control: foo", *LONG), shows=("CDN-Cache-Control: foo",)),
        ),
        beside("cdn-age-told", "cdn-remove-age-exceed", "Age"),
        beside("cdn-date-stays", "cdn-date-update-exceed", "Date: {0}"),
        beside("cdn-expires-stays", "cdn-expires-update-exceed", "Expires: {1}", "Expires: {1}"),
    ),
)
