"""What the control directory answers when it cannot be used, and why an operator's request is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from resilient.errors import ResilienceError

__all__ = ["ControlUnavailable", "Refusal", "Refused", "UnsafeDirectory"]

Refusal = Literal[
    "unknown",
    "stale",
    "precondition",
    "rules",
    "forbidden",
    "invalid",
    "conflict",
    "wait",
    "audit",
]
"""Why a request is refused, in one stable word."""


class ControlUnavailable(ResilienceError):
    """The control directory cannot be used now: not there, not writable, damaged, or busy for too long."""


class UnsafeDirectory(ControlUnavailable):
    """Somebody else could read or change what stands in the control directory, or has put it there."""


class Refused(ResilienceError):
    """An operator's request was refused, and nothing was changed.

    Args:
        kind: Why, in one word: "unknown" (a name nobody knows), "stale" (the world moved since it was
            looked at), "precondition" (it must be said what is replaced), "rules" (interlocks forbid it),
            "forbidden" (not this role's, not this actor's), "invalid" (a parameter), "conflict" (not
            possible in this state), "wait" (too soon), "audit" (it cannot be recorded).
        message: A sentence for people.
        details: More for machines: `parameter`, `close_matches`, `violations` and the like.
        retry_after: Seconds until it has a chance, or None.

    """

    def __init__(
        self,
        kind: Refusal,
        message: str,
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(kind, message, details, retry_after)
        self.kind = kind
        self.message = message
        self.details: dict[str, Any] = dict(details or {})
        self.retry_after = retry_after

    def __str__(self) -> str:
        """Return the sentence."""
        return self.message
