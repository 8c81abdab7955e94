"""The breaker's machine: a circuit under holds, behind a lock.

It also keeps what the fast path reads without the lock: `window`, and `shut`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from threading import Lock

from resilient._machines import breaker_record
from resilient._machines.circuit import Circuit
from resilient._machines.held import HeldCircuit
from resilient._machines.holds import AUTO, FORCED_OPEN, Entry, HoldEnded
from resilient._machines.probes import Ticket
from resilient._machines.states import CLOSED, OPEN, Moment, Refusal, Settings, Transition
from resilient._machines.tally import Count
from resilient._machines.window import Window, new_window
from resilient.outcome import Outcome


class BreakerMachine:
    """Decide which calls may pass; safe from any thread.

    Attributes:
        clocked: Whether the fast path was made for a time window; fixed for good.
        news: What happened and is not published yet, oldest first.
        shut: Every call is refused until then, whatever else holds; read without the lock.
        forced: Whether that is because of a hold; read without the lock.
        window: The permit of every call while the circuit is plainly closed, else None: not
            held, not ramping, calls not timed. Read without the lock.

    """

    __slots__ = ("_dropped", "_held", "_lock", "clocked", "forced", "news", "shut", "window")

    def __init__(self, settings: Settings, now: float, lease: float = 10.0) -> None:
        self._held = HeldCircuit(Circuit(settings, now, lease))
        self._dropped: list[Ticket] = []
        self._lock = Lock()
        self.clocked = not isinstance(settings.window, Count)
        self.news: list[Transition | HoldEnded] = self._held.news
        self.shut = -math.inf
        self.forced = False
        self.window: Window | None = None
        self._refresh()

    @property
    def lease(self) -> float:
        """Seconds after which a probe without an outcome counts as failed."""
        return self._held.circuit.lease

    @lease.setter
    def lease(self, seconds: float) -> None:
        self._held.circuit.lease = seconds

    @property
    def holds(self) -> tuple[Entry, ...]:
        """The holds in force, and those masked by a stronger one."""
        return self._held.holds

    def admit(self, now: float, draw: float) -> Window | Ticket | Refusal:
        """Return the permit of an admitted call, or say why it may not pass.

        Args:
            now: The current time.
            draw: A random number in [0, 1).

        """
        at = Moment(now, draw)
        with self._lock:
            self._catch_up(at)
            answer = self._held.admit(at)
            self._refresh()
        return answer

    def settle(
        self, permit: Window | Ticket, outcome: Outcome, now: float, draw: float, hint: float | None = None
    ) -> None:
        """Record how an admitted call ended; an outcome of an older era changes nothing.

        Args:
            permit: What `admit` returned, or what `window` was.
            outcome: How the call ended.
            now: The current time.
            draw: A random number in [0, 1), in case this opens the circuit.
            hint: Seconds for which the server asked, or None.

        """
        at = Moment(now, draw, hint)
        with self._lock:
            held = self._held
            circuit, era = held.circuit, held.circuit.era
            if permit is self.window and not held.holds:
                # Plainly closed: time alone brings nothing, and only a new era changes anything.
                circuit.settle_plain(outcome, at)
                if circuit.era != era:
                    self._refresh()
                return
            self._catch_up(at)
            circuit.settle(permit, outcome, at)
            self._refresh()

    def drop(self, ticket: Ticket) -> None:
        """Take a permit back without an outcome, later.

        The collector may call this at any moment, even while this very thread holds the lock.
        So: no lock, one atomic append.
        """
        self._dropped.append(ticket)

    def hold(self, entry: Entry, now: float, draw: float) -> None:
        """Put a hold on the breaker, beside those already there."""
        with self._lock:
            self._catch_up(Moment(now, draw))
            self._held.hold(entry, now)
            self._refresh()

    def release(self, name: str, now: float, draw: float) -> bool:
        """End a hold; tell whether it was still there."""
        with self._lock:
            self._catch_up(Moment(now, draw))
            there = self._held.release(name, now)
            self._refresh()
        return there

    def impose(self, entries: Iterable[Entry], gone: Iterable[str], now: float, draw: float) -> None:
        """Put holds on the breaker and take others away, in one step."""
        with self._lock:
            self._catch_up(Moment(now, draw))
            for entry in entries:
                self._held.hold(entry, now)
            for name in gone:
                self._held.release(name, now)
            self._refresh()

    def probe(self, now: float, draw: float) -> None:
        """Go from open to half-open now."""
        with self._lock:
            self._catch_up(Moment(now, draw))
            self._held.probe(now)
            self._refresh()

    def reset(self, now: float, draw: float) -> None:
        """Close with an empty history; holds stay in force."""
        with self._lock:
            self._catch_up(Moment(now, draw))
            self._held.circuit.close(now, "reset", ramped=False)
            self._held.circuit.level = 0
            self._refresh()

    def reconfigure(self, settings: Settings, now: float, draw: float) -> None:
        """Judge the same history by new settings from the next outcome on."""
        at = Moment(now, draw)
        with self._lock:
            self._catch_up(at)
            circuit, before = self._held.circuit, self._held.circuit.settings
            circuit.settings = settings
            circuit.until = min(circuit.until, now + settings.max_open_for)
            if settings.window != before.window:
                rows, run = circuit.record.rows(now), circuit.record.run
                circuit.record = new_window(settings.window, now)
                circuit.record.load(rows)
                circuit.record.run = run
            if circuit.round is not None:
                circuit.decide(circuit.round, at, "probe_failed")
            self._refresh()

    def snapshot(self, now: float, draw: float) -> dict[str, object]:
        """Return everything but calls in flight, as plain data with relative times."""
        with self._lock:
            self._catch_up(Moment(now, draw))
            self._refresh()
            return self._held.snapshot(now)

    def restore(self, data: Mapping[str, object], now: float, age: float) -> None:
        """Take over a snapshot of the same breaker, perhaps of another process.

        Args:
            data: What `snapshot` returned; its holds are left alone.
            now: The current time.
            age: Seconds since it was taken.

        Raises:
            ConfigError: If it is no such snapshot; the breaker is then unchanged.

        """
        circuit = breaker_record.load(data, self._held.circuit.settings, now, age)
        with self._lock:
            self._held.replace(circuit, now)
            self._refresh()

    def move(self, before: float, now: float) -> None:
        """Carry the state over to another clock, which reads `now` where the old one read `before`."""
        data = self.snapshot(before, 0.0)
        self.restore(data, now, 0.0)
        with self._lock:
            moved = (replace(entry, until=entry.until - before + now) for entry in self._held.holds)
            self._held.holds = tuple(moved)

    def resting(self, now: float, draw: float) -> bool:
        """Tell whether nothing is under way and nothing but old outcomes is remembered."""
        with self._lock:
            self._catch_up(Moment(now, draw))
            self._refresh()
            return self._held.resting(now)

    def renew(self) -> None:
        """Start afresh in a forked child: a new lock, and the parent's calls forgotten."""
        self._lock = Lock()
        circuit = self._held.circuit
        circuit.running = None
        if circuit.round is not None:
            circuit.round.live.clear()

    def _catch_up(self, at: Moment) -> None:
        """Fold in what was dropped, and let happen what time alone brings."""
        while self._dropped:
            self._held.circuit.release(self._dropped.pop())
        self._held.catch_up(at)

    def _refresh(self) -> None:
        """Show the fast path what it may do without asking; called under the lock."""
        self._held.collect()
        circuit = self._held.circuit
        automatic = circuit.mode == AUTO
        plain = (
            automatic
            and circuit.state == CLOSED
            and circuit.ramp is None
            and circuit.settings.slow_call is None
            and self.clocked != isinstance(circuit.settings.window, Count)
        )
        self.window = circuit.record if plain else None
        self.forced = circuit.mode == FORCED_OPEN
        if self.forced:  # until a hold expires, and with it perhaps this mode
            self.shut = min(entry.until for entry in self._held.holds)
        else:
            self.shut = circuit.until if automatic and circuit.state == OPEN else -math.inf

    def held_for(self, now: float) -> float | None:
        """Return the seconds until the last hold that refuses expires, or None if one never does."""
        return self._held.held_for(now)
