"""What an unsafe method makes unusable."""

from __future__ import annotations

from collections.abc import Iterator

from tests.cache.suite.script import ORIGIN, STORE, Area, Case, Step, check, first, fresh, optimal, required, soon

UNSAFE = ("POST", "PUT", "DELETE", "M-SEARCH")
POINTS = ("Location: {here}/target", "Content-Location: {here}/content")


def unsafe(method: str, **more: object) -> Step:
    return first(**{"method": method, "body": "abc", **more})


def itself(method: str) -> Iterator[Case]:
    slug = f"{method.lower()}-invalidates"
    yield required(
        slug,
        f"invalidate-{method}",
        fresh(),
        unsafe(method, wait=3),
        soon(ORIGIN),
        needs=("max-age-reused",),
    )
    yield optimal(
        f"failed-{method.lower()}-invalidates-nothing",
        f"invalidate-{method}-failed",
        fresh(),
        unsafe(method, status=500, wait=3),
        soon(STORE),
        needs=(slug,),
    )


def elsewhere(method: str, at: str, what: str, public: str) -> Case:
    """The answer names another URL of the same origin."""
    lasting = ("Cache-Control: max-age=100000", "Last-Modified: {0}", "Date: {0}")
    return check(
        f"{method.lower()}-invalidates-{what}",
        f"invalidate-{method}-{public}",
        first(*lasting, at=at),
        unsafe(method, gives=POINTS),
        soon(ORIGIN, at=at, gives=lasting),
        needs=(f"{method.lower()}-invalidates",),
    )


INVALIDATION = Area(
    "invalidation",
    "Invalidation",
    "9111 4.4",
    (
        *(case for method in UNSAFE for case in itself(method)),
        *(elsewhere(method, "/target", "location", "location") for method in UNSAFE),
        *(elsewhere(method, "/content", "content-location", "cl") for method in UNSAFE),
    ),
)
