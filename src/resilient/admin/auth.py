"""Who calls: roles, callers, and the seam through which a host application tells them apart."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from starlette.requests import HTTPConnection

from resilient import _check
from resilient.control.intent import matches

__all__ = ["ROLES", "Authenticator", "Caller", "Insecure", "Role"]

Role = Literal["viewer", "operator", "admin"]

ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")
"""Each may do what those before it may, and more."""

_SPECIAL = frozenset("*?[]")
"""What makes a pattern of a name."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was recognised.

    Args:
        name: What the audit record calls them, 1 to 64 printable characters.
        role: "viewer" reads, "operator" places and releases holds, "admin" also changes rules and others' holds.
        only: Patterns over names of downstreams that the caller may change; reading is not limited.

    Raises:
        ConfigError: If a value is not allowed.
        TypeError: If one is of a wrong type.

    """

    name: str
    role: Role
    only: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        """Check every value."""
        _check.identifier("name", self.name)
        if len(self.name) > 64:  # noqa: PLR2004 -- a column of the record
            _check.refuse("name", self.name, "a printable name of 1 to 64 characters")
        if self.role not in ROLES:
            _check.refuse("role", self.role, 'one of "viewer", "operator", "admin"')
        only: object = self.only
        if not isinstance(only, tuple) or not only or not all(isinstance(each, str) for each in only):
            _check.refuse_type("only", self.only, "a tuple of patterns, at least one")

    def may(self, role: Role) -> bool:
        """Tell whether the caller's role includes another."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def reaches(self, target: str) -> bool:
        """Tell whether the caller may change a downstream."""
        return any(matches(pattern, target) for pattern in self.only)

    def reaches_all(self, selector: str) -> bool:
        """Tell whether the caller may change every downstream that a pattern covers, also those yet to come.

        Patterns cannot be compared in general. Taken are one's own patterns, and what begins with all that one of
        them asks for, as `payments-*` does for `pay*`.
        """
        if not _SPECIAL & set(selector):
            return self.reaches(selector)
        beginnings = (pattern[:-1] for pattern in self.only if pattern.endswith("*"))
        return selector in self.only or any(
            selector.startswith(each) for each in beginnings if not _SPECIAL & set(each)
        )


@runtime_checkable
class Authenticator(Protocol):
    """Tells who sends a request.

    `authenticate` gets the connection (headers, peer, scope; not the body) and returns a `Caller`, or None for a
    request that it does not know; it may be an async function, and must not block the event loop. Its errors are
    reported and count as None. A class whose secrets cannot be guessed may set `unguessable = True`: then a peer
    with many failures behind it is still let in with a valid one.
    """

    def authenticate(self, connection: HTTPConnection) -> Caller | Awaitable[Caller | None] | None:
        """Return who sends the request, or None."""
        ...


class Insecure:
    """Take every request for one caller; there is no other way to serve the API without a secret.

    Args:
        why: The reason, at least 10 characters; it is logged as a warning.
        role: What everybody may do.
        name: What the audit record calls them.

    Raises:
        ConfigError: If no reason is given, or the role is unknown.

    """

    def __init__(self, why: str, *, role: Role = "viewer", name: str = "anonymous") -> None:
        if len(_check.identifier("why", why).strip()) < 10:  # noqa: PLR2004 -- a word is no reason
            _check.refuse("why", why, "a reason of 10 characters or more")
        self._caller = Caller(name, role)
        logging.getLogger("resilient.admin").warning(
            "the admin API takes everybody for %s (%s), without any secret: %s",
            name,
            role,
            why,
            extra={"event": "resilient.admin.insecure"},
        )

    def authenticate(self, connection: HTTPConnection) -> Caller:  # noqa: ARG002 -- the protocol's
        """Return the one caller."""
        return self._caller
