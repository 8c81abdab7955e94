"""The life of a stale cache: bounds, invalidation, clocks, forks, families and memory."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import threading
import tracemalloc
import weakref

import pytest

from resilient import Keyed, Pipeline, StaleCache
from resilient import clock as clocks
from resilient._guards.stale_cache_settings import shallow_size
from tests import _scripts
from tests._stage import VirtualClock, every_colour, installed, name


class Down(Exception):
    """What the downstream raises when it fails."""


def cached(*, fresh=60, stale=600, **options):
    return Pipeline(name(), StaleCache(fresh, stale=stale, **options))


def counts(pipeline):
    return pipeline[StaleCache].snapshot()


# -- bounds ------------------------------------------------------------------------------------------


def test_no_more_answers_are_kept_than_allowed_and_those_in_use_stay():
    pipeline, asked = cached(max_entries=10), []

    @pipeline
    def fetch(key):
        asked.append(key)
        return key

    for key in range(10):
        fetch(key)
    for _ in range(5):
        fetch(0)
        fetch(1)
    for key in range(100, 130):
        fetch(key)
        fetch(0)
        fetch(1)
    assert asked.count(0) == asked.count(1) == 1
    assert (counts(pipeline)["entries"], counts(pipeline)["evicted"]) == (10, 30)


def test_no_more_bytes_are_kept_than_allowed():
    pipeline, asked = cached(max_bytes=1000, size=len), []

    @pipeline
    def fetch(key, length=100):
        asked.append(key)
        return "x" * length

    for key in range(30):
        fetch(key)
    assert (counts(pipeline)["entries"], counts(pipeline)["bytes"]) == (10, 1000)
    fetch("large", 1001)
    fetch("large", 1001)
    assert asked.count("large") == 2
    assert counts(pipeline)["entries"] == 10, "what is too large takes nobody's place"
    assert counts(pipeline)["not_kept"] == 2


@pytest.mark.parametrize("size", [lambda value: 1 / 0, lambda value: -1, lambda value: "many", lambda value: 2.5])
def test_an_answer_whose_size_cannot_be_told_is_handed_out_and_not_kept(size, caplog):
    pipeline = cached(max_bytes=1000, size=size)
    fetch = pipeline(lambda key: key)
    assert [fetch(1), fetch(1), fetch(2)] == [1, 1, 2]
    assert counts(pipeline)["entries"] == 0
    assert len(caplog.records) == 1, "and it is reported once"


def test_sizes_count_what_stands_in_a_container_directly():
    text = "x" * 1000
    assert shallow_size(text) >= 1000
    for value in ([text], (text,), {text}, frozenset({text}), {text: 1}, {1: text}):
        assert shallow_size(value) >= 1000, value
    assert shallow_size([[text]]) < 1000
    pipeline = cached(max_bytes=10_000)
    fetch = pipeline(lambda key: [key * 1000])
    for key in "abcdefghijklmnopqrst":
        fetch(key)
    assert 5 < counts(pipeline)["entries"] < 10
    assert counts(pipeline)["bytes"] <= 10_000


def test_without_a_bound_on_bytes_no_sizes_are_counted():
    pipeline = cached()
    pipeline(lambda: 1)()
    assert "bytes" not in counts(pipeline)


def test_what_is_over_goes_before_anything_that_is_not():
    clock = VirtualClock()
    with installed(clock):
        pipeline, asked = cached(fresh=5, stale=5, max_entries=3, jitter=0), []
        fetch = pipeline(asked.append)
        fetch("old")
        for _ in range(3):
            fetch("old")
        clock.time += 6
        fetch("new")
        fetch("newer")
        clock.time += 4
        fetch("newest")
        assert (counts(pipeline)["evicted"], counts(pipeline)["expired"]) == (0, 1)
        assert asked == ["old", "new", "newer", "newest"]


def test_hits_and_misses_are_counted():
    pipeline = cached()
    fetch = pipeline(lambda key: key)
    for _ in range(4):
        fetch(1)
    fetch(2)
    assert (counts(pipeline)["hits"], counts(pipeline)["misses"]) == (3, 2)
    pipeline[StaleCache].clear()
    assert counts(pipeline)["hits"] == 3


def test_a_hit_takes_no_lock():
    pipeline = cached()
    fetch = pipeline(lambda key: key)
    fetch(1)
    got = []
    with pipeline[StaleCache].shelf._lock:
        thread = threading.Thread(target=lambda: got.append(fetch(1)), daemon=True)
        thread.start()
        thread.join(10)
    assert got == [1]


# -- invalidation ---------------------------------------------------------------------------------------


@every_colour
@pytest.mark.parametrize("how", ["forget", "clear", "prime"])
def test_an_answer_on_its_way_is_not_stored_once_it_was_forgotten(colour, how):
    async def scenario(stage):
        pipeline, gates, asked = cached(), [stage.gate()], []

        async def fetch(key):
            asked.append(key)
            number = len(asked)
            await gates[0].wait()
            return number

        fetch = stage.guarded(pipeline, fetch)
        first = stage.start(lambda: fetch("a"))
        await stage.until(lambda: asked)
        guard = pipeline[StaleCache]
        (key,) = guard.flights._air
        if how == "forget":
            assert not guard.forget(key[0], "a")
        elif how == "clear":
            assert guard.clear() == 0
        else:
            guard.prime("primed", key[0], "a")
        gates[0].set()
        assert await first.join() == 1
        assert await fetch("a") == ("primed" if how == "prime" else 2)
        assert len(guard.flights) == 0

    colour.play(scenario)


def test_an_answer_that_is_forgotten_in_the_very_moment_it_is_stored_is_gone():
    pipeline = cached(max_bytes=1000, size=lambda value: pipeline[StaleCache].clear() or 1)
    fetch = pipeline(lambda: 1)
    assert fetch() == 1
    assert counts(pipeline)["entries"] == 0


@every_colour
def test_who_asks_after_it_was_forgotten_does_not_wait_for_the_old_answer(colour):
    async def scenario(stage):
        pipeline, gate, asked = cached(), stage.gate(), []

        async def fetch(key):
            asked.append(key)
            number = len(asked)
            if number == 1:
                await gate.wait()
            return number

        fetch = stage.guarded(pipeline, fetch)
        first = stage.start(lambda: fetch("a"))
        await stage.until(lambda: asked)
        pipeline[StaleCache].clear()
        assert await fetch("a") == 2
        gate.set()
        assert await first.join() == 1
        assert await fetch("a") == 2, "the older answer does not replace the newer"

    colour.play(scenario)


def test_clearing_forgets_answers_and_errors():
    pipeline = cached(negative=5, negative_on=Down)

    @pipeline
    def fetch(key):
        if key == 0:
            raise Down
        return key

    for key in (1, 2):
        fetch(key)
    with pytest.raises(Down):
        fetch(0)
    assert pipeline[StaleCache].clear() == 3
    assert (counts(pipeline)["entries"], counts(pipeline)["negative_entries"]) == (0, 0)


def test_a_refresh_on_its_way_is_not_stored_once_it_was_forgotten():
    clock = VirtualClock()
    with installed(clock):
        pipeline, asked, inside, go = cached(fresh=10, jitter=0), [], threading.Event(), threading.Event()

        @pipeline
        def fetch():
            asked.append(1)
            if len(asked) == 2:
                inside.set()
                assert go.wait(10)
            return len(asked)

        fetch()
        clock.time += 10
        assert fetch() == 1
        assert inside.wait(10)
        assert pipeline[StaleCache].forget(fetch)
        go.set()
        while pipeline[StaleCache].background.running:
            pass
        assert len(pipeline[StaleCache].shelf) == 0
        assert fetch() == 3


# -- clocks, forks, families ------------------------------------------------------------------------------


def test_ages_stay_what_they_are_when_another_clock_is_put_in_force():
    pipeline, asked = cached(fresh=10, stale=10, while_revalidating=0, jitter=0, negative=8, negative_on=Down), []

    @pipeline
    def fetch(key):
        asked.append(key)
        if key == "error":
            raise Down
        return len(asked)

    first, second = VirtualClock(), VirtualClock()
    second.time = 5e6
    with installed(first):
        fetch("a")
        with pytest.raises(Down):
            fetch("error")
        first.time += 6
        with installed(second):
            assert fetch("a") == 1
            second.time += 3
            assert fetch("a") == 1
            with pytest.raises(Down):
                fetch("error")
            assert asked.count("error") == 2
            second.time += 1
            assert fetch("a") == 4
        assert clocks.current() is first
        assert fetch("a") == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_child_of_a_busy_parent_keeps_the_answers_and_asks_on_its_own():
    _scripts.run(
        """
