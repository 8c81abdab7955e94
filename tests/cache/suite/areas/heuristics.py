"""Freshness that nobody stated: which statuses may have it, and how long."""

from __future__ import annotations

from tests.cache.suite.script import ORIGIN, STORE, Area, Case, check, first, later, optimal, required, soon

DAY = 24 * 3600


def reused(status: int, *more: str) -> Case:
    step = first(f"Last-Modified: {{-{DAY}}}", "Date: {0}", *more, status=status)
    return optimal(f"heuristic-{status}-reused", f"heuristic-{status}-cached", step, soon(STORE, status=status))


def refused(status: int, rfc: str = "9111 3") -> Case:
    step = first(f"Last-Modified: {{-{DAY}}}", "Date: {0}", status=status)
    return required(
        f"heuristic-{status}-not-reused",
        f"heuristic-{status}-not_cached",
        step,
        soon(ORIGIN, status=status),
        rfc=rfc,
    )


def modified(seconds: int) -> Case:
    return check(
        f"heuristic-modified-{seconds}-s-ago",
        f"heuristic-delta-{seconds}",
        first(f"Last-Modified: {{-{seconds}}}", "Date: {0}"),
        later(STORE),
    )


HEURISTICS = Area(
    "heuristics",
    "Heuristic freshness",
    "9111 4.2.2",
    (
        *(reused(status) for status in (200, 203, 204, 404, 405, 410, 414, 501)),
        *(refused(status) for status in (201, 202, 403, 502, 503, 504)),
        refused(599, "9111 5.2.2.9"),
        reused(599, "Cache-Control: public"),
        *(modified(seconds) for seconds in (5, 10, 30, 60, 300, 600, 1200, 1800, 3600, DAY // 2, DAY)),
    ),
)
