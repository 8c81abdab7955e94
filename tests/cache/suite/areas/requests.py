"""What a request may demand of the cache, and the older Pragma."""

from __future__ import annotations

from tests.cache.suite.script import DATE, ETAG, ORIGIN, STORE, Area, Step, check, first, fresh, later, soon


def asking(directive: str) -> dict[str, tuple[str, ...]]:
    return {"sends": (f"Cache-Control: {directive}",)}


def kept(seconds: int, *more: str) -> Step:
    return first(f"Cache-Control: max-age={seconds}", *more)


REQUESTS = Area(
    "requests",
    "Request directives",
    "9111 5.2.1",
    (
        check("request-max-age-0", "ccreq-ma0", fresh(), later(ORIGIN, **asking("max-age=0")), rfc="9111 5.2.1.1"),
        check("request-max-age-1", "ccreq-ma1", fresh(), later(ORIGIN, **asking("max-age=1")), rfc="9111 5.2.1.1"),
        check(
            "request-max-age-below-age",
            "ccreq-magreaterage",
            kept(3600, "Age: 1800"),
            soon(ORIGIN, **asking("max-age=600")),
            rfc="9111 5.2.1.1",
        ),
        check(
            "request-max-stale",
            "ccreq-max-stale",
            kept(1),
            later(STORE, **asking("max-stale=1000")),
            rfc="9111 5.2.1.2",
        ),
        check(
            "request-max-stale-with-age",
            "ccreq-max-stale-age",
            kept(1500, "Age: 2000"),
            soon(STORE, **asking("max-stale=1000")),
            rfc="9111 5.2.1.2",
        ),
        check(
            "request-min-fresh",
            "ccreq-min-fresh",
            kept(1500),
            soon(ORIGIN, **asking("min-fresh=2000")),
            rfc="9111 5.2.1.3",
        ),
        check(
            "request-min-fresh-with-age",
            "ccreq-min-fresh-age",
            kept(1500, "Age: 1000"),
            soon(ORIGIN, **asking("min-fresh=1000")),
            rfc="9111 5.2.1.3",
        ),
        check("request-no-cache", "ccreq-no-cache", kept(3600), soon(ORIGIN, **asking("no-cache")), rfc="9111 5.2.1.4"),
        check(
            "request-no-cache-validates-date",
            "ccreq-no-cache-lm",
            kept(3600, "Last-Modified: {-10000}", "Date: {0}"),
            soon(DATE, **asking("no-cache")),
            rfc="9111 5.2.1.4",
        ),
        check(
            "request-no-cache-validates-tag",
            "ccreq-no-cache-etag",
            kept(3600, "ETag: without-quotes"),
            soon(ETAG, **asking("no-cache")),
            rfc="9111 5.2.1.4",
        ),
        check("request-no-store", "ccreq-no-store", kept(3600), soon(ORIGIN, **asking("no-store")), rfc="9111 5.2.1.5"),
        check(
            "request-only-if-cached",
            "ccreq-oic",
            soon(answers=504, says=None, **asking("only-if-cached")),
            rfc="9111 5.2.1.7",
        ),
    ),
)

PRAGMA = Area(
    "pragma",
    "Pragma",
    "9111 5.4",
    (
        check(
            "request-pragma-no-cache", "pragma-request-no-cache", kept(3600), soon(STORE, sends=("Pragma: no-cache",))
        ),
        check(
            "request-pragma-unknown",
            "pragma-request-extension",
            kept(3600),
            soon(STORE, sends=("Pragma: unrecognised-extension",)),
        ),
        check("response-pragma-no-cache", "pragma-response-no-cache", kept(3600, "Pragma: no-cache"), soon(STORE)),
        check(
            "response-pragma-no-cache-heuristic",
            "pragma-response-no-cache-heuristic",
            first("Date: {0}", "Last-Modified: {-10000}", "Pragma: no-cache"),
            soon(STORE),
            needs=("heuristic-200-reused",),
        ),
        check(
            "response-pragma-unknown",
            "pragma-response-extension",
            kept(3600, "Pragma: unrecognised-extension"),
            soon(STORE),
        ),
    ),
)
