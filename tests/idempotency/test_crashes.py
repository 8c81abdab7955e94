"""Processes that are killed at every step, with duplicates at the same time: done at most once, answered alike."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from resilient import Backoff, Pipeline, Retry, Timeout
from resilient.idempotency import KeyBook, derived_key, idempotency_key
from resilient.stores import SqliteStore
from tests.idempotency._service import DOUBTFUL, FREE, LEASE, POINTS, ROOT, Ledger, Process, service, serving, until

DUPLICATES = 4
SECRET = b"a secret of sixteen bytes or more"


def post(url: str, order: str, key: str, family: Any = httpx2) -> Any:
    """Send one request, without any retry; return the response, or the error."""
    with family.Client(verify=False, trust_env=False, timeout=10) as client:
        try:
            return client.post(f"{url}/charges", content=order.encode(), headers={"Idempotency-Key": key})
        except (family.TransportError, OSError) as error:
            return error


def together(url: str, order: str, key: str) -> list[Any]:
    """Send duplicates at the same time, with both client libraries."""
    results: list[Any] = []
    families = [httpx, httpx2] * (DUPLICATES // 2)
    threads = [threading.Thread(target=lambda f=f: results.append(post(url, order, key, f))) for f in families]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def answers(results: list[Any]) -> list[Any]:
    return [each for each in results if not isinstance(each, Exception)]


def problem(response: Any) -> str:
    return str(response.json()["type"]).rpartition(":")[2]


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_any_step_executes_at_most_once(tmp_path: Path, point: str) -> None:
    ledger = Ledger(tmp_path)
    with Process(tmp_path, point) as first:
        early = together(first.url, "order-1", "key-1")
        assert first.died() == signal.SIGKILL
    assert len(ledger.lines) == POINTS[point]
    receipts = {each.content for each in answers(early) if each.status_code == 201}
    if point in (*FREE, *DOUBTFUL):
        assert receipts == set(), "no client has seen what is not recorded"
    with Process(tmp_path) as second:
        late = together(second.url, "order-1", "key-1")
        assert len(answers(late)) == DUPLICATES
        if point in DOUBTFUL:
            assert {(each.status_code, problem(each)) for each in late} <= {(409, "in-progress"), (409, "in-doubt")}
            assert all(1 <= int(each.headers["retry-after"]) <= 60 for each in late)
            time.sleep(LEASE + 0.1)
            late = together(second.url, "order-1", "key-1")
            assert {problem(each) for each in late} == {"in-doubt"}
            assert len(ledger.lines) == POINTS[point], "never executed again"
            resolved(tmp_path, second.url, late[0].json()["key_id"], done=bool(ledger.lines))
        else:
            statuses = Counter(each.status_code for each in late)
            assert statuses[201] >= 1
            assert set(statuses) <= {201, 409}
            receipts |= {each.content for each in late if each.status_code == 201}
            if point not in FREE:
                assert statuses[201] == DUPLICATES
                assert all(each.headers["idempotency-replayed"] == "true" for each in late)
            final = post(second.url, "order-1", "key-1")
            assert receipts == {final.content}, "byte by byte"
        assert post(second.url, "order-2", "key-1").status_code == 422
    assert ledger.lines == ["order-1"]


def resolved(folder: Path, url: str, key_id: str, *, done: bool) -> None:
    """What an operator does: look into the ledger, then say what is known."""
    store = SqliteStore(folder / "keys.db", patience=10)
    book = KeyBook(store, patience=20)
    assert book.resolve(key_id, "done" if done else "forget") is True
    store.close()
    response = post(url, "order-1", "key-1")
    if done:
        assert (response.status_code, problem(response)) == (409, "not-kept")
    else:
        assert (response.status_code, "idempotency-replayed" in response.headers) == (201, False)


@pytest.mark.parametrize(
    ("servers", "orders", "kills"), [(2, 12, 3), pytest.param(4, 400, 120, marks=pytest.mark.soak)]
)
def test_servers_that_are_killed_at_random_execute_each_order_at_most_once(
    tmp_path: Path, servers: int, orders: int, kills: int
) -> None:
    dice = random.Random(7)
    running = [Process(tmp_path) for _ in range(servers)]
    receipts: dict[str, set[bytes]] = {f"order-{number}": set() for number in range(orders)}
    doubts: set[str] = set()
    lock = threading.Lock()
    left = [order for order in receipts for _ in range(2)]  # two clients for each order
    dice.shuffle(left)

    def client(seed: int) -> None:
        mine = random.Random(seed)
        while True:
            with lock:
                if not left:
                    return
                order = left.pop()
            for _ in range(200):
                response = post(mine.choice(running).url, order, f"key of {order}")
                if not isinstance(response, Exception):
                    if response.status_code == 201:
                        receipts[order].add(response.content)
                        break
                    assert response.status_code == 409, response.text
                    if problem(response) == "in-doubt":
                        doubts.add(order)
                        break
                time.sleep(mine.uniform(0.01, 0.05))
            else:
                raise AssertionError(order)

    errors: list[BaseException] = []

    def guarded(seed: int) -> None:
        try:
            client(seed)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(kills):
        time.sleep(dice.uniform(0.05, 0.3))
        place = dice.randrange(servers)
        running[place].kill()
        running[place] = Process(tmp_path)
    for thread in threads:
        thread.join(300)
    for each in running:
        each.kill()
    assert errors == []
    done = Counter(Ledger(tmp_path).lines)
    assert set(done.values()) <= {1}, "each order at most once"
    for order, bodies in receipts.items():
        assert len(bodies) <= 1, "and answered alike"
        assert bodies or order in doubts
        assert not bodies or done[order] == 1


CLIENT = """
import sys
import httpx2
from resilient import standard
from resilient.httpx2 import client
from resilient.idempotency import derived_key, idempotency_key
url, order = sys.argv[1:]
key = derived_key({secret!r}, tenant="acme", operation="charge", intent=order)
with client(standard("payments"), verify=False) as payments, idempotency_key(key):
    print(payments.post(url, content=order.encode()).text, flush=True)
