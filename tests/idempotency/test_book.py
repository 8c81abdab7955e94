"""The book of keys: leases that are renewed, fencing, and nothing executed twice whatever the clocks say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilient import ConfigError, faults
from resilient._runtime.blocking import complete
from resilient.idempotency import KeyBook, KeyInDoubt, KeyInProgress, KeyRefused, KeyReused, KeyStoreDown
from resilient.idempotency.calls import InTasks, InThreads
from resilient.idempotency.pages import Page
from resilient.idempotency.renewal import Claim, Renewer
from resilient.stores import MemoryStore, SqliteStore
from resilient.testing import FakeClock, capture_events, use
from tests.idempotency._asgi import Store, failing

CALLS = InThreads()


def begin(book: KeyBook, key: str = "k", content: str = "content", wait: float = 0) -> Any:
    return complete(book.desk.begin(CALLS, book.id_of(key), content, wait))


def finish(book: KeyBook, claim: Claim, answer: object = "answer") -> bool:
    return complete(book.desk.finish(CALLS, claim, answer, b"body"))


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def test_an_operation_is_begun_once_and_ended_once() -> None:
    book = KeyBook(MemoryStore())
    with use(FakeClock(auto=False)):
        claim = begin(book)
        assert isinstance(claim, Claim)
        with pytest.raises(KeyInProgress) as refused:
            begin(book)
    assert refused.value.retry_after == pytest.approx(10)
    assert refused.value.key_id == book.id_of("k")
    assert "idempotency: the original operation is still in progress; retry in 10 s" in str(refused.value)
    assert finish(book, claim)
    page = begin(book)
    assert isinstance(page, Page)
    assert (page.answer, page.body) == ("answer", b"body")
    with pytest.raises(KeyReused):
        begin(book, content="other")


def test_a_freed_key_is_free() -> None:
    book = KeyBook(MemoryStore())
    assert complete(book.desk.free(CALLS, begin(book)))
    assert isinstance(begin(book), Claim)


def test_books_of_other_names_and_scopes_do_not_share_keys() -> None:
    store = MemoryStore()
    one, other = KeyBook(store, name="one"), KeyBook(store, name="other")
    assert isinstance(begin(one), Claim)
    assert isinstance(begin(other), Claim)
    ids = {
        one.id_of("ab", scope="c"),
        one.id_of("b", scope="ca"),
        one.id_of("bc", scope="a"),
        other.id_of("ab", scope="c"),
    }
    assert len(ids) == 4


# Leases


def test_a_lease_is_renewed_while_the_operation_lives() -> None:
    """In real time: the renewer is a thread."""
    store = Store(MemoryStore())
    book = KeyBook(store, lease=1, in_doubt="execute")
    other = KeyBook(store.inner, lease=1, in_doubt="execute")  # as of another process
    claim = begin(book)
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        with pytest.raises(KeyInProgress):
            begin(other)
        time.sleep(0.02)
    assert store.asked.count("put") >= 4
    assert finish(book, claim)
    renewals = store.asked.count("put")
    time.sleep(0.6)
    assert store.asked.count("put") == renewals, "what has ended is renewed no more"
    until(lambda: not book.desk._renewer._running)


def test_only_what_has_run_for_a_while_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resilient.idempotency.renewal.threads.start", lambda *_: None)
    renewed: list[str] = []
    with use(FakeClock(auto=False)) as clock:
        renewer = Renewer(lambda claim: not renewed.append(claim.key), every=2)
        claims = [Claim("early", Page("", "1", 0.0), 1)]
        renewer.watch(claims[0])
        clock.advance(1.5)
        claims.append(Claim("late", Page("", "2", 0.0), 1))
        renewer.watch(claims[1])
        for expected in (["early"], ["early", "late"], ["early", "late"]):
            clock.advance(0.5)
            renewer.look()
            assert sorted(renewed) == expected
            renewed.clear()
            clock.advance(1.5)
        renewer.leave(claims[0])
        renewer.look()
        assert renewed == ["late"]


def test_a_fault_of_one_renewal_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resilient.idempotency.renewal.threads.start", lambda *_: None)
    renewed: list[str] = []

    def renew(claim: Claim) -> bool:
        renewed.append(claim.key)
        if claim.key == "a":
            raise LookupError
        return claim.key != "b"

    with use(FakeClock(auto=False)) as clock:
        renewer = Renewer(renew, every=2)
        claims = [Claim(key, Page("", key, 0.0), 1) for key in "abc"]
        for claim in claims:
            renewer.watch(claim)
        clock.advance(2)
        renewer.look()
        clock.advance(2)
        renewer.look()
    assert renewed == ["a", "b", "c", "a", "c"], "one whose lease is lost is renewed no more"
    assert faults.total() == 2


def test_without_a_thread_a_lease_ends_on_its_day(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    book = KeyBook(MemoryStore())
    with monkeypatch.context() as patched:
        patched.setattr("resilient.idempotency.renewal.threads.start", none)
        claim = begin(book)
    assert faults.total() == 1
    assert finish(book, claim)


def test_short_operations_are_not_renewed_and_one_thread_serves_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from resilient._runtime import threads

    started: list[object] = []
    real = threads.start
    monkeypatch.setattr(threads, "start", lambda *job: started.append(job) or real(*job))
    store = Store(MemoryStore())
    book = KeyBook(store, lease=60)
    claims = [begin(book, str(number)) for number in range(50)]
    assert len(started) == 1
    for claim in claims:
        finish(book, claim)
    assert store.asked == ["put"] * 100


def test_a_forked_child_leaves_the_operations_of_its_parent_alone() -> None:
    book = KeyBook(MemoryStore())
    parents = begin(book)
    book.desk._renewer.renew()  # as in a child
    assert not book.desk._renewer.owns(parents.page.owner)
    mine = begin(book, "mine")
    assert book.desk._renewer.owns(mine.page.owner)
    assert finish(book, mine)


def test_an_operation_that_nobody_holds_is_renewed_no_more() -> None:
    book = KeyBook(MemoryStore(), lease=0.1)
    claim = begin(book)
    del claim
    until(lambda: not book.desk._renewer._claims)
    time.sleep(0.15)
    with pytest.raises(KeyInDoubt):
        begin(book)


def test_a_renewal_that_lost_its_lease_stops_and_says_so() -> None:
    store = MemoryStore()
    book = KeyBook(store, lease=0.1)
    with capture_events() as events:
        claim = begin(book)
        store.delete(book.id_of("k"))
        other = begin(KeyBook(store, lease=60))
        until(lambda: events.of("resilient.idempotency.unrecorded"))
        assert events.of("resilient.idempotency.unrecorded")[0].fields["cause"] == "lease_lost"
        assert not finish(book, claim), "a late one does not overwrite"
    assert faults.total() == 2
    assert finish(book, other, "theirs")
    assert begin(book).answer == "theirs"


def test_a_renewal_that_fails_is_tried_again() -> None:
    store = Store(MemoryStore())
    with use(FakeClock(auto=False)) as clock:
        book = KeyBook(store, lease=8)
        claim = begin(book)
        store.fails = failing()
        assert book.desk._renewed(claim), "not lost, as far as anybody knows"
        store.fails = lambda _: None
        clock.advance(4)
        assert book.desk._renewed(claim)
        clock.advance(7)
        with pytest.raises(KeyInProgress):
            begin(KeyBook(store.inner))
        assert finish(book, claim)


# Fencing and clocks


def test_a_late_finisher_with_an_old_token_does_not_overwrite() -> None:
    store = MemoryStore()
    with use(FakeClock(auto=False)) as clock:
        slow, quick = KeyBook(store, lease=10), KeyBook(store, lease=10, in_doubt="execute")
        late = begin(slow)
        slow.desk._renewer.leave(late)  # a process that was stopped
        clock.advance(11)
        taken = begin(quick)
        assert isinstance(taken, Claim)
        assert not finish(slow, late, "late")
        assert not complete(slow.desk.free(CALLS, late))
        assert finish(quick, taken, "taken")
        assert not finish(slow, late, "late")
        assert begin(slow).answer == "taken"


def test_two_do_not_take_over_at_once() -> None:
    store = MemoryStore()
    with use(FakeClock(auto=False)) as clock:
        books = [KeyBook(store, lease=10, in_doubt="execute") for _ in range(3)]
        books[0].desk.abandon(begin(books[0]))
        clock.advance(11)
        assert isinstance(begin(books[1]), Claim)
        with pytest.raises(KeyInProgress):
            begin(books[2])


def test_a_late_finisher_whom_nobody_has_replaced_ends_the_doubt() -> None:
    with use(FakeClock(auto=False)) as clock:
        store = MemoryStore()
        book, other = KeyBook(store), KeyBook(store)
        claim = begin(book)
        book.desk._renewer.leave(claim)
        clock.advance(11)
        with pytest.raises(KeyInDoubt):
            begin(other)
        assert finish(book, claim)
        assert begin(other).answer == "answer"


@pytest.mark.parametrize("jump", [-1e6, -100.0, 100.0, 1e6])
def test_a_jump_of_the_wall_clock_executes_nothing_twice(jump: float, monkeypatch: pytest.MonkeyPatch) -> None:
    with use(FakeClock(auto=False)) as clock:
        store = MemoryStore()
        book, other = KeyBook(store), KeyBook(store)
        claim = begin(book)
        real = clock.wall
        monkeypatch.setattr(clock, "wall", lambda: real() + jump)
        with pytest.raises(KeyInProgress) as refused:
            begin(book)
        assert 0 < (refused.value.retry_after or 0) <= 10
        with pytest.raises(KeyRefused) as elsewhere:
            begin(other)
        assert type(elsewhere.value) is (KeyInProgress if jump < 0 else KeyInDoubt)
        assert not book.resolve(book.id_of("k"), "forget"), "it is at work in this very process"
        assert finish(book, claim)
        assert begin(other).answer == "answer"


def test_in_one_process_a_jump_takes_nothing_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with use(FakeClock(auto=False)) as clock:
        book = KeyBook(MemoryStore(), in_doubt="execute")
        claim = begin(book)
        real = clock.wall
        monkeypatch.setattr(clock, "wall", lambda: real() + 1e5)
        with pytest.raises(KeyInProgress):
            begin(book)
        assert finish(book, claim)


# Stores that fail, stall, or answer late


def test_a_stalled_store_refuses_in_time_and_leaves_no_key_behind(tmp_path: Path) -> None:
    """The write lands when nobody waits for it any more; then the key must not look as if it had been begun."""
    store = Store(MemoryStore(), blocking=True)
    gate = threading.Event()
    store.fails = lambda method: gate.wait(10)
    book = KeyBook(store, patience=0.05)
    with pytest.raises(KeyStoreDown) as refused:
        begin(book)
    assert refused.value.retry_after == 1
    gate.set()
    until(lambda: store.asked == ["put", "delete"])
    until(lambda: store.inner.stats().entries == 0)


@pytest.mark.anyio
async def test_a_caller_who_leaves_while_the_store_is_asked_leaves_no_key_behind() -> None:
    store = Store(MemoryStore(), blocking=True)
    gate = threading.Event()
    store.fails = lambda method: gate.wait(10)
    book = KeyBook(store, patience=10)
    with anyio.move_on_after(0.05):
        await book.desk.begin(InTasks(), book.id_of("k"), "content", 0)
    gate.set()
    until(lambda: "delete" in store.asked)
    until(lambda: store.inner.stats().entries == 0)


@pytest.mark.anyio
async def test_a_caller_who_leaves_while_it_is_written_down_is_recorded() -> None:
    store = Store(MemoryStore(), blocking=True)
    book = KeyBook(store)
    claim = await book.desk.begin(InTasks(), book.id_of("k"), "content", 0)
    assert isinstance(claim, Claim)
    gate = threading.Event()
    store.fails = lambda method: gate.wait(10)
    with anyio.move_on_after(0.05):
        await book.desk.finish(InTasks(), claim, "answer")
    gate.set()
    until(lambda: store.inner.get(book.id_of("k"))[0].version == 2)
    page = await book.desk.begin(InTasks(), book.id_of("k"), "content", 0)
    assert isinstance(page, Page)


def test_an_end_that_was_slow_to_land_is_no_lost_lease() -> None:
    store = MemoryStore()
    book = KeyBook(store)
    claim = begin(book)
    assert finish(book, claim)
    assert finish(book, claim)
    assert faults.total() == 0


def test_a_renewal_that_comes_after_the_end_changes_nothing() -> None:
    book = KeyBook(MemoryStore())
    claim = begin(book)
    assert finish(book, claim)
    assert book.desk._renewed(claim)
    assert begin(book).answer == "answer"
    freed = begin(book, "other")
    assert complete(book.desk.free(CALLS, freed))
    with capture_events() as events:
        assert not book.desk._renewed(freed)
    assert isinstance(begin(book, "other"), Claim)
    assert events == [], "its lease was not lost"
    assert faults.total() == 0


def test_a_store_that_fails_can_resolve_nothing() -> None:
    store = Store(MemoryStore())
    store.fails = failing()
    book = KeyBook(store)
    with pytest.raises(KeyStoreDown):
        book.resolve(book.id_of("k"), "forget")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("idempotency:1", "maybe"), 'verdict must be "forget" or "done"'),
        (("order-4567", "forget"), "key_id must be the id of a key of this book"),
    ],
)
def test_bad_verdicts_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        KeyBook(MemoryStore()).resolve(*arguments)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"name": ""}, ConfigError, "name must be"),
        ({"lifetime": 0}, ConfigError, "lifetime must be"),
        ({"lease": 0}, ConfigError, "lease must be"),
        ({"lease": 61, "lifetime": 60}, ConfigError, "lease must be at most lifetime, which is 60 s"),
        ({"in_doubt": "retry"}, ConfigError, 'in_doubt must be "refuse" or "execute"'),
        ({"without_store": None}, ConfigError, "without_store must be"),
        ({"patience": 0}, ConfigError, "patience must be"),
        ({"store": MemoryStore}, TypeError, "store must be a store"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        KeyBook(settings.pop("store", MemoryStore()), **settings)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_fifty_threads_begin_one_operation(tmp_path: Path, kind: str) -> None:
    store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "keys.db", patience=20)
    books = [KeyBook(store, patience=20) for _ in range(5)]
    barrier = threading.Barrier(50)
    won: list[Claim] = []
    refused: list[KeyRefused] = []

    def one(number: int) -> None:
        barrier.wait(10)
        try:
            won.append(begin(books[number % 5]))
        except KeyRefused as error:
            refused.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(won), len(refused)) == (1, 49)
    assert {type(error) for error in refused} == {KeyInProgress}
    store.close()


class Processes(RuleBasedStateMachine):
    """Several processes over one store; each may crash, stop, be slow, and have a clock of its own.

    The model: how often a key's operation was begun, and what its first end was.
    """

    def __init__(self) -> None:
        super().__init__()
        self.switch = use(FakeClock(auto=False))
        self.clock = self.switch.__enter__()
        self.real = self.clock.wall
        self.offset = 0.0
        self.clock.wall = lambda: self.real() + self.offset  # type: ignore[method-assign]
        self.store = MemoryStore()
        self.books = [KeyBook(self.store, lease=10, lifetime=1e9) for _ in range(3)]
        self.alive: list[tuple[KeyBook, Claim]] = []
        self.begun = 0
        self.ended: object = None
        self.count = 0

    @rule(place=st.integers(0, 2))
    def ask(self, place: int) -> None:
        try:
            found = begin(self.books[place])
        except (KeyInProgress, KeyInDoubt):
            assert self.begun
            assert self.ended is None
            return
        if isinstance(found, Claim):
            self.begun += 1
            self.alive.append((self.books[place], found))
        else:
            assert found.answer == self.ended

    @precondition(lambda self: self.alive)
    @rule()
    def end(self) -> None:
        book, claim = self.alive.pop()
        self.count += 1
        if finish(book, claim, self.count):
            assert self.ended is None
            self.ended = self.count

    @precondition(lambda self: self.alive)
    @rule()
    def crash(self) -> None:
        book, claim = self.alive.pop()
        book.desk._renewer.leave(claim)

    @precondition(lambda self: self.alive)
    @rule()
    def renew(self) -> None:
        book, claim = self.alive[-1]
        assert book.desk._renewed(claim)

    @rule(seconds=st.sampled_from([0.5, 9.0, 11.0, 1e4]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(offset=st.sampled_from([-1e5, -20.0, 0.0, 20.0, 1e5]))
    def jump(self, offset: float) -> None:
        self.offset = offset

    @invariant()
    def executed_at_most_once(self) -> None:
        assert self.begun <= 1

    def teardown(self) -> None:
        self.alive.clear()
        self.switch.__exit__(None, None, None)


TestProcesses = Processes.TestCase
