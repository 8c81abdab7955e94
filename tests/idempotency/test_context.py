"""The key of a block: shared by all that happens inside, in threads and tasks, and for one operation only."""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from typing import Any

import anyio
import pytest

from resilient import ConfigError, Pipeline, Retry, Timeout
from resilient.idempotency import current_key, idempotency_key
from resilient.idempotency.context import Operation, inside, key_for
from resilient.testing import InstantClock, use

ORDER = Operation("POST", "https://a/orders", b"1")


def test_outside_of_all_blocks_there_is_no_key() -> None:
    assert current_key() is None
    assert not inside()
    assert key_for(ORDER) is None


def test_blocks_nest_and_end() -> None:
    with idempotency_key("outer") as outer:
        assert outer == current_key() == "outer"
        with idempotency_key("inner"):
            assert current_key() == "inner"
            with idempotency_key(None) as none:
                assert none is None is current_key()
                assert not inside()
            assert current_key() == "inner"
        assert current_key() == "outer"
    assert current_key() is None


def test_a_block_ends_when_it_raises() -> None:
    with pytest.raises(LookupError), idempotency_key("a"):
        raise LookupError
    assert current_key() is None


def test_one_object_serves_several_blocks() -> None:
    block = idempotency_key("a")
    with block, block:
        assert current_key() == "a"
    assert current_key() is None


def test_left_out_or_true_the_key_is_a_new_random_one() -> None:
    with idempotency_key() as one, idempotency_key(True) as other:
        assert one is not None
        assert len(one) == 36
        assert one != other == current_key()


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("", ConfigError),
        ("a\nb", ConfigError),
        ("ключ", ConfigError),
        (" a", ConfigError),
        (7, TypeError),
        (False, ConfigError),
    ],
)
def test_a_bad_key_is_refused_at_once(key: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="key must be"):
        idempotency_key(key)


# One key, one operation


def test_the_same_request_may_come_again() -> None:
    with idempotency_key("a"):
        assert key_for(ORDER) == "a"
        assert key_for(Operation(*ORDER)) == "a"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (ORDER._replace(method="PATCH"), "already names POST https://a/orders, so PATCH"),
        (ORDER._replace(url="https://a/refunds"), "so POST https://a/refunds was not sent"),
        (
            ORDER._replace(body=b"2"),
            "already names POST https://a/orders, so POST https://a/orders with another query or body",
        ),
    ],
)
def test_a_second_operation_under_one_key_is_refused(other: Operation, message: str) -> None:
    with idempotency_key("a"):
        key_for(ORDER)
        with pytest.raises(ConfigError, match=message):
            key_for(other)
        with idempotency_key("b"):
            assert key_for(other) == "b"
        with idempotency_key("a"), pytest.raises(ConfigError, match=message):  # the same key is the same operation
            key_for(other)
        assert key_for(ORDER) == "a"


def test_no_secret_of_a_url_is_shown() -> None:
    one = ORDER._replace(url="https://user:password@a/orders?token=secret")
    with idempotency_key("a"):
        key_for(one)
        for other in (
            one._replace(url="https://user:password@a/orders?token=mystery"),
            one._replace(url="http://x:y@b?z"),
        ):
            with pytest.raises(ConfigError) as refused:
                key_for(other)
            message = str(refused.value)
            assert "POST https://a/orders" in message
            assert not [word for word in ("password", "token", "secret", "mystery", "x:y", "?z") if word in message]


def test_a_stream_is_compared_by_method_and_url_only() -> None:
    stream = ORDER._replace(body=None)
    with idempotency_key("a"):
        assert key_for(ORDER) == key_for(stream) == key_for(stream) == "a"
        with pytest.raises(ConfigError):
            key_for(stream._replace(url="https://a/refunds"))


def test_a_later_block_of_the_same_key_begins_anew() -> None:
    for operation in (ORDER, ORDER._replace(body=b"2")):
        with idempotency_key("a"):
            assert key_for(operation) == "a"


def test_of_many_threads_one_names_the_operation() -> None:
    threads = 8
    barrier = threading.Barrier(threads)
    refused: list[ConfigError] = []

    def name(number: int) -> None:
        barrier.wait(5)
        try:
            key_for(ORDER._replace(body=bytes([number % 2])))
        except ConfigError as error:
            refused.append(error)

    with idempotency_key("a"):
        contexts = [copy_context() for _ in range(threads)]
    started = [threading.Thread(target=context.run, args=(name, n)) for n, context in enumerate(contexts)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(5)
    assert len(refused) == threads // 2


# Where it is seen


def test_a_worker_thread_of_a_timeout_sees_it_over_all_attempts() -> None:
    seen: list[object] = []
    threads: set[int] = set()

    def attempt() -> str:
        threads.add(threading.get_ident())
        seen.append(key_for(ORDER))
        if len(seen) < 3:
            raise OSError("reset")
        return "done"

    pipeline = Pipeline("context-threads", Retry(attempts=3), Timeout(5))
    with use(InstantClock()), idempotency_key("order-1"):
        assert pipeline.call(attempt) == "done"
    assert seen == ["order-1"] * 3
    assert threading.get_ident() not in threads


@pytest.mark.anyio
async def test_child_tasks_see_it_and_share_what_it_names() -> None:
    seen: list[object] = []

    async def attempt() -> None:
        seen.append(key_for(ORDER))
        with pytest.raises(ConfigError):
            key_for(ORDER._replace(body=b"2"))

    with idempotency_key("order-1"):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(attempt)
        with pytest.raises(ConfigError):  # what a child has named counts here, too
            key_for(ORDER._replace(body=b"2"))
    assert seen == ["order-1"] * 3


def test_two_tasks_do_not_see_each_others_keys() -> None:
    async def one(key: str) -> list[object]:
        seen = []
        with idempotency_key(key):
            for _ in range(3):
                await asyncio.sleep(0)
                seen.append(current_key())
        return seen

    async def main() -> None:
        assert await asyncio.gather(one("a"), one("b")) == [["a"] * 3, ["b"] * 3]

    asyncio.run(main())
