"""What a flow of the cache and its driver tell each other: requests, answers, commands and results.

A flow is a generator that does no I/O. It yields commands; its driver carries each out, on a
thread or in a task, and sends the result back, or throws what was raised. What the flow
returns is the answer for the client.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from resilient.provenance import Provenance

__all__ = [
    "Asked",
    "Background",
    "Call",
    "Close",
    "Command",
    "Fields",
    "Flow",
    "Got",
    "Outcome",
    "Pass",
    "Read",
    "Reply",
    "Send",
    "Sink",
]

Fields: TypeAlias = list[tuple[bytes, bytes]]
"""Header fields as they are on the wire, in order; names in any case."""

Source = Literal["fresh", "revalidated", "stale"]

LABEL = "http_cache"
"""What provenance calls us."""


@dataclass(slots=True)
class Asked:
    """The client's request, of no family.

    Attributes:
        method: As sent; methods are case-sensitive.
        url: The target URI.
        fields: Its header fields.
        bodied: Whether it has a body.
        past: Why it goes past the cache although nothing else here says so, in a word; None if it need not.

    """

    method: str
    url: str
    fields: Fields
    bodied: bool = False
    past: str | None = None


@dataclass(slots=True)
class Got:
    """An answer from behind the cache, its body still open.

    Attributes:
        status: The final status.
        fields: Its header fields.
        requested_at: When the request was sent, in seconds since 1970.
        received_at: When the header fields were there, likewise.
        handle: The driver's own response.
        replaced: Whether a fallback of the pipeline stood in: such an answer is never stored,
            and confirms nothing.

    """

    status: int
    fields: Fields
    requested_at: float
    received_at: float
    handle: Any = None
    replaced: bool = False


@dataclass(slots=True)
class Call:
    """Call a method of the store through `cache.front`; send its result back.

    `front.run(call.default, call.method, *call.args, **call.kwargs)`, or `arun` likewise.
    """

    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    default: Any = None


@dataclass(slots=True)
class Send:
    """Send the client's request through the pipeline; send a `Got` back, or throw what was raised.

    Attributes:
        fields: Header fields in place of the request's own; None leaves them.
        whole: Whether the body is to be read before the answer counts, as far as that is
            possible: then a stale answer can stand in for one that breaks off.

    """

    fields: Fields | None = None
    whole: bool = False


@dataclass(slots=True)
class Read:
    """Read the whole body of an answer, undecoded, and close it; send the bytes back, or throw what was raised.

    Attributes:
        got: The answer.
        most: Bytes after which to stop, discard the rest and send None back; None for no bound.

    """

    got: Got
    most: int | None = None


@dataclass(slots=True)
class Close:
    """Discard an answer with its body unread; nothing is sent back."""

    got: Got


@dataclass(slots=True)
class Background:
    """Run another flow to its end in the background; send True back, or False if it was not started.

    The client's request stays as it is, and what the flow raises concerns nobody else. A flow
    that was not started, or whose driver is stopped half-way, must be closed.
    """

    flow: Flow


Command: TypeAlias = Call | Send | Read | Close | Background


class Sink(Protocol):
    """Takes the body that is read by the client, and stores it at its end."""

    def take(self, chunk: bytes) -> bool:
        """Take the next raw bytes; return False once nothing more is wanted: the body is too large."""

    def done(self) -> Flow | None:
        """Return the flow that stores what was taken: the body ended, and completely. None if there is nothing."""

    def broken(self) -> None:
        """Forget what was taken: the body did not end as it should."""


@dataclass(slots=True)
class Reply:
    """An answer made from the store; nothing of the network is open.

    Attributes:
        status: The status.
        fields: All header fields, `Age` and `Cache-Status` among them.
        body: The body, with its content coding if it has one.
        source: "fresh", "revalidated" or "stale"; None if nothing was stored (only-if-cached).
        age: Seconds since the origin gave it.
        reason: Why it is stale, in a word; None for others.

    """

    status: int
    fields: Fields
    body: bytes
    source: Source | None = "fresh"
    age: float = 0.0
    reason: str | None = None

    def provenance(self, downstream: str | None = None) -> Provenance | None:
        """Return the note for whoever watches, if a stored answer was served."""
        if self.source is None:
            return None
        return Provenance(self.source, self.age, self.reason, LABEL, downstream)


@dataclass(slots=True)
class Pass:
    """An answer from behind the cache, to be handed out as it is.

    Attributes:
        got: The answer, its body open.
        fields: Header fields to show in place of its own; None leaves them.
        filling: What the body is to be fed to while the client reads it, if it is to be stored.

    """

    got: Got
    fields: Fields | None = None
    filling: Sink | None = None


Outcome: TypeAlias = Reply | Pass
Flow: TypeAlias = Generator[Command, Any, Any]
Answering: TypeAlias = Generator[Command, Any, Outcome]
Now: TypeAlias = Callable[[], float]
"""Seconds since 1970."""
