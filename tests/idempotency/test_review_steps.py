"""Cancelled, left and raised at every step; clocks that jump, files that vanish, processes that stop and fork."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from resilient._runtime.blocking import complete
from resilient.idempotency import IdempotencyMiddleware, KeyBook, KeyInDoubt, KeyInProgress, KeyRefused, once
from resilient.idempotency.calls import InThreads
from resilient.idempotency.renewal import Claim
from resilient.stores import MemoryStore, Record, SqliteStore
from resilient.testing import FakeClock, use
from tests.idempotency._asgi import Shop, Store, ask, got
from tests.idempotency._service import LEASE, Ledger, Process, until
from tests.idempotency.test_crashes import post, problem

CALLS = InThreads()


def begin(book: KeyBook, key: str = "k") -> Any:
    return complete(book.desk.begin(CALLS, book.id_of(key), "content", 0))


def finish(book: KeyBook, claim: Claim, answer: object = "answer") -> bool:
    return complete(book.desk.finish(CALLS, claim, answer, b"body"))


# Steps


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("bound", [1, 1_000_000])
def test_a_cancellation_at_any_step_executes_at_most_once(blocking: bool, bound: int) -> None:
    async def main(steps: int) -> bool:
        shop = Shop(work=lambda: asyncio.sleep(0))
        store = Store(MemoryStore(), blocking=blocking)
        app = IdempotencyMiddleware(shop, KeyBook(store), max_response=bound)
        sent: list[Any] = []
        task = asyncio.ensure_future(ask(app, sent=sent))
        for _ in range(steps):
            if task.done():
                break
            await asyncio.sleep(0 if not blocking else 0.0005)
        ended = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.02 if blocking else 0)
        first = got(sent) if sent else None
        before = len(shop.ledger)
        again = await ask(app)
        assert len(shop.ledger) <= 1
        if again.status == 201:
            assert again.replayed == bool(before)
            if bound > 1 and first is not None and first.body:
                assert again.body == first.body
        else:
            assert again.status == 409
            assert again.problem in {"in-progress", "not-kept"}
        return ended

    for steps in range(400):
        if asyncio.run(main(steps)):
            return
    pytest.fail("it never ended")


@pytest.mark.anyio
@pytest.mark.parametrize("error", [OSError, RuntimeError, KeyError])
@pytest.mark.parametrize("bound", [1, 1_000_000])
@pytest.mark.parametrize("place", range(4))
async def test_a_send_that_raises_at_any_step_executes_once(error: type[Exception], bound: int, place: int) -> None:
    shop = Shop()
    app = IdempotencyMiddleware(shop, MemoryStore(), max_response=bound)
    count = 0

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            nonlocal count
            count += 1
            if count > place:
                raise error("the connection is gone")
            await send(message)

        await app(scope, receive, sending)

    with suppress(error, AssertionError):
        await ask(fails)
    again = await ask(app)
    assert len(shop.ledger) == 1
    assert (again.status, again.body) == (201, b"charge 1") if bound > 1 else again.problem == "not-kept"


@pytest.mark.anyio
@pytest.mark.parametrize("place", range(3))
async def test_a_receive_that_ends_or_raises_at_any_step_executes_nothing(place: int) -> None:
    shop = Shop()
    app = IdempotencyMiddleware(shop, MemoryStore())
    for raises in (False, True):

        async def cut(scope: Any, receive: Any, send: Any, raises: bool = raises) -> None:
            count = 0

            async def receiving() -> Any:
                nonlocal count
                count += 1
                if count > place:
                    if raises:
                        raise OSError("gone")
                    return {"type": "http.disconnect"}
                return await receive()

            await app(scope, receiving, send)

        try:
            assert (await ask(cut, body=[b"1", b"2", b"3", b"4"])).status == 0
        except OSError:
            assert raises
    assert shop.ledger == []
    assert (await ask(app, body=[b"1", b"2", b"3", b"4"])).status == 201


@pytest.mark.parametrize("blocking", [False, True])
def test_a_function_that_is_cancelled_at_any_step_is_executed_at_most_once(blocking: bool) -> None:
    async def main(steps: int) -> bool:
        paid: list[str] = []

        @once(KeyBook(Store(MemoryStore(), blocking=blocking)), key="order")
        async def pay(order: str) -> int:
            await asyncio.sleep(0)
            paid.append(order)
            await asyncio.sleep(0)
            return len(paid)

        task = asyncio.ensure_future(pay("a"))
        for _ in range(steps):
            if task.done():
                break
            await asyncio.sleep(0.0005 if blocking else 0)
        ended = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.02 if blocking else 0)
        with suppress(KeyInProgress):
            assert await pay("a") == 1
        assert len(paid) <= 1
        return ended

    for steps in range(400):
        if asyncio.run(main(steps)):
            return
    pytest.fail("it never ended")


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_handler_outlives_its_keys_lifetime_many_times(kind: str, tmp_path: Path) -> None:
    store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "keys.db", patience=10)
    with use(FakeClock(auto=False)) as clock:
        book, other = KeyBook(store, lifetime=10, lease=10, patience=20), KeyBook(store, patience=20)
        claim = begin(book)
        for _ in range(20):
            clock.advance(2.5)
            book.desk._renewer.look()
            with pytest.raises(KeyInProgress):
                begin(other)
        assert finish(book, claim)
        assert begin(other).answer == "answer"
    store.close()


# Clocks and files


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("jump", [-18_000.0, 18_000.0, -1e6, 1e6])
def test_a_wall_clock_that_jumps_under_a_running_operation(
    kind: str, jump: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "keys.db", patience=10)
    with use(FakeClock(auto=False)) as clock:
        book = KeyBook(store, patience=20)
        claim = begin(book)
        real = clock.wall
        monkeypatch.setattr(clock, "wall", lambda: real() + jump)
        with pytest.raises(KeyInProgress):
            begin(book)
        assert book.desk._renewed(claim)
        with pytest.raises(KeyInProgress):
            begin(KeyBook(store, patience=20))
        monkeypatch.setattr(clock, "wall", real)
        with pytest.raises(KeyRefused):
            begin(book)
        if abs(jump) < book.lifetime:  # a jump beyond it ends lifetimes, for other processes
            with pytest.raises(KeyRefused):
                begin(KeyBook(store, patience=20))
        assert finish(book, claim)
        assert begin(KeyBook(store, patience=20)).answer == "answer"
    store.close()


@pytest.mark.parametrize("how", ["deleted", "replaced", "garbage"])
def test_a_file_that_vanishes_under_a_running_operation_executes_nothing_twice(how: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    store = SqliteStore(path, patience=10)
    book = KeyBook(store, patience=20)
    claim = begin(book)
    for each in tmp_path.iterdir():
        if how == "garbage":
            each.write_bytes(b"garbage" * 1000)
        else:
            each.unlink()
    if how == "replaced":
        other = SqliteStore(path, patience=10)
        other.put("other", Record("", b"", b""), lifetime=60)
        other.close()
    with pytest.raises(KeyRefused):
        begin(book)
    done = finish(book, claim)
    found = None
    try:
        found = begin(book)
    except KeyRefused:
        assert not done
    if done:
        assert found.answer == "answer"
    if how != "garbage":
        assert done
    store.close()


# Processes


def test_a_handler_that_blocks_its_event_loop_keeps_its_lease() -> None:
    store = MemoryStore()
    book = KeyBook(store, lease=0.3)
    key_id = book.id_of("order-1", scope="all")
    versions: list[int] = []

    async def blocks(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(4):
            versions.append(store.get(key_id)[0].version)
            until(lambda: store.get(key_id)[0].version > versions[-1])
        await send({"type": "http.response.start", "status": 201})
        await send({"type": "http.response.body", "body": b"made"})

    app = IdempotencyMiddleware(blocks, book, scope=lambda scope: "all")
    assert asyncio.run(ask(app)).status == 201
    assert len(set(versions)) == 4, "renewed again and again"


def test_a_server_that_was_stopped_beyond_its_lease_ends_the_doubt_itself(tmp_path: Path) -> None:
    results: list[Any] = []
    script = SLOW.format(folder=str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    try:
        url = f"http://127.0.0.1:{int(child.stdout.readline())}"
        ledger = Ledger(tmp_path)
        asking = threading.Thread(target=lambda: results.append(post(url, "order-1", "key-1")))
        asking.start()
        until(lambda: ledger.lines)
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(LEASE + 0.3)
        with Process(tmp_path) as other:
            doubt = post(other.url, "order-1", "key-1")
            assert (doubt.status_code, problem(doubt)) == (409, "in-doubt")
            os.kill(child.pid, signal.SIGCONT)
            asking.join(20)
            assert results[0].status_code == 201
            again = post(other.url, "order-1", "key-1")
            assert again.content == results[0].content
            assert again.headers["idempotency-replayed"] == "true"
        assert ledger.lines == ["order-1"]
    finally:
        os.kill(child.pid, signal.SIGCONT)
        child.kill()
        child.wait(10)
        child.stdout.close()


SLOW = """
import time
from pathlib import Path
from tests.idempotency import _service as s
sock = s.listener()
def work(order):
    time.sleep(1.0)  # the loop is blocked: only the thread renews
    return 0.5
