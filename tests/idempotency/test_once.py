"""once: a function is executed once for each key, by threads and by tasks, and its result is the same for all."""

from __future__ import annotations

import functools
import inspect
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from resilient import ConfigError, Rejected, Unguardable, faults
from resilient.idempotency import (
    KeyBook,
    KeyInDoubt,
    KeyInProgress,
    KeyReused,
    KeyStoreDown,
    RecordedFailure,
    ResultNotKept,
    idempotency_key,
    once,
    recorded_result,
)
from resilient.stores import MemoryStore, SqliteStore
from resilient.testing import FakeClock, use
from tests.idempotency._asgi import Store, failing


class Charges:
    """A function that counts its calls, plain or async."""

    def __init__(self, colour: str, book: Any = None, **options: Any) -> None:
        self.ledger: list[tuple[str, int]] = []
        self.result: Any = lambda number: {"charge": number}
        options.setdefault("key", "order")
        decorate = once(MemoryStore() if book is None else book, **options)

        def plain(order: str, cents: int = 1250) -> Any:
            self.ledger.append((order, cents))
            return self.result(len(self.ledger))

        async def awaited(order: str, cents: int = 1250) -> Any:
            self.ledger.append((order, cents))
            await anyio.sleep(0)
            return self.result(len(self.ledger))

        function = decorate(plain if colour == "plain" else awaited)
        self.colour = colour

        def call(*args: Any, **kwargs: Any) -> Any:
            if colour == "plain":
                return function(*args, **kwargs)

            async def main() -> Any:
                return await function(*args, **kwargs)

            return anyio.run(main, backend=colour)

        self.call = call


every_colour = pytest.mark.parametrize("colour", ["plain", "asyncio", "trio"])


def fail(error: BaseException) -> Any:
    def result(number: int) -> Any:
        raise error

    return result


@every_colour
def test_a_repetition_returns_the_result_and_executes_nothing(colour: str) -> None:
    charges = Charges(colour)
    assert charges.call("a") == {"charge": 1}
    assert charges.call("a") == {"charge": 1}
    assert charges.call(order="a", cents=1250) == {"charge": 1}
    assert charges.call("b") == {"charge": 2}
    assert charges.ledger == [("a", 1250), ("b", 1250)]


@every_colour
def test_other_arguments_under_a_key_are_refused(colour: str) -> None:
    charges = Charges(colour)
    charges.call("a")
    with pytest.raises(KeyReused):
        charges.call("a", 1251)
    assert len(charges.ledger) == 1


@every_colour
def test_an_exception_is_recorded_and_told(colour: str) -> None:
    charges = Charges(colour)
    charges.result = fail(LookupError("no such account"))
    with pytest.raises(LookupError, match="no such account"):
        charges.call("a")
    with pytest.raises(RecordedFailure) as recorded:
        charges.call("a")
    assert (recorded.value.kind, recorded.value.text) == ("LookupError", "no such account")
    assert str(recorded.value) == "recorded failure LookupError: no such account"
    assert pickle.loads(pickle.dumps(recorded.value)).kind == "LookupError"
    assert len(charges.ledger) == 1


@every_colour
@pytest.mark.parametrize("which", [Rejected, (Rejected, ValueError), lambda error: "nothing done" in str(error)])
def test_an_exception_that_says_nothing_was_done_frees_the_key(colour: str, which: Any) -> None:
    charges = Charges(colour, not_executed=which)
    charges.result = fail(Rejected("nothing done", "breaker", None))
    with pytest.raises(Rejected):
        charges.call("a")
    charges.result = lambda number: number
    assert charges.call("a") == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_cut_short_is_in_doubt(error: type[BaseException]) -> None:
    with use(FakeClock(auto=False)) as clock:
        book = KeyBook(MemoryStore(), lease=10)
        charges = Charges("plain", book, scope="charge")
        charges.result = fail(error())
        with pytest.raises(error):
            charges.call("a")
        with pytest.raises(KeyInProgress):
            charges.call("a")
        clock.advance(11)
        with pytest.raises(KeyInDoubt) as doubt:
            charges.call("a")
        assert doubt.value.retry_after == 60
        assert doubt.value.key_id == book.id_of("a", scope="charge")
        assert book.resolve(doubt.value.key_id, "done", **recorded_result({"charge": 1}))
        assert charges.call("a") == {"charge": 1}
        assert len(charges.ledger) == 1


