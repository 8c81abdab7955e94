"""Where a key could have been executed twice, shown to the wrong one, or lost: each was so once."""

from __future__ import annotations

import enum
import threading
import tracemalloc
from typing import Any

import anyio
import pytest

from resilient import ConfigError, faults
from resilient._runtime.background import detached
from resilient._runtime.blocking import complete
from resilient.idempotency import (
    IdempotencyMiddleware,
    KeyBook,
    KeyInDoubt,
    KeyInProgress,
    KeyReused,
    ResultNotKept,
    current_key,
    idempotency_key,
    once,
    recorded_response,
)
from resilient.idempotency.calls import InThreads
from resilient.idempotency.renewal import Claim
from resilient.stores import MemoryStore
from resilient.testing import FakeClock, capture_events, use
from tests.idempotency._asgi import Shop, Store, ask, failing

CALLS = InThreads()


def begin(book: KeyBook, key: str = "k") -> Any:
    return complete(book.desk.begin(CALLS, book.id_of(key), "content", 0))


def finish(book: KeyBook, claim: Claim, answer: object = "answer") -> bool:
    return complete(book.desk.finish(CALLS, claim, answer, b"body"))


# A record that is gone while its operation runs


def test_a_key_whose_record_is_gone_is_not_executed_again_where_its_operation_lives() -> None:
    store = MemoryStore()
    with use(FakeClock(auto=False)):
        book = KeyBook(store)
        claim = begin(book)
        store.purge()
        with pytest.raises(KeyInProgress):
            begin(book)
        assert finish(book, claim)
        assert begin(book).answer == "answer"


def test_a_lifetime_that_ends_while_its_operation_lives_begins_no_second_one() -> None:
    with use(FakeClock(auto=False)) as clock:
        book = KeyBook(MemoryStore(), lifetime=10, lease=10)
        claim = begin(book)
        clock.advance(11)  # no renewal came through
        with pytest.raises(KeyInProgress):
            begin(book)
        assert finish(book, claim)
        assert begin(book).answer == "answer"


def test_a_record_that_is_gone_is_written_again_by_the_next_renewal() -> None:
    store = MemoryStore()
    with use(FakeClock(auto=False)):
        book, other = KeyBook(store), KeyBook(store)
        claim = begin(book)
        store.purge()
        assert book.desk._renewed(claim)
        with pytest.raises(KeyInProgress):
            begin(other)
        assert finish(book, claim)
        assert begin(other).answer == "answer"
    assert faults.total() == 0


def test_what_was_executed_is_written_down_although_its_record_is_gone() -> None:
    store = MemoryStore()
    book = KeyBook(store)
    claim = begin(book)
    store.purge()
    assert finish(book, claim)
    assert begin(KeyBook(store)).answer == "answer"


def test_a_record_that_is_gone_is_free_when_nothing_was_done() -> None:
    store = MemoryStore()
    book = KeyBook(store)
    claim = begin(book)
    store.purge()
    assert complete(book.desk.free(CALLS, claim))
    assert faults.total() == 0
    assert isinstance(begin(KeyBook(store)), Claim)


def test_a_renewal_that_crosses_a_freeing_leaves_no_record() -> None:
    """The record was gone; the renewal writes it again at the very moment in which its operation is freed."""

    class Crossing(MemoryStore):
        crossed: Any = None

        def put(self, *args: Any, **options: Any) -> int | None:
            crossed, self.crossed = self.crossed, None
            if crossed is not None and options["expected"] == 0:
                crossed()
            elif crossed is not None:
                self.crossed = crossed
            return super().put(*args, **options)

    store = Crossing()
    book = KeyBook(store)
    claim = begin(book)
    store.purge()
    store.crossed = lambda: complete(book.desk.free(CALLS, claim))
    book.desk._renewed(claim)
    assert store.crossed is None
    assert store.stats().entries == 0
    assert isinstance(begin(book), Claim)


def test_an_operation_that_lost_its_lease_is_not_begun_beside_itself() -> None:
    store = MemoryStore()
    with use(FakeClock(auto=False)):
        book = KeyBook(store, in_doubt="execute")
        claim = begin(book)
        store.purge()
        other = KeyBook(store)
        theirs = begin(other)
        assert not book.desk._renewed(claim)
        other.desk.abandon(theirs)
        store.purge()
        with pytest.raises(KeyInProgress):
            begin(book)


def test_whoever_purges_the_store_forgets_its_keys() -> None:
    """The limit of the above: an operation that has ended leaves nothing in the process."""
    store = MemoryStore()
    book = KeyBook(store)
    assert finish(book, begin(book))
    store.purge()
    assert isinstance(begin(book), Claim)


