"""Age and Date of a stored answer, queries, cookies, attachments; and interim answers."""

from __future__ import annotations

from tests.cache.suite.script import ORIGIN, STORE, Area, Step, check, first, fresh, later, optimal, required, soon

MAX_AGE = ("max-age-reused",)
FUTURE = ("future-expires-reused",)
MONTH = f"Expires: {{{30 * 24 * 3600}}}"
FILE = "Content-Disposition: attachment; filename=example.txt"

OTHER = Area(
    "other",
    "Other",
    "9111 4",
    (
        required(
            "age-is-told", "other-age-gen", fresh(), later(STORE, shows=("Age > 2",)), needs=MAX_AGE, rfc="9111 5.1"
        ),
        check(
            "age-of-a-slow-answer",
            "other-age-delay",
            Step(gives=("Cache-Control: max-age=3600", "Date: {0}"), delay=5, shows=("Age > 0",)),
            rfc="9111 4.2.3",
        ),
        required(
            "age-grows-with-expires",
            "other-age-update-expires",
            first(MONTH, "Date: {0}", "Age: 30"),
            later(STORE, shows=("Age > 32",)),
            needs=FUTURE,
            rfc="9111 5.1",
        ),
        required(
            "age-grows-with-max-age",
            "other-age-update-max-age",
            fresh("Age: 30"),
            later(STORE, shows=("Age > 32",)),
            needs=MAX_AGE,
            rfc="9111 5.1",
        ),
        required(
            "date-stays",
            "other-date-update",
            fresh(),
            later(STORE, shows=("Date: {0}",)),
            needs=MAX_AGE,
            rfc="9110 6.6.1",
        ),
        required(
            "date-stays-beside-expires",
            "other-date-update-expires",
            first(MONTH, "Date: {0}"),
            later(STORE, shows=("Date: {0}",)),
            needs=FUTURE,
            rfc="9110 6.6.1",
        ),
        check(
            "expires-stays",
            "other-date-update-expires-update",
            first(MONTH, "Date: {0}"),
            later(STORE, shows=(MONTH,)),
            needs=FUTURE,
        ),
        required(
            "other-query-other-answer",
            "query-args-different",
            fresh(at="?test=one"),
            later(ORIGIN, at="?test=two"),
            needs=MAX_AGE,
            rfc="9111 2",
        ),
        optimal(
            "same-query-reused", "query-args-same", fresh(at="?test=one"), later(STORE, at="?test=one"), needs=MAX_AGE
        ),
        check(
            "attachment-reused-by-heuristic",
            "other-heuristic-content-disposition-attachment",
            first("Last-Modified: {-100000}", "Date: {0}", FILE),
            soon(STORE),
            needs=("heuristic-200-reused",),
        ),
        check(
            "attachment-reused-while-fresh",
            "other-fresh-content-disposition-attachment",
            fresh(FILE),
            later(STORE),
            needs=MAX_AGE,
        ),
        optimal(
            "set-cookie-reused-while-fresh", "other-set-cookie", fresh("Set-Cookie: a=b"), later(STORE), needs=MAX_AGE
        ),
        optimal(
            "reused-for-a-request-with-cookie",
            "other-cookie",
            fresh(),
            later(STORE, sends=("Cookie: a=b",)),
            needs=MAX_AGE,
        ),
    ),
)

LASTING = ("Cache-Control: max-age=100000", "Date: {0}")
LINK = "link: </styles.css>; rel=preload; as=style"
HINTS = ((103, (LINK, "x-my-header: test")),)


def hinted(early: tuple[tuple[int, tuple[str, ...]], ...], **more: object) -> Step:
    return Step(gives=LASTING, early=early, hears=early, **more)


INTERIM = Area(
    "interim",
    "Interim answers",
    "9110 15.2",
    (
        optimal("102-passed-on", "interim-102", hinted(((102, ()),)), later(STORE), shared_only=True),
        optimal("103-passed-on", "interim-103", hinted(HINTS), later(STORE), shared_only=True),
        required(
            "interim-not-stored",
            "interim-not-cached",
            hinted(((103, (LINK,)),)),
            later(STORE, hears=()),
            rfc="9111 3",
            shared_only=True,
        ),
        optimal(
            "interim-fields-not-stored",
            "interim-no-header-reuse",
            hinted(HINTS, hides=("x-my-header",)),
            later(STORE, hides=("x-my-header",)),
            shared_only=True,
        ),
    ),
)
