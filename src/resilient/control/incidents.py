"""When a downstream's trouble is an incident, how long it lasted, and how long the downstream was up or down.

An incident begins when any process of the host is open (or held open). It ends at the moment since which
every process has been closed, once that has lasted for a minute; so flapping is one incident. Trouble that
a hold or a maintenance window covers when it begins is planned, until a breaker is open by itself and nothing
covers that any more: there the planned incident gives way to one that is not.

Time is taken from differences of the host's monotonic clock, which all processes share and nobody sets. A
step that is too long (nobody kept the record, or the host slept) counts as not observed: it adds no time,
settles nothing, and neither begins nor ends an incident.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from resilient.control.moment import Moment

__all__ = ["LONGEST", "LOST", "SETTLE", "Incident", "Incidents", "Look"]

SETTLE: Final = 60.0
"""Seconds that a downstream must have been closed for an incident to be over."""

LONGEST: Final = 10.0
"""Seconds between two looks, at most, if what lies between them is to count as seen."""

LOST: Final = 3_600.0
"""Seconds of looking in vain for a downstream after which its incident is over; it ended when it was last seen."""

State = Literal["up", "degraded", "down"]


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen of a downstream over all live processes.

    Attributes:
        open: Processes that let no call pass.
        closed: Processes that let all pass.
        total: Processes that have it; those neither open nor closed are on their way back.
        covered: Whether a hold or a window is in force.
        cause: Why the first one opened.
        rates: Figures of the moment by their names, whose highest are kept with an incident.
        own: Processes in which a breaker is open by itself. Those that are held do not count, nor do those that
            have not learned yet that the hold has ended.

    """

    open: int
    closed: int
    total: int
    covered: bool = False
    cause: str = ""
    rates: Mapping[str, float] = field(default_factory=dict)
    own: int = 0

    @property
    def state(self) -> State:
        """Down if no process lets calls pass, up if all do."""
        if self.open == self.total:
            return "down"
        return "up" if self.closed == self.total else "degraded"


@dataclass(slots=True)
class Incident:
    """An incident under way.

    Attributes:
        downstream: Whose.
        started_at: Seconds since 1970.
        began: The same on the monotonic clock.
        planned: Whether a hold or a window covered its beginning.
        cause: Why the first process opened.
        closed_since: When all processes were found closed, or None if they are not.
        settled: Seconds that they were seen closed since.
        seen: When the downstream was seen last.
        missing: Seconds of looking in vain since.
        id: Its number in the record, 0 before it has one.
        peaks: The highest figures that were seen, and the most processes that were open at a time.

    """

    downstream: str
    started_at: float
    began: float
    planned: bool
    cause: str
    closed_since: float | None = None
    settled: float = 0.0
    seen: float = 0.0
    missing: float = 0.0
    id: int = 0
    peaks: dict[str, float] = field(default_factory=dict)

    def note(self, look: Look) -> None:
        """Keep the highest figures."""
        for name, value in {**look.rates, "open": look.open, "processes": look.total}.items():
            self.peaks[name] = max(value, self.peaks.get(name, 0.0))

    def ended_at(self, end: float) -> float:
        """Return when it ended in seconds since 1970, by the time that it lasted: a clock that was set changes nothing.

        Args:
            end: When it ended, on the monotonic clock.

        """
        return self.started_at + max(0.0, end - self.began)

    def rebased(self, at: Moment) -> Incident:
        """Return the same by the clock of another start of the host: how long it took only the time of day can tell."""
        began = at.now - max(0.0, at.wall - self.started_at)
        return replace(self, began=began, closed_since=None, settled=0.0, seen=at.now)


