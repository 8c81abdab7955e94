"""One call that found no fresh answer: what it waits for, what it watches, what it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from resilient._machines.staleness import Stored
from resilient._runtime.flight import Flight, Lead
from resilient.provenance import Answer, Provenance, watch, watching


@dataclass(frozen=True, slots=True)
class Shared:
    """What a leader was answered, for everybody who waited.

    Attributes:
        value: The answer.
        notes: What was learned about where it came from.
        bad: What the classifier calls it, in a word, if that is a failure or throttled.

    """

    value: Any
    notes: tuple[Provenance, ...] = ()
    bad: str | None = None


class Watch(Answer):
    """Learns where the answer of a leader's call comes from, and tells what is called inside of it that it leads."""

    __slots__ = ("flight", "over")

    def __init__(self, outer: Answer | None, flight: Flight[Shared] | None) -> None:
        super().__init__(outer)
        self.flight = flight
        self.over = False

    def add(self, note: Provenance) -> None:
        """Take a note, unless the call is over: what it has left running may live for long."""
        if not self.over:
            super().add(note)
        elif self.outer is not None:
            self.outer.add(note)


class Turn:
    """One call.

    Attributes:
        key: What its answer is found by.
        call: The function.
        end: Its own deadline.
        answered: Whether there is a result without calling the function.
        result: The result.
        lead: The duty to call the function for others, too.
        flight: Whom it waits for.
        kept: Whether its answer may be stored.
        made: What was stored of its answer.
        era: How often anything was forgotten before that.
        taken_back: Whether the downstream has taken back what was stored.
        began: Time at which the function was called.
        watch: Learns where the answer comes from.
        task: Whether it is a task's: such a one may be ended in somebody else's context.

    """

    __slots__ = (
        "_before",
        "answered",
        "began",
        "call",
        "end",
        "era",
        "flight",
        "kept",
        "key",
        "lead",
        "made",
        "result",
        "taken_back",
        "task",
        "watch",
    )

    def __init__(self, key: tuple[Any, ...], call: Any, end: float, *, task: bool) -> None:  # noqa: ANN401 -- any function
        self.key = key
        self.call = call
        self.end = end
        self.task = task
        self.answered = False
        self.result: Any = None
        self.lead: Lead[Shared] | None = None
        self.flight: Flight[Shared] | None = None
        self.kept = True
        self.made: Stored | None = None
        self.era = 0
        self.taken_back = False
        self.began = 0.0
        self.watch: Watch | None = None
        self._before: Answer | None = None

    def answer(self, result: Any) -> None:  # noqa: ANN401
        """End with a result."""
        self.answered = True
        self.result = result

    def begin(self, now: float) -> None:
        """Watch from here on: the function is called next."""
        self.began = now
        before = watching()
        while isinstance(before, Watch) and before.over:  # of a call that a signal handler's error stopped
            before = before.outer
        self._before = before
        self.watch = Watch(self._before, None if self.lead is None else self.lead.flight)
        watch(self.watch)

    def over(self) -> tuple[Lead[Shared], tuple[Provenance, ...]]:
        """Watch no longer; return the duty, to be settled, and what was learned."""
        watch(self._before)
        return self.taken(), () if self.watch is None else tuple(self.watch.all)

    def taken(self) -> Lead[Shared]:
        """Return the duty, to be settled."""
        if self.watch is not None:
            self.watch.over = True
            self.watch.flight = None  # which will hold the error, whose traceback holds this
        lead, self.lead = self.lead, None
        assert lead is not None  # noqa: S101 -- who calls the function leads
        return lead

    def __del__(self) -> None:
        """Let nothing pile up where a signal handler's error kept the call from ending properly."""
        watch = getattr(self, "watch", None)
        if watch is not None:
            watch.over = True


def leads(flight: Flight[Shared]) -> bool:
    """Tell whether this is called by the leader of a flight, who would wait for itself."""
    answer = watching()
    while answer is not None:
        if isinstance(answer, Watch) and answer.flight is flight:
            return True
        answer = answer.outer
    return False
