"""What a policy is to the rest: frozen configuration, a template, and a guard per position.

A *policy* is what the user writes: a frozen dataclass. A *guard* is its state at one position
of one named pipeline; it joins a pure machine to the clock, to randomness and to events. The
*template* is the fast path as text, with a hole for what the policy encloses; see `_weave`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

from resilient import clock as _clock
from resilient import events
from resilient.deadline import ambient
from resilient.outcome import Classifier, Verdict

Colour = Literal["sync", "async"]

NEVER = math.inf


class Gating(Protocol):
    """What policies and the weaver ask of the gate of a downstream."""

    @property
    def retries(self) -> bool:
        """Whether failed attempts may be repeated."""

    def insists(self, error: Exception) -> bool:
        """Tell whether an error is a refusal of this downstream's holds that has to reach the caller."""

    def follow_clock(self) -> None:
        """Carry the holds over to the clock that is now in force."""

    def renew(self) -> None:
        """Start afresh in a forked child."""


class Env:
    """What all guards of one pipeline share: its name, classifier, clock and randomness, its gate and inlays."""

    __slots__ = ("__weakref__", "classifier", "clock", "downstream", "gate", "inlaid")

    gate: Gating
    inlaid: dict[object, Guard]

    def __init__(self, downstream: str, classifier: Classifier) -> None:
        self.downstream = downstream
        self.classifier = classifier
        self.clock: _clock.Clock = _clock.current()
        self.inlaid = _NOTHING_INLAID

    def now(self) -> float:
        """Return the current time on the pipeline's clock, in seconds."""
        return self.clock.now()

    def emit(self, name: str, **fields: object) -> None:
        """Publish an event of this downstream. Never call this while holding a lock."""
        if events.wanted():
            events.publish(name, self.downstream, fields)

    def end(self, end: float) -> float:
        """Return the earlier of an enclosing timeout's end and the ambient deadline."""
        soonest = ambient()
        return min(soonest, end)


_NOTHING_INLAID: dict[object, Guard] = {}
"""Shared by all until something is."""


class Policy(Protocol):
    """A policy's frozen configuration. Equal configurations are interchangeable."""

    kind: ClassVar[str]
    """The policy's label, such as "circuit_breaker"."""

    template: ClassVar[str]
    """The fast path as text; `_weave.template` says what it may contain."""

    def bind(self, env: Env, label: str) -> Guard:
        """Return fresh state for one position of one pipeline."""

    def describe(self) -> str:
        """Say in one line what is configured, for `explain()`."""


class Guard:
    """State of one policy at one position of one pipeline."""

    __slots__ = ("env", "label")

    def __init__(self, env: Env, label: str) -> None:
        self.env = env
        self.label = label

    @property
    def policy(self) -> Policy:
        """The configuration this guard was made from."""
        raise NotImplementedError

    def flags(self, colour: Colour) -> frozenset[str]:  # noqa: ARG002 -- some guards differ by colour
        """Return the names of the template's conditional lines to compile in."""
        return frozenset()

    def names(self, colour: Colour) -> Mapping[str, object]:
        """Return what the template's injected names stand for."""
        raise NotImplementedError

    def names_of(self, function: Callable[..., Any]) -> Mapping[str, object]:  # noqa: ARG002 -- most guards treat all alike
        """Return what injected names stand for in one decorated function; refuse one that cannot be guarded."""
        return {}

    def snapshot(self) -> dict[str, object]:
        """Return the state as plain data, for people and metrics."""
        return {}

    def placed(self, outside: Sequence[Guard], inside: Sequence[Guard]) -> None:
        """Hear which policies stand outside and inside, outermost first; called once."""

    def encloses(self, inside: Callable[[Colour], Callable[..., Any]]) -> None:
        """Hear how to call a function through the policies inside alone; called once."""

    def resting(self) -> bool:
        """Tell whether a fresh guard would behave just the same, so that this one may be evicted."""
        return True

    def follow_clock(self) -> None:
        """Hear that another clock is in force: move over to it what was measured by the old one."""

    def renew(self) -> None:
        """Start afresh in a forked child: new locks, full permits."""


class Exchange(Protocol):
    """A call whose answer outlasts the woven function, such as a response with an open body.

    Permits of a successful attempt are left in `held`, to be settled when the answer ends.
    """

    request: object
    """What a function of the call's arguments is asked with."""

    held: list[tuple[Any, Any]]
    """Guards and their tickets, innermost first, of the answer that is open."""

    verdict: Verdict
    """What the last answer means."""

    good: bool
    """Whether nobody wants another attempt instead of the last answer."""

    over: bool
    """Whether the last answer was a success and has nothing open, so that permits are settled at once."""

    bad: bool
    """Whether the last answer was a failure or throttled."""

    spare: bool
    """Whether a discarded answer can still be handed out."""

    retries: int
    """Retries that earlier parts of the same logical call have used."""

    blocks: bool
    """Whether a pause blocks the thread."""

    def replaced(self, response: Any) -> Any:  # noqa: ANN401 -- of either family
        """Take a fallback's answer for the last one, and a good one; return it as it is handed out."""

    def gave_up(self, mark: int) -> None:
        """Leave with the last answer that a retry has given up on it, and when."""

    def obstacle(self, verdict: Verdict, error: Exception | None) -> str | None:
        """Return in a word why another attempt is out of the question, or None."""


class Admission(Protocol):
    """What a policy that admits or refuses offers to the two-step permit API.

    `end` is the absolute time by which waiting must be over, `NEVER` if unbounded.
    """

    def enter(self, end: float) -> object:
        """Admit or raise a `Rejected`; wait if the policy queues. Return a ticket."""

    async def aenter(self, end: float) -> object:
        """Do the same, waiting without blocking the thread."""

    def leave(self, ticket: object, verdict: Verdict) -> None:
        """Settle a ticket, from any thread. Called exactly once."""

    def drop(self, ticket: object) -> None:
        """Settle a ticket as inconclusive without taking a lock (collector, `GeneratorExit`)."""