def test_a_doubt_lasts_for_a_lifetime_after_the_last_sign_of_life() -> None:
    with use(FakeClock(auto=False)) as clock:
        book = KeyBook(MemoryStore(), lifetime=100, lease=10)
        claim = begin(book)
        clock.advance(50)
        assert book.desk._renewed(claim)
        book.desk.abandon(claim)
        clock.advance(99)
        with pytest.raises(KeyInDoubt):
            begin(book)
        clock.advance(2)
        assert isinstance(begin(book), Claim)


# A store that is busy for a moment


@pytest.mark.anyio
@pytest.mark.parametrize("status", [201, 429])
async def test_a_store_that_is_busy_for_a_moment_leaves_no_doubt(status: int) -> None:
    store = Store(MemoryStore())
    shop = Shop(status)
    fails = iter([True, True, False])

    def busy(method: str) -> None:
        if next(fails, False):
            raise OSError("other threads kept it for too long")

    async def work() -> None:
        store.fails = busy

    shop.work = work
    with use(FakeClock()), capture_events() as events:
        app = IdempotencyMiddleware(shop, store)
        assert (await ask(app)).status == status
        assert not events.of("resilient.idempotency.unrecorded")
        again = await ask(app)
        assert (again.status, again.replayed) == (status, status == 201)


@pytest.mark.parametrize("looks", [25, 30, 35, 40])
def test_after_an_outage_of_the_store_the_next_look_renews_every_lease(looks: int) -> None:
    store = Store(MemoryStore())
    with use(FakeClock(auto=False)) as clock:
        book = KeyBook(store)
        claim = begin(book)
        store.fails = failing()
        for _ in range(looks):
            clock.advance(2.5)
            book.desk._renewer.look()
        store.fails = lambda _: None
        clock.advance(2.5)
        book.desk._renewer.look()
        with pytest.raises(KeyInProgress):
            begin(KeyBook(store.inner))
        assert finish(book, claim)


# Requests


@pytest.mark.anyio
async def test_a_method_in_small_letters_is_the_same_method() -> None:
    """Servers hand it on as it came, and some frameworks execute it as what it looks like."""
    shop = Shop()
    app = IdempotencyMiddleware(shop, MemoryStore(), required=True)
    assert (await ask(app, None, method="post")).status == 400
    assert (await ask(app, method="post")).status == 201
    assert (await ask(app, method="POST")).replayed
    assert len(shop.ledger) == 1


@pytest.mark.anyio
async def test_the_same_path_below_another_root_is_another_operation() -> None:
    shop = Shop()
    app = IdempotencyMiddleware(shop, MemoryStore())
    assert (await ask(app, root_path="/eu")).body == b"charge 1"
    assert (await ask(app, root_path="/us")).body == b"charge 2"
    assert (await ask(app, root_path="/eu")).replayed


@pytest.mark.anyio
async def test_paths_that_only_decoding_makes_alike_are_not_alike() -> None:
    shop = Shop()
    app = IdempotencyMiddleware(shop, MemoryStore())
    assert (await ask(app, path="/a/b", raw_path=b"/a%2Fb")).status == 201
    assert (await ask(app, path="/a/b", raw_path=b"/a/b")).status == 422
    assert (await ask(app, path="/c", raw_path=None)).status == 201
    assert (await ask(app, path="/c")).replayed


@pytest.mark.anyio
async def test_text_that_is_not_unicode_is_compared_like_any_other() -> None:
    shop = Shop()
    app = IdempotencyMiddleware(shop, MemoryStore(), fingerprint=lambda scope, body: "\ud800" + body.decode())
    assert (await ask(app)).status == 201
    assert (await ask(app)).replayed
    plain = IdempotencyMiddleware(shop, MemoryStore())
    assert (await ask(plain, path="/\udc80")).status == 201
    assert (await ask(plain, path="/\udc80")).replayed


@pytest.mark.anyio
@pytest.mark.parametrize("field", [b"x-api-key", b"X-Auth-Token", b"api-key", b"authorization", b"cookie"])
async def test_what_tells_callers_apart_keeps_their_keys_apart(field: bytes) -> None:
    shop = Shop()
    app = IdempotencyMiddleware(shop, MemoryStore())
    assert (await ask(app, headers=[(field, b"alice")])).body == b"charge 1"
    assert (await ask(app, headers=[(field, b"bob")])).body == b"charge 2"
    assert (await ask(app, headers=[(field, b"alice")])).replayed


