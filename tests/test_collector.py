"""What runs at any moment does no harm: the collector, and an exception out of a signal handler.

An abandoned coroutine is closed by the collector, perhaps while this very thread is inside a
state machine. Its `GeneratorExit` path must take no lock. A signal handler may raise between
any two steps: no lock may stay closed, no permit may get lost.
"""

from __future__ import annotations

import contextlib

import pytest

from resilient import CircuitBreaker, Fallback, Pipeline, RateLimit, Retry, StaleCache
from tests import _scripts

EAGER = """
import gc, threading, _thread, traceback, warnings, os

class EagerLock:
    "A lock whose holder has the collector run, and which says so if the holder asks for it again."

    instances = collected = turn = 0

    def __init__(self):
        EagerLock.instances += 1
        self._lock, self._owner = _thread.allocate_lock(), None

    def acquire(self, blocking=True, timeout=-1):
        if self._owner == _thread.get_ident():
            traceback.print_stack()
            print("a thread asks for a lock that it holds already", flush=True)
            os._exit(3)
        taken = self._lock.acquire(blocking, timeout)
        if taken:
            self._owner = _thread.get_ident()
        return taken

    def release(self):
        self._owner = None
        self._lock.release()

    def locked(self):
        return self._lock.locked()

    def __enter__(self):
        self.acquire()
        EagerLock.turn += 1
        EagerLock.collected += gc.collect(0 if EagerLock.turn % 40 else 2)
        return self

    def __exit__(self, *details):
        self.release()

real = threading.Lock
threading.Lock = EagerLock
import resilient
from resilient import *
from resilient import clock
threading.Lock = real
gc.disable()  # it runs where it hurts most, and nowhere else
"""

BARE = """
import types

class Down(Exception):
    pass

@types.coroutine
def suspend(*_):
    yield

class Clock(type(clock.SYSTEM)):
    "Tasks that sleep suspend, and nobody wakes them; threads do not sleep at all."

    def __init__(self):
        super().__init__()
        self.sleep = lambda seconds: None

    async def asleep(self, seconds):
        await suspend()

clock.install(Clock())

def pipeline_of(name, **breaker):
    return Pipeline(
        name,
        Retry(3, backoff=Backoff(base=10)),
        CircuitBreaker(**breaker),
        RateLimit(10, burst=3, max_wait=20, cost=lambda cost, *rest: cost),
        Bulkhead(200),
        classifier=Classifier(result=lambda result: None),
    )

async def hang(*_):
    await suspend()

async def fail(*_):
    raise Down

def plain_fail(*_):
    raise Down

def abandon(coroutine):
    "Leave a coroutine where it suspends, in a cycle that only the collector can free."
    coroutine.send(None)
    cycle = [coroutine]
    cycle.append(cycle)
"""


def test_an_abandoned_coroutine_may_be_collected_under_every_lock():
    out = _scripts.run(
        EAGER
        + BARE
        + """
warnings.simplefilter("ignore")
rounds = 0
for number in range(80):
    pipeline = pipeline_of(f"p{number}", consecutive=1, open_for=0.0001, max_open_for=0.0001, probes=3, ramp=0.001)
    for turn in range(12):
        for body, cost in ((hang, 1), (fail, 1), (hang, 3), (hang, 3)):  # in the body, in a pause, in line twice
            try:
                abandon(pipeline.acall(body, cost))
            except (Down, Rejected):
                pass
        try:
            permit = pipeline[Bulkhead].enter(float("inf"))
            pipeline[Bulkhead].leave(permit, None)
        except Rejected:
            pass
        for step in (
            lambda: pipeline.call(plain_fail, 1),
            lambda: pipeline.call(int, 1),
            pipeline.snapshot,
            pipeline[Retry].budget.tokens,
            pipeline[RateLimit].peek,
            pipeline.resting,
            lambda: pipeline.hold("forced_open", reason="test", expires=None).release(),
            pipeline[CircuitBreaker].reset,
            lambda: pipeline[Bulkhead].resize(200 + turn % 3),
            lambda: Keyed("keyed", Bulkhead(1), most=2)[turn].call(int),
        ):
            rounds += 1
            try:
                step()
            except (Down, Rejected):
                pass
    del pipeline
    gc.collect()
for number in range(70, 80):
    pipeline = resilient.registry.find(f"p{number}")
    state = pipeline.snapshot()
    assert state["bulkhead"]["in_flight"] == 0, state
    assert state["circuit_breaker"]["in_flight"] == 0, state
    line = pipeline[Bulkhead].line
    assert len(line.free) == line.limit, ("permits have multiplied", len(line.free), line.limit)
print(rounds, EagerLock.instances, EagerLock.collected)
""",
        seconds=50,
    )
    rounds, locks, collected = map(int, out.split())
    assert rounds == 80 * 12 * 10
    assert locks > 500, "the machines do not use the lock of this test"
    assert collected > 2000, "nothing was collected under a lock"


