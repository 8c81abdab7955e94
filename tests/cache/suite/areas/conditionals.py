"""Conditional requests: those that the cache answers itself, and those that it makes."""

from __future__ import annotations

from typing import Any

from tests.cache.suite.script import (
    DATE,
    ETAG,
    STORE,
    Area,
    Case,
    brief,
    check,
    first,
    fresh,
    later,
    optimal,
    required,
    soon,
)

MAX_AGE = ("max-age-reused",)
ANSWERED = ("if-none-match-answered",)
WEAK = ("if-none-match-weak-answered",)
GENERATED = ("stale-tag-is-sent",)


def since(slug: str, public: str, date: str, *gives: str, **more: Any) -> Case:
    return optimal(
        slug,
        public,
        fresh(*gives),
        later(STORE, sends=(f"If-Modified-Since: {date}",), answers=304, **more),
        needs=MAX_AGE,
        rfc="9111 4.3.2",
        shared_only=True,
    )


CONDITIONAL_DATE = Area(
    "conditional-date",
    "If-Modified-Since",
    "9111 4.3",
    (
        since("if-modified-since-same", "conditional-lm-fresh", "{-3000}", "Last-Modified: {-3000}"),
        since("if-modified-since-later", "conditional-lm-fresh-earlier", "{-2000}", "Last-Modified: {-3000}"),
        optimal(
            "if-modified-since-stale",
            "conditional-lm-stale",
            brief("Last-Modified: {-3000}"),
            later(DATE, sends=("If-Modified-Since: {-3000}",), answers=304),
            needs=("max-age-over-not-reused",),
            rfc="9111 4.3.3",
            shared_only=True,
        ),
        # RFC 9111 has the cache compare Date, which is later: by its text the answer is the 200.
        since(
            "if-modified-since-without-last-modified",
            "conditional-lm-fresh-no-lm",
            "{-3000}",
            granted=frozenset({"source"}),
        ),
        since(
            "if-modified-since-in-rfc850",
            "conditional-lm-fresh-rfc850",
            "{rfc850 -3000}",
            "Last-Modified: {-3000}",
            granted=frozenset({"source"}),
        ),
    ),
)


def matching(kind: Any, slug: str, public: str, held: str, asked: str, needs: tuple[str, ...], **more: Any) -> Case:
    """A fresh answer of one tag is held; a client asks whether its own is still good."""
    return kind(
        slug,
        public,
        fresh(f"ETag: {held}"),
        later(STORE, sends=(f"If-None-Match: {asked}",), answers=304, **more),
        needs=needs,
        rfc="9111 4.3.2",
        shared_only=True,
    )


