"""The three states of a circuit and the moves between them; its owner holds the lock.

closed --(too many failures or slow calls)--> open --(time)--> half_open --(probes)--> closed
                                                ^-----(probes, time)------'
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import InitVar, dataclass, field

from resilient._machines.holds import AUTO, FORCED_CLOSED, FORCED_OPEN, OBSERVE
from resilient._machines.probes import SETTLED, ProbeRound, Ticket
from resilient._machines.recovery import Ramp, lowered, open_time, raised
from resilient._machines.states import (
    CLOSED,
    HALF_OPEN,
    OPEN,
    Moment,
    Refusal,
    Settings,
    Transition,
    why_open,
)
from resilient._machines.tally import FAILED, PASSED, SLOW, Totals
from resilient._machines.window import Window, new_window
from resilient.outcome import Outcome


@dataclass(slots=True, eq=False)
class Circuit:
    """Decide which calls may pass, from the outcomes of earlier calls.

    A permit is the era's own window object while closed, else a `Ticket` that carries the era.
    An outcome whose permit is of an older era changes nothing.

    Attributes:
        settings: The configuration in force.
        lease: Seconds after which a probe without an outcome counts as failed.
        mode: What the holds ask for; the owner sets it.
        state, era: `CLOSED`, `OPEN` or `HALF_OPEN`; the number, raised at every move.
        record: The window of the closed era, or of the last one.
        running: Timed calls in flight, oldest first, or None if there are none.
        ramp, round: The growth after closing, and the half-open round, or None.
        until: When the opening is over.
        level, healthy_from: Doublings of the open time; when the circuit closed last.
        news: Transitions not published yet.

    """

    settings: Settings
    now: InitVar[float]
    lease: float
    mode: str = AUTO
    state: str = CLOSED
    era: int = 0
    record: Window = field(init=False)
    running: OrderedDict[Ticket, None] | None = None
    ramp: Ramp | None = None
    round: ProbeRound | None = None
    until: float = field(init=False)
    level: int = 0
    healthy_from: float = field(init=False)
    news: list[Transition] = field(default_factory=list)

    def __post_init__(self, now: float) -> None:
        """Begin closed, with an empty window."""
        self.record = new_window(self.settings.window, now)
        self.until = self.healthy_from = now

    def admit(self, at: Moment) -> Window | Ticket | Refusal:
        """Return the permit of an admitted call, or say why it may not pass."""
        self.advance(at)
        if self.state == OPEN:
            if at.now < self.until:
                return Refusal(self.until - at.now, "breaker_open")
            self.half_open(at.now, "wait_elapsed")
        if self.round is not None:
            return self._probe(self.round, at.now)
        if self.mode != FORCED_CLOSED and at.draw >= self.share(at.now):
            return Refusal(0.0, "ramping")
        self.record.advance(at.now)
        return self.record if self.settings.slow_call is None else self._timed(at.now)

    def _probe(self, current: ProbeRound, now: float) -> Ticket | Refusal:
        if not current.free(self.settings.probes):
            return Refusal(current.wait(now), "half_open_limit")
        ticket = Ticket(self.era, now)
        current.live[ticket] = now + self.lease
        return ticket

    def _timed(self, now: float) -> Ticket:
        ticket = Ticket(self.era, now)
        if self.running is None:
            self.running = OrderedDict()
        self.running[ticket] = None
        return ticket

    def settle(self, permit: Window | Ticket, outcome: Outcome, at: Moment) -> None:
        """Record how the call that got this permit ended."""
        self.advance(at)
        if not isinstance(permit, Ticket):
            if permit is self.record and self.state == CLOSED and self.mode != FORCED_OPEN:
                self.settle_plain(outcome, at)
        elif permit.era == self.era:
            permit.era = SETTLED
            if self.round is not None:
                self._settle_probe(self.round, permit, outcome, at)
            else:
                self._settle_timed(permit, outcome, at)

    def settle_plain(self, outcome: Outcome, at: Moment) -> None:
        """Record the outcome of a call admitted in this closed era."""
        if outcome is Outcome.SUCCESS:
            self.record.record(PASSED, at.now)
        elif outcome is Outcome.FAILURE:
            self.record.record(FAILED, at.now)
            self._judge(at)

    def _settle_timed(self, ticket: Ticket, outcome: Outcome, at: Moment) -> None:
        """Record a timed call; if it was slow, `advance` has marked it already."""
        if self.running is not None:
            self.running.pop(ticket, None)
        if ticket.mark is None:
            self.settle_plain(outcome, at)
        elif outcome is Outcome.FAILURE:
            self.record.amend(ticket.mark, at.now)
            self._judge(at)
        elif outcome is Outcome.SUCCESS:
            self.record.run = 0

    def _settle_probe(self, current: ProbeRound, probe: Ticket, outcome: Outcome, at: Moment) -> None:
        """Record a probe; one slower than `slow_call` has not shown that the downstream is well."""
        limit = self.settings.slow_call
        passed: bool | None = None
        if outcome is Outcome.FAILURE:
            passed = False
        elif outcome is Outcome.SUCCESS:
            passed = limit is None or at.now - probe.began <= limit
        current.settle(probe, passed=passed)
        self.decide(current, at, "probe_failed")

    def release(self, ticket: Ticket) -> None:
        """Take back the permit of a call that was dropped without an outcome."""
        ticket.era = SETTLED
        if self.round is not None:
            self.round.settle(ticket, passed=None)
        elif self.running is not None:
            self.running.pop(ticket, None)

    def advance(self, at: Moment) -> None:
        """Let happen what time alone brings; dated when it was due, but slow calls when they are seen."""
        if self.round is not None:
            self._advance_round(self.round, at)
        elif self.state == CLOSED:
            if self.running:
                self._mark_slow(self.running, at)
            if self.ramp is not None and self.share(at.now) >= 1:
                self.ramp = None

    def _advance_round(self, current: ProbeRound, at: Moment) -> None:
        for end, probe in current.expired(min(at.now, current.end)):
            current.settle(probe, passed=False)
            self.decide(current, Moment(end, at.draw), "lease_expired")
            if self.round is not current:
                return
        if at.now >= current.end:
            # A round that only lacked traffic proves nothing against the downstream.
            worse = bool(current.failed or current.live)
            self._trip(Moment(current.end, at.draw), "half_open_timeout", worse=worse)

    def _mark_slow(self, running: OrderedDict[Ticket, None], at: Moment) -> None:
        limit = self.settings.slow_call
        marked = False
        while running and limit is not None:
            oldest = next(iter(running))
            if at.now - oldest.began <= limit:
                break
            del running[oldest]
            oldest.mark = self.record.record(SLOW, at.now)
            marked = True
        if marked:
            self._judge(Moment(at.now, at.draw))

    def decide(self, current: ProbeRound, at: Moment, lost: str) -> None:
        """Close or open as soon as the probes' verdict is certain."""
        verdict = current.verdict(self.settings.failure_rate, self.settings.probes)
        if verdict is True:
            self.close(at.now, "probe_ok", operator=current.operator)
        elif verdict is False:
            self._trip(at, lost)

    def _judge(self, at: Moment) -> None:
        """Open if the window says so; asked whenever something bad was recorded."""
        settings, record = self.settings, self.record
        short = settings.consecutive is None or record.run < settings.consecutive
        if self.mode == FORCED_CLOSED or (short and record.calls < settings.min_calls):
            return
        cause = why_open(self.settings, self.record.totals(at.now), self.record.run)
        if cause is not None:
            self._trip(at, cause)

    def _trip(self, at: Moment, cause: str, *, worse: bool = True) -> None:
        if self.state == CLOSED:
            self.level = lowered(self.level, at.now - self.healthy_from)
        if worse:
            self.level = raised(self.settings, self.level)
        wait = open_time(self.settings, max(1, self.level), at.draw, at.hint)
        self.until = at.now + wait
        self._move(OPEN, cause, at.now, wait)

    def half_open(self, now: float, cause: str, *, operator: bool = False) -> None:
        """Start a round of probes."""
        self._move(HALF_OPEN, cause, now)
        self.round = ProbeRound(now + self.settings.max_half_open, operator=operator)

    def close(self, now: float, cause: str, *, ramped: bool = True, operator: bool = False) -> None:
        """Let calls pass again, in a fresh window; at first a share of them."""
        self._move(CLOSED, cause, now)
        self.record = new_window(self.settings.window, now)
        self.healthy_from = now
        if ramped and (operator or self.settings.ramp):
            self.ramp = Ramp(now, operator=operator)

    def _move(self, after: str, cause: str, now: float, wait: float | None = None) -> None:
        before, totals = self.state, self.totals(now)
        self.state = after
        self.new_era()
        shadow = self.mode == OBSERVE
        if before != after and (shadow or self.mode == AUTO):
            self.news.append(Transition(before, after, cause, self.era, totals, wait, shadow))

    def new_era(self) -> None:
        """Let nothing count that was admitted until now."""
        self.era += 1
        self.ramp = self.round = self.running = None

    def totals(self, now: float) -> Totals:
        """Count what the next decision is based on: the probes, or else the window."""
        if self.round is None:
            return self.record.totals(now)
        return Totals(self.round.passed + self.round.failed, self.round.failed, 0)

    def share(self, now: float) -> float:
        """Return the share of calls that the ramp admits, 1.0 without a ramp."""
        return 1.0 if self.ramp is None else self.ramp.share(now, self.settings.ramp)