def test_abandoned_tasks_of_a_closed_loop_give_everything_back():
    _scripts.run(
        EAGER
        + """
import asyncio, logging
logging.disable()  # "Task was destroyed but it is pending"
warnings.simplefilter("ignore")

pipeline = Pipeline(
    "tasks", Timeout(60), Retry(2, backoff=Backoff(base=20, jitter="none"), budget=None),
    RateLimit(1e5), Bulkhead(2, queue=3), Timeout(30),
)

line = pipeline[Bulkhead].line

async def fail():
    raise OSError

def turn():
    loop = asyncio.new_event_loop()
    pausing = loop.create_task(pipeline.acall(fail))
    hanging = [loop.create_task(pipeline.acall(asyncio.sleep, 1e6)) for _ in range(5)]
    loop.run_until_complete(asyncio.sleep(0.001))
    assert (line.in_flight, line.queued) == (2, 3), pipeline.snapshot()
    loop.close()

for number in range(20):
    turn()
    for _ in range(3):
        gc.collect()
        asyncio.run(asyncio.sleep(0))
        gc.collect()
        try:
            asyncio.run(pipeline.acall(asyncio.sleep, 0))
            break
        except Rejected:
            continue
    else:
        raise AssertionError(("permits of a closed loop never came back", pipeline.snapshot()))
    gc.collect()
    assert pipeline[Bulkhead].snapshot() == {"limit": 2, "in_flight": 0, "queued": 0}, pipeline.snapshot()
    assert len(line.free) == 2, ("permits have multiplied", len(line.free))
""",
        seconds=30,
    )


def test_an_unsettled_permit_that_is_collected_gives_everything_back():
    _scripts.run(
        EAGER
        + """
pipeline = Pipeline("permits", CircuitBreaker(consecutive=1, open_for=0.0001, ramp=0, jitter=0), Bulkhead(3))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for number in range(300):
        try:
            request = pipeline.permit()
            permit = request.__enter__()
            cycle = [permit]
            cycle.append(cycle)
            request._permits.clear()
            del permit, cycle, request
            pipeline.call(int, "x")
        except (ValueError, Rejected):
            pass
        pipeline.snapshot()
    gc.collect()
    assert len(pipeline[Bulkhead].line.free) == 3, (pipeline.snapshot(), len(pipeline[Bulkhead].line.free))
    assert pipeline[CircuitBreaker].snapshot()["in_flight"] == 0, pipeline.snapshot()
    assert any(issubclass(each.category, ResourceWarning) for each in caught)
""",
        seconds=30,
    )


INTERRUPTED = """
import gc, sys, threading, time
from resilient import *

class Interrupt(BaseException):
    "What the signal handler raises."

class Down(Exception):
    pass

def flaky(number):
    if number % 2:
        raise Down
    return number

pipeline = Pipeline(
    "interrupted", {outer}
    Retry(3, backoff=Backoff(base=1e-6), budget=RetryBudget(start=10)),
    CircuitBreaker(consecutive=3, open_for=0.0001, max_open_for=0.0001, probes=2, ramp=0.0001),
    RateLimit(1e7, burst=1000, max_wait=0.1),
    Bulkhead(2, queue=2, max_wait=0.2), {inner}
)

line = pipeline[Bulkhead].line

def look():
    "Demand that every lock is free, seen from another thread, and every permit there."
    gc.collect()
    problems = []

    def other():
        try:
            state = pipeline.snapshot()
            end = time.monotonic() + 5  # a worker thread that was left behind may still run
            while len(line.free) < 2 and time.monotonic() < end:
                gc.collect()
                time.sleep(0.01)
                for later in (0, 10, 20):  # whoever was stopped in line: the permit is taken back
                    line.reclaim(time.monotonic() + later, 5)
            if len(line.free) != 2 or line.waiting:
                problems.append((len(line.free), len(line.waiting), state))
            if state["circuit_breaker"]["in_flight"]:
                problems.append(state)
            pipeline[Retry].budget.tokens()
            for number in range(4):
                try:
                    pipeline.call(flaky, number)
                except (Down, Rejected):
                    pass
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    thread.join(10)
    if thread.is_alive():
        raise AssertionError("a lock stayed closed")
    if problems:
        raise AssertionError(problems)
"""

