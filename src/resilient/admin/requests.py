"""What requests may say: bodies and query parameters, strict, with nothing unknown let through."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from resilient.control.durations import parse_duration
from resilient.control.intent import Disposition, Mode, RuleKind, Via

__all__ = [
    "AuditQuery",
    "ChangeQuery",
    "CommandBody",
    "DownstreamsQuery",
    "EventsQuery",
    "HoldBody",
    "HoldPatch",
    "HoldsQuery",
    "IncidentsQuery",
    "ListQuery",
    "PlacingQuery",
    "ReleaseQuery",
    "RetriesBody",
    "RulesBody",
    "WindowBody",
    "WindowEndBody",
    "WindowsQuery",
]

_DURATION_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": 86400},
        {
            "type": "string",
            "pattern": r"^(?=[0-9dhms]*[1-9])([0-9]{1,5}|(1d)?([0-9]{1,2}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?)$",
            "examples": ["45m", "1h30m", "90s"],
        },
    ],
    "description": "Seconds as a number, or a text such as 45m, 1h30m or 90s.",
}

Ttl = Annotated[float, BeforeValidator(lambda value: parse_duration(value, "ttl")), WithJsonSchema(_DURATION_SCHEMA)]
Wait = Annotated[
    float,
    BeforeValidator(lambda value: parse_duration(value, "wait", zero=True)),
    Field(ge=0, le=30),
    WithJsonSchema({"type": "string", "pattern": "^([0-9]|[12][0-9]|30)s?$", "examples": ["5s", "0"], "default": "2s"}),
]
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=200)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Cursor = Annotated[int, Field(ge=0, le=2**53)]
Limit = Annotated[int, Field(ge=1, le=1000)]


class Strict(BaseModel):
    """A value that has these fields and no other."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Shared(Strict):
    """What holds of every kind say."""

    reason: Reason = Field(description="Why, for people; shown wherever the hold is shown.")
    ticket: Text = Field("", description="Where more is written.")
    break_glass: list[Name] = Field(
        default_factory=list,
        max_length=50,
        description="Ids of interlock rules to pass over; admins only, with a reason of 20 characters or more.",
    )


class HoldBody(Shared):
    """A hold to place on a downstream."""

    mode: Mode = Field(description="What is to happen with the downstream's calls.")
    ttl: Ttl = Field(description="How long it lasts, 1 s to 24 h; there is no default.")
    percent: int = Field(100, ge=1, le=100, description="Share of calls that forced_open refuses.")
    disposition: Disposition = Field(
        "fallback", description="Whether a Fallback may answer refused calls, or their callers see the refusal."
    )


class RetriesBody(HoldBody):
    """The kill switch of retries: a hold of the mode no_retries."""

    mode: Literal["no_retries"] = "no_retries"
    percent: Literal[100] = 100


class HoldPatch(Strict):
    """What may change in a hold that is there."""

    ttl: Ttl | None = Field(None, description="It ends so long after now.")
    ticket: Text | None = None
    note: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)] | None = None


class CommandBody(Strict):
    """Something to do once, in every process."""

    command: Literal["reset", "probe"]
    reason: Reason


class WindowBody(Shared):
    """A planned maintenance."""

    selector: Name = Field(description="Pattern over names of downstreams, such as payments-*.")
    mode: Mode = "forced_open"
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    percent: int = Field(100, ge=1, le=100)
    disposition: Disposition = "fallback"


class WindowEndBody(Strict):
    """Why a maintenance ends before its time."""

    reason: Reason


class RuleBody(Strict):
    """An interlock; which of n, fraction and seconds it needs depends on its kind."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    kind: RuleKind
    group: list[Name] = Field(default_factory=lambda: ["*"], min_length=1, max_length=100)
    n: int | None = Field(None, ge=1, le=100_000)
    fraction: float | None = Field(None, ge=0, le=1)
    seconds: float | None = Field(None, gt=0, le=86_400)


class RulesBody(Strict):
    """All interlocks; they replace those that are there."""

    rules: list[RuleBody] = Field(max_length=200)
    reason: Text = ""


class WindowsQuery(Strict):
    """Which maintenances are listed."""

    ended: bool = Field(default=False, description="Those that have ended, too.")


class ListQuery(Strict):
    """No parameters."""


class ChangeQuery(Strict):
    """How a change is made."""

    wait: Wait = Field(2.0, description="How long the answer waits for every process, at most 30 s.")
    dry_run: bool = Field(default=False, description="Check everything, change nothing.")


class PlacingQuery(ChangeQuery):
    """How something is placed on a downstream."""

    allow_unknown: bool = Field(default=False, description="Take a name that no process has shown yet.")


class ReleaseQuery(ChangeQuery):
    """How a hold is released."""

    reason: Text = ""
    hold_id: Name | None = Field(None, description="Which one, if it is not the caller's only one.")


class HoldsQuery(Strict):
    """Which holds are listed."""

    target: Name | None = None
    ended: bool = Field(default=False, description="Those that have ended, too.")
    limit: Limit = 100


class DownstreamsQuery(Strict):
    """Which downstreams are listed."""

    state: Literal["closed", "open", "half_open", "forced_open", "forced_closed", "observe"] | None = None
    q: Text = Field("", description="A part of the name.")


class EventsQuery(Strict):
    """Which events are listed."""

    after: Cursor = Field(0, description="Only those behind this cursor, oldest first; 0 for the latest ones.")
    limit: Limit = 100


class IncidentsQuery(Strict):
    """Which incidents are listed."""

    target: Name | None = None
    limit: Limit = 100


class AuditQuery(Strict):
    """Which audit records are listed."""

    after: Cursor = Field(0, description="Only those behind this number.")
    limit: Limit = 100
    target: Name | None = None
    actor: Name | None = None
    action: Name | None = None
    outcome: Name | None = None
    via: Via | None = None
    verify: bool = Field(default=False, description="Check the chain of hashes instead of listing.")
    known_seq: Cursor | None = Field(None, description="With verify: number of a record that must be there.")
    known_hash: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = Field(
        None, description="With verify: its hash, as it was logged or shown once."
    )
