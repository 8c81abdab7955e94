"""Each downstream has a pool of its own, which counts its requests, heals itself and is never one too many."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import socket
import sys
import threading
import time
from contextlib import suppress

import anyio
import pytest
import trio

from resilient import events
from resilient._http.leases import Foreign
from resilient._http.pool_health import lost
from resilient._http.pool_plan import Plan
from resilient._http.pool_registry import AsyncPools, SyncPools
from resilient._http.pools import POOL_WAIT, AsyncPool, SyncPool
from resilient._policy import Env
from resilient.errors import ConfigError
from resilient.outcome import Classifier
from tests import _scripts
from tests.http._sockets import HTTPX, HTTPX2, answering, every_family, half, read_head, request, serving, until


def env(name="downstream"):
    return Env(name, Classifier())


def threads(family, limit=1, **options):
    return SyncPool(Plan(family, "HTTPTransport", options, streams=0), limit, env())


def tasks(family, limit=1, **options):
    return AsyncPool(Plan(family, "AsyncHTTPTransport", options, streams=0), limit, env())


def call(pool, sent):
    """What an exchange of threads does."""
    lease = pool.lease()
    ok = False
    try:
        response = lease.transport.handle_request(sent)
        body = response.read()
        response.close()
        ok = True
    finally:
        lease.release(ok=ok)
    return body


async def acall(pool, sent, *, hold=None):
    """What an exchange of tasks does."""
    lease = pool.lease()
    ok = False
    try:
        response = await lease.transport.handle_async_request(sent)
        try:
            if hold is not None:
                await hold(response)
            body = await response.aread()
        finally:
            await response.aclose()
        ok = True
    finally:
        await lease.arelease(ok=ok)
    return body


@pytest.fixture
def told():
    seen = []
    stop = events.subscribe(lambda event: seen.append((event.name, event.downstream, dict(event.fields))))
    yield seen
    stop()


# -- leases ---------------------------------------------------------------------------------


@every_family
def test_leases_are_counted_exactly_across_threads(family):
    pool = threads(family, limit=8)
    peak = []

    def work():
        for _ in range(500):
            first, second = pool.lease(), pool.lease()
            peak.append(pool.leases)
            first.release()
            first.release()  # ends once
            second.drop()
            second.release()

    crowd = [threading.Thread(target=work) for _ in range(4)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join(20)
    assert pool.leases == 0
    assert max(peak) <= 8
    assert min(peak) >= 2


@every_family
def test_a_lease_that_was_lost_ends_by_itself_and_takes_no_lock(family):
    pool = threads(family)
    lease = pool.lease()
    ended = threading.Event()

    def lose():
        nonlocal lease
        with pool._lock:
            del lease
            gc.collect()
        ended.set()

    threading.Thread(target=lose, daemon=True).start()
    assert ended.wait(5), "the collector waits for a lock"
    assert pool.leases == 0


@every_family
def test_the_inner_transport_is_made_late_clamped_and_within_the_limit(family):
    pool = SyncPool(Plan(family, "HTTPTransport", {"keepalive_expiry": 2.5, "http1": True}, streams=3), 7, env())
    assert pool._inners == {}
    transport = pool.lease().transport
    inner = transport._pool
    assert (inner._max_connections, inner._max_keepalive_connections, inner._keepalive_expiry) == (10, 10, 2.5)
    assert inner._retries == 0
    assert pool.clamped
    assert pool.owned
    assert POOL_WAIT == 1.0


@every_family
def test_over_http2_the_network_alone_does_not_keep_a_deadline(family):
    pool = threads(family, http2=True)
    pool.lease().release()
    assert not pool.clamped


@every_family
@pytest.mark.parametrize("name", ["limits", "retries"])
def test_options_that_policies_decide_are_refused(family, name):
    with pytest.raises(ConfigError, match=name):
        SyncPools(family, {name: 3})


@every_family
def test_all_pools_share_one_tls_context(family, monkeypatch):
    made = []
    real = family.module.create_ssl_context
    monkeypatch.setattr(family.module, "create_ssl_context", lambda **given: made.append(given) or real(**given))
    pools = SyncPools(family, {"verify": False})
    assert len(made) == 1, "made with the pools, so that no call's deadline pays for it"
    contexts = {pools.get(name, 1, env(name)).lease().transport._pool._ssl_context for name in "abc"}
    assert len(contexts) == 1
    assert made == [{"verify": False}]


@every_family
def test_threads_that_come_first_share_one_inner_transport(family):
    pool = threads(family, limit=4)
    together, got = threading.Barrier(4), []

    def first():
        together.wait(5)
        got.append(pool.lease())

    crowd = [threading.Thread(target=first) for _ in range(4)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join(5)
    assert len({id(lease.transport) for lease in got}) == 1


@every_family
def test_a_lease_on_what_another_thread_has_just_replaced_moves_on(family):
    pool = threads(family)
    old, real = pool.lease(), pool._inners

    class Overtaken(dict):
        """Another thread comes in between looking the transport up and counting the lease."""

        def get(self, home):
            inner = real.get(home)
            pool._inners = real
            pool.retire()
            return inner

    pool._inners = Overtaken(real)
    fresh = pool.lease()
    assert fresh.transport is not old.transport
    old.end(ok=True)
    assert [each.transport for each in pool.closing] == [old.transport], "nothing is left on the old one"
    fresh.release()
    assert not pool.closing
    pool.close()


# -- poisoned pools -------------------------------------------------------------------------


async def cancelled_while_assigned(transport, family, server, waits):
    """Cancel a task that waits for the only connection, in the very step in which it gets one."""
    response = await transport.handle_async_request(request(family, server.url))
    waiter = asyncio.create_task(waits())
    while len(transport._pool._requests) < 2:
        await asyncio.sleep(0)
    async for _ in response.stream:
        pass
    await response.aclose()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter


def once(connection: socket.socket, number: int) -> None:
    """Close after the answer, so that whoever waits needs a new connection."""
    read_head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")


@every_family
def test_C06_classic_alone_loses_the_place_of_a_cancelled_waiter_for_ever(family):
    """What we guard against, shown without us."""

    async def main(server):
        async with family.module.AsyncHTTPTransport(limits=family.module.Limits(max_connections=1)) as bare:
            sent = request(family, server.url)
            await cancelled_while_assigned(bare, family, server, lambda: bare.handle_async_request(sent))
            if family is HTTPX:
                assert [each.info() for each in bare._pool.connections] == ["CONNECTING"]
                for _ in range(2):
                    with pytest.raises(family.pool_timeout):
                        await bare.handle_async_request(request(family, server.url, pool=0.05))
            else:
                response = await bare.handle_async_request(request(family, server.url))
                await response.aread()
                await response.aclose()

    with serving(once) as server:
        asyncio.run(main(server))


@every_family
def test_C06_a_cancelled_waiter_leaves_a_pool_that_serves(family, told):
    async def main(server):
        pool = tasks(family)
        first = pool.lease()
        sent = request(family, server.url)
        await cancelled_while_assigned(first.transport, family, server, lambda: acall(pool, sent))
        await first.arelease()
        assert await acall(pool, request(family, server.url)) == b"ok"
        rebuilt = [("resilient.http.pool_rebuilt", "downstream", {"orphans": 1})] if family is HTTPX else []
        assert told == rebuilt
        assert pool.rebuilt == len(rebuilt)
        assert pool.leases == 0
        assert not pool._retired
        assert not pool.closing
        await pool.aclose()

    with serving(once) as server:
        asyncio.run(main(server))


@every_family
def test_C06_requests_that_wait_meanwhile_do_not_hide_the_lost_place(family):
    async def main(server):
        pool = tasks(family)
        first = pool.lease()
        sent = request(family, server.url)
        crowd = []

        async def waits():
            crowd.extend(asyncio.create_task(acall(pool, request(family, server.url))) for _ in range(3))
            return await acall(pool, sent)

        await cancelled_while_assigned(first.transport, family, server, waits)
        await first.arelease()
        results = await asyncio.gather(*crowd, return_exceptions=True)
        assert {type(each) for each in results} == {family.pool_timeout if family is HTTPX else bytes}
        assert await acall(pool, request(family, server.url)) == b"ok"
        assert pool.rebuilt == (1 if family is HTTPX else 0)
        assert pool.leases == 0
        await pool.aclose()

    with serving(once) as server:
        asyncio.run(main(server))


@every_family
@pytest.mark.parametrize("steps", range(5))
def test_C05_a_body_whose_closing_is_cancelled_too_leaves_a_pool_that_serves(family, steps):
    async def main(server):
        pool = tasks(family)

        async def stream():
            lease = pool.lease()
            try:
                response = await lease.transport.handle_async_request(request(family, server.url))
                try:
                    await response.aread()
                finally:
                    await response.aclose()
            finally:
                await lease.arelease()  # the exception on its way says that all is not well

        for _ in range(3):
            task = asyncio.create_task(stream())
            while len(server.accepted) == server.ended or not pool.leases:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            task.cancel()
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.01)
        assert await acall(pool, request(family, server.url + "whole")) == b"ok"
        assert pool.rebuilt == (3 if family is HTTPX and steps == 1 else 0)
        assert pool.leases == 0
        await pool.aclose()

    def script(connection, number):
        while head := read_head(connection):
            whole = b"whole" in head
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: " + (b"2\r\n\r\nok" if whole else b"4\r\n\r\nha"))

    with serving(script) as server:
        asyncio.run(main(server))


@every_family
def test_C05_cancelled_in_nested_scopes_under_trio(family):
    async def main(server):
        pool = tasks(family)
        for _ in range(3):
            with trio.move_on_after(0.02), trio.CancelScope() as inner:
                inner.deadline = trio.current_time() + 0.02
                await acall(pool, request(family, server.url))
            pools = pool._inners[pool.home()].transport._pool
            assert (pools.connections, pools._requests) == ([], [])
        assert pool.rebuilt == 0
        assert pool.leases == 0
        await pool.aclose()

    with serving(half) as server:
        trio.run(main, server)


class Waiter:
    """A child task of either loop that can be cancelled."""

    def __init__(self, group, thunk) -> None:
        self._scope = anyio.CancelScope()
        self._thunk = thunk
        group.start_soon(self._run)

    async def _run(self) -> None:
        with self._scope:
            await self._thunk()

    def cancel(self) -> None:
        self._scope.cancel()


@every_family
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_response_that_was_never_closed_costs_no_place(family, told):
    with serving(half) as server:
        pool = threads(family)
        lease = pool.lease()
        response = lease.transport.handle_request(request(family, server.url))
        old = lease.transport
        del lease, response
        gc.collect()
        fresh = pool.lease()
        assert fresh.transport is not old
        assert told == [("resilient.http.pool_rebuilt", "downstream", {"orphans": 1})]
        fresh.release()
        assert old._pool.connections == [], "the old one is closed"
        pool.close()


@every_family
def test_the_old_transport_is_closed_with_its_last_request(family):
    gate = threading.Event()

    def script(connection, number):
        while read_head(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha")
            gate.wait(5)
            connection.sendall(b"lf")

    with serving(script) as server:
        pool = threads(family, limit=3)
        streaming, abandoned = pool.lease(), pool.lease()
        response = streaming.transport.handle_request(request(family, server.url))
        leaked = abandoned.transport.handle_request(request(family, server.url))
        abandoned.release(ok=False)  # and its body stays open
        assert pool.rebuilt == 1
        fresh = pool.lease()
        assert fresh.transport is not streaming.transport
        gate.set()
        assert response.read() == b"half", "what was in progress goes on"
        response.close()
        assert server.ended == 0
        streaming.release()
        until(lambda: server.ended == 2)
        fresh.release()
        leaked.close()
        pool.close()


@every_family
def test_failures_alone_never_look_like_a_poisoned_pool(family):
    chance = random.Random(7)

    def script(connection, number):
        while read_head(connection):
            dice = chance.random()
            if dice < 0.2:
                return
            if dice < 0.4:
                time.sleep(0.02)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhalf"[: None if dice < 0.9 else -1])

    with serving(script) as server:
        pool = threads(family, limit=3)
        outcomes = []

        def work():
            for _ in range(40):
                try:
                    outcomes.append(call(pool, request(family, server.url, read=0.01, pool=5.0)))
                except family.transport_error as error:
                    outcomes.append(type(error).__name__)

        crowd = [threading.Thread(target=work) for _ in range(6)]  # twice the limit: some wait in the pool
        for each in crowd:
            each.start()
        for each in crowd:
            each.join(20)
        assert {b"half", "ReadTimeout"} < set(outcomes)
        assert len(outcomes) == 240
        assert pool.rebuilt == 0
        assert pool.leases == 0
        pool.close()


@every_family
def test_a_wait_that_ends_in_the_very_moment_of_its_turn_costs_threads_no_place(family, monkeypatch):
    """Classic `httpx` loses that place, too: found by the test above, with short waits."""
    with serving(once) as server:
        pool = threads(family)
        first = pool.lease()
        response = first.transport.handle_request(request(family, server.url))
        core = sys.modules[type(first.transport._pool).__module__.partition(".")[0]]
        real = core._synchronization.Event.wait
        failures = []

        def too_late(event, timeout=None):
            real(event, timeout)
            raise core.PoolTimeout

        def wait():
            try:
                call(pool, request(family, server.url, pool=5.0))
            except Exception as error:
                failures.append(type(error))

        with monkeypatch.context() as patch:
            patch.setattr(core._synchronization.Event, "wait", too_late)
            waiter = threading.Thread(target=wait)
            waiter.start()
            until(lambda: len(first.transport._pool._requests) == 2)
            response.read()
            response.close()
            first.release()
            waiter.join(5)
        assert failures == [family.pool_timeout]
        assert call(pool, request(family, server.url)) == b"ok"
        assert pool.rebuilt == (1 if family is HTTPX else 0)
        pool.close()


@every_family
@pytest.mark.anyio
async def test_a_pool_that_is_merely_full_is_not_rebuilt(family, anyio_backend):
    with serving(half) as server:
        pool = tasks(family, limit=2)
        async with anyio.create_task_group() as group:

            async def hold(response):
                await anyio.sleep_forever()

            async def busy():
                await acall(pool, request(family, server.url), hold=hold)

            waiters = [Waiter(group, busy) for _ in range(2)]
            with anyio.fail_after(5):
                while pool.leases < 2 or len(server.accepted) < 2:
                    await anyio.sleep(0.002)
            for _ in range(3):
                with pytest.raises(family.pool_timeout):
                    await acall(pool, request(family, server.url, pool=0.01))
            assert pool.rebuilt == 0
            for waiter in waiters:
                waiter.cancel()
        assert pool.leases == 0
        assert pool.rebuilt == 0
        await pool.aclose()


@every_family
@pytest.mark.anyio
async def test_random_cancellations_leave_nothing_behind(family, anyio_backend):
    chance = random.Random(11)

    def script(connection, number):
        while read_head(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha")
            time.sleep(0.001)
            connection.sendall(b"lf")

    with serving(script) as server:
        pool = tasks(family, limit=3)

        async def one(delay):
            with anyio.move_on_after(delay), suppress(family.transport_error):
                await acall(pool, request(family, server.url, pool=0.05))

        for _ in range(20):
            async with anyio.create_task_group() as group:
                for _ in range(8):
                    group.start_soon(one, chance.random() * 0.01)
        for _ in range(3):
            assert await acall(pool, request(family, server.url)) == b"half"
        if family is HTTPX2:
            assert pool.rebuilt == 0
        assert pool.leases == 0
        assert not pool._retired
        assert not pool.closing
        inner = pool._inners[pool.home()].transport._pool
        assert inner._requests == []
        assert all(each.is_idle() for each in inner.connections)
        await pool.aclose()
        until(lambda: server.ended == len(server.accepted))


@every_family
def test_a_pool_is_looked_into_only_while_no_thread_changes_it(family):
    pool = threads(family)
    lease = pool.lease()
    looked = threading.Event()
    with lease.transport._pool._optional_thread_lock:
        threading.Thread(target=lambda: lost(lease.transport, []) or looked.set(), daemon=True).start()
        assert not looked.wait(0.05)
    assert looked.wait(5)
    lease.release()


def test_what_cannot_be_looked_into_is_taken_for_healthy_and_said_once(caplog):
    with caplog.at_level(logging.ERROR, "resilient"):
        assert lost(object(), []) == 0
        assert lost(object(), []) == 0
    assert len(caplog.records) == 1


# -- closing, event loops, forks --------------------------------------------------------------


@every_family
def test_C22_closing_is_idempotent_and_a_closed_pool_serves_again(family):
    with serving(answering) as server:
        pool = threads(family)
        pool.close()
        for number in (1, 2, 3):
            assert call(pool, request(family, server.url)) == b"ok"
            assert len(server.accepted) == number
            pool.close()
            pool.close()
            until(lambda: server.ended == number)  # noqa: B023 -- called in this round


@every_family
@pytest.mark.anyio
async def test_C22_closing_is_idempotent_and_a_closed_pool_of_tasks_serves_again(family, anyio_backend):
    with serving(answering) as server:
        pool = tasks(family)
        await pool.aclose()
        for number in (1, 2, 3):
            assert await acall(pool, request(family, server.url)) == b"ok"
            assert len(server.accepted) == number
            await pool.aclose()
            await pool.aclose()
            until(lambda: server.ended == number)  # noqa: B023


@every_family
def test_closing_reaches_what_is_in_use(family):
    with serving(half) as server:
        pool = threads(family)
        lease = pool.lease()
        response = lease.transport.handle_request(request(family, server.url))
        pool.close()
        until(lambda: server.ended == 1)
        with pytest.raises(family.transport_error):
            response.read()
        response.close()
        lease.release(ok=False)
        assert pool.rebuilt == 0
        assert not pool._retired


@every_family
@pytest.mark.anyio
async def test_closing_is_finished_even_by_a_task_that_is_being_cancelled(family, anyio_backend):
    with serving(answering) as server:
        pool = tasks(family)
        await acall(pool, request(family, server.url))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await pool.aclose()
        await anyio.sleep(0.01)
        assert not pool.closing
        until(lambda: server.ended == 1)


@every_family
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # nobody closes the connections of the first two loops
@pytest.mark.parametrize("run", [lambda main: asyncio.run(main()), trio.run], ids=["asyncio", "trio"])
def test_C32_each_event_loop_has_its_own_connections(family, run):
    with serving(answering) as server:
        pool = tasks(family, limit=2)

        async def main():
            assert await acall(pool, request(family, server.url)) == b"ok"
            assert await acall(pool, request(family, server.url)) == b"ok"
            assert len(pool._inners) == 1, "what belongs to a loop that is gone is forgotten"

        run(main)
        run(main)
        assert len(server.accepted) == 2
        until(lambda: server.ended >= 1)

        async def last():
            await pool.aclose()

        run(last)
        gc.collect()
        until(lambda: server.ended == 2)


@every_family
def test_C32_two_loops_at_once(family):
    with serving(answering) as server:
        pool = tasks(family, limit=2)
        together = threading.Barrier(2)
        seen = []

        def work():
            async def main():
                together.wait(5)
                seen.extend([await acall(pool, request(family, server.url)) for _ in range(20)])
                together.wait(5)
                await pool.aclose()

            asyncio.run(main())

        crowd = [threading.Thread(target=work) for _ in range(2)]
        for each in crowd:
            each.start()
        for each in crowd:
            each.join(10)
        assert seen == [b"ok"] * 40
        assert len(server.accepted) == 2
        assert pool.leases == 0


FORK = """
import os, {family}, threading
from resilient._http.family import Family
from resilient._http.pool_plan import Plan
from resilient._http.pools import SyncPool
from tests.http._sockets import answering, half, read_head, request, serving, until
from tests.http.test_pools import call, env