import os, signal, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what is tested
from resilient import Pipeline, StaleCache

pipeline = Pipeline("busy", StaleCache(0.001, stale=60, max_entries=50, refreshes=4))
guard = pipeline[StaleCache]
stop, hang = threading.Event(), threading.Event()
asked = []

@pipeline
def fetch(key):
    if key == "hang":
        hang.wait(60)
    asked.append(key)
    return key

def work():
    number = 0
    while not stop.is_set():
        number += 1
        fetch(number % 80)

crowd = [threading.Thread(target=work, daemon=True) for _ in range(3)]
crowd += [threading.Thread(target=fetch, args=("hang",), daemon=True)]
for each in crowd:
    each.start()

def look():
    assert len(guard.flights) == 0, len(guard.flights)
    assert guard.background.running == 0
    hang.set()
    assert fetch("hang") == "hang", "nobody waits for a thread of the parent"
    for number in range(200):
        assert fetch(number % 80) == number % 80
    assert len(guard.shelf) <= 50, len(guard.shelf)
    assert len(guard.shelf.entries) <= 50
    end = time.monotonic() + 5
    while guard.background.running:
        assert time.monotonic() < end
        time.sleep(0.001)

for turn in range(12):
    time.sleep(0.01)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(15)
            look()
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, status
stop.set()
hang.set()
for each in crowd:
    each.join(10)
    assert not each.is_alive()
