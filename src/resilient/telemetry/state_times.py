"""How long each breaker was in which state, and what observing holds let pass."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence

from resilient._gate.gate import gate_of
from resilient._guards.breaker import BreakerGuard
from resilient._machines.holds import OBSERVE
from resilient._policy import Env
from resilient.events import Event

__all__ = ["Followed", "Passing", "StateTimes", "found"]


class Followed:
    """One breaker of one pipeline; the pipeline is not kept alive."""

    __slots__ = ("_passed", "downstream", "env", "label", "name", "since", "state", "times")

    def __init__(self, env: Env, name: str, breaker: BreakerGuard) -> None:
        data = breaker.snapshot()
        self.env = weakref.ref(env)
        self.downstream = env.downstream
        self.name = name
        self.label = breaker.label
        self.state = str(data["state"])
        self._passed = _passed(data)
        self.since = env.now()
        self.times: dict[str, float] = {}

    def settle(self, now: float) -> None:
        """Count the time since the last look for the state it was in."""
        if now > self.since:
            self.times[self.state] = self.times.get(self.state, 0.0) + now - self.since
            self.since = now  # else an event that comes late: that time is counted already

    def look(self) -> int | None:
        """Return how many calls only an observing hold has let pass so far, None if it was not observed lately."""
        if not (self.state == OBSERVE or OBSERVE in self.times):
            return None
        found = self.snapshot()
        return None if found is None else _passed(found)

    def snapshot(self) -> dict[str, object] | None:
        """Return what the breaker tells of itself, None if it is gone."""
        env = self.env()
        breakers = () if env is None else gate_of(env).breakers
        breaker = next((guard for guard in breakers if guard.label == self.label), None)
        return None if breaker is None else breaker.snapshot()

    def more(self, passed: int) -> int:
        """Return how many more that is than before."""
        more, self._passed = max(0, passed - self._passed), max(passed, self._passed)
        return more


Passing = Sequence[tuple[Followed, int]]
"""Breakers, and how many calls only an observing hold has let pass."""


def found(env: Env, name: str) -> list[Followed]:
    """Return the breakers of a pipeline, to be counted under `name`. Not under a lock: news may be published."""
    return [Followed(env, name, breaker) for breaker in gate_of(env).breakers]


class StateTimes:
    """Follow every breaker from the moment its pipeline is measured; its owner keeps the lock."""

    __slots__ = ("_followed",)

    def __init__(self) -> None:
        """Begin with no breaker."""
        self._followed: dict[tuple[str, str], list[Followed]] = {}

    def follow(self, followed: Iterable[Followed]) -> None:
        """Follow breakers that `found` has found."""
        for each in followed:
            there = self._followed.setdefault((each.downstream, each.label), [])
            if not any(one.env() is each.env() for one in there):
                there.append(each)

    def moved(self, event: Event, now: float) -> None:
        """Hear of a transition."""
        for each in self._followed.get((event.downstream, str(event.fields.get("breaker"))), ()):
            each.settle(now)
            each.state = str(event.fields.get("to"))

    def times(self, now: float) -> Iterator[tuple[str, str, str, float]]:
        """Yield downstream, breaker, state and seconds since the last time; forget what is gone."""
        for key, group in list(self._followed.items()):
            alive = []
            for each in group:
                if each.env() is not None:
                    each.settle(now)
                    alive.append(each)
                times, each.times = each.times, {}
                yield from ((each.name, each.label, state, seconds) for state, seconds in times.items())
            if alive:
                self._followed[key] = alive
            else:
                self._followed.pop(key, None)

    def resume(self, seen: Iterable[tuple[Followed, str]]) -> None:
        """Go on after a time in which nobody listened; `seen` is what `states` returned."""
        for each, state in seen:
            each.state = state
        self.restart()

    def states(self) -> list[tuple[Followed, str]]:
        """Return in which state every breaker is now. Not under a lock: news may be published."""
        everyone = [each for group in list(self._followed.values()) for each in group]
        return [(each, str(found["state"])) for each in everyone if (found := each.snapshot()) is not None]

    def passing(self) -> Passing:
        """Return how many calls only an observing hold has let pass, for those observed lately. Not under a lock."""
        everyone = [each for group in list(self._followed.values()) for each in group]
        return [(each, passed) for each in everyone if (passed := each.look()) is not None]

    def restart(self) -> None:
        """Count from now on: another clock is in force, or this is a forked child."""
        for group in self._followed.values():
            for each in group:
                env = each.env()
                each.times = {}
                each.since = each.since if env is None else env.now()


def _passed(data: dict[str, object]) -> int:
    passed = data.get("would_reject")
    return passed if isinstance(passed, int) else 0
