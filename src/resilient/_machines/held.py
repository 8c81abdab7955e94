"""A circuit under operators' holds; its owner keeps the lock."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from resilient._machines import breaker_record
from resilient._machines.circuit import Circuit
from resilient._machines.holds import (
    AUTO,
    FORCED_CLOSED,
    FORCED_OPEN,
    OBSERVE,
    Entry,
    HoldEnded,
    in_force,
)
from resilient._machines.probes import UNCOUNTED, Ticket
from resilient._machines.recovery import lowered
from resilient._machines.states import CLOSED, OPEN, Moment, Refusal, Transition
from resilient._machines.tally import Totals
from resilient._machines.window import Window


@dataclass(slots=True, eq=False)
class HeldCircuit:
    """Let holds override what a circuit decides, and bring it back after them.

    While held open the circuit stands still, and calls in flight belong to an older era. While
    held closed it measures but does not open. While observed it runs on as a shadow.

    Attributes:
        circuit: The automatic part.
        holds: Those in force and those masked by a stronger one.
        news: What happened and is not published yet, oldest first.
        would_reject: Calls that only an observing hold let pass.

    """

    circuit: Circuit
    holds: tuple[Entry, ...] = ()
    news: list[Transition | HoldEnded] = field(default_factory=list)
    would_reject: int = 0

    @property
    def effective(self) -> str:
        """The mode of the hold in force, or without one the circuit's state."""
        mode = self.circuit.mode
        return self.circuit.state if mode == AUTO else mode

    def catch_up(self, at: Moment) -> None:
        """Let happen what time alone brings."""
        if self.holds:
            over = [entry for entry in self.holds if entry.until <= at.now]
            self._end(over, at.now, expired=True)
        self.circuit.advance(at)

    def admit(self, at: Moment) -> Window | Ticket | Refusal:
        """Return the permit of an admitted call, or say why it may not pass."""
        mode = self.circuit.mode
        if mode == FORCED_OPEN:
            return Refusal(self.held_for(at.now), FORCED_OPEN)
        answer = self.circuit.admit(at)
        if isinstance(answer, Refusal) and mode == OBSERVE:
            self.would_reject += 1
            return UNCOUNTED
        return answer

    def hold(self, entry: Entry, now: float) -> None:
        """Add a hold to those already there; one of the same name is replaced."""
        self.holds = (*(each for each in self.holds if each.id != entry.id), entry)
        self._follow(now, "override")

    def probe(self, now: float) -> None:
        """Let a few calls pass, if nobody passes now."""
        if self.circuit.state == OPEN:
            self.circuit.half_open(now, "probe", operator=True)

    def release(self, name: str, now: float) -> bool:
        """End a hold; tell whether it was still there."""
        ended = [entry for entry in self.holds if entry.id == name]
        self._end(ended, now, expired=False)
        return bool(ended)

    def replace(self, circuit: Circuit, now: float) -> None:
        """Go on with another circuit, under the same holds."""
        before, old = self.effective, self.circuit
        circuit.lease, circuit.mode, circuit.era = old.lease, old.mode, old.era + 1
        if circuit.mode == FORCED_OPEN:
            circuit.new_era()
        elif circuit.mode == FORCED_CLOSED and circuit.state != CLOSED:
            circuit.close(now, "restore", ramped=False)
        self.circuit = circuit
        if self.effective != before:
            self._tell(before, "restore", circuit.totals(now))

    def snapshot(self, now: float) -> dict[str, object]:
        """Return everything but calls in flight, as plain data with relative times."""
        return {
            "state": self.effective,
            **breaker_record.dump(self.circuit, now),
            "would_reject": self.would_reject,
            "holds": [breaker_record.dump_hold(entry, now) for entry in self.holds],
        }

    def resting(self, now: float) -> bool:
        """Tell whether nothing is under way and nothing but old outcomes is remembered."""
        circuit = self.circuit
        if self.holds or circuit.state != CLOSED or circuit.ramp is not None or circuit.running:
            return False
        return lowered(circuit.level, now - circuit.healthy_from) == 0

    def collect(self) -> None:
        """Queue what the circuit has to tell."""
        if self.circuit.news:
            self.news.extend(self.circuit.news)
            self.circuit.news.clear()

    def _end(self, ended: list[Entry], now: float, *, expired: bool) -> None:
        if ended:
            self.collect()
            self.holds = tuple(entry for entry in self.holds if entry not in ended)
            self.news.extend(HoldEnded(entry, expired) for entry in ended)
            self._follow(now, "override_expired" if expired else "release")

    def _follow(self, now: float, cause: str) -> None:
        """Change the circuit's mode to what the holds ask for now."""
        circuit, before, was = self.circuit, self.effective, self.circuit.mode
        mode = in_force(self.holds)
        if mode == was:
            return
        self.collect()
        totals = circuit.totals(now)
        circuit.mode = mode
        if mode == FORCED_OPEN:
            circuit.new_era()
        elif mode == FORCED_CLOSED:
            if was == FORCED_OPEN or circuit.state != CLOSED:
                circuit.close(now, cause, ramped=False)
        elif was == FORCED_OPEN:
            circuit.half_open(now, cause, operator=True)
        circuit.news.clear()  # told here, as one change with the hold's cause
        self._tell(before, cause, totals)

    def _tell(self, before: str, cause: str, totals: Totals) -> None:
        self.news.append(Transition(before, self.effective, cause, self.circuit.era, totals))

    def held_for(self, now: float) -> float | None:
        """Return how long the breaker is held open at least, or None for no end."""
        # Asked without the lock, too: a hold may be gone by now.
        end = max((entry.until for entry in self.holds if entry.mode == FORCED_OPEN), default=now)
        return None if end == math.inf else max(0.0, end - now)
