"""What answers to changes, refusals and the audit record say, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from resilient.admin.answers import Number, Open, Time, Whole

__all__ = ["AuditCheck", "AuditList", "ProblemAnswer", "ReceiptAnswer"]


class AuditList(Open):
    """Audit records, and the cursor for what comes after them."""

    items: list[dict[str, Any]]
    next: Whole
    head: dict[str, Any] = Field(description="Number and hash of the newest record there is.")


class AuditCheck(Open):
    """What checking the chain of hashes has found."""

    ok: bool
    rows: Whole
    head_seq: Whole
    head_hash: str
    faults: list[dict[str, Any]] = Field(description="What does not fit: `seq` and `problem`.")
    compared: bool = Field(description="Whether a record that was kept elsewhere was looked for.")
    caveat: str = Field(description="What a chain cannot show.")


class Convergence(Open):
    """How far a change has come."""

    required: Whole
    applied: Whole
    pending: list[dict[str, Any]]
    complete: bool
    waited_s: Number


class ReceiptAnswer(Open):
    """What a change has done, or would do."""

    revision: Whole
    id: str
    status: str
    effective: str
    masked_by: list[str]
    expires_at: Time | None
    impact: dict[str, Any]
    audit_seq: Whole
    audit_hash: str
    dry_run: bool
    overridden: list[str] = Field(description="Ids of interlock rules that were passed over.")
    convergence: Convergence | None


class ProblemAnswer(Open):
    """A refusal, as RFC 9457 writes it."""

    type: str
    title: str
    status: int
    detail: str
    parameter: str | None = None
    allowed: Any = None
    close_matches: list[str] | None = None
    violations: list[Any] | None = None
    errors: list[dict[str, Any]] | None = None
    retry_after: Number | None = None