@dataclass(slots=True)
class Incidents:
    """Keeps the incidents and the times of all downstreams of a host, look by look.

    Attributes:
        running: Incidents under way, by downstream.
        times: Seconds per downstream, state and whether planned, since they were last taken away.

    """

    running: dict[str, Incident] = field(default_factory=dict)
    times: dict[tuple[str, State, bool], float] = field(default_factory=dict)
    _last: Moment | None = None
    _states: dict[str, tuple[State, bool]] = field(default_factory=dict)

    def step(self, at: Moment, looks: Mapping[str, Look]) -> tuple[list[Incident], list[tuple[Incident, float]]]:
        """Look once; return the incidents that have begun, and those that are over with the time of their end.

        Args:
            at: The present.
            looks: What is seen of each downstream.

        """
        passed = self._passed(at)
        for name, (state, planned) in self._states.items():
            key = (name, state, planned)
            self.times[key] = self.times.get(key, 0.0) + passed
        over = [
            ended
            for incident in list(self.running.values())
            if (ended := self._follow(incident, at, looks.get(incident.downstream), passed))
        ]
        begun = [self._begin(name, look, at) for name, look in looks.items() if look.open and name not in self.running]
        self._states = {name: (look.state, self._planned(name, look)) for name, look in looks.items()}
        return begun, over

    def _passed(self, at: Moment) -> float:
        """Return the seconds since the last look, 0 if nobody can tell what happened meanwhile."""
        last, self._last = self._last, at
        if last is None:
            return 0.0
        if last.boot != at.boot or at.now < last.now:
            self.running = {name: incident.rebased(at) for name, incident in self.running.items()}
            return 0.0
        passed = at.now - last.now
        return passed if passed <= LONGEST else 0.0

    def _begin(self, name: str, look: Look, at: Moment) -> Incident:
        incident = Incident(name, at.wall, at.now, look.covered, look.cause, seen=at.now)
        incident.note(look)
        self.running[name] = incident
        return incident

    def _follow(
        self, incident: Incident, at: Moment, look: Look | None, passed: float
    ) -> tuple[Incident, float] | None:
        """Return the incident and its end if it is over."""
        end: float | None = None
        if look is None:
            incident.missing += passed
            if incident.missing >= LOST:
                end = incident.seen if incident.closed_since is None else incident.closed_since
        elif look.own and incident.planned and not look.covered:
            end = at.now if incident.closed_since is None else incident.closed_since
        elif look.closed < look.total:
            incident.note(look)
            incident.seen, incident.missing, incident.closed_since, incident.settled = at.now, 0.0, None, 0.0
        else:
            if incident.closed_since is None:
                incident.closed_since = at.now
            elif not incident.missing:
                incident.settled += passed
            incident.seen, incident.missing = at.now, 0.0
            if incident.settled >= SETTLE:
                end = incident.closed_since
        if end is None:
            return None
        del self.running[incident.downstream]
        return incident, incident.ended_at(end)

    def _planned(self, name: str, look: Look) -> bool:
        """Tell whether the time from now on is planned: as the incident is, or as long as there is none, if covered."""
        incident = self.running.get(name)
        return look.covered if incident is None else incident.planned

    def take_times(self) -> dict[tuple[str, State, bool], float]:
        """Return the times since this was last asked, and begin anew."""
        taken, self.times = self.times, {}
        return {key: seconds for key, seconds in taken.items() if seconds}

    # -- over the life of one keeper -------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Return what the next keeper needs to go on, as data for JSON; times that were not taken are left out."""
        return {
            "last": None if self._last is None else asdict(self._last),
            "states": {name: list(state) for name, state in self._states.items()},
            "running": [asdict(incident) for incident in self.running.values()],
        }

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Incidents:
        """Return what goes on from where `dump` left off.

        Raises:
            ValueError: If the data are not what `dump` returns.

        """
        try:
            kept = cls(running={each["downstream"]: Incident(**each) for each in data["running"]})
            kept._states = {name: (state, bool(planned)) for name, (state, planned) in data["states"].items()}
            kept._last = None if data["last"] is None else Moment(**data["last"])
        except (KeyError, TypeError, AttributeError) as error:
            message = f"this is no state of incidents: {error!r}"
            raise ValueError(message) from error
        return kept
