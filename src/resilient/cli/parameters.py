"""Options that several commands have, said once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

__all__ = [
    "DONE",
    "Disposition",
    "DryRun",
    "For",
    "Glass",
    "Mode",
    "Percent",
    "Perhaps",
    "Reason",
    "Ticket",
    "Unknown",
    "Wait",
    "Where",
]


class Mode(StrEnum):
    """What a hold does to calls."""

    FORCED_OPEN = "forced_open"
    OBSERVE = "observe"
    FORCED_CLOSED = "forced_closed"


class Disposition(StrEnum):
    """Where a refused call ends."""

    FALLBACK = "fallback"
    REJECT = "reject"


DONE = {
    "forced_open": "forced open",
    "observe": "observed",
    "forced_closed": "forced closed",
    "no_retries": "kept from retrying",
}
"""What each mode comes to, in words."""

_WHERE = "Whether a fallback may answer for refused calls, or the refusal reaches the caller."

Reason = Annotated[str, typer.Option("--reason", "-r", metavar="TEXT", help="Why; everybody will see it.")]
Perhaps = Annotated[str, typer.Option("--reason", "-r", metavar="TEXT", help="Why.", show_default=False)]
For = Annotated[str, typer.Option("--for", metavar="DURATION", help="How long, such as 45m; at most 24h.")]
Percent = Annotated[int, typer.Option("--percent", min=1, max=100, metavar="N", help="Share of calls to refuse.")]
Ticket = Annotated[str, typer.Option("--ticket", metavar="ID", help="Where more is written.", show_default=False)]
Unknown = Annotated[bool, typer.Option("--allow-unknown", help="Also a name that no process has used yet.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would happen, and change nothing.")]
Wait = Annotated[str, typer.Option("--wait", metavar="DURATION", help="How long to wait for every process.")]
Where = Annotated[Disposition, typer.Option("--disposition", help=_WHERE)]
Glass = Annotated[
    list[str] | None,
    typer.Option(
        "--break-glass", metavar="RULE", help="Against this rule, with a reason of 20 characters; repeatable."
    ),
]
