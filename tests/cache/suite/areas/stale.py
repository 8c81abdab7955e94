"""When an answer may be served past its time."""

from __future__ import annotations

from tests.cache.suite.script import ANY, STORE, Area, Case, brief, check, expired, first, later, optimal, required

NEEDS = ("max-age-over-not-reused",)


def forbidden(slug: str, public: str, directive: str, rfc: str, *, shared_only: bool = False) -> Case:
    """The connection is cut, and a directive says that a stale answer is no help."""
    return required(
        slug,
        public,
        first(f"Cache-Control: max-age=2, {directive}"),
        later(drops=True, answers=ANY, says=None, hides=("Origin-Count",)),
        needs=("stale-when-cut-off",),
        rfc=rfc,
        shared_only=shared_only,
    )


STALE = Area(
    "stale",
    "Serving stale",
    "9111 4.2.4",
    (
        check("stale-when-cut-off", "stale-close", brief(), later(STORE, drops=True), needs=NEEDS),
        check("stale-when-unavailable", "stale-503", brief(), later(STORE, status=503, answers=200), needs=NEEDS),
        optimal(
            "stale-while-revalidate",
            "stale-while-revalidate",
            first("Cache-Control: max-age=1, stale-while-revalidate=3600", 'ETag: "abc"'),
            later(STORE),
            needs=NEEDS,
            rfc="5861 3",
        ),
        required(
            "stale-while-revalidate-ends",
            "stale-while-revalidate-window",
            first("Cache-Control: max-age=1, stale-while-revalidate=4", 'ETag: "abc"'),
            first("~Cache-Control: no-cache", '~ETag: "def"', source=STORE, wait=3, refreshes=True),
            later(shows=("Origin-Step: 3",)),
            needs=("stale-while-revalidate",),
            rfc="5861 3",
        ),
        check(
            "stale-if-error-when-cut-off",
            "stale-sie-close",
            first("Cache-Control: max-age=2, stale-if-error=60"),
            later(STORE, drops=True),
            needs=NEEDS,
            rfc="5861 4",
        ),
        # The public case of that name cuts the connection, too.
        check(
            "stale-if-error-when-unavailable",
            "stale-sie-503",
            first("Cache-Control: max-age=2, stale-if-error=60"),
            later(STORE, drops=True),
            needs=NEEDS,
            rfc="5861 4",
        ),
        forbidden("must-revalidate-not-stale", "stale-close-must-revalidate", "must-revalidate", "9111 5.2.2.2"),
        forbidden(
            "proxy-revalidate-not-stale",
            "stale-close-proxy-revalidate",
            "proxy-revalidate",
            "9111 5.2.2.8",
            shared_only=True,
        ),
        forbidden("no-cache-not-stale", "stale-close-no-cache", "no-cache", "9111 5.2.2.4"),
        forbidden("s-maxage-not-stale", "stale-close-s-maxage=2", "s-maxage=2", "9111 5.2.2.10", shared_only=True),
        check(
            "warning-for-stored-stale",
            "stale-warning-stored",
            expired(),
            later(STORE, drops=True, shows=("Warning",), granted=frozenset({"source"})),
            needs=("stale-when-cut-off",),
            rfc="9111 5.5",
        ),
        check(
            "warning-for-become-stale",
            "stale-warning-become",
            brief(),
            later(STORE, drops=True, shows=("Warning",), granted=frozenset({"source"})),
            needs=("stale-when-cut-off",),
            rfc="9111 5.5",
        ),
    ),
)
