"""What answers say, for the OpenAPI document: fields may be added to them, none is taken away."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from resilient.admin.auth import Role
from resilient.control.intent import Disposition, Mode, RuleKind, Via

__all__ = [
    "Alive",
    "DownstreamAnswer",
    "DownstreamList",
    "EventList",
    "HoldAnswer",
    "HoldList",
    "IncidentList",
    "Number",
    "Open",
    "ProcessList",
    "Ready",
    "RulesAnswer",
    "Snapshot",
    "Time",
    "Version",
    "Whole",
    "WindowAnswer",
    "WindowList",
]

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Share = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[float, Field(ge=0)]
Whole = Annotated[int, Field(ge=0)]


class Open(BaseModel):
    """An object that may get more fields in later versions."""

    model_config = ConfigDict(extra="allow")


class Version(Open):
    """Who answers, how far it reaches, and what the caller may do."""

    version: str
    app: str
    path: str
    reach: str
    name: str = Field(description="The caller.")
    role: Role
    only: list[str] = Field(description="Patterns over names of downstreams that the caller may change.")
    revision: Whole


class Alive(Open):
    """The process answers."""

    status: Literal["ok"]


class Ready(Open):
    """Whether the critical downstreams can be called."""

    status: Literal["ready", "not ready"]
    critical: dict[str, str] = Field(description="State of each critical downstream.")


class Masked(Open):
    """What holds and windows have in common."""

    id: str
    mode: Mode
    percent: int
    disposition: Disposition
    reason: str
    ticket: str
    actor: str
    via: Via
    created_at: Time
    revision: Whole
    status: str


class HoldAnswer(Masked):
    """A hold."""

    target: str
    expires_at: Time
    remaining: Number = Field(description="Seconds until it ends by itself.")


class WindowAnswer(Masked):
    """A planned maintenance."""

    selector: str
    starts_at: Time
    ends_at: Time


class DownstreamRow(Open):
    """What all processes of this host show of one downstream."""

    name: str
    state: str
    since: Time | None
    cause: str | None
    states: dict[str, int]
    live: Whole
    rate: Number | None
    error_share: Share | None
    in_flight: Whole | None
    p50: Number | None
    p90: Number | None
    p99: Number | None
    holds: list[HoldAnswer]
    windows: list[WindowAnswer]
    etag: str


class DownstreamAnswer(DownstreamRow):
    """One downstream in full."""

    processes: list[dict[str, Any]] = Field(description="What each process shows of it.")
    events: list[dict[str, Any]] = Field(description="The last events, oldest first.")


class Process(Open):
    """One process on this host."""

    instance: str
    host: str
    pid: int
    version: str
    python: str
    started_at: Time | None
    heartbeat_age: float | None
    applied: int | None
    stale: bool


class Snapshot(Open):
    """Everything at a glance."""

    at: Time
    app: str
    revision: Whole
    reach: str
    verdict: str
    processes: list[Process]
    downstreams: list[DownstreamRow]


class DownstreamList(Open):
    """Downstreams."""

    items: list[DownstreamRow]


class HoldList(Open):
    """Holds."""

    items: list[HoldAnswer]


class WindowList(Open):
    """Planned maintenances."""

    items: list[WindowAnswer]


class ProcessList(Open):
    """Processes on this host."""

    items: list[Process]


class EventList(Open):
    """Events, oldest first."""

    items: list[dict[str, Any]]
    next: Whole = Field(description="The cursor for what comes after these.")


class RuleAnswer(Open):
    """An interlock."""

    id: str
    kind: RuleKind
    group: list[str]
    n: int | None
    fraction: float | None
    seconds: float | None


class RulesAnswer(Open):
    """All interlocks."""

    rules: list[RuleAnswer]
    revision: Whole


class IncidentList(Open):
    """Incidents by downstream."""

    items: list[dict[str, Any]]
