"""Response directives that are not about freshness: no-store, no-cache, private, must-revalidate, immutable."""

from __future__ import annotations

from tests.cache.suite.script import ETAG, ORIGIN, STORE, Area, Case, check, first, later, optimal, required, soon

NONE = ("no-freshness-no-reuse",)
NO_STORE = ("no-store-not-stored",)
NO_CACHE = ("no-cache-not-reused",)


def older(slug: str, public: str, newer: str) -> Case:
    """An older answer is still there when a newer one may not be stored."""
    return required(
        slug,
        public,
        first("Cache-Control: max-age=10000", "Expires: {10000}", "Date: {0}", "A: 1"),
        first(f"Cache-Control: {newer}", "Date: {0}", "A: 2", wait=3),
        later(STORE, shows=("A: 1",)),
        needs=NO_STORE,
        rfc="9111 5.2.2.5",
    )


DIRECTIVES = Area(
    "directives",
    "Response directives",
    "9111 5.2.2",
    (
        required(
            "private-not-stored-by-shared",
            "cc-resp-private-shared",
            first("Cache-Control: private, max-age=3600"),
            soon(ORIGIN),
            rfc="9111 5.2.2.7",
            shared_only=True,
        ),
        optimal(
            "private-reused-by-private",
            "cc-resp-private-private",
            first("Cache-Control: private, max-age=3600"),
            soon(STORE),
            rfc="9111 5.2.2.7",
            private_only=True,
        ),
        required(
            "no-store-not-stored",
            "cc-resp-no-store",
            first("Cache-Control: no-store"),
            soon(ORIGIN),
            rfc="9111 5.2.2.5",
        ),
        required(
            "no-store-in-mixed-case",
            "cc-resp-no-store-case-insensitive",
            first("Cache-Control: No-StOrE"),
            soon(ORIGIN),
            needs=NO_STORE,
            rfc="9111 5.2.2.5",
        ),
        required(
            "no-store-before-freshness",
            "cc-resp-no-store-fresh",
            first("Cache-Control: max-age=10000, no-store", "Expires: {10000}", "Date: {0}"),
            soon(ORIGIN),
            needs=NO_STORE,
            rfc="9111 5.2.2.5",
        ),
        older("older-answer-beside-no-store", "cc-resp-no-store-old-new", "no-store"),
        older("older-answer-beside-no-store-max-age-0", "cc-resp-no-store-old-max-age", "no-store, max-age=0"),
        required(
            "no-cache-not-reused",
            "cc-resp-no-cache",
            first("Cache-Control: max-age=10000, no-cache", "Expires: {10000}", "Date: {0}"),
            soon(ORIGIN),
            rfc="9111 5.2.2.4",
        ),
        required(
            "no-cache-in-mixed-case",
            "cc-resp-no-cache-case-insensitive",
            first("Cache-Control: max-age=10000, No-CaChE", "Expires: {10000}", "Date: {0}"),
            soon(ORIGIN),
            needs=NO_CACHE,
            rfc="9111 5.2.2.4",
        ),
        optimal(
            "no-cache-revalidated",
            "cc-resp-no-cache-revalidate",
            first("Cache-Control: no-cache", 'ETag: "abcd"'),
            soon(ETAG),
            needs=NO_CACHE,
            rfc="9111 5.2.2.4",
        ),
        optimal(
            "no-cache-revalidated-while-fresh",
            "cc-resp-no-cache-revalidate-fresh",
            first("Cache-Control: max-age=10000, no-cache", "Expires: {10000}", "Date: {0}", 'ETag: "abcd"'),
            soon(ETAG),
            needs=NO_CACHE,
            rfc="9111 5.2.2.4",
        ),
        check(
            "no-cache-with-a-field-leaves-it-out",
            "headers-omit-headers-listed-in-Cache-Control-no-cache-single",
            first('Cache-Control: no-cache="a"', "a: 1", "b: 2", "Cache-Control: max-age=3600", "Date: {0}"),
            later(STORE, shows=("b: 2",), hides=("a",), granted=frozenset({"source"})),
            needs=("no-cache-revalidated",),
            rfc="9111 5.2.2.4",
        ),
        check(
            "no-cache-with-fields-leaves-them-out",
            "headers-omit-headers-listed-in-Cache-Control-no-cache",
            first('Cache-Control: no-cache="a, b"', "a: 1", "b: 2", "c: 3", "Cache-Control: max-age=3600", "Date: {0}"),
            later(STORE, shows=("c: 3",), hides=("a", "b"), granted=frozenset({"source"})),
            needs=("no-cache-revalidated",),
            rfc="9111 5.2.2.4",
        ),
        optimal(
            "must-revalidate-reused-while-fresh",
            "cc-resp-must-revalidate-fresh",
            first("Cache-Control: max-age=10000, must-revalidate", 'ETag: "abcd"'),
            soon(STORE),
            needs=NONE,
            rfc="9111 5.2.2.2",
        ),
        required(
            "must-revalidate-asks-when-stale",
            "cc-resp-must-revalidate-stale",
            first("Cache-Control: max-age=2, must-revalidate", 'ETag: "abcd"'),
            first("Cache-Control: max-age=2, must-revalidate", 'ETag: "abcd"', source=STORE),
            later(ETAG),
            needs=NONE,
            rfc="9111 5.2.2.2",
        ),
        optimal(
            "immutable-reused-at-reload",
            "cc-resp-immutable-fresh",
            first("Cache-Control: max-age=10000, immutable", 'ETag: "abcd"'),
            later(STORE, sends=("Cache-Control: max-age=0",)),
            rfc="8246 2",
            private_only=True,
        ),
        required(
            "immutable-asks-when-stale",
            "cc-resp-immutable-stale",
            first("Cache-Control: max-age=2, immutable", 'ETag: "abcd"'),
            later(ETAG, sends=("Cache-Control: max-age=0",), sees=("Cache-Control: max-age=0",)),
            rfc="8246 2",
            private_only=True,
        ),
    ),
)
