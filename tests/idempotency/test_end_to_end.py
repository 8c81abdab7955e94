"""Our clients against our server side, over sockets: charged exactly once, whatever is lost on the way.

What was charged stands in a ledger of the server's, which no client can touch.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from resilient import Backoff, CallTimeout, Pipeline, Retry, Timeout
from resilient.idempotency import idempotency_key, inject_key
from resilient.testing import capture_events
from tests.conformance._http_retry_kit import eager, pipeline
from tests.http._world import World, drive, every_world
from tests.idempotency._service import Ledger, service, serving, until

QUICK = Backoff(base=0.01, throttled_base=0.01, jitter="none")


def retrying(timeout: float = 5.0, attempts: int = 4) -> Pipeline:
    return pipeline(Retry(attempts=attempts, backoff=QUICK, budget=None), Timeout(timeout))


class Lossy:
    """A network that delivers every request, and loses the first answers."""

    def __init__(self, world: World, losses: int) -> None:
        self.losses = losses
        kinds = ("AsyncHTTPTransport", "AsyncBaseTransport") if world.is_async else ("HTTPTransport", "BaseTransport")
        inner = getattr(world.family, kinds[0])(verify=False, trust_env=False)
        lost = world.family.ReadError

        def handle_request(_self: Any, request: Any) -> Any:
            response = inner.handle_request(request)
            response.read()
            self._lose(lost, request)
            return response

        async def handle_async_request(_self: Any, request: Any) -> Any:
            response = await inner.handle_async_request(request)
            await response.aread()
            self._lose(lost, request)
            return response

        async def aclose(_self: Any) -> None:
            await inner.aclose()

        methods = {
            "handle_request": handle_request,
            "close": lambda _self: inner.close(),
            "handle_async_request": handle_async_request,
            "aclose": aclose,
        }
        self.transport = type("Lossy", (getattr(world.family, kinds[1]),), methods)()

    def _lose(self, lost: Any, request: Any) -> None:
        if self.losses:
            self.losses -= 1
            raise lost("connection reset", request=request)


@every_world
def test_answers_that_are_lost_after_the_charge_are_asked_for_again(world: World, tmp_path: Path) -> None:
    async def scenario(url: str) -> None:
        network = Lossy(world, 3)
        async with world.client(retrying(), transport=network.transport) as client:
            with idempotency_key("order-1"):
                response = await client.post(url, content=b"order-1")
        assert response.status_code == 201
        assert response.headers["idempotency-replayed"] == "true"
        assert network.losses == 0

    with serving(service(tmp_path, work=lambda _: 0.0)) as url:
        world.run(scenario, f"{url}/charges")
    assert Ledger(tmp_path).lines == ["order-1"]


@every_world
def test_a_timeout_after_the_charge_does_not_charge_again(world: World, tmp_path: Path) -> None:
    """The server works for longer than an attempt lasts; a repetition waits for the original."""

    async def scenario(url: str) -> None:
        async with world.client(retrying(0.3, attempts=40)) as client:
            with idempotency_key("order-1"):
                response = await client.post(url, content=b"order-1")
        assert response.status_code == 201
        assert response.headers["idempotency-replayed"] == "true"

    with serving(service(tmp_path, work=lambda _: 0.8, wait=10)) as url:
        world.run(scenario, f"{url}/charges")
    assert Ledger(tmp_path).lines == ["order-1"]


@every_world
def test_a_key_in_progress_is_retried_as_the_server_says(world: World, tmp_path: Path) -> None:
    async def scenario(url: str) -> None:
        guard = pipeline(Retry(attempts=5, backoff=QUICK, budget=None), Timeout(0.3))
        async with world.client(guard) as client:
            with idempotency_key("order-1"), capture_events() as events:
                response = await client.post(url, content=b"order-1")
        assert response.status_code == 201
        assert any(float(str(each.fields["delay"])) >= 1 for each in events.of("resilient.retry.scheduled"))

    with serving(service(tmp_path, work=lambda _: 0.7, lease=1.9)) as url:  # 409 with Retry-After: 2
        world.run(scenario, f"{url}/charges")
    assert Ledger(tmp_path).lines == ["order-1"]


@every_world
def test_a_failed_charge_is_not_repeated_for_nothing(world: World, tmp_path: Path) -> None:
    """A recorded 500 would be answered again and again: the server says so, and the client hears it."""
    from resilient.idempotency import IdempotencyMiddleware
    from resilient.stores import MemoryStore

    ledger = Ledger(tmp_path)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ledger.add("order-1")
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"lost the bank"})

    requests = 0
    served = IdempotencyMiddleware(app, MemoryStore())

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        nonlocal requests
        requests += 1
        await served(scope, receive, send)

    async def scenario(url: str) -> None:
        async with world.client(retrying()) as client:
            with idempotency_key("order-1"):
                for _ in range(2):
                    response = await client.post(url, content=b"order-1")
                    assert (response.status_code, response.content) == (500, b"lost the bank")

    with serving(counting) as url:
        world.run(scenario, url)
    assert (ledger.lines, requests) == (["order-1"], 2)


@every_world
def test_many_orders_at_the_same_time_over_a_bad_network_are_charged_once_each(world: World, tmp_path: Path) -> None:
    orders = [f"order-{number}" for number in range(12)]

    async def scenario(url: str) -> None:
        network = Lossy(world, 10)
        async with world.client(retrying(attempts=12), transport=network.transport) as client:

            async def one(order: str) -> bytes:
                with idempotency_key(order):
                    response = await client.post(url, content=order.encode())
                assert response.status_code == 201
                return bytes(response.content)

            results = await world.together(*(lambda order=order: one(order) for order in orders * 2))
        for place, order in enumerate(orders):
            assert results[place] == results[place + len(orders)], results[place]
            assert f"for {order}," in results[place].decode()

    with serving(service(tmp_path, work=lambda _: 0.01, wait=10)) as url:
        world.run(scenario, f"{url}/charges")
    assert sorted(Ledger(tmp_path).lines) == sorted(orders)


@every_world
def test_an_outer_retry_charges_once(world: World, tmp_path: Path) -> None:
    """The function around the client fails after the charge; its pipeline runs attempts in threads of their own."""
    outer = Pipeline(f"end-{world.name}-{world.colour}", Retry(backoff=QUICK, budget=None), Timeout(9))

    async def scenario(url: str) -> None:
        tries = 0
        async with world.client(pipeline(eager())) as client:

            async def order() -> str:
                nonlocal tries
                tries += 1
                response = await client.post(url, content=b"order-1")
                if tries < 3:
                    raise ValueError("lost the answer")
                return str(response.headers["idempotency-replayed"])

            with idempotency_key():
                replayed = await outer.acall(order) if world.is_async else outer.call(lambda: drive(order()))
            assert (tries, replayed) == (3, "true")

    with serving(service(tmp_path, work=lambda _: 0.0)) as url:
        world.run(scenario, f"{url}/charges")
    assert Ledger(tmp_path).lines == ["order-1"]


def test_a_client_of_another_library_gets_its_key_injected(tmp_path: Path) -> None:
    calls = 0

    @inject_key("headers", header="Idempotency-Key", style="quoted")
    @Pipeline("end-injected", Retry(attempts=3, backoff=QUICK, budget=None))
    def charge(url: str, order: str, headers: Any = None) -> str:
        nonlocal calls
        calls += 1
        response = httpx2.post(url, content=order.encode(), headers=headers)
        if calls < 3:
            raise OSError("lost the answer")
        return response.text

    with serving(service(tmp_path, work=lambda _: 0.0)) as url:
        assert charge(f"{url}/charges", "order-1").startswith("receipt 1")
    assert Ledger(tmp_path).lines == ["order-1"]


def test_a_client_that_gives_up_finds_its_answer_later(tmp_path: Path) -> None:
    """The connection ends while the server works: what was begun is brought to its end, and recorded."""
    import resilient.httpx2

    ledger = Ledger(tmp_path)
    once = pipeline(Timeout(0.2))
    with (
        serving(service(tmp_path, work=lambda _: 0.6)) as url,
        resilient.httpx2.client(once, verify=False) as client,
        idempotency_key("order-1"),
    ):
        with pytest.raises(CallTimeout):
            client.post(url, content=b"order-1")
        until(lambda: ledger.lines)
        end = time.monotonic() + 10
        while (response := client.post(url, content=b"order-1")).status_code == 409:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert response.headers["idempotency-replayed"] == "true"
    assert ledger.lines == ["order-1"]


def test_a_large_upload_and_a_streamed_one_are_compared(tmp_path: Path) -> None:
    order = "x" * 300_000
    with serving(service(tmp_path, work=lambda _: 0.0)) as url, httpx2.Client(verify=False) as client:
        headers = {"Idempotency-Key": '"order-1"'}
        first = client.post(url, content=order.encode(), headers=headers)
        parts = (order[place : place + 1000].encode() for place in range(0, len(order), 1000))
        second = client.post(url, content=parts, headers=headers)
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.content == second.content
        assert client.post(url, content=order.encode() + b"y", headers=headers).status_code == 422
        assert client.post(url, content=b"x" * 2_000_000, headers=headers).status_code == 413
    assert Ledger(tmp_path).lines == [order]


def test_the_server_stops_in_the_middle_of_a_charge(tmp_path: Path) -> None:
    """A graceful stop lets it end; the next process replays it."""
    ledger = Ledger(tmp_path)

    async def main() -> None:
        async with anyio.create_task_group() as group:

            async def ask() -> None:
                async with httpx2.AsyncClient(verify=False) as client:
                    response = await client.post(url, content=b"order-1", headers={"Idempotency-Key": "a"})
                    answers.append(response.content)

            group.start_soon(ask)
            while not ledger.lines:
                await anyio.sleep(0.01)

    answers: list[bytes] = []
    with serving(service(tmp_path, work=lambda _: 0.5)) as url:
        anyio.run(main)
    with serving(service(tmp_path, work=lambda _: 0.5)) as url:
        anyio.run(main)
    assert answers[0] == answers[1]
    assert ledger.lines == ["order-1"]
