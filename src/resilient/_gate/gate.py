"""The gate that every pipeline has: holds on its downstream, asked before each attempt and again after a wait.

What it costs while nothing is held: one look at a word that other processes change, or nothing at all where
nobody has configured control and nobody has placed a hold, because then it is not woven in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, cast

from resilient import events
from resilient._gate.held import HeldGate
from resilient._machines.gate import OPEN_GATE, Gate
from resilient._machines.states import Refusal
from resilient._policy import Colour, Env, Guard
from resilient.errors import BreakerOpen
from resilient.outcome import Verdict, refused_by_a_hold

NO_WORD: Sequence[int] = (0,)
"""What is looked at while no other process has a say."""


class Source(Protocol):
    """Where holds come from that other processes place."""

    @property
    def word(self) -> Sequence[int]:
        """What to compare: its first item differs from `GateGuard.applied` when there may be other holds."""

    @property
    def begun(self) -> bool:
        """Whether the first call was."""

    def refresh(self, gate: GateGuard) -> None:
        """Have the gate `take` what is in force; begin, if this is the first call. Bounded, and never raises."""


source: Source | None = None


TEMPLATE = """\
if word_[0] != gate_.seen:
    gate_.admit()        #: !waited
    gate_.admit_still()  #: waited
<inner>
"""


class Holding:
    """What the gate is to the weaver in place of a policy."""

    kind: ClassVar[str] = "hold"
    template: ClassVar[str] = TEMPLATE

    def bind(self, env: Env, label: str) -> Guard:
        """Return another gate; a pipeline has one already."""
        del label
        return GateGuard(env)

    def describe(self) -> str:
        """Say in one line what it is."""
        return "holds of operators"


_HOLDING = Holding()


class GateGuard(HeldGate):
    """The gate of one downstream in one process.

    Attributes:
        woven: Whether a hold of this process alone asks for the gate to be woven in.

    """

    __slots__ = ("woven",)

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        self.woven = False
        self.unsettle()

    @property
    def policy(self) -> Holding:
        """What the weaver takes for the policy."""
        return _HOLDING

    @property
    def on(self) -> bool:
        """Whether the gate is woven in."""
        return self.woven or source is not None

    @property
    def after_a_wait(self) -> Guard:
        """The gate in its second place, for calls that have waited since they passed it."""
        return _Again(self)

    def names(self, colour: Colour) -> Mapping[str, object]:  # noqa: ARG002 -- the same in both
        """Return what the template's injected names stand for."""
        return {"gate": self, "word": NO_WORD if source is None else source.word}

    def admit(self) -> None:
        """Let a call pass or raise `BreakerOpen`; the way of every call that has no fast path."""
        state = self.called()
        if state is not OPEN_GATE:
            refusal = state.ask(self._now(), self.env.clock.random)
            if refusal is not None:
                raise self._refusal(refusal)

    def admit_still(self) -> None:
        """Do the same for a call that was let pass before it waited: only who lets nobody pass turns it back."""
        state = self.called()
        if state is not OPEN_GATE and state.share(self._now()) == 0:
            self.admit()

    def current(self) -> Gate:
        """Return what is in force now, after a look at what others have changed; who only looks begins nothing."""
        here = source  # it may go while this thread looks at it
        if here is not None and here.begun:
            self._compare(here)
        return super().current()

    def called(self) -> Gate:
        """Do the same for a call, perhaps the first one of this process."""
        here = source
        if here is not None:
            self._compare(here)
        elif self.applied is None:  # it went before this gate could ask it
            self.unsettle()
        return super().current()

    def _compare(self, here: Source) -> None:
        if here.word[0] != self.applied:
            here.refresh(self)

    @property
    def retries(self) -> bool:
        """Whether failed attempts may be repeated."""
        return self.current().retries

    def insists(self, error: Exception) -> bool:
        """Tell whether an error is a refusal of this downstream's holds that reaches the caller past any fallback."""
        return refused_by_a_hold(error, self.env.downstream) and self.current().rejects

    def enter(self, end: float) -> None:  # noqa: ARG002 -- a gate never waits
        """Let a two-step call pass or raise `BreakerOpen`."""
        self.admit()

    async def aenter(self, end: float) -> None:  # noqa: ARG002
        """Do the same."""
        self.admit()

    def leave(self, ticket: object, verdict: Verdict) -> None:
        """Do nothing: a gate counts nothing."""

    def drop(self, ticket: object) -> None:
        """Do nothing."""

    def _refusal(self, refusal: Refusal) -> BreakerOpen:
        env = self.env
        if events.wanted():
            env.emit(
                "resilient.call.rejected", policy=self.label, reason=refusal.reason, retry_after=refusal.retry_after
            )
        return BreakerOpen(env.downstream, self.label, refusal.retry_after, refusal.reason)

    def unsettle(self) -> None:
        """Have the next call ask the source again: it is another one, or this is another process."""
        self._apply(None if source is not None else 0)

    def renew(self) -> None:
        """Ask the source again, in a forked child."""
        if source is not None:
            self.unsettle()


class _Again(Guard):
    """The gate in its second place."""

    __slots__ = ("_gate",)

    def __init__(self, gate: GateGuard) -> None:
        super().__init__(gate.env, gate.label)
        self._gate = gate

    @property
    def policy(self) -> Holding:
        """What the weaver takes for the policy."""
        return _HOLDING

    def flags(self, colour: Colour) -> frozenset[str]:  # noqa: ARG002 -- the same in both
        """Return the template's conditional lines to compile in."""
        return frozenset({"waited"})

    def names(self, colour: Colour) -> Mapping[str, object]:
        """Return what the template's injected names stand for."""
        return self._gate.names(colour)

    def enter(self, end: float) -> None:  # noqa: ARG002 -- a gate never waits
        """Turn a two-step call back that waited while somebody shut the gate."""
        self._gate.admit_still()

    async def aenter(self, end: float) -> None:  # noqa: ARG002
        """Do the same."""
        self._gate.admit_still()

    def leave(self, ticket: object, verdict: Verdict) -> None:
        """Do nothing: a gate counts nothing."""

    def drop(self, ticket: object) -> None:
        """Do nothing."""


def gate_of(env: Env) -> GateGuard:
    """Return the gate of a pipeline."""
    return cast("GateGuard", env.gate)


def install(new: Source | None) -> None:
    """Have holds come from a source, or from this process alone; the caller weaves all pipelines anew."""
    global source  # noqa: PLW0603 -- one for the process
    source = new