@pytest.mark.anyio
async def test_the_order_of_fields_does_not_make_another_caller() -> None:
    shop = Shop()
    app = IdempotencyMiddleware(shop, MemoryStore())
    fields = [(b"authorization", b"Bearer a"), (b"cookie", b"b=c")]
    assert (await ask(app, headers=fields)).status == 201
    assert (await ask(app, headers=fields[::-1])).replayed
    assert (await ask(app, headers=[(b"authorization", b"Bearer b"), fields[1]])).body == b"charge 2"


@pytest.mark.anyio
async def test_the_same_book_twice_around_an_application_guards_it_once() -> None:
    shop = Shop()
    book = KeyBook(MemoryStore())
    app = IdempotencyMiddleware(IdempotencyMiddleware(shop, book), book)
    assert (await ask(app)).body == b"charge 1"
    assert (await ask(app)).replayed
    assert len(shop.ledger) == 1
    apart = IdempotencyMiddleware(IdempotencyMiddleware(shop, KeyBook(MemoryStore())), KeyBook(MemoryStore()))
    assert (await ask(apart)).body == b"charge 2"
    assert (await ask(apart)).replayed


@pytest.mark.anyio
async def test_two_lines_that_a_proxy_has_joined_are_another_key_or_none() -> None:
    shop = Shop()
    app = IdempotencyMiddleware(shop, MemoryStore())
    assert (await ask(app, '"a", "a"')).status == 400
    assert (await ask(app, "a, a")).body == b"charge 1"
    assert (await ask(app, "a, a")).replayed
    assert (await ask(app, "a")).body == b"charge 2"


@pytest.mark.anyio
async def test_a_client_that_leaves_in_the_middle_of_a_long_body_is_heard_of_and_the_operation_is_final() -> None:
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive()).get("more_body"):
            pass
        heard.append(message["type"])
        raise ConnectionError("half a body")

    served = IdempotencyMiddleware(app, MemoryStore(), max_body=2, larger="unchecked")

    async def leaving(scope: Any, receive: Any, send: Any) -> None:
        count = 0

        async def receiving() -> Any:
            nonlocal count
            count += 1
            return await receive() if count < 3 else {"type": "http.disconnect"}

        await served(scope, receiving, send)

    body = [b"123", b"456", b"789"]
    with pytest.raises(ConnectionError):
        await ask(leaving, body=body)
    assert heard == ["http.disconnect"]
    again = await ask(served, body=body)
    assert (again.status, again.replayed) == (500, True)


@pytest.mark.parametrize("header", ["Idempotency Key", "Idempotency-Key:", "Schl\u00fcssel", "\u043a"])
def test_a_header_that_nobody_can_send_is_refused(header: str) -> None:
    with pytest.raises(ConfigError, match="header must be the name of a header"):
        IdempotencyMiddleware(Shop(), MemoryStore(), header=header)


@pytest.mark.anyio
@pytest.mark.parametrize("setting", ["scope", "fingerprint"])
@pytest.mark.parametrize("value", [None, 7, b"alice"])
async def test_what_is_compared_must_be_text(setting: str, value: Any) -> None:
    shop = Shop()
    options: Any = {setting: lambda *_: value}
    app = IdempotencyMiddleware(shop, MemoryStore(), **options)
    with pytest.raises(TypeError, match=f"{setting} must be a function that returns text"):
        await ask(app)
    assert shop.ledger == []


# Responses


