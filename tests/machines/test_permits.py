"""The bulkhead's line against a naive model, and the races that the model cannot show."""

from __future__ import annotations

import gc
import sys
import threading
from collections import deque

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilient._machines.permits import Line, Permit
from resilient._runtime.blocking import ThreadWaiter


class Stub:
    """A waiter that keeps what it is offered."""

    def __init__(self) -> None:
        self.value: Permit | None = None
        self.seen: float | None = None
        self.gone = False
        self._asked = 0

    def offer(self, value: Permit, /) -> bool:
        if self.gone:
            return False
        self.value = value
        return True

    def accepted(self) -> int:
        self._asked += 1
        return self._asked - 1


class LineModel(RuleBasedStateMachine):
    """The line next to a model of integers and a list: who is in flight, who waits, in order."""

    QUEUE = 3

    def __init__(self) -> None:
        super().__init__()
        self.limit = 2
        self.line = Line(self.limit)
        self.held: list[Permit] = []
        self.waiters: list[Stub] = []
        self.expected: deque[Stub] = deque()
        self.flying = 0

    def _settle(self) -> None:
        """Play the model forward: whoever is first in line gets what is free."""
        while self.expected and self.flying < self.limit:
            waiter = self.expected.popleft()
            self.flying += 1
            assert waiter.value is not None, "the first in line was passed over"
        for waiter in self.expected:
            assert waiter.value is None, "somebody was served before the turn came"
        for waiter in [each for each in self.waiters if each.value is not None]:
            assert waiter.accepted() == 0
            self.held.append(waiter.value)  # type: ignore[arg-type]
            waiter.value = None
            self.waiters.remove(waiter)

    @rule()
    def arrive(self) -> None:
        permit = self.line.take()
        if not self.expected and self.flying < self.limit:
            assert permit is not None
            self.held.append(permit)
            self.flying += 1
        else:
            assert permit is None, "a newcomer passed a waiter or the limit"

    @precondition(lambda self: self.expected or self.flying >= self.limit)
    @rule()
    def join(self) -> None:
        waiter = Stub()
        joined = self.line.join(waiter, self.QUEUE)
        assert joined == (len(self.expected) < self.QUEUE)
        if joined:
            self.waiters.append(waiter)
            self.expected.append(waiter)
            self._settle()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        permit = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.flying -= 1
        self.line.give(permit)
        del permit
        self._settle()

    @precondition(lambda self: self.held)
    @rule()
    def lose_a_permit_to_the_collector(self) -> None:
        self.held.pop()
        self.flying -= 1
        gc.collect(0)
        self._settle()

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def quit(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(list(self.expected)))
        waiter.gone = True
        self.line.quit(waiter)
        self.expected.remove(waiter)
        self.waiters.remove(waiter)
        self._settle()

    @precondition(lambda self: self.expected)
    @rule()
    def leave_without_a_word(self) -> None:
        waiter = self.expected.popleft()
        waiter.gone = True
        self.waiters.remove(waiter)
        self.line.quit(waiter)
        self._settle()

    @rule(limit=st.integers(1, 5))
    def resize(self, limit: int) -> None:
        self.limit = limit
        self.line.resize(limit)
        self._settle()

    @invariant()
    def agrees(self) -> None:
        assert self.line.in_flight == self.flying
        assert self.line.queued == len(self.expected)
        assert len(self.line.free) == max(0, self.limit - self.flying)


TestLine = LineModel.TestCase


def test_a_permit_of_a_dead_line_goes_nowhere() -> None:
    line = Line(1)
    permit = line.take()
    del line
    gc.collect()
    assert permit is not None
    assert permit.home() is None
    del permit  # must not raise, which would show as an unraisable error


def test_a_permit_handed_to_a_dead_waiter_is_taken_back() -> None:
    line = Line(1)
    first = line.take()
    assert first is not None
    dead = Stub()
    assert line.join(dead, 1)
    line.give(first)
    del first
    assert line.in_flight == 1
    line.reclaim(100.0, 5.0)
    line.reclaim(104.0, 5.0)
    assert line.in_flight == 1
    line.reclaim(105.0, 5.0)
    assert line.in_flight == 0
    assert dead.accepted() != 0, "the dead waiter could still take what was taken back"


def test_lost_and_found_under_many_threads() -> None:
    line = Line(3)
    peak = []
    inside = deque()
    clock = type("C", (), {"acquire": staticmethod(lambda lock, seconds: lock.acquire(timeout=seconds))})()

    def work(seed: int) -> None:
        for turn in range(300):
            permit = line.take()
            while permit is None:
                waiter: ThreadWaiter[Permit] = ThreadWaiter()
                if not line.join(waiter, 100):
                    continue
                permit = waiter.wait(clock, 0.0005 if (turn + seed) % 3 else 5)
                if permit is None:
                    line.quit(waiter)
            inside.append(1)
            peak.append(len(inside))
            inside.pop()
            if (turn + seed) % 7:
                line.give(permit)
            permit = None  # every seventh is lost, and returns itself

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    finally:
        sys.setswitchinterval(interval)
    assert not any(thread.is_alive() for thread in threads), "somebody waits for a wake-up that was lost"
    assert max(peak) <= 3
    assert line.in_flight == 0
    assert line.queued == 0
    assert len(line.free) == 3
