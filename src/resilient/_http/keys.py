"""How a transport writes idempotency keys, for which requests, and who may see them.

Two ways to write them are in use. The IETF draft's field is a structured string, in quotes; many
vendors want the bare key. The keys themselves are made in `resilient.idempotency`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, cast

from resilient import _check, faults
from resilient.idempotency.keys import A_HEADER, checked_token, random_key, written

__all__ = ["A_HEADER", "SAFE", "IdempotencyKey", "checked_token", "same_origin"]

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing, and so need no key."""

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    """Give requests of unsafe methods a key that stays the same over all attempts and hops of a call.

    A key that the user's request carries already is left alone.

    Args:
        header: Name of the header.
        style: "raw" writes the bare key, of at most 255 characters; "quoted" writes it as a
            structured field's string, in double quotes, as the IETF draft asks.
        methods: Methods that get a key without being asked.
        make: Returns a new key; random ones if left out.

    Raises:
        ConfigError: If the header or a method is no token, or the style is unknown.

    Example:
        >>> IdempotencyKey(style="quoted").wire("8e03978e-40d5-43e8-bc93-6894a57f9324")
        '"8e03978e-40d5-43e8-bc93-6894a57f9324"'

    """

    header: str = "Idempotency-Key"
    style: Literal["raw", "quoted"] = "raw"
    methods: tuple[str, ...] = ("POST", "PATCH")
    make: Callable[[], str] = random_key

    def __post_init__(self) -> None:
        """Check and normalise."""
        checked_token("header", self.header, A_HEADER)
        if self.style not in ("raw", "quoted"):
            _check.refuse("style", self.style, '"raw" or "quoted"')
        methods: object = self.methods
        if isinstance(methods, str) or not isinstance(methods, Iterable):
            _check.refuse_type("methods", methods, 'several names of methods, such as ("POST", "PATCH")')
        object.__setattr__(self, "methods", tuple(map(_method, methods)))
        _check.plain("make", self.make, "a function that returns a new key")

    def wire(self, key: str) -> str:
        r"""Return a key as the header carries it.

        Raises:
            TypeError: If it is no string.
            ConfigError: If it has other characters than printable ASCII, or is empty or too long.

        Example:
            >>> print(IdempotencyKey(style="quoted").wire('a "b" c'))
            "a \"b\" c"

        """
        return written(key, self.style)

    def fresh(self) -> str:
        """Return a new key as the header carries it.

        A `make` that raises or returns what no header can carry is reported once; the key is then
        a random one.
        """
        try:
            return self.wire(self.make())
        except Exception as fault:  # noqa: BLE001 -- the call matters more than the shape of its key
            faults.report(self.make, fault)
            return self.wire(random_key())

    def value(self, method: str, wanted: object = None) -> str | None:
        """Return what the header of a request without a key shall carry, or None for no header.

        Args:
            method: The request's method.
            wanted: What was asked for this call: a key, True for a new one, False for none, None
                for what the method says. A safe method gets none, unless it is listed.

        """
        listed = method in self.methods
        if wanted is False or not (listed or (wanted is not None and method not in SAFE)):
            return None
        return self.fresh() if wanted is None or wanted is True else self.wire(cast("str", wanted))


def _method(name: object) -> str:
    return checked_token("methods", name, "names of methods").upper()


class Address(Protocol):
    """The URL object of a family."""

    @property
    def scheme(self) -> str:
        """The scheme, in lower case."""

    @property
    def host(self) -> str:
        """The host, in lower case, without brackets."""

    @property
    def port(self) -> int | None:
        """The port, if it is written and not the scheme's own."""


def same_origin(one: Address, other: Address) -> bool:
    """Tell whether two URLs have the same scheme, host and port; one without a host has no origin."""
    return bool(one.host) and _origin(one) == _origin(other)


def _origin(url: Address) -> tuple[str, str, int | None]:
    return url.scheme, url.host, _PORTS.get(url.scheme) if url.port is None else url.port
