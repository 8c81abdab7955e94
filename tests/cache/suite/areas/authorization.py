"""Answers to requests with credentials, in a shared cache."""

from __future__ import annotations

from tests.cache.suite.script import ORIGIN, STORE, Area, Case, first, fresh, later, optimal, required

SENDS = ("Authorization: FOO",)


def allowed(slug: str, public: str, directive: str) -> Case:
    return optimal(
        slug,
        public,
        first(f"Cache-Control: {directive}", "Date: {0}", sends=SENDS, sees=SENDS),
        later(STORE),
        needs=("authorized-not-reused",),
        shared_only=True,
    )


AUTHORIZATION = Area(
    "authorization",
    "Authorization",
    "9111 3.5",
    (
        required(
            "authorized-not-reused",
            "other-authorization",
            fresh(sends=SENDS, sees=SENDS),
            later(ORIGIN),
            needs=("max-age-reused",),
            shared_only=True,
        ),
        allowed("authorized-but-public", "other-authorization-public", "max-age=3600, public"),
        allowed(
            "authorized-but-must-revalidate", "other-authorization-must-revalidate", "max-age=3600, must-revalidate"
        ),
        allowed("authorized-but-s-maxage", "other-authorization-smaxage", "s-maxage=3600"),
    ),
)
