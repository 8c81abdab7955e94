"""Statistics of one process: what meters measured and events told, as totals and as live numbers.

Calls only leave numbers behind. They are added up here when somebody reads, or when they have become many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from threading import RLock

from resilient import clock as _clock
from resilient import events, faults
from resilient._policy import Env
from resilient._runtime import live
from resilient._weave import inlays
from resilient.clock import Clock
from resilient.events import Event
from resilient.telemetry import heard, state_times
from resilient.telemetry.meters import AttemptMeter, CallMeter
from resilient.telemetry.names import Names
from resilient.telemetry.recent import Recent
from resilient.telemetry.state_times import Passing, StateTimes
from resilient.telemetry.totals import Labels, Totals, check
from resilient.telemetry.traffic import LONG, Traffic

__all__ = ["PROCESS", "Statistics"]

MOST_DOWNSTREAMS = 200
MOST_ERRORS = 50
_MOST_EVENTS = 100


class Statistics:
    """Measure every pipeline of the process, from `start` to `stop`.

    Downstreams beyond the first 200, and types of errors beyond the first 50, are counted as `_other`.

    Example:
        >>> from resilient import Pipeline
        >>> statistics = Statistics()
        >>> statistics.start()
        >>> Pipeline("doc-statistics").call(len, "hello")
        5
        >>> statistics.stop()
        >>> labels = ("doc-statistics", "success", "")
        >>> seconds, calls, *_ = statistics.totals().value("resilient_call_duration_seconds", labels)
        >>> calls
        1.0

    """

    __slots__ = (
        "__weakref__", "_added", "_busy", "_errors", "_faults", "_heard", "_inlays", "_kinds", "_lock", "_names",
        "_started", "_starting", "_states", "_totals", "_traffic", "_unsubscribe",
    )  # fmt: skip

    def __init__(self, *, downstreams: int = MOST_DOWNSTREAMS, errors: int = MOST_ERRORS) -> None:
        """Measure nothing yet.

        Args:
            downstreams: Names that are told apart.
            errors: Types of errors that are told apart.

        """
        self._names = Names(downstreams, "downstreams")
        self._errors = Names(errors, "types of errors")
        self._kinds = Names(_MOST_EVENTS, "names of events")
        self._traffic: dict[str, Traffic] = {}
        self._inlays = (CallMeter(self), AttemptMeter(self))
        self._starting = RLock()
        self._started = 0
        self._unsubscribe: Callable[[], None] | None = None
        self._forget()
        live.add(self)

    def _forget(self) -> None:
        """Begin to count at nothing. What woven functions know stays the same objects."""
        # The collector may run a call of ours while this thread adds up: then it finds the lock taken by itself.
        self._lock = RLock()
        self._busy = False
        self._totals = Totals()
        self._states = StateTimes()
        self._heard = heard.Heard()
        self._added: deque[tuple[str, Labels, float]] = deque()
        self._faults = faults.total()

    # -- on and off ------------------------------------------------------------------------

    def start(self) -> None:
        """Measure from now on; as often as it is called, `stop` has to be called to end it."""
        with self._starting:
            self._started += 1
            if self._started == 1:
                self._unsubscribe = events.subscribe(self._hear)
                seen = self._states.states()
                with self._lock:
                    self._states.resume(seen)
                for inlay in self._inlays:
                    inlays.add(inlay)

    def stop(self) -> None:
        """Measure no longer, if nobody else has asked for it; what was counted stays."""
        with self._starting:
            self._started = max(0, self._started - 1)
            if not self._started and self._unsubscribe is not None:
                self._fold(())
                self._unsubscribe()
                self._unsubscribe = None
                for inlay in reversed(self._inlays):  # what is around an attempt counts on what is around its call
                    inlays.remove(inlay)

    @property
    def running(self) -> bool:
        """Whether calls are measured."""
        return self._started > 0

    # -- counting --------------------------------------------------------------------------

    def add(self, metric: str, labels: Labels = (), value: float = 1) -> None:
        """Add to a counter of the catalogue, or record a value with a histogram; takes no lock.

        Raises:
            ConfigError: If there is no such counter or histogram, or it has other labels.

        """
        check(metric, labels)
        self._added.append((metric, labels, value))
        if len(self._added) > LONG:
            self._tidy()

    def traffic(self, env: Env) -> Traffic:
        """Return where the calls of a pipeline are counted; it is asked once for each pipeline and meter."""
        with self._lock:
            name = self._names.of(env.downstream)
            traffic = self._traffic.get(name)
            if traffic is None:
                traffic = self._traffic[name] = Traffic(name, self._now(), self._tidy)
        self._names.warn()
        breakers = state_times.found(env, name)
        with self._lock:
            self._states.follow(breakers)
        return traffic

    def _hear(self, event: Event) -> None:
        left = self._heard.left
        left.append((event, self._now()))
        if len(left) > LONG:
            self._tidy()

    # -- reading ---------------------------------------------------------------------------

    def totals(self) -> Totals:
        """Return everything counted since the process began or was forked."""
        passing = self._states.passing()
        self._fold(passing)
        self._errors.warn()
        self._kinds.warn()
        with self._lock:
            return self._totals.copy()

    def live(self, name: str) -> dict[str, object]:
        """Return what happens now at one downstream: rates, shares and percentiles, in seconds and per second.

        Args:
            name: Of the downstream; "_other" for all beyond the cap.

        """
        traffic = self._traffic.get(name)
        self._fold(None, [] if traffic is None else [traffic])  # a page asks for hundreds, one by one
        now = self._now()
        with self._lock:
            return {"in_flight": 0, **Recent(now).view(now)} if traffic is None else traffic.view(now)

    def names(self) -> list[str]:
        """Return the names of the downstreams that are told apart, and "_other" if there are more."""
        return sorted(self._traffic)

    def _tidy(self, _: object = None) -> None:
        """Add up, unless somebody is at it: a call never waits for that."""
        if not self._busy:
            try:
                self._fold(())
            except Exception as fault:  # noqa: BLE001 -- a fault of ours never fails a call
                faults.report(self._tidy, fault)

    def _fold(self, passing: Passing | None, some: Iterable[Traffic] | None = None) -> None:
        with self._lock:
            if self._busy:  # this very thread, further out
                return
            self._busy = True
            try:
                self._fold_calls(list(self._traffic.values()) if some is None else some)
                if passing is not None:
                    self._fold_states(passing)
            finally:
                self._busy = False

    def _fold_calls(self, some: Iterable[Traffic]) -> None:
        now, totals = self._now(), self._totals
        for event, name, at, number in self._heard.count(self._names, totals, self._kinds, self._errors):
            if event.name == heard.TRANSITION:
                self._states.moved(event, at)
            elif name in self._traffic:
                self._traffic[name].recent.reject(at, number)
        for traffic in some:
            traffic.fold(totals, now, self._errors)

    def _fold_states(self, passing: Passing) -> None:
        now, totals = self._now(), self._totals
        if self._unsubscribe is not None:
            for name, breaker, state, seconds in self._states.times(now):
                totals.add("resilient_breaker_state_time_seconds_total", (name, breaker, state), seconds)
        for followed, passed in passing:
            more = followed.more(passed)
            if more:
                totals.add("resilient_call_would_reject_total", (followed.name, "breaker_open"), more)
        for _ in range(len(self._added)):
            totals.count(*self._added.popleft())
        before, self._faults = self._faults, faults.total()
        totals.add("resilient_faults_total", (), self._faults - before if self._faults >= before else self._faults)

    # -- forks and clocks ------------------------------------------------------------------

    def renew(self) -> None:
        """Count from nothing in a forked child: what the parent has counted, the parent tells."""
        self._starting = RLock()
        states = self._states
        self._forget()
        for traffic in self._traffic.values():
            traffic.clear()
            traffic.recent = Recent(self._now())
        states.restart()
        self._states = states

    def use_clock(self, clock: Clock) -> None:  # noqa: ARG002 -- it is asked for
        """Forget what belongs to the replaced clock's times."""
        with self._lock:
            for traffic in self._traffic.values():
                traffic.recent = Recent(self._now())
            self._states.restart()

    @staticmethod
    def _now() -> float:
        return _clock.current().now()


PROCESS = Statistics()
"""Those of this process, which control and exporters share; off until one of them starts it."""
