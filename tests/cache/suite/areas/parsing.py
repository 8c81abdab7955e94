"""How Cache-Control is read where it is doubtful or broken."""

from __future__ import annotations

from tests.cache.suite.script import ORIGIN, STORE, Area, Case, Source, check, first, later, required

NONE = ("no-freshness-no-reuse",)
MAX_AGE = ("max-age-reused",)


def question(slug: str, public: str, source: Source, *values: str, needs: tuple[str, ...] = NONE) -> Case:
    return check(slug, public, first(*(f"~Cache-Control: {value}" for value in values)), later(source), needs=needs)


def demand(slug: str, public: str, source: Source, value: str, **more: object) -> Case:
    return required(slug, public, first(f"~Cache-Control: {value}"), later(source), **more)


PARSING = Area(
    "parsing",
    "Cache-Control parsing",
    "9111 5.2",
    (
        question("first-max-age-long", "freshness-max-age-two-fresh-stale-sameline", STORE, "max-age=1800, max-age=1"),
        question(
            "first-line-max-age-long", "freshness-max-age-two-fresh-stale-sepline", STORE, "max-age=1800", "max-age=1"
        ),
        question("second-max-age-long", "freshness-max-age-two-stale-fresh-sameline", STORE, "max-age=1, max-age=1800"),
        question(
            "second-line-max-age-long", "freshness-max-age-two-stale-fresh-sepline", STORE, "max-age=1", "max-age=1800"
        ),
        question("quoted-max-age", "freshness-max-age-quoted", STORE, 'max-age="3600"', needs=MAX_AGE),
        demand(
            "max-age-inside-quotes-before",
            "freshness-max-age-ignore-quoted",
            ORIGIN,
            'extension="max-age=3600", max-age=1',
            needs=MAX_AGE,
        ),
        demand(
            "max-age-inside-quotes-after",
            "freshness-max-age-ignore-quoted-rev",
            ORIGIN,
            'max-age=1, extension="max-age=3600"',
            needs=MAX_AGE,
        ),
        question("max-age-space-before-equals", "freshness-max-age-space-before-equals", ORIGIN, "max-age =3600"),
        question("max-age-space-after-equals", "freshness-max-age-space-after-equals", ORIGIN, "max-age= 3600"),
        demand(
            "max-age-leading-zeros",
            "freshness-max-age-leading-zero",
            STORE,
            "max-age=003600",
            needs=NONE,
            rfc="9111 1.2.2",
        ),
        demand("max-age-in-single-quotes", "freshness-max-age-single-quoted", ORIGIN, "max-age='3600'", needs=NONE),
        question("max-age-point-zero", "freshness-max-age-decimal-zero", STORE, "max-age=3600.0"),
        question("max-age-point-five", "freshness-max-age-decimal-five", STORE, "max-age=3600.5"),
        question("max-age-after-letter", "freshness-max-age-a100", STORE, "max-age=a3600"),
        question("max-age-before-letter", "freshness-max-age-100a", STORE, "max-age=3600a"),
    ),
)