SHAPES = {
    "plain": {"outer": "", "inner": ""},
    "cooperative": {"outer": "Timeout(10, cooperative=True),", "inner": "Timeout(5, cooperative=True),"},
    "threads": {"outer": "Timeout(10),", "inner": "Timeout(5),"},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_an_exception_at_any_place_leaves_nothing_taken(shape):
    out = _scripts.run(
        INTERRUPTED.format(**SHAPES[shape])
        + """
class At:
    """
        + '"""'
        + """Raise at the n-th place where the interpreter may run signal handlers.

    That is where a function begins and where a C function has returned, not between any two
    lines: nothing else of a `with` statement can be interrupted, which is why locks are only
    ever taken by one.
    """
        + '"""'
        + """

    def __init__(self, place):
        self.place, self.seen, self.raised = place, 0, None

    def __call__(self, frame, event, argument):
        if event not in ("call", "c_return"):
            return
        ours = None
        while frame is not None:
            code = frame.f_code
            if code.co_name == "__del__":  # what is raised in there is swallowed
                return
            if ours is None and ("<resilient shape" in code.co_filename or "/resilient/" in code.co_filename):
                ours = f"{code.co_filename}:{frame.f_lineno}"
            frame = frame.f_back
        if ours is None:
            return
        self.seen += 1
        if self.seen == self.place:
            self.raised = ours
            sys.setprofile(None)
            raise Interrupt

raised = set()
for number in range(4):
    place = 0
    while True:
        place += 1
        hook = At(place)
        try:
            sys.setprofile(hook)
            pipeline.call(flaky, number)
        except (Interrupt, Down, Rejected):
            pass
        finally:
            sys.setprofile(None)
        raised.add(hook.raised)
        if hook.raised is None:
            break
        if place % 3 == 0:
            look()
        if place > 2000:
            raise AssertionError("it never came to an end")
    look()
print(len(raised))
""",
        seconds=50,
    )
    assert int(out) > 20


@pytest.mark.parametrize("shape", SHAPES)
def test_exceptions_of_a_real_signal_handler_leave_nothing_taken(shape):
    out = _scripts.run(
        INTERRUPTED.format(**SHAPES[shape])
        + """
import random, signal

generator, hits, armed = random.Random(5), [0], [False]

def handler(number, frame):
    while frame is not None:
        if frame.f_code.co_name == "__del__":  # what is raised in there is swallowed
            return
        frame = frame.f_back
    if armed[0]:
        hits[0] += 1
        raise Interrupt

signal.signal(signal.SIGALRM, handler)
end = time.monotonic() + 1.5
number = 0
while time.monotonic() < end:
    number += 1
    try:
        try:
            armed[0] = True
            signal.setitimer(signal.ITIMER_REAL, generator.random() * 3e-4 + 1e-6)
            for turn in range(5):
                try:
                    pipeline.call(flaky, number + turn)
                except (Down, Rejected):
                    pass
                except RuntimeError as error:  # `threading` was stopped while it waited for a thread to start
                    if "release unlocked lock" not in str(error):
                        raise
        finally:
            armed[0] = False
    except Interrupt:
        armed[0] = False
    if number % 50 == 0:
        look()
signal.setitimer(signal.ITIMER_REAL, 0)
look()
print(hits[0])
""",
        seconds=30,
    )
    assert int(out) > 100


@pytest.mark.parametrize(
    "policy",
    [CircuitBreaker(), Retry(2), RateLimit(100, on_failure=True), Fallback(1), StaleCache(10, stale=10)],
    ids=lambda policy: policy.kind,
)
def test_a_coroutine_that_raises_while_it_is_closed_takes_no_lock(policy):
    """The collector may close it while this very thread holds the lock; what it raises is its own affair."""

    class Turn:
        def __await__(self):
            yield

    async def stubborn():
        try:
            await Turn()
        finally:
            raise OSError("the clean-up failed")

    pipeline = Pipeline(f"closed-{policy.kind}", policy)
    coroutine = pipeline.acall(stubborn)
    coroutine.send(None)
    guard = pipeline[0]
    locks = [
        part._lock
        for part in (getattr(guard, name, None) for name in ("machine", "budget", "shelf"))
        if hasattr(part, "_lock")
    ]
    with contextlib.ExitStack() as held:
        for lock in locks:
            held.enter_context(lock)
        with pytest.raises(OSError, match="clean-up"):
            coroutine.close()