FAMILY = Family({family}, "resilient.{family}")

def script(connection, number):
    connection.settimeout(20)
    while head := read_head(connection):
        rest = b"ha" if b"half" in head else b"half"
        connection.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 4\\r\\n\\r\\n" + rest)

with serving(script) as server:
    pool = SyncPool(Plan(FAMILY, "HTTPTransport", {{}}, streams=0), 2, env())
    assert call(pool, request(FAMILY, server.url)) == b"half"
    busy = pool.lease()
    open_body = busy.transport.handle_request(request(FAMILY, server.url + "half"))
    idle = pool.lease()
    assert call(pool, request(FAMILY, server.url)) == b"half"
    idle.release()
    ours = len(server.accepted)
    assert ours == 2
    sockets = [c._connection._network_stream.get_extra_info("socket") for c in busy.transport._pool.connections]
    child = os.fork()
    if not child:
        status = 1
        try:
            assert pool.leases == 0
            assert [each.fileno() for each in sockets] == [-1, -1], "the child still holds its parent's sockets"
            assert call(pool, request(FAMILY, server.url)) == b"half"
            busy.release()
            pool.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert len(server.accepted) == ours + 1, "the child has a connection of its own"
    until(lambda: server.ended == 1)
    assert call(pool, request(FAMILY, server.url)) == b"half"
    assert len(server.accepted) == ours + 1, "the parent's connection is as it was"
    assert pool.leases == 1
    open_body.close()
    busy.release()
    pool.close()