CONDITIONAL_TAG = Area(
    "conditional-tag",
    "If-None-Match",
    "9111 4.3",
    (
        matching(optimal, "if-none-match-answered", "conditional-etag-strong-respond", '"abcdef"', '"abcdef"', MAX_AGE),
        matching(
            required,
            "304-shows-its-tag",
            "conditional-304-etag",
            '"abcdef"',
            '"abcdef"',
            ANSWERED,
            shows=('ETag: "abcdef"',),
        ),
        required(
            "if-none-match-before-if-modified-since",
            "conditional-etag-precedence",
            fresh("Last-Modified: {-5000}", 'ETag: "abcdef"'),
            later(STORE, sends=('If-None-Match: "abcdef"', "If-Modified-Since: {-1}"), answers=304),
            needs=ANSWERED,
            rfc="9111 4.3.2",
            shared_only=True,
        ),
        matching(
            check,
            "if-none-match-beyond-ascii",
            "conditional-etag-strong-respond-obs-text",
            '"abcdefü"',
            '"abcdefü"',
            ANSWERED,
            shows=('ETag: "abcdefü"',),
        ),
        matching(
            check,
            "unquoted-asks-for-quoted",
            "conditional-etag-quoted-respond-unquoted",
            '"abcdef"',
            "abcdef",
            ANSWERED,
        ),
        matching(
            check,
            "unquoted-asks-for-unquoted",
            "conditional-etag-unquoted-respond-unquoted",
            "abcdef",
            "abcdef",
            ANSWERED,
        ),
        matching(
            check,
            "quoted-asks-for-unquoted",
            "conditional-etag-unquoted-respond-quoted",
            "abcdef",
            '"abcdef"',
            ANSWERED,
        ),
        matching(
            optimal, "if-none-match-weak-answered", "conditional-etag-weak-respond", 'W/"abcdef"', 'W/"abcdef"', MAX_AGE
        ),
        matching(
            check, "weak-in-lower-case", "conditional-etag-weak-respond-lowercase", 'w/"abcdef"', 'w/"abcdef"', WEAK
        ),
        matching(
            check, "weak-with-backslash", "conditional-etag-weak-respond-backslash", 'W\\"abcdef"', 'W\\"abcdef"', WEAK
        ),
        matching(
            check, "weak-without-slash", "conditional-etag-weak-respond-omit-slash", 'W"abcdef"', 'W"abcdef"', WEAK
        ),
        *(
            matching(optimal, slug, public, '"abcdef"', asked, ANSWERED)
            for slug, public, asked in (
                (
                    "if-none-match-first-of-three",
                    "conditional-etag-strong-respond-multiple-first",
                    '"abcdef", "1234", "5678"',
                ),
                (
                    "if-none-match-second-of-three",
                    "conditional-etag-strong-respond-multiple-second",
                    '"1234", "abcdef", "5678"',
                ),
                (
                    "if-none-match-last-of-three",
                    "conditional-etag-strong-respond-multiple-last",
                    '"1234", "5678", "abcdef"',
                ),
            )
        ),
        required(
            "validation-carries-varying-fields",
            "conditional-etag-vary-headers",
            first("Expires: {1}", 'ETag: "abcdef"', "Date: {0}", "Vary: Abc", sends=("Abc: 123",)),
            later(ETAG, sends=("Abc: 123",), sees=("Abc: 123",), granted=frozenset({"source"})),
            rfc="9111 4.3.1",
        ),
        check(
            "tag-of-another-variant-is-sent",
            "conditional-etag-vary-headers-mismatch",
            first("Expires: {10000}", 'ETag: "abcdef"', "Date: {0}", "Vary: Abc", sends=("Abc: 123",)),
            later(sends=("Abc: 456",), sees=('If-None-Match: "abcdef"',)),
            needs=("validation-carries-varying-fields", "vary-other-value"),
            rfc="9111 4.1",
        ),
        *(
            kind(
                slug,
                public,
                brief(f"ETag: {tag}"),
                later(ETAG, sees=(f"If-None-Match: {sent}",)),
                needs=needs,
                rfc="9111 4.3.1",
            )
            for kind, slug, public, tag, sent, needs in (
                (
                    optimal,
                    "stale-tag-is-sent",
                    "conditional-etag-strong-generate",
                    '"abcdef"',
                    '"abcdef"',
                    ("max-age-over-not-reused",),
                ),
                (
                    optimal,
                    "stale-weak-tag-is-sent",
                    "conditional-etag-weak-generate-weak",
                    'W/"abcdef"',
                    'W/"abcdef"',
                    ("max-age-over-not-reused",),
                ),
                (
                    check,
                    "stale-unquoted-tag-gets-quotes",
                    "conditional-etag-strong-generate-unquoted",
                    "abcdef",
                    '"abcdef"',
                    GENERATED,
                ),
            )
        ),
        check(
            "if-none-match-forwarded",
            "conditional-etag-forward",
            soon(sends=('If-None-Match: "abcdef"',), sees=('If-None-Match: "abcdef"',)),
        ),
        check(
            "forwarded-tag-gets-quotes",
            "conditional-etag-forward-unquoted",
            soon(sends=("If-None-Match: abcdef",), sees=('If-None-Match: "abcdef"',)),
            needs=("if-none-match-forwarded",),
        ),
    ),
)