assert len(guard.flights) == 0
print("done")
""",
        seconds=50,
    )


def test_a_member_of_a_family_rests_once_nothing_of_its_answers_can_be_used():
    clock = VirtualClock()
    with installed(clock):
        family = Keyed(name(), StaleCache(10, stale=20, jitter=0, negative=5, negative_on=Down), idle=1)
        assert family.call("a", int, "7") == 7
        with pytest.raises(Down):
            family.call("b", fail)
        clock.time += 4
        assert family.evict_idle() == 0
        clock.time += 1
        assert family.evict_idle() == 1, "the error is forgotten by then"
        clock.time += 24.9
        assert family.evict_idle() == 0
        clock.time += 0.2
        assert family.evict_idle() == 1


def fail():
    raise Down


def test_a_cache_that_asks_does_not_rest():
    pipeline, inside, go = cached(stale=0, fresh=0), threading.Event(), threading.Event()
    thread = threading.Thread(target=pipeline.call, args=(lambda: (inside.set(), go.wait(10)),))
    assert pipeline.resting()
    thread.start()
    assert inside.wait(10)
    assert not pipeline.resting()
    go.set()
    thread.join(10)
    assert pipeline.resting()


# -- memory -------------------------------------------------------------------------------------------------


def test_a_pipeline_and_all_its_answers_can_be_collected():
    class Value:
        """Can be watched."""

    def use():
        from resilient import registry

        pipeline = cached()
        value = Value()
        fetch = pipeline(lambda: value)
        assert fetch() is value
        registry.clear()
        return weakref.ref(value), weakref.ref(pipeline), weakref.ref(fetch)

    references = use()
    gc.collect()
    assert [reference() for reference in references] == [None] * 3


def test_an_answer_that_was_evicted_or_forgotten_is_let_go():
    class Value:
        """Can be watched."""

    pipeline = cached(max_entries=1)
    fetch = pipeline(lambda key: Value())
    references = [weakref.ref(fetch(key)) for key in range(2)]
    assert references[0]() is None
    pipeline[StaleCache].forget(fetch, 1)
    assert references[1]() is None


@pytest.mark.alone
def test_short_lived_decorations_leave_memory_flat():
    pipeline = cached(max_entries=100)

    def decorate(times):
        for number in range(times):

            @pipeline
            def fetch(key, number=number):
                return number

            assert fetch(1) == fetch(1) == number
            assert pipeline.call(lambda number=number: number) == number

    decorate(2000)
    gc.collect()
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(5):
            decorate(1025)  # as many as key makers are remembered
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert min(after - before for before, after in itertools.pairwise(sizes)) < 20_000, sizes


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_hundred_thousand_short_lived_decorations_leave_memory_flat():
    import resource

    pipeline = cached(max_entries=1000)

    def decorate(times):
        for number in range(times):

            @pipeline
            def fetch(key, number=number):
                return number

            assert fetch(1) == fetch(1) == number

    decorate(10_000)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    decorate(90_000)
    gc.collect()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
    assert len(pipeline[StaleCache].shelf) == 1000


def test_calls_leave_no_cycles():
    pipeline = cached(fresh=0, negative=5, negative_on=KeyError)

    @pipeline
    def fetch(key):
        if key == "fails":
            raise Down
        return key

    def work():
        for key in ("a", "fails", "a", "b"):
            try:
                fetch(key)
            except Down:
                continue

    work()
    gc.collect()
    gc.disable()
    try:
        work()
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers that signal here")
def test_errors_of_signal_handlers_at_any_moment_leave_nothing_in_the_air():
    out = _scripts.run(
        """
import random, signal, time
from resilient import Pipeline, Retry, StaleCache
from resilient.provenance import Provenance, note, watching

class Interrupt(BaseException):
    pass

pipeline = Pipeline("signals", StaleCache(0.0005, stale=0.01, while_revalidating=False, max_entries=20), Retry(1))
guard = pipeline[StaleCache]

@pipeline
def fetch(key):
    note(Provenance("downstream"))
    if key % 7 == 0:
        raise OSError
    return key

def look():
    assert len(guard.flights) == 0, len(guard.flights)
    assert len(guard.shelf.entries) <= 40, len(guard.shelf.entries)
    for key in range(1, 60):
        try:
            assert fetch(key) == key
        except OSError:
            assert key % 7 == 0
    assert len(guard.flights) == 0
    assert len(guard.shelf) <= 20

generator, hits, armed = random.Random(7), [0], [False]

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
            signal.setitimer(signal.ITIMER_REAL, generator.random() * 1e-4 + 1e-6)
            for turn in range(20):
                try:
                    fetch((number + turn) % 60)
                except OSError:
                    pass
        finally:
            armed[0] = False
    except Interrupt:
        armed[0] = False
    if number % 50 == 0:
        look()
signal.setitimer(signal.ITIMER_REAL, 0)
look()
left = watching()
while left is not None:
    assert left.over and len(left.all) < 1000, left.all
    left = left.outer
print(hits[0])
""",
        seconds=30,
    )
    assert int(out) > 100