server = s.Server(s.service(Path({folder!r}), work=work, lease=s.LEASE))
print(sock.getsockname()[1], flush=True)
server.run(sockets=[sock])
"""


def test_a_forked_child_neither_renews_nor_ends_what_its_parent_executes(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "keys.db", patience=10)
    book = KeyBook(store, lease=0.4, patience=20)
    claim = begin(book)

    def renewed(key: str) -> None:
        (before,) = store.get(book.id_of(key))
        until(lambda: store.get(book.id_of(key))[0].version > before.version)

    renewed("k")
    child = os.fork()
    if not child:
        code = 1
        try:
            try:
                begin(book)
            except KeyRefused:
                mine = begin(book, "mine")
                renewed("mine")
                alone = set(book.desk._renewer._claims) == {mine.page.owner}
                code = 0 if alone and finish(book, mine) else 2
        finally:
            os._exit(code)
    renewed("k")
    with pytest.raises(KeyRefused):
        begin(KeyBook(store, patience=20))
    assert os.waitpid(child, 0)[1] == 0
    assert finish(book, claim)
    assert begin(KeyBook(store, patience=20), "mine").answer == "answer"
    dead = os.fork()
    if not dead:
        begin(book, "dead")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(dead, 0)
    time.sleep(0.6)
    with pytest.raises(KeyInDoubt):
        begin(book, "dead")
    store.close()