def answering(*messages: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


@pytest.mark.anyio
@pytest.mark.parametrize("status", ["what", None, []])
async def test_a_status_that_is_none_is_a_recorded_failure(status: Any) -> None:
    broken = answering({"type": "http.response.start", "status": status}, {"type": "http.response.body"})
    app = IdempotencyMiddleware(broken, MemoryStore())
    sent: list[Any] = []
    with pytest.raises((TypeError, ValueError)):
        await ask(app, sent=sent)
    assert sent[0]["status"] == 500
    again = await ask(app)
    assert (again.status, again.replayed) == (500, True)


@pytest.mark.anyio
async def test_a_buffer_that_is_used_again_does_not_change_what_was_sent() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        buffer = bytearray(b"one ")
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": buffer, "more_body": True})
        buffer[:] = b"two "
        await send({"type": "http.response.body", "body": buffer})

    assert (await ask(IdempotencyMiddleware(app, MemoryStore()))).body == b"one two "


@pytest.mark.anyio
async def test_a_stream_of_nothing_takes_no_memory() -> None:
    count = 50_000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        tracemalloc.start()
        for _ in range(count):
            await send({"type": "http.response.body", "body": b"", "more_body": True})
        taken.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        await send({"type": "http.response.body"})

    taken: list[int] = []
    assert (await ask(IdempotencyMiddleware(app, MemoryStore()))).body == b""
    assert taken[0] < count, "less than a byte for each"


@pytest.mark.anyio
async def test_a_doubt_about_a_record_that_makes_no_sense_ends_by_what_is_known() -> None:
    store = MemoryStore()
    shop = Shop()
    book = KeyBook(store)
    app = IdempotencyMiddleware(shop, book, scope=lambda scope: "all")
    await ask(app)
    key_id = book.id_of("order-1", scope="all")
    (record,) = store.get(key_id)
    record.head = b"{}"
    store.put(key_id, record, lifetime=60)
    assert (await ask(app)).problem == "in-doubt"
    assert book.resolve(key_id, "done", **recorded_response(201, [], b"charge 1"))
    answer = await ask(app)
    assert (answer.status, answer.body, answer.replayed) == (201, b"charge 1", True)
    assert len(shop.ledger) == 1


# Functions


class Paid(enum.IntEnum):
    YES = 1


class Word(str):
    __slots__ = ()


@pytest.mark.parametrize("result", [Paid.YES, Word("yes"), [Paid.YES], {"paid": Paid.YES}, {"a": [Word("b")]}])
def test_a_result_whose_kind_json_would_change_is_not_kept(result: Any) -> None:
    calls: list[str] = []

    @once(MemoryStore(), key="order")
    def pay(order: str) -> Any:
        calls.append(order)
        return result

    assert pay("a") is result
    with pytest.raises(ResultNotKept):
        pay("a")
    assert calls == ["a"]


def test_an_encoding_that_is_not_bytes_is_not_kept() -> None:
    @once(MemoryStore(), key="order", encode=str, decode=bytes.decode)  # type: ignore[arg-type]
    def pay(order: str) -> int:
        return 7

    with capture_events() as events:
        assert pay("a") == 7
        assert not events.of("resilient.idempotency.unrecorded")
    with pytest.raises(ResultNotKept):
        pay("a")


class Provider:
    calls: list[str] = []  # noqa: RUF012 -- shared on purpose

    @once(MemoryStore(), key="order")
    def pay(self, order: str) -> str:
        self.calls.append(order)
        return type(self).__name__

    @once(MemoryStore(), key="order")
    @classmethod
    def refund(cls, order: str) -> str:
        cls.calls.append(order)
        return cls.__name__


class Other(Provider):
    pass


def test_an_inherited_method_does_not_return_what_it_did_for_another_class() -> None:
    assert [Provider().pay("a"), Provider().pay("a")] == ["Provider"] * 2
    with pytest.raises(KeyReused):
        Other().pay("a")
    assert [Other().pay("b"), Other().pay("b")] == ["Other"] * 2
    assert [Other.refund("c"), Other.refund("c")] == ["Other"] * 2
    with pytest.raises(KeyReused):
        Provider.refund("c")
    assert Provider.calls == ["a", "b", "c"]


def test_two_objects_of_one_class_share_keys_unless_the_key_names_them() -> None:
    class Account:
        def __init__(self, name: str) -> None:
            self.name = name

        @once(MemoryStore(), key="order")
        def pay(self, order: str) -> str:
            return self.name

        @once(MemoryStore(), key=lambda self, order: f"{self.name} {order}")
        def refund(self, order: str) -> str:
            return self.name

    alice, bob = Account("alice"), Account("bob")
    assert (alice.pay("a"), bob.pay("a")) == ("alice", "alice")
    assert (alice.refund("a"), bob.refund("a")) == ("alice", "bob")


# Contexts


def test_background_work_does_not_act_under_the_key_of_the_block_it_was_started_in() -> None:
    with idempotency_key("order-1"):
        assert detached().run(current_key) is None
        assert current_key() == "order-1"


@pytest.mark.anyio
async def test_one_block_may_be_entered_by_several_tasks_at_once() -> None:
    block = idempotency_key("order-1")
    both = anyio.Event()
    inside = 0

    async def one() -> None:
        nonlocal inside
        with block as key:
            inside += 1
            if inside == 2:
                both.set()
            await both.wait()
            assert current_key() == key == "order-1"
        assert current_key() is None

    async with anyio.create_task_group() as group:
        group.start_soon(one)
        group.start_soon(one)


def test_one_block_may_be_entered_by_several_threads_at_once() -> None:
    block = idempotency_key("order-1")
    barrier = threading.Barrier(4)
    left: list[str | None] = []

    def one() -> None:
        barrier.wait(10)
        with block:
            barrier.wait(10)
        left.append(current_key())

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert left == [None] * 4
