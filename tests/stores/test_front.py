"""The front of a store: whatever a store does, a call goes on in time, and somebody hears of it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections import deque

import pytest
import trio

from resilient import faults, subscribe
from resilient._runtime import threads
from resilient.errors import ConfigError
from resilient.stores import MemoryStore, Record, SqliteStore, Stats, StoreFull
from resilient.stores.front import Front
from resilient.stores.lane import Lane
from resilient.testing import FakeClock, use
from tests._stage import drive
from tests.stores.contract import in_child

PATIENCE = 0.25
RECORD = Record("", b"head", b"body")


class Down(Exception):
    """What a store raises that is down."""


class Scripted(MemoryStore):
    """A store that does what `act` says, on every method; it remembers in which thread."""

    def __init__(self, act=None, *, blocking=False):
        super().__init__()
        self.blocking = blocking
        self.act = act
        self.asked = []
        self.inside = 0
        self.most_inside = 0

    def _enters(self, method, *args, **kwargs):
        self.asked.append((method, args, kwargs, threading.get_ident()))
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            return None if self.act is None else self.act()
        finally:
            self.inside -= 1

    def get(self, key):
        answer = self._enters("get", key)
        return super().get(key) if answer is None else answer

    def put(self, key, record, **options):
        answer = self._enters("put", key, **options)
        return super().put(key, record, **options) if answer is None else answer

    def delete(self, key, variant=None, *, expected=None):
        answer = self._enters("delete", key, variant, expected=expected)
        return super().delete(key, variant, expected=expected) if answer is None else answer

    def purge(self, *, prefix="", tag=None):
        answer = self._enters("purge", prefix=prefix, tag=tag)
        return super().purge(prefix=prefix, tag=tag) if answer is None else answer

    def said(self, method):
        return [each for each in self.asked if each[0] == method]


def fail():
    raise Down


class Sync:
    """Plain code."""

    label = "threads"

    def play(self, main):
        return drive(main())

    async def ask(self, front, *args, **kwargs):
        return front.run(*args, **kwargs)


class Asyncio(Sync):
    label = "asyncio"

    def play(self, main):
        return asyncio.run(main())

    async def ask(self, front, *args, **kwargs):
        return await front.arun(*args, **kwargs)


class Trio(Asyncio):
    label = "trio"

    def play(self, main):
        return trio.run(main)


COLOURS = [Sync(), Asyncio(), Trio()]


@pytest.fixture(params=COLOURS, ids=lambda each: each.label)
def colour(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["memory", "blocking"])
def blocking(request):
    return request.param


@pytest.fixture
def clock():
    # Patient with a busy machine: time must not jump while a thread is only slow.
    with use(FakeClock(patience=1)) as clock:
        yield clock


@pytest.fixture
def heard():
    kept = []
    stop = subscribe(lambda event: kept.append((event.name.rpartition(".")[2], dict(event.fields))))
    yield kept
    stop()


class Gate(threading.Event):
    """What a stalled store waits for."""

    def stall(self):
        assert self.wait(30)


@pytest.fixture
def gate():
    """Opened at the end of the test, so that no thread is left behind."""
    gate = Gate()
    yield gate
    gate.set()
    end = time.monotonic() + 10
    while threads.abandoned():
        assert time.monotonic() < end, "a thread is left behind"
        time.sleep(0.001)


def front(store):
    return Front(store, name="payments", patience=PATIENCE)


# -- what works --------------------------------------------------------------------------------


def test_what_the_store_says_is_what_the_call_gets(colour, blocking):
    shop = front(Scripted(blocking=blocking))

    async def main():
        ask = colour.ask
        assert await ask(shop, None, "get", "key") == ()
        version = await ask(shop, None, "put", "key", RECORD, lifetime=9, tags=["tag"])
        assert version == 1
        assert [each.body for each in await ask(shop, None, "get", "key")] == [b"body"]
        assert await ask(shop, "full", "put", "key", RECORD, lifetime=9, expected=5) is None
        assert await ask(shop, None, "delete", "other") == 0
        assert await ask(shop, None, "purge", tag="tag") == 1
        assert await ask(shop, None, "stats") == Stats(0, 0)

    colour.play(main)
    assert (shop.failed, shop.bypassed) == (0, 0)


def test_a_store_without_room_is_no_broken_store(colour, blocking, heard):
    def full():
        raise StoreFull

    shop = front(Scripted(full, blocking=blocking))

    async def main():
        for _ in range(3):
            assert await colour.ask(shop, "default", "put", "key", RECORD, lifetime=9) == "default"

    colour.play(main)
    assert (shop.failed, shop.bypassed, heard, faults.total()) == (0, 0, [], 0)


@pytest.mark.parametrize("patience", [0, -1, float("nan"), "long"])
def test_patience_is_above_zero(patience):
    with pytest.raises((ConfigError, TypeError), match="patience must be"):
        Front(MemoryStore(), name="x", patience=patience)


@pytest.mark.parametrize("store", [None, object(), MemoryStore, {}])
def test_what_is_no_store_is_refused(store):
    with pytest.raises(TypeError, match="store must be a store"):
        Front(store, name="x")


def test_a_blocking_store_sees_no_context_variable_of_its_callers(colour):
    variable = contextvars.ContextVar("variable", default="none")
    seen = []
    shop = front(Scripted(lambda: seen.append(variable.get()), blocking=True))

    async def main():
        variable.set("caller")
        await colour.ask(shop, None, "get", "key")

    colour.play(main)
    assert seen == ["none"]


# -- what fails --------------------------------------------------------------------------------


def test_a_store_that_raises_is_bypassed_counted_and_reported(colour, blocking, clock, heard, caplog):
    store = Scripted(fail, blocking=blocking)
    shop = front(store)

    async def main():
        assert await colour.ask(shop, "default", "get", "key") == "default"
        for _ in range(5):
            assert await colour.ask(shop, "default", "get", "key") == "default"

    colour.play(main)
    assert len(store.asked) == 1
    assert (shop.failed, shop.bypassed) == (1, 5)
    assert heard == [("bypassed", {"store": "Scripted", "cause": "Down", "rest": 0.5})]
    assert "Scripted raised Down; the call was not affected" in caplog.text
    assert clock.elapsed == 0


def test_each_failure_in_a_row_doubles_the_rest(blocking, clock):
    store = Scripted(fail, blocking=blocking)
    shop = front(store)
    shop.run(None, "get", "key")
    for rest in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        before = len(store.asked)
        clock.advance(rest - 0.125)
        shop.run(None, "get", "key")
        assert len(store.asked) == before, f"it was asked before {rest} s were over"
        clock.advance(0.125)
        shop.run(None, "get", "key")
        assert len(store.asked) == before + 1, f"it was not asked after {rest} s"


GARBAGE = [
    ("get", 7),
    ("get", b"bytes"),
    ("get", "text"),
    ("get", [b"body"]),
    ("get", [RECORD, None]),
    ("get", [Record("", None, b"body")]),
    ("get", [Record(None, b"", b"body")]),
    ("get", [Record("", b"", "text")]),
    ("get", {"key": RECORD}),
    ("put", "1"),
    ("put", True),
    ("put", 0),
    ("put", -5),
    ("delete", "many"),
    ("delete", -1),
    ("purge", [1]),
]
ARGUMENTS = {"get": ("key",), "put": ("key", RECORD), "delete": ("key",), "purge": ()}


@pytest.mark.parametrize(("method", "answer"), GARBAGE, ids=[f"{method}-{answer!r:.24}" for method, answer in GARBAGE])
def test_garbage_is_a_failure_of_the_store(method, answer, colour, blocking, clock, heard):
    shop = front(Scripted(lambda: answer, blocking=blocking))
    options = {"lifetime": 9} if method == "put" else {}

    async def main():
        assert await colour.ask(shop, "default", method, *ARGUMENTS[method], **options) == "default"

    colour.play(main)
    assert shop.failed == 1
    assert [(name, fields["cause"]) for name, fields in heard] == [("bypassed", "TypeError")]


def test_no_answer_is_the_answer_of_a_missing_record_only_where_it_may_be(colour):
    class Silent(Scripted):
        def get(self, key):
            return None

    shop = front(Silent())

    async def main():
        assert await colour.ask(shop, "default", "get", "key") == "default"

    colour.play(main)
    assert shop.failed == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes(kind, blocking):
    def stop():
        raise kind

    shop = front(Scripted(stop, blocking=blocking))
    with pytest.raises(kind):
        shop.run("default", "get", "key")
    assert (shop.failed, shop.bypassed, faults.total()) == (0, 0, 0)


@pytest.mark.parametrize("loop", COLOURS[1:], ids=lambda each: each.label)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_passes_in_tasks(kind, loop, blocking):
    def stop():
        raise kind

    shop = front(Scripted(stop, blocking=blocking))

    async def main():
        with pytest.raises(kind):
            await shop.arun("default", "get", "key")

    loop.play(main)
    assert shop.failed == 0


# -- what stalls -------------------------------------------------------------------------------


def test_a_store_that_stalls_is_left_after_the_patience(colour, heard, gate):
    with use(FakeClock(patience=0.05)) as clock:
        stalls(colour, clock, heard, gate)


def stalls(colour, clock, heard, gate):
    store = Scripted(gate.stall, blocking=True)
    shop = front(store)

    async def main():
        assert await colour.ask(shop, "default", "get", "key") == "default"
        assert clock.elapsed == PATIENCE
        for _ in range(5):
            assert await colour.ask(shop, "default", "get", "key") == "default"
        assert clock.elapsed == PATIENCE, "the others do not wait"

    colour.play(main)
    assert heard == [("bypassed", {"store": "Scripted", "cause": "TimeoutError", "rest": 0.5})]
    assert (shop.failed, shop.bypassed, len(store.asked)) == (1, 5, 1)


def test_a_store_that_stalls_delays_no_call_longer_in_real_time(colour, gate):
    shop = Front(Scripted(gate.stall, blocking=True), name="x", patience=0.05)

    async def main():
        begun = time.monotonic()
        for _ in range(20):
            assert await colour.ask(shop, "default", "get", "key") == "default"
        return time.monotonic() - begun

    assert 0.045 <= colour.play(main) < 1.5


def crowd(colour, shop, number):
    """Ask so many at once; return what they got."""
    got = []

    async def one():
        got.append(await colour.ask(shop, "default", "get", "key"))

    if colour.label == "threads":
        callers = [threading.Thread(target=lambda: drive(one())) for _ in range(number)]
        for each in callers:
            each.start()
        for each in callers:
            each.join(30)
            assert not each.is_alive()
    elif colour.label == "asyncio":

        async def main():
            await asyncio.gather(*[one() for _ in range(number)])

        asyncio.run(main())
    else:

        async def main():
            async with trio.open_nursery() as nursery:
                for _ in range(number):
                    nursery.start_soon(one)

        trio.run(main)
    return got


def test_threads_of_a_stalled_store_do_not_pile_up(colour, gate):
    store = Scripted(gate.stall, blocking=True)
    shop = Front(store, name="x", patience=0.05)
    before = threading.active_count()
    begun = time.monotonic()
    assert crowd(colour, shop, 100) == ["default"] * 100
    for _ in range(20):
        shop._rests_until -= 60  # the rest passes, while waits stay real
        assert crowd(colour, shop, 10) == ["default"] * 10
    assert time.monotonic() - begun < 5, "each crowd may wait once"
    assert store.most_inside <= 8
    assert len(store.asked) <= 8
    assert threading.active_count() - before <= 40, "32 idle ones are kept"


def test_while_all_threads_of_a_store_stand_still_nobody_waits_for_it(colour, gate):
    store = Scripted(gate.stall, blocking=True)
    shop = Front(store, name="x", patience=0.3)
    crowd(COLOURS[0], shop, 30)
    assert store.inside == 8
    shop._rests_until -= 60

    async def main():
        begun = time.monotonic()
        for _ in range(5):
            assert await colour.ask(shop, "default", "get", "key") == "default"
        return time.monotonic() - begun

    assert colour.play(main) < 0.25


def test_an_operation_that_comes_just_as_a_worker_leaves_is_not_forgotten():
    lane = Lane(1)
    late = []

    class Room(deque):
        def append(self, token):  # the worker has seen an empty line, and has not given its room back yet
            if not late:
                late.append(lane.start(int, ("7",), {}))
            super().append(token)

    lane._room = Room([None])
    lane.start(int, (), {})
    end = time.monotonic() + 10
    while not late or not late[0].ended:
        assert time.monotonic() < end, "nobody takes it"
        time.sleep(0.001)
    assert late[0].result == 7


def test_a_store_that_is_merely_busy_serves_all_in_turn(colour):
    store = Scripted(lambda: time.sleep(0.001), blocking=True)
    shop = Front(store, name="x", patience=20)
    assert crowd(colour, shop, 100) == [()] * 100
    assert store.most_inside <= 8
    assert (shop.failed, shop.bypassed) == (0, 0)


def test_an_operation_whose_caller_has_left_before_it_began_never_begins(gate):
    store = Scripted(gate.stall, blocking=True)
    shop = Front(store, name="x", patience=0.05)
    callers = [threading.Thread(target=shop.run, args=(None, "delete", f"{number}")) for number in range(20)]
    for each in callers:
        each.start()
    for each in callers:
        each.join(10)
    assert len(store.asked) == 8
    gate.set()
    time.sleep(0.05)
    assert len(store.asked) == 8


def test_many_who_wait_at_once_are_one_failure(gate):
    shop = Front(Scripted(gate.stall, blocking=True), name="x", patience=0.3)
    rests = []
    stop = subscribe(lambda event: rests.append(event.fields["rest"]))
    crowd(COLOURS[0], shop, 20)
    stop()
    assert rests == [0.5]
    assert shop.failed > 1


# -- recovery ----------------------------------------------------------------------------------


def test_after_the_rest_one_call_tries_and_the_others_follow(colour, blocking, clock, heard):
    store = Scripted(fail, blocking=blocking)
    shop = front(store)

    async def main():
        await colour.ask(shop, None, "get", "key")
        store.act = None
        clock.advance(0.5)
        assert await colour.ask(shop, "default", "get", "key") == ()
        assert await colour.ask(shop, "default", "get", "key") == ()

    colour.play(main)
    assert heard[1:] == [("resumed", {"store": "Scripted"})]
    assert (shop.failed, shop.bypassed, len(store.asked)) == (1, 0, 3)


def test_while_one_call_tries_the_others_do_without(clock, gate):
    store = Scripted(fail, blocking=True)
    shop = front(store)
    shop.run(None, "get", "key")
    with use(FakeClock(auto=False)):  # another clock ends the rest, too
        entered = threading.Event()

        def stall():
            entered.set()
            gate.stall()

        store.act = stall
        result = []
        trying = threading.Thread(target=lambda: result.append(shop.run("default", "get", "key")))
        trying.start()
        assert entered.wait(10)
        for _ in range(5):
            assert shop.run("default", "get", "key") == "default"
        assert len(store.asked) == 2
        gate.set()
        trying.join(10)
        assert result == [()]
        store.act = None
        assert shop.run("default", "get", "key") == ()
    assert shop.bypassed == 5


def test_a_success_that_began_before_the_failure_does_not_end_the_rest(clock, gate):
    store = Scripted(blocking=True)
    shop = front(store)
    entered = threading.Event()

    def slow():
        entered.set()
        gate.stall()

    store.act = slow
    result = []
    with use(FakeClock(auto=False)):
        slowly = threading.Thread(target=lambda: result.append(shop.run("default", "get", "key")))
        slowly.start()
        assert entered.wait(10)
        store.act = fail
        shop.run(None, "get", "key")
        gate.set()
        slowly.join(10)
        assert result == [()]
        assert shop.run("default", "get", "key") == "default"
        assert len(store.asked) == 2


@pytest.mark.parametrize("loop", COLOURS[1:], ids=lambda each: each.label)
def test_a_cancelled_call_passes_and_another_one_tries(loop, clock, gate):
    store = Scripted(gate.stall, blocking=True)
    shop = front(store)

    async def cancelled():
        asked = len(store.asked)
        if loop.label == "asyncio":
            task = asyncio.ensure_future(shop.arun(None, "get", "key"))
            while len(store.asked) == asked:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(shop.arun, None, "get", "key")
                    while len(store.asked) == asked:
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
            assert scope.cancelled_caught

    async def main():
        await cancelled()
        assert (shop.failed, shop.bypassed) == (0, 0), "a cancelled call tells nothing"
        store.act = fail
        await shop.arun(None, "get", "key")
        store.act = gate.stall
        clock.advance(0.5)
        await cancelled()
        store.act = None
        assert await shop.arun("default", "get", "key") == "default", "the one that tries may still be at it"
        clock.advance(PATIENCE)
        assert await shop.arun("default", "get", "key") == ()

    with use(FakeClock(auto=False)) as clock:
        loop.play(main)


def test_a_forked_child_counts_on_no_thread_of_its_parent(gate):
    import os

    if not hasattr(os, "fork"):
        pytest.skip("nothing forks here")
    store = Scripted(gate.stall, blocking=True)
    shop = Front(store, name="x", patience=0.02)
    crowd(COLOURS[0], shop, 8)

    def child():
        store.act = None
        shop._rests_until = 0.0
        return shop.run("default", "get", "key")

    assert in_child(child) == ()


# -- reading on the calling thread -------------------------------------------------------------


class Direct(Scripted):
    direct_reads = True


def test_a_store_that_bounds_its_waiting_is_read_on_the_calling_thread():
    store = Direct(blocking=True)
    shop = front(store)
    me = threading.get_ident()
    shop.run((), "get", "key")
    shop.run(None, "put", "key", RECORD, lifetime=9)
    assert [thread == me for *_, thread in store.asked] == [True, False]
    asyncio.run(shop.arun((), "get", "key"))
    assert store.asked[-1][-1] != me, "never on the thread of a loop that waits"


def test_a_foreign_store_is_never_called_on_the_calling_thread():
    store = Scripted(blocking=True)
    shop = front(store)
    for method, arguments in ARGUMENTS.items():
        shop.run(None, method, *arguments, **({"lifetime": 9} if method == "put" else {}))
    assert threading.get_ident() not in {thread for *_, thread in store.asked}


def test_a_direct_read_that_took_too_long_is_a_failure_though_its_answer_counts(clock, heard):
    store = Direct(lambda: clock.advance(PATIENCE + 0.01), blocking=True)
    shop = front(store)
    assert shop.run("default", "get", "key") == ()
    assert shop.run("default", "get", "key") == "default"
    assert (shop.failed, shop.bypassed) == (1, 1)
    clock.advance(0.5)
    store.act = None
    assert shop.run("default", "get", "key") == ()
    assert [name for name, _ in heard] == ["bypassed", "resumed"]


def test_a_direct_read_that_took_too_long_when_it_was_tried_again_ends_no_rest(clock, heard):
    store = Direct(fail, blocking=True)
    shop = front(store)
    shop.run((), "get", "key")
    clock.advance(0.5)
    store.act = lambda: clock.advance(PATIENCE + 0.01)
    assert shop.run("default", "get", "key") == ()
    assert shop.run("default", "get", "key") == "default"
    assert [(name, fields["rest"]) for name, fields in heard] == [("bypassed", 0.5), ("bypassed", 1.0)]


def test_removals_are_not_made_up_for_on_the_calling_thread(clock):
    store = Direct(fail, blocking=True)
    shop = front(store)
    shop.run(0, "delete", "key")
    store.act = None
    clock.advance(0.5)
    shop.run((), "get", "key")
    assert [each[0] for each in store.asked] == ["delete", "delete", "get"]
    assert threading.get_ident() not in {each[-1] for each in store.asked}
    shop.run((), "get", "key")
    assert store.asked[-1][-1] == threading.get_ident()


def test_a_sqlite_store_says_whether_it_is_read_directly(tmp_path):
    seen = []

    class Noting(SqliteStore):
        def get(self, key):
            seen.append(threading.get_ident())
            return super().get(key)

    for direct in (True, False):
        store = Noting(tmp_path / "store.db", direct_reads=direct)
        front(store).run((), "get", "key")
        store.close()
    assert [thread == threading.get_ident() for thread in seen] == [True, False]


# -- removals that were missed -----------------------------------------------------------------


def filled(**options):
    store = Scripted(**options)
    for key in ("a", "b", "c"):
        MemoryStore.put(store, key, RECORD, lifetime=1e6, tags=[f"tag {key}"])
    return store


@pytest.mark.parametrize(
    ("method", "args", "options"),
    [
        ("delete", ("a",), {}),
        ("delete", ("a", ""), {}),
        ("purge", (), {"tag": "tag a"}),
        ("purge", (), {"prefix": "a"}),
    ],
)
def test_a_removal_that_the_store_missed_is_made_up_for_before_it_is_read(
    method, args, options, colour, blocking, clock
):
    store = filled(blocking=blocking)
    shop = front(store)

    async def main():
        store.act = fail
        await colour.ask(shop, None, "get", "b")
        assert await colour.ask(shop, 0, method, *args, **options) == 0, "it is left alone"
        store.act = None
        clock.advance(0.5)
        assert await colour.ask(shop, "default", "get", "a") == ()
        assert await colour.ask(shop, "default", "get", "b") != ()

    colour.play(main)
    assert [each[0] for each in store.asked] == ["get", method, "get", "get"]


def test_a_removal_that_failed_or_stalled_is_made_up_for(clock, gate):
    store = filled(blocking=True)
    shop = front(store)
    store.act = fail
    shop.run(0, "delete", "a")
    clock.advance(0.5)
    store.act = gate.stall
    assert shop.run(0, "delete", "b") == 0
    gate.set()
    store.act = None
    clock.advance(1)
    assert shop.run("default", "get", "a") == ()
    assert shop.run("default", "get", "b") == ()
    assert shop.run("default", "get", "c") != ()


def test_a_removal_of_a_version_is_a_claim_that_ends_by_itself(clock):
    store = filled()
    shop = front(store)
    store.act = fail
    shop.run(0, "delete", "a", expected=1)
    store.act = None
    clock.advance(0.5)
    assert shop.run("default", "get", "a") != ()


@pytest.mark.parametrize("more", [(), ("delete", "else"), ("purge", "")], ids=["alike", "one unlike", "everything"])
def test_more_removals_than_can_be_remembered_remove_what_begins_like_all_of_them(clock, more):
    store = filled()
    store.put("key of mine", Record("", b"", b""), lifetime=60)
    others = store.stats().entries - 1
    shop = front(store)
    store.act = fail
    if more[:1] == ("delete",):
        shop.run(0, *more)
    elif more:
        shop.run(0, "purge", prefix="")
    for number in range(1_001):
        shop.run(0, "delete", f"key {number}")
    store.act = None
    clock.advance(0.5)
    assert shop.run("default", "get", "key of mine") == ()
    assert store.stats().entries == (0 if more else others)


def test_a_removal_that_never_succeeds_is_given_up(clock):
    store = filled()
    shop = front(store)
    store.delete = lambda *_, **__: fail()
    shop.run(0, "delete", "a")
    for rest in (0.5, 1, 2):
        clock.advance(rest)
        answer = shop.run("default", "get", "b")
    assert answer != "default"
    assert shop.run("default", "get", "b") != "default"
    assert shop.failed == 3


def test_a_store_that_is_down_for_long_forgets_no_removal(clock):
    store = filled()
    shop = front(store)
    store.act = fail
    shop.run(0, "delete", "a")
    for _ in range(10):
        clock.advance(30)
        shop.run(None, "get", "b")
    store.act = None
    clock.advance(30)
    assert shop.run("default", "get", "a") == ()


@pytest.mark.parametrize("loop", COLOURS[1:], ids=lambda each: each.label)
def test_a_removal_whose_caller_was_cancelled_is_made_up_for(loop, gate):
    def stall():
        gate.stall()
        raise Down

    store = filled(blocking=True)
    store.act = stall
    shop = front(store)

    async def main():
        if loop.label == "asyncio":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(shop.arun(0, "delete", "a"), 0.01)
        else:
            with trio.move_on_after(0.01):
                await shop.arun(0, "delete", "a")
        gate.set()
        store.act = None
        assert await shop.arun("default", "get", "a") == ()

    loop.play(main)