@pytest.mark.anyio
async def test_a_cancelled_task_is_in_doubt() -> None:
    with use(FakeClock(auto=False)) as clock:

        @once(MemoryStore())
        async def charge() -> None:
            await anyio.sleep(60)

        with idempotency_key("a"):
            with anyio.move_on_after(0.02):
                await charge()
            clock.advance(11)
            with pytest.raises(KeyInDoubt):
                await charge()


@every_colour
def test_without_its_store_nothing_is_executed(colour: str) -> None:
    store = Store(MemoryStore())
    store.fails = failing()
    charges = Charges(colour, store)
    with pytest.raises(KeyStoreDown) as refused:
        charges.call("a")
    assert isinstance(refused.value, Rejected), "no outer retry repeats it, no breaker counts it"
    assert charges.ledger == []
    charges = Charges(colour, KeyBook(store, without_store="execute"))
    assert charges.call("a") == {"charge": 1}
    charges.result = fail(LookupError())
    with pytest.raises(LookupError):
        charges.call("a")


# Keys


def test_the_key_comes_from_the_block_where_no_argument_holds_it() -> None:
    calls = []

    @once(MemoryStore())
    def charge(cents: int) -> int:
        calls.append(cents)
        return len(calls)

    with idempotency_key("a"):
        assert (charge(1), charge(1)) == (1, 1)
    with idempotency_key("b"):
        assert charge(1) == 2
    with pytest.raises(ConfigError, match="charge needs an idempotency key: in its arguments, or by"):
        charge(1)


def test_a_parameter_that_is_none_stands_for_the_block() -> None:
    @once(MemoryStore(), key="order")
    def charge(order: str | None = None) -> str:
        return "charged"

    with pytest.raises(ConfigError, match="needs an idempotency key"):
        charge()
    with idempotency_key("a"):
        assert charge() == charge("a") == "charged"


def test_the_key_may_be_computed() -> None:
    calls = []

    @once(MemoryStore(), key=lambda order: order["id"])
    def charge(order: dict[str, Any]) -> int:
        calls.append(order)
        return len(calls)

    assert [charge({"id": "a"}), charge({"id": "b"}), charge({"id": "a"})] == [1, 2, 1]


@pytest.mark.parametrize(
    ("key", "error"), [("", ConfigError), ("a\nb", ConfigError), (7, TypeError), (b"a", TypeError)]
)
def test_a_bad_key_is_refused_when_called(key: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="idempotency key must be"):
        Charges("plain").call(key)


def test_two_functions_of_one_book_do_not_share_keys() -> None:
    book = KeyBook(MemoryStore())
    one, other = (once(book, key="order", scope=scope)(lambda order, s=scope: s) for scope in ("charge", "refund"))
    assert (one("a"), other("a")) == ("charge", "refund")


def test_methods_are_compared_without_self() -> None:
    class Shop:
        calls = 0

        @once(MemoryStore(), key="order")
        def charge(self, order: str) -> int:
            Shop.calls += 1
            return Shop.calls

        @once(MemoryStore(), key="order")
        @classmethod
        def of_class(cls, order: str) -> str:
            return order

        @once(MemoryStore(), key="order")
        @staticmethod
        def static(order: str) -> str:
            return order

    assert Shop().charge("a") == Shop().charge("a") == 1
    assert Shop.of_class("a") == Shop.of_class("a") == Shop.static("a") == "a"


def test_arguments_that_cannot_be_compared_are_refused() -> None:
    @once(MemoryStore(), key="order")
    def charge(order: str, what: object) -> None: ...

    with pytest.raises(
        TypeError, match=r"the arguments of .*charge cannot be compared; give once\(\) a `fingerprint=`"
    ):
        charge("a", object())


def test_what_is_compared_can_be_chosen() -> None:
    @once(MemoryStore(), key="order", fingerprint=lambda order, what: type(what).__name__)
    def charge(order: str, what: object) -> str:
        return "charged"

    assert charge("a", object()) == charge("a", object()) == "charged"
    with pytest.raises(KeyReused):
        charge("a", 7)


# Results


@pytest.mark.parametrize("result", [None, True, 0, "", "é", [1, [2.5]], {"a": None}])
def test_json_results_are_the_same_again(result: Any) -> None:
    charges = Charges("plain")
    charges.result = lambda number: result
    assert charges.call("a") == charges.call("a") == result


