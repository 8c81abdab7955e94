"""A forked child starts afresh, though other threads of its parent were in flight.

Its permits are full, its randomness is its own, its timeouts work, and no lock of a thread that
did not come along stays closed.
"""

from __future__ import annotations

import os

import pytest

from tests import _scripts

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")

BUSY = """
import os, threading, time, signal
from resilient import *
from resilient import clock, events
from resilient._runtime import threads

pipeline = Pipeline(
    "busy", Timeout(20), Retry(3, backoff=Backoff(base=0.0001), budget=RetryBudget(start=10)),
    CircuitBreaker(consecutive=None, min_calls=10**6), RateLimit(1e6, max_wait=1), Bulkhead(8, queue=4), Timeout(10),
)
family = Keyed("family", CircuitBreaker(consecutive=None, min_calls=10**6), Bulkhead(4))
stop = threading.Event()

def flaky(number):
    if number % 3 == 0:
        raise OSError
    return number

def work():
    number = 0
    while not stop.is_set():
        number += 1
        try:
            pipeline.call(flaky, number)
            family.call(number % 20, flaky, number)
        except (OSError, ResilienceError):
            pass
        Pipeline(f"short-{threading.get_ident()}-{number % 5}", Retry(), replace=True)

def hold():
    pipeline.call(stop.wait, 60)

crowd = [threading.Thread(target=work, daemon=True) for _ in range(3)]
crowd += [threading.Thread(target=hold, daemon=True) for _ in range(3)]
for each in crowd:
    each.start()

def expect(condition, what):
    if not condition:
        raise AssertionError(what)

def look(limit=8):
    "What must hold in a child."
    expect(pipeline[Bulkhead].snapshot() == {"limit": 8, "in_flight": 0, "queued": 0}, pipeline.snapshot())
    expect(all(family[key][Bulkhead].snapshot()["in_flight"] == 0 for key in range(20)), "family")
    expect(threads.abandoned() == 0, "abandoned threads")
    expect(pipeline[CircuitBreaker].snapshot()["in_flight"] == 0, "probes")
    expect(abs(pipeline[Retry].budget.tokens() - 10) < 0.5, pipeline[Retry].budget.tokens())
    expect(pipeline.call(flaky, 1) == 1, "call")
    for number in range(30):
        try:
            pipeline.call(flaky, number)
            family.call(number, flaky, number)
        except OSError:
            pass
    Pipeline("new in the child", Retry())
    all_at_once = threading.Barrier(8)
    calls = [threading.Thread(target=pipeline.call, args=(all_at_once.wait, 10)) for _ in range(8)]
    for call in calls:
        call.start()
    for call in calls:
        call.join(10)
        expect(not call.is_alive(), "the child has not its eight permits")
    short = Pipeline("short", Timeout(0.02))
    try:
        short.call(time.sleep, 5)
    except CallTimeout:
        pass
    else:
        expect(False, "no timeout")
    import asyncio

    async def hang():
        await asyncio.sleep(50)

    async def again():
        for _ in range(2):
            try:
                await short.acall(hang)
            except CallTimeout:
                continue
            expect(False, "no timeout under asyncio")
        expect(await pipeline.acall(asyncio.sleep, 0, "slept") == "slept", "acall")

    asyncio.run(again())

def in_child(function, *args):
    "Fork, run there, return what it wrote; a child that stands still is killed."
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            signal.alarm(15)
            answer = function(*args)
            os.write(writer, repr(answer).encode())
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    answer = b""
    while chunk := os.read(reader, 65536):
        answer += chunk
    os.close(reader)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    expect(status == 0, f"the child ended with {status}")
    return eval(answer.decode())
"""

QUIET = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what is tested
"""


def test_a_child_of_a_busy_parent_starts_with_everything_free():
    _scripts.run(
        QUIET
        + BUSY
        + """
time.sleep(0.05)
for turn in range(12):
    in_child(look)
    time.sleep(0.003 * turn)
expect(pipeline[Bulkhead].snapshot()["in_flight"] >= 3, "the parent goes on")
stop.set()
for each in crowd:
    each.join(10)
    expect(not each.is_alive(), "a thread of the parent stands still")