"""


def test_a_client_that_crashes_comes_back_in_a_new_process_with_the_same_key(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    command = [sys.executable, "-c", CLIENT.format(secret=SECRET)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    with serving(service(tmp_path, work=lambda _: 1.0 if len(ledger.lines) == 1 else 0, wait=10)) as url:
        asked = [*command, f"{url}/charges", "order-1"]
        first = subprocess.Popen(asked, stdout=subprocess.PIPE, env=environment)
        until(lambda: ledger.lines)
        first.kill()
        assert first.communicate(timeout=10)[0] == b""
        receipts = set()
        for _ in range(2):
            done = subprocess.run(asked, capture_output=True, text=True, timeout=30, env=environment, check=True)
            receipts.add(done.stdout)
        assert len(receipts) == 1
        assert receipts.pop().startswith("receipt 1 for order-1")
        key = derived_key(SECRET, tenant="acme", operation="charge", intent="order-1")
        assert post(url, "order-1", key).headers["idempotency-replayed"] == "true"
    assert ledger.lines == ["order-1"]


def test_a_block_in_this_process_is_the_same_operation_as_a_child_had(tmp_path: Path) -> None:
    """The reverse of the above: the key is all that two processes share."""
    import resilient.httpx2

    key = derived_key(SECRET, tenant="acme", operation="charge", intent="order-1")
    patient = Pipeline("crash-block", Retry(attempts=4, backoff=Backoff(base=0.01)), Timeout(5))
    with serving(service(tmp_path, work=lambda _: 0.0)) as url:
        first = post(url, "order-1", key)
        with resilient.httpx2.client(patient, verify=False) as client, idempotency_key(key):
            assert client.post(f"{url}/charges", content=b"order-1").content == first.content
    assert Ledger(tmp_path).lines == ["order-1"]
