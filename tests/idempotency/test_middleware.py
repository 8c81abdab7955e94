"""The middleware: once executed, always answered alike; and every way in which a request is not executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from resilient import ConfigError, faults
from resilient.idempotency import IdempotencyMiddleware, KeyBook, recorded_response
from resilient.stores import MemoryStore, SqliteStore
from resilient.testing import FakeClock, capture_events, use
from tests.idempotency._asgi import Got, Shop, Store, ask, asleep, failing

pytestmark = pytest.mark.anyio


def guarded(app: Any, book: Any = None, **options: Any) -> IdempotencyMiddleware:
    return IdempotencyMiddleware(app, MemoryStore() if book is None else book, **options)


# Once


async def test_a_repetition_is_answered_alike_and_not_executed() -> None:
    shop = Shop()
    app = guarded(shop)
    first, second, third = [await ask(app) for _ in range(3)]
    assert shop.ledger == [b"1250"]
    assert first == Got(201, {"content-type": "text/plain"}, b"charge 1")
    assert not first.replayed
    assert second.replayed
    assert third == second == Got(201, {**first.headers, "idempotency-replayed": "true"}, first.body)


async def test_the_application_gets_the_request_as_it_came() -> None:
    shop = Shop()
    app = guarded(shop)
    await ask(app, body=[b"12", b"", b"50"])
    assert (await ask(app, body=[b"1", b"250"])).replayed, "how a body is cut makes no difference"
    assert shop.ledger == [b"1250"]
    assert shop.scopes[0]["path"] == "/charges"
    assert shop.scopes[0]["extensions"] == {"tls": {}}, "no way to send what cannot be recorded"


async def test_another_key_is_another_operation() -> None:
    shop = Shop()
    app = guarded(shop)
    assert [(await ask(app, key)).body for key in ("a", "b", "a")] == [b"charge 1", b"charge 2", b"charge 1"]


@pytest.mark.parametrize("status", [200, 204, 302, 400, 404, 409, 422, 500, 503])
async def test_every_outcome_of_an_execution_is_final(status: int) -> None:
    shop = Shop(status)
    app = guarded(shop)
    first, second = await ask(app), await ask(app)
    assert (first.status, second.status) == (status, status)
    assert len(shop.ledger) == 1
    assert second.headers.pop("idempotency-replayed")
    assert first == second
    assert first.headers.get("x-should-retry") == ("false" if status >= 500 else None)


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_what_was_refused_before_it_began_stays_free(status: int) -> None:
    shop = Shop(status)
    app = guarded(shop)
    for _ in range(2):
        assert (await ask(app)).status == status
    shop.status = 201
    assert (await ask(app)).body == b"charge 3"
    assert (await ask(app)).replayed


async def test_the_application_may_say_by_itself_that_it_did_nothing() -> None:
    def judged(status: int, headers: Any) -> bool:
        return status == 422 and headers["content-type"] == "text/plain"

    shop = Shop(422)
    app = guarded(shop, not_executed=judged)
    for _ in range(2):
        await ask(app)
    assert len(shop.ledger) == 2
    app = guarded(shop, not_executed=lambda status, headers: headers["missing"])
    for _ in range(2):
        await ask(app)
    assert len(shop.ledger) == 3, "a predicate that fails says that something was done"
    assert faults.total() == 1


async def test_an_exception_is_a_final_500_and_reaches_the_server() -> None:
    async def broken() -> None:
        raise LookupError("no such account")

    shop = Shop(work=broken)
    app = guarded(shop, not_executed=(500,))  # what the application says of its own answers; it has given none
    sent: list[Any] = []
    with pytest.raises(LookupError):
        await ask(app, sent=sent)
    second = await ask(app)
    assert (second.status, second.body, second.replayed) == (500, b"Internal Server Error", True)
    assert sent[0]["status"] == 500
    assert sent[1]["body"] == second.body
    assert len(shop.ledger) == 1


async def test_an_application_that_answers_nothing_has_failed() -> None:
    calls = 0

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        nonlocal calls
        calls += 1

    app = guarded(silent)
    first, second = await ask(app), await ask(app)
    assert (first.status, second.status, second.replayed, calls) == (500, 500, True, 1)


async def test_what_comes_after_the_response_changes_nothing() -> None:
    """Frameworks run background work after the response, within the same call."""
    executed = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal executed
        executed += 1
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b"accepted"})
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        raise LookupError("background work failed")

    served = guarded(app)
    sent: list[Any] = []
    with pytest.raises(LookupError):
        await ask(served, sent=sent)
    assert len(sent) == 2
    assert (await ask(served)).body == b"accepted"
    assert executed == 1


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.response.body", "body": b"x"}],
        [{"type": "http.response.start", "status": 200, "headers": []}] * 2,
        [{"type": "http.response.pathsend", "path": "/etc/hosts"}],
    ],
)
async def test_an_application_that_breaks_the_protocol_has_failed(messages: list[Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    served = guarded(app)
    with pytest.raises(RuntimeError, match="has no place"):
        await ask(served)
    assert (await ask(served)).status == 500


# Which requests


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
async def test_other_methods_pass(method: str) -> None:
    shop = Shop()
    app = guarded(shop, required=True)
    for _ in range(2):
        await ask(app, method=method)
        await ask(app, None, method=method)
    assert len(shop.ledger) == 4
    assert "http.response.pathsend" in shop.scopes[0]["extensions"]


async def test_other_methods_can_be_named() -> None:
    shop = Shop()
    app = guarded(shop, methods=("put",))
    for _ in range(2):
        await ask(app, method="PUT")
        await ask(app, method="POST")
    assert len(shop.ledger) == 3


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_what_is_no_request_passes(kind: str) -> None:
    seen: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    scope: Any = {"type": kind}
    await guarded(app, required=True)(scope, None, None)  # type: ignore[arg-type]
    assert seen == [(scope, None, None)]


async def test_a_request_without_a_key_passes_unless_one_is_required() -> None:
    shop = Shop()
    for _ in range(2):
        assert (await ask(guarded(shop), None)).status == 201
    refusal = await ask(guarded(shop, required=True, about="https://api.example.com/keys"), None)
    assert len(shop.ledger) == 2
    assert (refusal.status, refusal.problem) == (400, "key-missing")
    assert refusal.headers["link"] == '<https://api.example.com/keys>; rel="describedby"; type="text/html"'
    assert refusal.headers["x-should-retry"] == "false"
    app = guarded(shop, required=lambda scope: scope["path"] == "/charges")
    assert (await ask(app, None)).status == 400
    assert (await ask(app, None, path="/search")).status == 201


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('"order-1"', "order-1"),
        ('"order-1"', '"order-1";v=2'),
        ('"a\\"b\\\\"', 'a"b\\'),
        ('  "order-1" ', " order-1  "),
        ("k" * 255, '"' + "k" * 255 + '"'),
    ],
)
async def test_a_key_is_the_same_in_quotes_and_bare(one: str, other: str) -> None:
    shop = Shop()
    app = guarded(shop)
    assert [(await ask(app, each)).replayed for each in (one, other)] == [False, True]


@pytest.mark.parametrize(
    "key",
    [
        "",
        " ",
        '""',
        '"a',
        '"a" "b"',
        '"a", "b"',
        '"a\\n"',
        '"é"',
        "ключ",
        "a\tb",
        "a\x7f",
        "\x00",
        "k" * 256,
        '"' + "k" * 256 + '"',
        '"' + "k" * 999,
    ],
)
async def test_a_malformed_key_is_refused(key: str) -> None:
    shop = Shop()
    refusal = await ask(guarded(shop), key)
    assert (refusal.status, refusal.problem, shop.ledger) == (400, "key-malformed", [])


async def test_two_keys_are_none() -> None:
    shop = Shop()
    refusal = await ask(guarded(shop), headers=[(b"Idempotency-Key", b"other")])
    assert (refusal.status, refusal.problem, shop.ledger) == (400, "key-malformed", [])


async def test_one_form_alone_can_be_accepted() -> None:
    shop = Shop()
    quoted, bare = guarded(shop, accept=("quoted",)), guarded(shop, accept=("bare",))
    assert [(await ask(quoted, key)).status for key in ('"a"', "a")] == [201, 400]
    assert [(await ask(bare, key)).status for key in ("a", '"a"')] == [201, 400]


# Whose, and what


async def test_the_same_key_of_another_caller_or_route_is_another_operation() -> None:
    shop = Shop()
    app = guarded(shop)
    for options in (
        {},
        {"headers": [(b"authorization", b"Bearer a")]},
        {"headers": [(b"Authorization", b"Bearer b")]},
        {"headers": [(b"cookie", b"Bearer a")]},
        {"path": "/refunds"},
        {"method": "PATCH"},
    ):
        assert not (await ask(app, **options)).replayed, options  # type: ignore[arg-type]
        assert (await ask(app, **options)).replayed  # type: ignore[arg-type]
    assert len(shop.ledger) == 6


async def test_no_secret_and_no_key_is_in_the_store() -> None:
    store = MemoryStore()
    await ask(guarded(Shop(), store), "order-1", headers=[(b"authorization", b"Bearer secret-token")])
    (shelf,) = store._shelves.by_key.items()
    text = repr((shelf[0], shelf[1].records[0].head, shelf[1].records[0].body))
    assert "idempotency:" in text
    assert "order-1" not in text
    assert "secret" not in text


@pytest.mark.parametrize(
    "change", [{"body": b"1251"}, {"query": b"x=1"}, {"body": b""}], ids=lambda each: str(next(iter(each.items())))
)
async def test_other_content_under_a_key_is_refused(change: dict[str, Any]) -> None:
    shop = Shop()
    app = guarded(shop)
    first = await ask(app)
    refusal = await ask(app, **change)
    assert (refusal.status, refusal.problem) == (422, "key-reused")
    assert refusal.headers["x-should-retry"] == "false"
    assert (await ask(app)).body == first.body
    assert len(shop.ledger) == 1


async def test_scope_and_fingerprint_can_be_chosen() -> None:
    shop = Shop()
    app = guarded(
        shop,
        scope=lambda scope: str(scope["user"]),
        fingerprint=lambda scope, body: body.decode().lower(),
    )
    assert not (await ask(app, user="alice", body=b"a")).replayed
    assert (await ask(app, user="alice", body=b"A", headers=[(b"authorization", b"renewed")])).replayed
    assert not (await ask(app, user="bob", body=b"a")).replayed
    assert (await ask(app, user="bob", body=b"b")).status == 422
    assert (await ask(guarded(shop, scope=lambda scope: "all"), path="/refunds")).status == 201


async def test_a_scope_that_hides_the_route_does_not_hide_another_request() -> None:
    app = guarded(Shop(), scope=lambda scope: "all")
    await ask(app)
    assert (await ask(app, path="/refunds")).status == 422


async def test_a_scope_that_fails_executes_nothing() -> None:
    shop = Shop()
    with pytest.raises(KeyError):
        await ask(guarded(shop, scope=lambda scope: str(scope["user"])))
    assert shop.ledger == []


# Large bodies and responses


async def test_a_body_too_large_to_be_compared_is_refused() -> None:
    shop = Shop()
    app = guarded(shop, max_body=4)
    assert (await ask(app, body=[b"12", b"50"])).status == 201
    refusal = await ask(app, "b", body=[b"125", b"00", b"00000"])
    assert (refusal.status, refusal.problem, len(shop.ledger)) == (413, "body-too-large", 1)


async def test_a_large_body_can_be_let_through_and_is_compared_by_its_beginning() -> None:
    shop = Shop()
    app = guarded(shop, max_body=4, larger="unchecked")
    first = await ask(app, body=[b"125", b"00", b"00000"])
    assert first.status == 201
    assert (await ask(app, body=b"1250000001")).replayed
    assert (await ask(app, body=[b"1"] * 9)).status == 422
    assert (await ask(app, body=b"1250")).status == 422, "a body that ends there is another one"
    assert shop.ledger == [b"1250000000"]


async def test_a_client_that_leaves_before_its_request_is_whole_has_asked_for_nothing() -> None:
    shop = Shop()
    app = guarded(shop)

    async def receive() -> dict[str, Any]:
        return parts.pop(0)

    async def send(message: Any) -> None:
        raise AssertionError("nobody is there")

    parts = [{"type": "http.request", "body": b"12", "more_body": True}, {"type": "http.disconnect"}]
    fields = [(b"idempotency-key", b"order-1")]
    scope = {"type": "http", "method": "POST", "path": "/charges", "headers": fields, "query_string": b""}
    await app(scope, receive, send)
    assert shop.ledger == []
    assert (await ask(app)).status == 201


@pytest.mark.parametrize("bound", [7, 3])
async def test_a_response_too_large_to_be_kept_is_sent_once_and_never_executed_again(bound: int) -> None:
    shop = Shop()
    app = guarded(shop, max_response=bound)
    first = await ask(app)
    assert first.status == 201
    assert first.body == b"charge 1"
    second = await ask(app)
    assert (second.status, second.problem) == (409, "not-kept")
    assert second.headers["x-should-retry"] == "false"
    assert "retry-after" not in second.headers
    assert len(shop.ledger) == 1


async def test_the_last_part_of_a_large_response_waits_until_that_is_recorded() -> None:
    store = Store(MemoryStore())
    sent: list[Any] = []
    seen: list[int] = []
    store.fails = lambda method: seen.append(len(sent))
    app = guarded(Shop(), store, max_response=3)
    await ask(app, sent=sent)
    assert len(sent) == 3
    assert seen == [0, 2], "begun before all, ended before the last"


async def test_a_response_is_recorded_before_any_part_of_it_is_sent() -> None:
    store = Store(MemoryStore())
    sent: list[Any] = []
    seen: list[int] = []
    store.fails = lambda method: seen.append(len(sent))
    await ask(guarded(Shop(), store), sent=sent)
    assert (seen, len(sent)) == ([0, 0], 2)


async def test_a_large_response_that_breaks_off_is_not_executed_again() -> None:
    executed = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal executed
        executed += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"12345", "more_body": True})
        raise LookupError

    served = guarded(app, max_response=4)
    with pytest.raises(LookupError):
        await ask(served)
    assert (await ask(served)).problem == "not-kept"
    assert executed == 1


async def test_a_response_too_large_for_the_store_is_not_kept() -> None:
    shop = Shop()
    store = MemoryStore(max_record_bytes=400)
    real = shop.work

    async def app(scope: Any, receive: Any, send: Any) -> None:
        shop.ledger.append(b"")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 500})

    assert real is None
    served = guarded(app, store)
    assert (await ask(served)).body == b"x" * 500
    assert (await ask(served)).problem == "not-kept"
    assert len(shop.ledger) == 1


# The client leaves


@pytest.mark.parametrize("bound", [1000, 3])
async def test_a_client_that_leaves_does_not_stop_what_was_begun(bound: int) -> None:
    shop = Shop(work=lambda: anyio.sleep(0.01))
    app = guarded(shop, max_response=bound)
    await ask(app, leaves=True)
    second = await ask(app)
    assert len(shop.ledger) == 1
    assert second.replayed if bound == 1000 else second.problem == "not-kept"


async def test_the_application_does_not_hear_that_the_client_has_left() -> None:
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def listen() -> None:
            while "http.disconnect" not in heard:
                heard.append((await receive())["type"])

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            await anyio.sleep(0.02)
            assert heard == ["http.request"]
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"done"})
            await anyio.sleep(0.02)
            assert heard == ["http.request", "http.disconnect"]

    served = guarded(app)
    await ask(served, leaves=True)
    assert (await ask(served)).body == b"done"


async def test_who_only_looks_whether_the_client_is_there_leaves_nothing_behind() -> None:
    left: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for _ in range(20):  # as frameworks ask: a receive that is cancelled at once
            with anyio.CancelScope() as asking:
                asking.cancel()
                raise AssertionError(await receive())
        left.append(len(send.waiters))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert (await ask(guarded(app))).status == 200
    assert left == [0]


async def test_headers_may_be_any_iterable() -> None:
    shop = Shop()
    app = guarded(shop)
    for expected in (False, True):
        fields = ((name, value) for name, value in [(b"idempotency-key", b"a"), (b"cookie", b"c")])
        received: list[Any] = []

        async def send(message: Any, received: Any = received) -> None:
            received.append(message)

        scope = {"type": "http", "method": "POST", "path": "/", "headers": fields}
        await app(scope, lambda: _whole(b""), send)
        assert ((b"idempotency-replayed", b"true") in received[0]["headers"]) is expected
    assert list(shop.scopes[0]["headers"]) == [(b"idempotency-key", b"a"), (b"cookie", b"c")]


async def _whole(body: bytes) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": False}


# Duplicates at the same time


async def test_of_fifty_duplicates_one_is_executed() -> None:
    shop = Shop(work=lambda: anyio.sleep(0.05))
    app = guarded(shop)
    results: list[Got] = []

    async def one() -> None:
        results.append(await ask(app))

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(one)
    assert len(shop.ledger) == 1
    assert sorted({each.status for each in results}) == [201, 409]
    assert [each.status for each in results].count(201) == 1
    refusal = next(each for each in results if each.status == 409)
    assert refusal.problem == "in-progress"
    assert refusal.headers["x-should-retry"] == "true"
    assert refusal.headers["retry-after"] == "10"


async def test_duplicates_may_wait_for_the_original() -> None:
    shop = Shop(work=lambda: anyio.sleep(0.05))
    app = guarded(shop, wait=5)
    results: list[Got] = []

    async def one() -> None:
        results.append(await ask(app))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(one)
    assert len(shop.ledger) == 1
    assert {(each.status, each.body) for each in results} == {(201, b"charge 1")}


async def test_who_waits_does_not_write() -> None:
    store = Store(MemoryStore())
    shop = Shop(work=lambda: anyio.sleep(0.2))
    app = guarded(shop, store, wait=5)
    async with anyio.create_task_group() as group:
        group.start_soon(ask, app)
        await anyio.sleep(0.05)
        assert (await ask(app)).replayed
    assert store.asked.count("put") == 2, "one who begins and one end: the process knows that it executes this key"
    assert store.asked.count("get") > 2


async def test_who_waits_executes_what_turned_out_to_be_free() -> None:
    shop = Shop(429, work=lambda: anyio.sleep(0.1))
    app = guarded(shop, wait=5)
    async with anyio.create_task_group() as group:
        group.start_soon(ask, app)
        await anyio.sleep(0.05)
        shop.status = 201
        shop.work = None
        await anyio.sleep(0)
        assert (await ask(app)).status == 201
    assert len(shop.ledger) == 2


async def test_a_wait_ends() -> None:
    with use(FakeClock()) as clock:
        shop = Shop(work=lambda: asleep(30))
        app = guarded(shop, wait=2)
        async with anyio.create_task_group() as group:
            group.start_soon(ask, app)
            await asleep(1)
            refusal = await ask(app)
            assert (refusal.status, refusal.problem) == (409, "in-progress")
            assert 2.9 < clock.elapsed < 3.5
            group.cancel_scope.cancel()


# In doubt


async def test_what_was_cut_short_is_in_doubt_and_never_executed_again() -> None:
    with use(FakeClock(auto=False)) as clock:
        shop = Shop(work=lambda: anyio.sleep(60))
        book = KeyBook(MemoryStore(), lease=10)
        app = guarded(shop, book)
        with capture_events() as events, anyio.move_on_after(0.05):
            await ask(app)
        shop.work = None
        assert [each.fields["cause"] for each in events.of("resilient.idempotency.unrecorded")] == ["cut_short"]
        clock.advance(4)
        refusal = await ask(app)
        assert (refusal.problem, refusal.headers["retry-after"]) == ("in-progress", "6")
        clock.advance(6.5)
        for _ in range(2):
            refusal = await ask(app)
            assert (refusal.status, refusal.problem) == (409, "in-doubt")
            assert refusal.headers["retry-after"] == "60"
            assert refusal.headers["x-should-retry"] == "false"
            clock.advance(3600)
        assert (await ask(app, body=b"other")).status == 422
        assert len(shop.ledger) == 1
        clock.advance(86_400)
        assert (await ask(app)).status == 201, "after its lifetime a key is a new one"


async def in_doubt(clock: FakeClock, **settings: Any) -> tuple[Shop, KeyBook, IdempotencyMiddleware, str]:
    shop = Shop(work=lambda: anyio.sleep(60))
    book = KeyBook(MemoryStore(), lease=10, **settings)
    app = guarded(shop, book)
    with anyio.move_on_after(0.02):
        await ask(app)
    shop.work = None
    early = await ask(app)
    assert book.resolve(early.key_id, "forget") is False, "its lease is not over"
    clock.advance(10.5)
    return shop, book, app, early.key_id


async def test_a_doubt_ends_by_forgetting() -> None:
    with use(FakeClock(auto=False)) as clock:
        shop, book, app, key_id = await in_doubt(clock)
        assert (await ask(app)).key_id == key_id
        assert book.resolve(key_id, "forget") is True
        assert book.resolve(key_id, "forget") is False
        assert (await ask(app)).body == b"charge 2"
        assert book.resolve(key_id, "forget") is False, "what is done is in no doubt"
        assert len(shop.ledger) == 2


async def test_a_doubt_ends_by_what_is_known() -> None:
    with use(FakeClock(auto=False)) as clock:
        shop, book, app, key_id = await in_doubt(clock)
        known = recorded_response(201, [("Content-Type", "text/plain")], b"charge 1")
        assert book.resolve(key_id, "done", **known) is True
        answer = await ask(app)
        assert (answer.status, answer.body, answer.replayed) == (201, b"charge 1", True)
        assert answer.headers["content-type"] == "text/plain"
        assert (await ask(app, body=b"other")).status == 422
        assert len(shop.ledger) == 1


async def test_a_doubt_ends_by_the_mere_fact() -> None:
    with use(FakeClock(auto=False)) as clock:
        _, book, app, key_id = await in_doubt(clock)
        assert book.resolve(key_id, "done") is True
        assert (await ask(app)).problem == "not-kept"


async def test_told_to_it_executes_again_when_the_lease_is_over() -> None:
    with use(FakeClock(auto=False)) as clock:
        shop, _, app, _ = await in_doubt(clock, in_doubt="execute")
        assert (await ask(app)).body == b"charge 2"
        assert (await ask(app)).replayed
        assert len(shop.ledger) == 2


# The store fails


async def test_without_its_store_nothing_is_executed() -> None:
    store = Store(MemoryStore())
    shop = Shop()
    app = guarded(shop, store)
    with use(FakeClock(auto=False)) as clock:
        store.fails = failing()
        for _ in range(3):
            refusal = await ask(app)
            assert (refusal.status, refusal.problem) == (503, "store-down")
            assert refusal.headers["retry-after"] == "1"
            assert refusal.headers["x-should-retry"] == "true"
        assert (await ask(app, None)).status == 201, "without a key nothing was promised"
        store.fails = lambda _: None
        clock.advance(1)
        assert (await ask(app)).status == 201
        assert len(shop.ledger) == 2


async def test_told_to_it_executes_without_its_store() -> None:
    store = Store(MemoryStore())
    store.fails = failing()
    shop = Shop()
    app = guarded(shop, KeyBook(store, without_store="execute"))
    for _ in range(2):
        assert (await ask(app)).status == 201
    assert len(shop.ledger) == 2


async def test_a_full_store_executes_nothing() -> None:
    shop = Shop()
    app = guarded(shop, MemoryStore(max_entries=2))
    statuses = [(await ask(app, key)).status for key in "abc"]
    assert statuses == [201, 201, 503], "keys never make room for each other"
    assert len(shop.ledger) == 2


async def test_a_client_gets_its_answer_although_it_cannot_be_recorded() -> None:
    store = Store(MemoryStore())
    shop = Shop()

    async def work() -> None:
        store.fails = failing("put")

    shop.work = work
    app = guarded(shop, KeyBook(store, lease=10))
    with use(FakeClock()) as clock, capture_events() as events:
        assert (await ask(app)).body == b"charge 1"
        assert 2 <= clock.elapsed < 2.1, "it was tried for as long as the book is patient"
        assert [each.fields["cause"] for each in events.of("resilient.idempotency.unrecorded")] == ["store_down"]
        store.fails = lambda _: None
        assert (await ask(app)).problem == "in-progress"
        clock.advance(10.5)
        assert (await ask(app)).problem == "in-doubt"
        assert len(shop.ledger) == 1


async def test_what_cannot_be_freed_is_in_doubt() -> None:
    store = Store(MemoryStore())
    shop = Shop(429)
    app = guarded(shop, KeyBook(store, patience=0.05))
    store.fails = failing("delete")
    assert (await ask(app)).status == 429
    store.fails = lambda _: None
    assert (await ask(app)).problem == "in-progress"


async def test_a_store_that_others_could_not_reach_still_records_an_end() -> None:
    """The front spares a store that has failed; whoever has executed something tries all the same."""
    store = Store(MemoryStore())
    shop = Shop()
    app = guarded(shop, store)

    async def work() -> None:
        shop.work = None
        store.fails = failing()
        assert (await ask(app, "other")).status == 503
        store.fails = lambda _: None

    shop.work = work
    assert (await ask(app)).status == 201
    with use(FakeClock(auto=False)) as clock:
        clock.advance(60)
        assert (await ask(app)).replayed


async def test_a_record_that_makes_no_sense_is_in_doubt(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "keys.db", patience=5)
    shop = Shop()
    book = KeyBook(store, in_doubt="execute")
    app = guarded(shop, book, scope=lambda scope: "all")
    await ask(app)
    key_id = book.id_of("order-1", scope="all")
    (record,) = store.get(key_id)
    for head in (b"", b"{}", b"[]", record.head.replace(b'"v": 1', b'"v": 2')):
        record.head = head
        store.put(key_id, record, lifetime=60)
        assert (await ask(app)).problem == "in-doubt"
    assert len(shop.ledger) == 1
    store.close()


# Settings


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"methods": "POST"}, TypeError, "methods must be several"),
        ({"methods": ("",)}, ConfigError, "methods must be"),
        ({"required": "yes"}, TypeError, "required must be True, False"),
        ({"header": 7}, TypeError, "header must be"),
        ({"accept": "bare"}, TypeError, "accept must be several"),
        ({"accept": ()}, ConfigError, "accept must be"),
        ({"accept": ("sf",)}, ConfigError, "accept must be"),
        ({"scope": "user"}, TypeError, "scope must be a plain function"),
        ({"fingerprint": 7}, TypeError, "fingerprint must be a plain function"),
        ({"max_body": -1}, ConfigError, "max_body must be"),
        ({"max_response": 1.5}, TypeError, "max_response must be"),
        ({"larger": "hash"}, ConfigError, "larger must be"),
        ({"not_executed": "429"}, TypeError, "not_executed must be"),
        ({"wait": -1}, ConfigError, "wait must be"),
        ({"about": ""}, ConfigError, "about must be"),
    ],
)
async def test_bad_settings_are_refused(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        guarded(Shop(), **settings)


async def test_a_book_and_an_application_are_needed() -> None:
    with pytest.raises(TypeError, match="app must be an ASGI 3 application"):
        guarded(7)
    for wrong in (7, MemoryStore):
        with pytest.raises(TypeError, match="book must be a KeyBook or a store"):
            IdempotencyMiddleware(Shop(), wrong)  # type: ignore[arg-type]


async def test_quoted_keys_need_their_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    from resilient.idempotency import field

    monkeypatch.setattr(field, "_parser", lambda: None)
    with pytest.raises(ConfigError, match=r"http-sf, which the extra resilient-client\[idempotency\] brings"):
        guarded(Shop())
    assert (await ask(guarded(Shop(), accept=("bare",)))).status == 201
