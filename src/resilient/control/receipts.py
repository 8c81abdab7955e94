"""Who asks, and what they get to see of a change: a receipt, and how far it has got."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from resilient import _check
from resilient.control.intent import Via

__all__ = ["Convergence", "Receipt", "Role", "Who"]

Role = Literal["viewer", "operator", "admin"]


@dataclass(frozen=True, slots=True)
class Who:
    """The one that asks for a change.

    Args:
        actor: A name for people: the user of a shell, or the name of a token.
        role: "viewer" changes nothing, "operator" places holds and ends their own, "admin" may do everything.
        via: Through what.

    Raises:
        ConfigError: If one of them is not possible.

    """

    actor: str
    role: Role
    via: Via

    def __post_init__(self) -> None:
        """Refuse what could not be told apart later."""
        _check.identifier("actor", self.actor)
        if self.role not in {"viewer", "operator", "admin"}:
            _check.refuse("role", self.role, "viewer, operator or admin")
        if self.via not in {"cli", "api", "dashboard", "code"}:
            _check.refuse("via", self.via, "cli, api, dashboard or code")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What came of a request.

    Attributes:
        revision: The record's, as changed; give it to `converge`.
        id: The hold's, window's or command's.
        status: "active", "released", "scheduled", "ended", "issued" or "set".
        effective: The mode that counts for the target now, "auto" if none does.
        masked_by: Holds and windows that are more restrictive, so that this one is not felt.
        expires_at: Seconds since 1970, or None.
        impact: `calls_per_s` and `in_flight` of the target over all processes of this host, now.
        audit_seq: Number of the row in the audit; 0 in a dry run.
        audit_hash: Its hash: the head of the chain; empty in a dry run.
        dry_run: Whether nothing was stored.
        overridden: Rules that were broken on purpose.

    """

    revision: int
    id: str
    status: str
    effective: str = "auto"
    masked_by: list[str] = field(default_factory=list)
    expires_at: float | None = None
    impact: dict[str, float] = field(default_factory=dict)
    audit_seq: int = 0
    audit_hash: str = ""
    dry_run: bool = False
    overridden: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Convergence:
    """How many processes of this host have taken in a revision.

    Attributes:
        required: Processes that live.
        applied: Those among them that have it.
        pending: The others: `instance`, `host`, `pid`, `applied`, `heartbeat_age` in seconds.
        complete: Whether there are no others.
        waited_s: Seconds that this took.

    """

    required: int
    applied: int
    pending: list[dict[str, Any]]
    complete: bool
    waited_s: float