expect(pipeline[Bulkhead].snapshot()["in_flight"] == 0, pipeline.snapshot())
expect(pipeline[Retry].budget is not None, "budget")
print("done")
""",
        seconds=50,
    )


def test_a_child_needs_no_lock_that_another_thread_held():
    out = _scripts.run(
        QUIET
        + BUSY
        + """
import gc, _thread
while len(family) < 20:
    time.sleep(0.001)
stop.set()
for each in crowd:
    each.join(10)

class Lock:  # what makes a lock one of ours: it is kept as `_lock`
    kind = type(_thread.allocate_lock())

owners = [module for name, module in list(sys.modules.items()) if name.split(".")[0] == "resilient"]
owners += [each for each in gc.get_objects() if type(each).__module__.split(".")[0] == "resilient"]
locks = [lock for lock in (getattr(each, "_lock", None) for each in owners) if isinstance(lock, Lock.kind)]
locks = list({id(lock): lock for lock in locks}.values())
held, go = threading.Event(), threading.Event()

def hold_all():
    for lock in locks:
        lock.acquire()
    held.set()
    go.wait(60)
    for lock in locks:
        lock.release()

holder = threading.Thread(target=hold_all)
holder.start()
held.wait(10)
in_child(look)
go.set()
holder.join(10)
print(len(locks))
""",
        seconds=40,
    )
    assert int(out) > 40, "machines of a family, a registry, a weaver, a ledger: all of them have one"


def test_children_draw_numbers_of_their_own():
    _scripts.run(
        QUIET
        + BUSY
        + """
stop.set()  # else the parent's own draws would make each child differ
for each in crowd:
    each.join(10)
draw = lambda: [clock.current().random() for _ in range(5)]
drawn = [tuple(in_child(draw)) for _ in range(4)] + [tuple(draw())]
expect(len(set(drawn)) == 5, drawn)

def pauses():
    "The pauses of a call's retries, as its own clock draws them."
    slept = []
    events.subscribe(lambda event: slept.append(event.fields.get("delay")))
    try:
        Pipeline("fresh", Retry(5, backoff=Backoff(base=0.001), budget=None)).call(flaky, 0)
    except OSError:
        return slept
waits = [tuple(in_child(pauses)) for _ in range(3)]
expect(all(len(each) == 5 for each in waits), waits)  # four pauses, and giving up
expect(len(set(waits)) == 3, waits)
""",
        seconds=30,
    )


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_child_of_multiprocessing_works(method, tmp_path):
    module = tmp_path / "guarded_by_child.py"
    module.write_text(
        """
import threading
from resilient import *

pipeline = Pipeline("mp", Timeout(10), Retry(3, backoff=Backoff(base=0.0001)), Bulkhead(2), Timeout(5))
go = threading.Event()

@pipeline
def double(number):
    return 2 * number

def child(queue):
    taken = pipeline[Bulkhead].snapshot()["in_flight"]
    queue.put((taken, [double(number) for number in range(5)]))
""",
        "utf-8",
    )
    _scripts.run(
        QUIET
        + f"""
sys.path.insert(0, {str(tmp_path)!r})
import multiprocessing, threading, time, os
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:4])
from guarded_by_child import *
from guarded_by_child import child

def main():
    holders = [threading.Thread(target=pipeline.call, args=(go.wait, 30)) for _ in range(2)]
    for holder in holders:
        holder.start()
    while pipeline[Bulkhead].snapshot()["in_flight"] < 2:
        time.sleep(0.001)
    context = multiprocessing.get_context({method!r})
    queue = context.SimpleQueue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    process.join(20)
    assert process.exitcode == 0, process.exitcode
    assert queue.get() == (0, [0, 2, 4, 6, 8])
    go.set()
    for holder in holders:
        holder.join(10)
    assert pipeline[Bulkhead].snapshot()["in_flight"] == 0

if __name__ == "__main__":
    main()
""",
        seconds=40,
    )


def test_a_fork_inside_a_guarded_call_ends_it_on_both_sides():
    _scripts.run(
        QUIET
        + """
import os
from resilient import *

pipeline = Pipeline("inside", Retry(), CircuitBreaker(), Bulkhead(1))
pid = pipeline.call(os.fork)
assert pipeline[Bulkhead].snapshot() == {"limit": 1, "in_flight": 0, "queued": 0}, pipeline.snapshot()
assert pipeline.call(int) == 0
if pid == 0:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
""",
        seconds=20,
    )
