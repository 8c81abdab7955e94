"""Which statuses are stored when their freshness is stated."""

from __future__ import annotations

from collections.abc import Iterator

from tests.cache.suite.script import ORIGIN, STORE, Area, Case, expired, first, fresh, later, optimal, required, soon

STATUSES_SEEN = (200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599)


def pair(status: int) -> Iterator[Case]:
    redirect = 300 <= status < 400  # browsers do not show those to scripts
    yield optimal(
        f"{status}-reused-while-fresh",
        f"status-{status}-fresh",
        fresh(status=status),
        later(STORE, status=status),
        needs=("max-age-reused",),
        shared_only=redirect,
    )
    yield required(
        f"{status}-not-reused-when-stale",
        f"status-{status}-stale",
        expired(status=status),
        later(ORIGIN),
        needs=(f"{status}-reused-while-fresh",),
        shared_only=redirect,
    )


UNDERSTAND = "Cache-Control: max-age=3600, no-store, must-understand"

STATUSES = Area(
    "statuses",
    "Statuses",
    "9111 3",
    (
        *(case for status in STATUSES_SEEN for case in pair(status)),
        required(
            "must-understand-unknown-status",
            "status-599-must-understand",
            first(UNDERSTAND, status=599),
            soon(ORIGIN),
            needs=("599-reused-while-fresh",),
            rfc="9111 5.2.2.3",
        ),
        optimal(
            "must-understand-known-status",
            "status-200-must-understand",
            first(UNDERSTAND),
            soon(STORE),
            needs=("200-reused-while-fresh", "no-store-before-freshness"),
            rfc="9111 5.2.2.3",
        ),
    ),
)
