"""Answers to methods other than GET that a GET may be given."""

from __future__ import annotations

from tests.cache.suite.script import STORE, Area, first, later, optimal

METHODS = Area(
    "methods",
    "Methods",
    "9110 9.3.3",
    (
        optimal(
            "post-that-names-its-own-url",
            "method-POST",
            first(
                f"Expires: {{{30 * 24 * 3600}}}",
                "Content-Location: {here}",
                "Date: {0}",
                method="POST",
                sends=("Content-Type: text/plain",),
                body="12345",
            ),
            later(STORE),
        ),
    ),
)
