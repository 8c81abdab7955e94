"""Answers chosen by request fields, and how Vary is read."""

from __future__ import annotations

from typing import Any

from tests.cache.suite.script import ORIGIN, STORE, Area, Case, Step, first, optimal, required, soon

MATCH = ("vary-same-value",)
TWO = ("vary-two-fields-same",)
THREE = ("vary-three-fields-same",)
LASTING = ("Cache-Control: max-age=5000", "Last-Modified: {-3000}", "Date: {0}")

ONE = ("Foo: 1",)
PAIR = ("Foo: 1", "Bar: abc")
TRIPLE = ("Foo: 1", "Bar: abc", "Baz: 789")


def chosen(vary: str, *sends: str, **more: Any) -> Step:
    """Let an answer into the cache that was chosen by some fields."""
    return first(*LASTING, vary if vary.startswith("~") else f"Vary: {vary}", sends=sends, **more)


def languages(slug: str, public: str, asked: str, *gives: str) -> Case:
    return optimal(
        slug,
        public,
        first(*LASTING, "Vary: Accept-Language", *gives, sends=("Accept-Language: en, de",)),
        soon(STORE, sends=(f"Accept-Language: {asked}",)),
        needs=MATCH,
    )


VARY = Area(
    "vary",
    "Vary",
    "9111 4.1",
    (
        optimal(
            "vary-same-value",
            "vary-match",
            chosen("Foo", *ONE),
            soon(STORE, sends=ONE),
            needs=("max-age-reused",),
        ),
        required(
            "vary-other-value", "vary-no-match", chosen("Foo", *ONE), soon(ORIGIN, sends=("Foo: 2",)), needs=MATCH
        ),
        required("vary-field-new", "vary-omit-stored", chosen("Foo"), soon(ORIGIN, sends=ONE), needs=MATCH),
        required("vary-field-gone", "vary-omit", chosen("Foo", *ONE), soon(ORIGIN), needs=MATCH),
        optimal(
            "vary-keeps-both-variants",
            "vary-invalidate",
            chosen("Foo", *ONE, text="for foo 1"),
            chosen("Foo", "Foo: 2", text="for foo 2", source=ORIGIN),
            soon(STORE, sends=ONE, text="for foo 1"),
            needs=MATCH,
        ),
        optimal(
            "vary-ignores-other-fields",
            "vary-cache-key",
            chosen("Foo", *ONE, "Other: 2"),
            soon(STORE, sends=("Foo: 1", "Other: 3")),
            needs=MATCH,
        ),
        optimal(
            "vary-two-fields-same",
            "vary-2-match",
            chosen("~Vary: Foo, Bar", *PAIR),
            soon(STORE, sends=PAIR),
            needs=MATCH,
        ),
        required(
            "vary-two-fields-one-differs",
            "vary-2-no-match",
            chosen("~Vary: Foo, Bar", *PAIR),
            soon(ORIGIN, sends=("Foo: 2", "Bar: abc")),
            needs=TWO,
        ),
        required(
            "vary-two-fields-gone", "vary-2-match-omit", chosen("~Vary: Foo, Bar", *PAIR), soon(ORIGIN), needs=TWO
        ),
        optimal(
            "vary-three-fields-same",
            "vary-3-match",
            chosen("~Vary: Foo, Bar, Baz", *TRIPLE),
            soon(STORE, sends=TRIPLE),
            needs=TWO,
        ),
        required(
            "vary-three-fields-one-differs",
            "vary-3-no-match",
            chosen("~Vary: Foo, Bar, Baz", *TRIPLE),
            soon(ORIGIN, sends=("Foo: 2", "Bar: abc", "Baz: 789")),
            needs=THREE,
        ),
        required(
            "vary-three-fields-in-other-order",
            "vary-3-order",
            chosen("~Vary: Foo, Bar, Baz", *TRIPLE),
            soon(ORIGIN, sends=("Foo: 1", "Baz: 789", "Bar: abcde")),
            needs=THREE,
        ),
        optimal(
            "vary-field-absent-both-times",
            "vary-3-omit",
            chosen("~Vary: Foo, Bar, Baz", "Foo: 1", "Baz: 789"),
            soon(STORE, sends=("Foo: 1", "Baz: 789")),
            needs=THREE,
        ),
        required(
            "vary-star", "vary-star", chosen("*", "Foo: 1", "Baz: 789"), soon(ORIGIN, sends=("Foo: 1", "Baz: 789"))
        ),
        optimal(
            "vary-lines-combined",
            "vary-normalise-combine",
            chosen("Foo", "Foo: 1, 2"),
            soon(STORE, sends=("Foo: 1", "Foo: 2")),
            needs=MATCH,
        ),
        languages("vary-language-order", "vary-normalise-lang-order", "de, en"),
        languages("vary-language-case", "vary-normalise-lang-case", "eN, De"),
        languages("vary-language-spaces", "vary-normalise-lang-space", "en ,   de"),
        languages(
            "vary-language-by-weight",
            "vary-normalise-lang-select",
            "fr;q=0.5, de;q=1.0",
            "Content-Language: de",
        ),
        optimal(
            "vary-spaces-ignored",
            "vary-normalise-space",
            chosen("Foo", "Foo: 1,2"),
            soon(STORE, sends=("Foo: 1, 2",)),
            needs=MATCH,
        ),
    ),
)


def never(slug: str, public: str, *lines: str) -> Case:
    """A star anywhere means that no request matches."""
    sends = ("Foo: 1", "Baz: 789")
    step = first(*LASTING, *(f"~Vary: {line}" for line in lines), sends=sends)
    return required(slug, public, step, soon(ORIGIN, sends=sends), needs=MATCH)


VARY_PARSING = Area(
    "vary-parsing",
    "Vary parsing",
    "9110 12.5.5",
    (
        never("vary-only-star", "vary-syntax-star", "*"),
        never("vary-star-twice", "vary-syntax-star-star", "*, *"),
        never("vary-star-on-two-lines", "vary-syntax-star-star-lines", "*", "*"),
        never("vary-nothing-then-star", "vary-syntax-empty-star", ", *"),
        never("vary-empty-line-then-star", "vary-syntax-empty-star-lines", "", "*"),
        never("vary-star-then-field", "vary-syntax-star-foo", "*, Foo"),
        never("vary-field-then-star", "vary-syntax-foo-star", "Foo, *"),
    ),
)
