"""What a request says about the time it has, and the answer if it has none; for ASGI and WSGI."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from resilient import _check, clock
from resilient._deadline_header import DeadlineHeader
from resilient.deadline import ambient

Request = TypeVar("Request")

USUAL = (DeadlineHeader("grpc-timeout"), DeadlineHeader())

STATUS = 504
BODY = (
    b'{"type":"about:blank","title":"Gateway Timeout","status":504,'
    b'"detail":"The deadline of the request had passed when it arrived."}'
)
FIELDS = (
    ("content-type", "application/problem+json"),
    ("content-length", str(len(BODY))),
    ("cache-control", "no-store"),
    ("x-should-retry", "false"),
)


class Reader(Generic[Request]):
    """Reads the first of several headers that makes sense, within limits.

    Args:
        headers: The headers, in the order in which they count; empty means the usual ones.
        default: Seconds for a request that says nothing, or None.
        longest: Seconds that a request gets at most, or None.
        trust: Tells of a request whether its headers count; None trusts every one.
        key: Spells a header's name the way the server does.

    Raises:
        ConfigError: If a duration is not above 0, they contradict each other, or a name comes twice.
        TypeError: If one of the values is of a wrong type.

    """

    __slots__ = ("_default", "_longest", "_trust", "fields")

    def __init__(
        self,
        headers: Iterable[DeadlineHeader],
        default: _check.Duration | None,
        longest: _check.Duration | None,
        trust: Callable[[Request], object] | None,
        key: Callable[[str], str],
    ) -> None:
        self.fields: dict[str, DeadlineHeader] = {}
        for header in tuple(headers) or USUAL:
            if not isinstance(header, DeadlineHeader):
                _check.refuse_type("headers", header, "DeadlineHeader objects")
            if self.fields.setdefault(key(header.name), header) is not header:
                _check.refuse("headers", header.name, "different names")
        self._default = None if default is None else _check.seconds("default", default)
        self._longest = None if longest is None else _check.seconds("longest", longest)
        if self._default is not None and self._longest is not None and self._default > self._longest:
            _check.refuse("default", default, f"at most longest, which is {self._longest:g} s")
        if trust is not None:
            _check.plain("trust", trust, "a function of the request, or None")
        self._trust = trust

    def end(self, values: Mapping[str, str], request: Request, *, session: bool = False) -> float | None:
        """Return when the request ends, on the clock in force, or None if it has no end.

        Args:
            values: The values of `fields` that came, by the server's spelling of their names.
            request: What `trust` is asked about.
            session: Whether it is no call but a conversation, which ends early only if it says so.

        """
        left = self._declared(values, request)
        if left is None and not session:
            left = self._longest if self._default is None else self._default
        if left is None:
            return None
        if self._longest is not None:
            left = min(left, self._longest)
        return min(clock.current().now() + left, ambient())

    def _declared(self, values: Mapping[str, str], request: Request) -> float | None:
        for name, header in self.fields.items():
            if name in values:
                parts = (header.decode(each.strip(" \t")) for each in values[name].split(","))
                usable = [each for each in parts if each is not None]
                if usable:  # of a field that came several times, the shortest
                    return min(usable) if self._trust is None or _check.ask(self._trust, request) else None
        return None


def passed(end: float) -> bool:
    """Tell whether an end is no longer ahead."""
    return clock.current().now() >= end