print("done")
"""


@every_family
def test_a_forked_child_opens_connections_of_its_own_and_leaves_its_parents_alone(family):
    assert _scripts.run(FORK.format(family=family.name)).endswith("done\n")


# -- the registry -----------------------------------------------------------------------------


@every_family
def test_C25_a_hung_downstream_never_delays_another(family):
    with serving(half) as hung, serving(answering) as healthy:
        pools = SyncPools(family, {}, streams=0)
        leases = [pools.get("hung", 2, env()).lease() for _ in range(2)]
        bodies = [lease.transport.handle_request(request(family, hung.url)) for lease in leases]
        began = time.monotonic()
        with pytest.raises(family.pool_timeout):
            call(pools.get("hung", 2, env("hung")), request(family, hung.url, pool=0.05))
        for _ in range(5):
            assert call(pools.get("healthy", 2, env("healthy")), request(family, healthy.url)) == b"ok"
        assert time.monotonic() - began < 1
        for body, lease in zip(bodies, leases, strict=True):
            body.close()
            lease.release(ok=False)
        pools.close()


@every_family
def test_C25_the_registry_is_bounded_and_evicts_what_has_rested_longest(family):
    with serving(answering) as server:
        pools = SyncPools(family, {}, most=3)
        names = {name: env(name) for name in "abcd"}
        for name in "abca":
            call(pools.get(name, 1, names[name]), request(family, server.url))
        assert len(server.accepted) == 3
        call(pools.get("d", 1, names["d"]), request(family, server.url))
        assert sorted(pools._pools) == ["a", "c", "d"]
        until(lambda: server.ended == 1)
        assert pools.get("a", 1, names["a"]) is pools._pools["a"]
        assert len(pools) == 3
        pools.close()
        until(lambda: server.ended == 4)


@every_family
def test_C25_what_is_in_use_is_never_evicted_and_further_keys_share_one_pool(family):
    pools = SyncPools(family, {}, most=2)
    held = [pools.get(name, 1, env(name)).lease() for name in "ab"]
    shared = [pools.get(f"other-{number}", 5, env()) for number in range(100)]
    assert len({id(each) for each in shared}) == 1
    assert len(pools) == 2
    held[0].release()
    assert pools.get("new", 1, env("new")) is not shared[0]
    assert sorted(pools._pools) == ["b", "new"]
    held[1].release()
    pools.close()


@every_family
def test_an_evicted_pool_comes_back_when_it_is_used_again(family):
    with serving(answering) as server:
        pools = SyncPools(family, {}, most=1)
        first, second = pools.get("a", 1, env("a")), pools.get("b", 1, env("b"))
        assert (first.evicted, second.evicted) == (True, False)
        for _ in range(3):
            call(first, request(family, server.url))
        assert (first.evicted, second.evicted) == (False, True)
        assert len(server.accepted) == 1, "it keeps its connection again"
        busy = first.lease()
        for number in (2, 3):
            call(second, request(family, server.url))
            assert len(server.accepted) == number
            until(lambda: server.ended == number - 1)  # noqa: B023 -- out of the registry it keeps none
        busy.release()
        pools.close()
        until(lambda: server.ended == 3)


@every_family
@pytest.mark.anyio
async def test_an_evicted_pool_of_tasks_is_closed_by_the_next_request(family, anyio_backend):
    with serving(answering) as server:
        pools = AsyncPools(family, {}, most=1)
        await acall(pools.get("a", 1, env("a")), request(family, server.url))
        await acall(pools.get("b", 1, env("b")), request(family, server.url))
        until(lambda: server.ended == 1)
        await pools.aclose()
        until(lambda: server.ended == 2)
        await acall(pools.get("b", 1, env("b")), request(family, server.url))
        await pools.aclose()
        until(lambda: server.ended == 3)


@every_family
def test_a_replaced_pipeline_brings_its_own_limit(family):
    pools = SyncPools(family, {}, streams=0)
    old, new = env("a"), env("a")
    pool = pools.get("a", 3, old)
    lease = pool.lease()
    assert pools.get("a", 3, new) is pool
    assert pool.lease().transport is lease.transport
    assert pools.get("a", 9, old) is pool
    assert pool.lease().transport._pool._max_connections == 9
    lease.release()
    assert pool.leases == 0
    pools.close()


@every_family
def test_a_crowd_of_threads_over_more_keys_than_pools_leaves_nothing_behind(family):
    with serving(answering) as server:
        pools = SyncPools(family, {}, most=3)
        envs = [env(str(number)) for number in range(6)]
        failures = []

        def work(seed):
            chance = random.Random(seed)
            try:
                for _ in range(60):
                    number = chance.randrange(6)
                    assert call(pools.get(str(number), 4, envs[number]), request(family, server.url)) == b"ok"
            except BaseException as error:
                failures.append(error)

        crowd = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for each in crowd:
            each.start()
        for each in crowd:
            each.join(20)
        assert failures == []
        assert len(pools) <= 3
        pools.close()
        until(lambda: server.ended == len(server.accepted))
        assert all(pool.leases == 0 for pool in pools._all())


# -- transports of others -----------------------------------------------------------------------


@every_family
@pytest.mark.anyio
async def test_C23_a_foreign_transport_is_closed_only_by_its_owner(family, anyio_backend):
    closed = []

    class Mine(family.module.MockTransport):
        def close(self):
            closed.append("close")

        async def aclose(self):
            closed.append("aclose")

    mine = Mine(lambda request: family.response(200, content=b"ok"))
    lent, given = Foreign(mine), Foreign(mine, closes=True)
    for pool in (lent, given):
        assert (pool.owned, pool.clamped) == (False, False)
        lease = pool.lease()
        assert lease.transport is mine
        lease.release(ok=False)
        lease.release()
        lease.end(ok=True)
        lease.drop()
        await pool.lease().arelease()
        await pool.lease().arelease(ok=False)
    lent.close()
    await lent.aclose()
    assert closed == []
    given.close()
    given.close()
    assert closed == ["close"]
    given.lease().release()
    await given.aclose()
    await given.aclose()
    assert closed == ["close", "aclose"]


@every_family
def test_a_familys_own_transport_that_was_given_is_left_alone(family):
    own = family.module.HTTPTransport()
    before = own._pool._network_backend
    Foreign(own).lease().release()
    assert own._pool._network_backend is before