@pytest.mark.parametrize(
    "result", [(1, 2), {1: 2}, b"x", object(), float("nan"), {1, 2}], ids=lambda each: type(each).__name__
)
def test_a_result_that_json_would_change_is_not_kept(result: Any) -> None:
    charges = Charges("plain")
    charges.result = lambda number: result
    assert charges.call("a") is result
    with pytest.raises(ResultNotKept):
        charges.call("a")
    assert len(charges.ledger) == 1
    assert faults.total() == 1


def test_a_form_of_ones_own_keeps_everything() -> None:
    charges = Charges("plain", encode=pickle.dumps, decode=pickle.loads)
    charges.result = lambda number: (number, {1, 2})
    assert charges.call("a") == charges.call("a") == (1, {1, 2})


def test_an_exception_that_cannot_be_shown_is_recorded() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise LookupError

    charges = Charges("plain")
    charges.result = fail(Odd())
    with pytest.raises(Odd):
        charges.call("a")
    with pytest.raises(RecordedFailure, match=r"test_an_exception.*Odd: $"):
        charges.call("a")


def test_a_stop_iteration_passes_as_it_is() -> None:
    charges = Charges("plain")
    charges.result = fail(StopIteration(7))
    with pytest.raises(StopIteration):
        charges.call("a")


# At the same time


def test_of_fifty_threads_one_executes(tmp_path: Path) -> None:
    calls: list[str] = []

    @once(KeyBook(SqliteStore(tmp_path / "keys.db", patience=20), patience=20), key="order", wait=20)
    def charge(order: str) -> int:
        calls.append(order)
        time.sleep(0.05)
        return len(calls)

    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(charge("a"))) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (results, calls) == ([1] * 50, ["a"])


@pytest.mark.anyio
@pytest.mark.parametrize("wait", [0, 5])
async def test_of_fifty_tasks_one_executes(wait: float) -> None:
    calls: list[str] = []

    @once(MemoryStore(), key="order", wait=wait)
    async def charge(order: str) -> int:
        calls.append(order)
        await anyio.sleep(0.05)
        return len(calls)

    results: list[object] = []

    async def one() -> None:
        try:
            results.append(await charge("a"))
        except KeyInProgress:
            results.append("in progress")

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(one)
    assert sorted(results, key=str) == ([1] * 50 if wait else [1] + ["in progress"] * 49)
    assert calls == ["a"]


def test_a_plain_function_on_the_thread_of_an_event_loop_does_not_wait() -> None:
    book = KeyBook(MemoryStore())
    charge = once(book, key="order", scope="x", wait=30)(lambda order: order)

    async def main() -> None:
        @once(book, key="order", scope="x", fingerprint=lambda order: "")
        async def slow(order: str) -> None:
            await anyio.sleep(0.2)

        async with anyio.create_task_group() as group:
            group.start_soon(slow, "a")
            await anyio.sleep(0.05)
            begun = time.monotonic()
            with pytest.raises((KeyInProgress, KeyReused)):
                charge("a")
            assert time.monotonic() - begun < 0.1

    anyio.run(main)


# Decorating


def test_name_signature_and_colour_are_kept() -> None:
    @once(MemoryStore(), key="order")
    async def charge(order: str, cents: int = 1) -> None:
        """Charge it."""

    assert charge.__name__ == "charge"
    assert charge.__doc__ == "Charge it."
    assert str(inspect.signature(charge)).startswith("(order: ")
    assert inspect.iscoroutinefunction(charge)


def generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda cents: cents, Unguardable, "has no parameter 'order' that could hold"),
        (generator, Unguardable, "generator function"),
        (dict, Unguardable, "is a class"),
        (functools.partial(len), Unguardable, "has no name of its own"),
        (7, TypeError, "callable"),
    ],
)
def test_what_cannot_be_executed_once_is_refused(function: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        once(MemoryStore(), key="order")(function)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"key": 7}, TypeError, "key must be a parameter's name"),
        ({"scope": ""}, ConfigError, "scope must be"),
        ({"fingerprint": "x"}, TypeError, "fingerprint must be"),
        ({"not_executed": BaseException}, TypeError, "not_executed must be"),
        ({"encode": pickle.dumps}, ConfigError, "encode must be given together with decode"),
        ({"decode": pickle.loads}, ConfigError, "encode must be given together with decode"),
        ({"encode": 1, "decode": 2}, TypeError, "encode must be"),
        ({"wait": float("nan")}, ConfigError, "wait must be"),
        ({"book": 7}, TypeError, "book must be a KeyBook or a store"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        once(settings.pop("book", MemoryStore()), **settings)
