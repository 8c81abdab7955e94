"""What a case is: steps, each a request, the origin's answer to it, and what must come of both.

Fields of messages are written as they look on the wire, `"Cache-Control: max-age=60"`, with

* `{-3000}`: an IMF date so many seconds from now; the same with `{rfc850 -3000}` in that format.
  Now is the origin's time of the answer. In a request, and in what an answer must show, it is
  the time of the answer that the step before got.
* `{here}`: the path of the case, so that `{here}/b` is a target beside it.
* `~` in front of a field that the origin gives: the client need not see it.

What an answer must show may also be `"Age"` (any value) and `"Age > 2"`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Kind = Literal["required", "optimal", "check"]
Source = Literal["store", "origin", "etag", "date"]
Expectation = Literal["source", "answers", "shows", "hides", "says", "sees", "hears"]
Fields = tuple[str, ...]

STORE: Source = "store"  # the answer is one that an earlier step got
ORIGIN: Source = "origin"  # the answer is the origin's own to this step
ETAG: Source = "etag"  # the origin was asked with the entity tag of the step before, and said 304
DATE: Source = "date"  # the origin was asked with the Last-Modified of the step before, and said 304
ANY = 0  # whatever status
UNCHECKED = 999  # the origin's status where it should have been asked conditionally and was not


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request and all about it.

    The request: `wait` seconds after the step before, `method`, `at` (what follows the path of the
    case), the fields it `sends`, its `body`.

    The origin: its `status`, the fields it `gives`, its `text` (by default the name of the case),
    `delay` in seconds, whether it `drops` the connection instead, interim answers that come `early`.

    What must come of it: the `source` of the answer, its status as it `answers` (by default the
    origin's), fields that it `shows` and `hides`, the text that it `says` (None: any), fields that
    the origin `sees` in the request and its method; interim answers that the client `hears`.

    `given`: all of that is a precondition, and says nothing about the case if it fails; `granted`
    names single expectations of which that holds.
    """

    wait: float = 0
    method: str = "GET"
    at: str = ""
    sends: Fields = ()
    body: str | None = None
    status: int = 200
    gives: Fields = ()
    text: str | None = None
    delay: float = 0
    drops: bool = False
    early: tuple[tuple[int, Fields], ...] = ()
    source: Source | None = None
    answers: int | None = None
    shows: Fields = ()
    hides: Fields = ()
    says: str | None = ""
    sees: Fields = ()
    sees_method: str | None = None
    hears: tuple[tuple[int, Fields], ...] | None = None
    refreshes: bool = False
    given: bool = False
    granted: frozenset[Expectation] = frozenset()

    def grants(self, expectation: Expectation) -> bool:
        """Tell whether an expectation is only a precondition."""
        return self.given or expectation in self.granted


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One behaviour: required, optimal, or a question (`check`) whose answer is only told."""

    slug: str
    public: str
    kind: Kind
    steps: tuple[Step, ...]
    needs: tuple[str, ...] = ()
    rfc: str = ""
    private_only: bool = False
    shared_only: bool = False
    gateway_only: bool = False

    def applies(self, mode: str) -> bool:
        """Tell whether a case says anything about a cache of that mode: shared, private or gateway."""
        if mode == "private":
            return not self.shared_only and not self.gateway_only
        return not self.private_only and (mode == "gateway" or not self.gateway_only)


@dataclass(frozen=True, slots=True)
class Area:
    """Cases about one thing, and the section that rules it."""

    name: str
    title: str
    rfc: str
    cases: tuple[Case, ...]


def required(slug: str, public: str, *steps: Step, needs: Iterable[str] = (), **more: Any) -> Case:
    return Case(slug=slug, public=public, kind="required", steps=steps, needs=tuple(needs), **more)


def optimal(slug: str, public: str, *steps: Step, needs: Iterable[str] = (), **more: Any) -> Case:
    return Case(slug=slug, public=public, kind="optimal", steps=steps, needs=tuple(needs), **more)


def check(slug: str, public: str, *steps: Step, needs: Iterable[str] = (), **more: Any) -> Case:
    return Case(slug=slug, public=public, kind="check", steps=steps, needs=tuple(needs), **more)


# -- steps that come again and again ---------------------------------------------------------------


def first(*gives: str, **more: Any) -> Step:
    """Let an answer into the cache; what comes of it is a precondition."""
    return Step(**{"gives": gives, "given": True, **more})


def fresh(*gives: str, **more: Any) -> Step:
    """Let an answer into the cache that stays fresh for a day."""
    return first("Cache-Control: max-age=100000", "Date: {0}", *gives, **more)


def expired(*gives: str, **more: Any) -> Step:
    """Let an answer come that is past its time from the start."""
    return first("Expires: {-5000}", "Last-Modified: {-100000}", "Date: {0}", *gives, **more)


def brief(*gives: str, **more: Any) -> Step:
    """Let an answer into the cache that is stale when the next step comes later."""
    return first("Cache-Control: max-age=2", "Date: {0}", "Mark: 1", *gives, **more)


def soon(source: Source | None = None, **more: Any) -> Step:
    """Ask at once."""
    return Step(**{"source": source, **more})


def later(source: Source | None = None, **more: Any) -> Step:
    """Ask three seconds after the step before."""
    return Step(**{"source": source, "wait": 3, **more})


# -- fields ----------------------------------------------------------------------------------------

_HOLE = re.compile(r"\{(?:(rfc850) )?([+-]?\d+)\}")


@dataclass(frozen=True, slots=True)
class Field:
    """A field that the origin gives."""

    name: str
    value: str
    demanded: bool = True


def field(line: str) -> Field:
    """Read one line of a table."""
    name, _, value = line.removeprefix("~").partition(":")
    return Field(name, value.removeprefix(" "), demanded=not line.startswith("~"))


def filled(value: str, wall: float, here: str) -> str:
    """Put dates and the case's path into a value."""

    def date(hole: re.Match[str]) -> str:
        return http_date(wall + int(hole[2]), rfc850=hole[1] is not None)

    return _HOLE.sub(date, value).replace("{here}", here)


_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(seconds: float, *, rfc850: bool = False) -> str:
    """Write a date as HTTP does, whatever the locale."""
    at = datetime.fromtimestamp(int(seconds), UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    if rfc850:
        return f"{day}, {at.day:02}-{month}-{at.year % 100:02} {at:%H:%M:%S} GMT"
    return f"{day[:3]}, {at.day:02} {month} {at.year:04} {at:%H:%M:%S} GMT"
