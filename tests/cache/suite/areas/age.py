"""How a received Age is read."""

from __future__ import annotations

from tests.cache.suite.script import ORIGIN, STORE, Area, Case, Source, check, first, later, required

NEEDS = ("age-beyond-max-age",)


def step(*ages: str, max_age: int = 3600) -> object:
    return first("Date: {0}", f"Cache-Control: max-age={max_age}", *(f"~Age: {age}" for age in ages))


def demand(slug: str, public: str, source: Source, *ages: str, max_age: int = 3600, rfc: str = "") -> Case:
    return required(slug, public, step(*ages, max_age=max_age), later(source), needs=NEEDS, rfc=rfc)


AGE = Area(
    "age",
    "Age parsing",
    "9111 5.1",
    (
        demand("age-of-letters-ignored", "age-parse-nonnumeric", STORE, "abc"),
        demand("negative-age-ignored", "age-parse-negative", STORE, "-7200"),
        demand("fractional-age-ignored", "age-parse-float", STORE, "7200.0"),
        demand("age-2-to-31-minus-1", "age-parse-large-minus-one", ORIGIN, str(2**31 - 1)),
        demand("age-2-to-31", "age-parse-large", ORIGIN, str(2**31), rfc="9111 1.2.2"),
        demand("age-2-to-31-plus-1", "age-parse-larger", ORIGIN, str(2**31 + 1), rfc="9111 1.2.2"),
        demand("old-age-then-zero", "age-parse-suffix", ORIGIN, "7200, 0"),
        demand("age-zero-then-old", "age-parse-prefix", STORE, "0, 7200"),
        demand("old-age-line-then-zero", "age-parse-suffix-twoline", ORIGIN, "7200", "0"),
        demand("age-zero-line-then-old", "age-parse-prefix-twoline", STORE, "0", "7200"),
        demand("age-zero-twice", "age-parse-dup-0", STORE, "0, 0"),
        demand("age-zero-on-two-lines", "age-parse-dup-0-twoline", STORE, "0", "0"),
        demand("same-age-on-two-lines", "age-parse-dup-old", STORE, "3600", "3600", max_age=10_000),
        check("age-with-parameter", "age-parse-parameter", step("7200;foo=bar"), later(ORIGIN), needs=NEEDS),
        check(
            "age-with-number-parameter", "age-parse-numeric-parameter", step("7200;foo=111"), later(ORIGIN), needs=NEEDS
        ),
    ),
)
