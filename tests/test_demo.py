"""The demo keeps what it promises, and notices when the promise is broken."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from examples.common.traffic import arrivals
from examples.outage import summary, verdict
from examples.outage.board import Board
from examples.outage.clients import FAMILIES
from examples.outage.phases import PHASES, TOTAL, Phase, Timeline
from examples.outage.protected import Protected
from examples.outage.server import Service
from examples.outage.tally import FALLBACK, FRESH, Tally, percentile
from examples.outage.unprotected import Unprotected
from resilient.testing import isolated

ROOT = Path(__file__).parent.parent


@pytest.mark.alone
@pytest.mark.timeout(90)
@pytest.mark.parametrize("family", [FAMILIES[0], pytest.param(FAMILIES[1], marks=pytest.mark.soak)])
def test_a_short_outage_is_survived_and_the_figures_add_up(family: str) -> None:
    command = [sys.executable, "-m", "examples.outage", "--family", family, "--seconds", "6", "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=80)
    result = json.loads(done.stdout)

    assert done.returncode == 0, result["checks"]
    assert result["holds"] is True
    assert all(check["holds"] for check in result["checks"])
    protected, unprotected = result["protected"], result["unprotected"]
    assert result["family"] == family
    assert protected["calls"] == unprotected["calls"] > 500
    for side in (protected, unprotected):
        assert side["answered"] == side[FRESH] + side[FALLBACK]
        assert side["calls"] == side["answered"] + side["errors"]
    assert unprotected[FALLBACK] == 0
    assert unprotected["received_total"] <= unprotected["calls"], "the plain client never retries"
    assert protected["transitions"][0] == "open"
    assert protected["rejections"]["breaker_open"] > 0
    assert protected["received"]["failing"] * 5 <= unprotected["received"]["failing"]


def result_of(answered: int, p99: float, failing: int) -> dict[str, Any]:
    return {"answered": answered, "latency": {"p99": p99}, "received": {"failing": failing}}


def test_the_verdict_holds_when_protection_was_better_in_all_three() -> None:
    found = verdict.checks(result_of(11, 0.9, 20), result_of(10, 1.0, 100))

    assert [check.holds for check in found] == [True, True, True]


@pytest.mark.parametrize(
    ("protected", "broken"),
    [
        (result_of(10, 0.9, 20), 0),
        (result_of(11, 1.0, 20), 1),
        (result_of(11, 0.9, 21), 2),
    ],
)
def test_the_verdict_names_the_claim_that_fails(protected: dict[str, Any], broken: int) -> None:
    found = verdict.checks(protected, result_of(10, 1.0, 100))

    assert [index for index, check in enumerate(found) if not check.holds] == [broken]


def test_the_verdict_needs_traffic_to_compare_with() -> None:
    found = verdict.checks(result_of(1, 0.1, 0), result_of(0, 1.0, 0))

    assert not found[2].holds


def test_the_same_seed_gives_both_sides_the_same_callers() -> None:
    schedule = arrivals(seed=7, seconds=20.0, rate=50.0)

    assert schedule == arrivals(seed=7, seconds=20.0, rate=50.0)
    assert schedule != arrivals(seed=8, seconds=20.0, rate=50.0)
    assert 800 < len(schedule) < 1200
    assert all(before.at < after.at for before, after in pairwise(schedule))
    assert {arrival.kind for arrival in schedule} == {"threads", "asyncio"}


def test_percentiles_are_of_the_values_seen() -> None:
    values = [float(value) for value in range(100, 0, -1)]

    assert percentile(values, 0.5) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile(values, 1.0) == 100.0
    assert percentile([3.0], 0.5) == 3.0
    assert percentile([], 0.99) == 0.0


def test_a_tally_counts_by_phase_and_reports_recent_latencies_once() -> None:
    tally = Tally()
    for result in (FRESH, FALLBACK, "ReadTimeout"):
        tally.begin()
        tally.end("slow", result, 2.0)
    tally.begin()

    first, second = tally.report(), tally.report()

    assert first["phases"] == {"slow": {FRESH: 1, FALLBACK: 1, "ReadTimeout": 1}}
    assert (first["latency"]["p99"], second["latency"]["p99"]) == (2.0, 0.0)
    assert first["in_flight"] == 1
    assert tally.total()["latency"]["p99"] == 2.0


@pytest.mark.parametrize("seconds", [TOTAL, 10.0])
def test_every_phase_comes_in_order_and_the_last_one_stays(seconds: float) -> None:
    timeline = Timeline(seconds)
    names = [timeline.at(seconds * step / 1000).phase.name for step in range(1100)]

    assert list(dict.fromkeys(names)) == [phase.name for phase in PHASES]
    assert names[-1] == PHASES[-1].name


def test_a_recovering_service_gets_better_as_time_goes_by() -> None:
    begin = sum(phase.seconds for phase in PHASES[:5])
    early, late = Timeline().at(begin + 0.1), Timeline().at(begin + 3.9)

    assert early.phase.name == late.phase.name == "recovering"
    assert early.service > late.service
    assert early.errors > late.errors


def test_the_board_shows_what_each_side_sees() -> None:
    board = Board(Timeline())
    board.elapsed = 2.0
    board.from_client("unprotected", {"phases": {"slow": {FRESH: 3, "ReadTimeout": 2}}})
    board.from_server("unprotected", {"received": {"slow": 50}, "waiting": 9})

    rows = {label: (protected, unprotected) for label, protected, unprotected in board.rows()}

    assert rows["fresh"] == ("0", "3")
    assert rows["errors"] == ("0", "2")
    assert rows["server gets"] == ("0/s", "25/s")
    assert rows["server queue"] == ("0", "9")


def test_the_summary_says_which_claim_fails() -> None:
    latencies = {"latency": {"p99": 0.9}, "fresh_latency": {"p99": 0.9}}
    side = {
        "calls": 1,
        FRESH: 1,
        FALLBACK: 0,
        "errors": 0,
        "phases": {"slow": {FRESH: 1}},
        "received": {"slow": 1},
        "received_total": 1,
        "retries": 0,
        "rejections": {"breaker_open": 4},
        "transitions": ["open"],
        **latencies,
    }
    check = verdict.Check("more calls answered", 1, 1, holds=False)
    result = {
        "protected": side,
        "unprotected": side,
        "family": "httpx2",
        "definitions": verdict.definitions("httpx2"),
        "checks": [check.as_dict()],
    }

    text = "\n".join(summary.lines(result))

    assert "FAILS: more calls answered: 1 against 1" in text
    assert "4 breaker_open" in text
    assert "closed -> open" in text


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["protected", "unprotected"])
def test_each_side_calls_through_the_library_it_was_told(name: str, family: str) -> None:
    other = ({"httpx", "httpx2"} - {family}).pop()
    code = f"import sys; from examples.outage.clients import choose; choose({name!r}, 'http://localhost', {family!r})\n"
    code += f"print({family!r} in sys.modules, {other!r} in sys.modules, 'resilient' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=20
    )

    assert done.stdout.split() == ["True", "False", str(name == "protected")]


@contextlib.asynccontextmanager
async def living(phase: Phase) -> AsyncIterator[tuple[Service, str]]:
    """A service that stays in one phase, and its address."""
    service = Service(Timeline(30.0, [phase]))
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    service.start()
    try:
        yield service, f"http://{host}:{port}"
    finally:
        server.close()


HEALTHY = Phase(name="healthy", seconds=30.0, service=(0, 0), errors=(0, 0))
CLOSED = Phase(name="closed", seconds=30.0, closed=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_known_rates_answer_when_the_service_does_not(family: str) -> None:
    async def scenario() -> None:
        async with living(HEALTHY) as (service, url):
            side, plain = Protected(url, family), Unprotected(url, family)
            assert [await asyncio.to_thread(side.ask), await side.aask()] == [FRESH, FRESH]
            service.timeline = Timeline(30.0, [CLOSED])
            assert [await asyncio.to_thread(side.ask), await side.aask()] == [FALLBACK, FALLBACK]
            with pytest.raises(Exception, match="503"):
                await plain.aask()
            await side.close()
            await plain.close()

    with isolated():
        asyncio.run(scenario())


@pytest.mark.parametrize("family", FAMILIES)
def test_without_known_rates_the_caller_gets_what_happened(family: str) -> None:
    async def scenario() -> None:
        async with living(CLOSED) as (service, url):
            side = Protected(url, family)
            with pytest.raises(Exception, match="503"):
                await side.aask()
            with pytest.raises(importlib.import_module(family).TransportError, match="rate limit reached"):
                await asyncio.to_thread(side.ask)
            assert service.received == {"closed": 1}, "the service asked for 30 s of peace"
            await side.close()

    with isolated():
        asyncio.run(scenario())


def ask(address: tuple[str, int]) -> tuple[int, str | None]:
    """Return status and Retry-After of one request, or 0 for a broken connection."""
    connection = http.client.HTTPConnection(*address, timeout=5)
    try:
        connection.request("GET", "/rates")
        response = connection.getresponse()
        return response.status, response.getheader("Retry-After")
    except ConnectionResetError:
        return 0, None
    finally:
        connection.close()


async def answers_of(phase: Phase, number: int) -> list[tuple[int, str | None]]:
    """Ask a service that stays in one phase so many times at once, over real sockets."""
    service = Service(Timeline(30.0, [phase]), workers=4)
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    service.start()
    try:
        asked = [asyncio.to_thread(ask, address) for _ in range(number)]
        found = await asyncio.gather(*asked)
    finally:
        server.close()
    assert service.received == {phase.name: number}
    return found


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        (Phase(name="p", seconds=1.0, service=(0, 0), errors=(0, 0)), {(200, None)}),
        (Phase(name="p", seconds=1.0, service=(0, 0), errors=(1, 1)), {(500, None), (0, None)}),
        (Phase(name="p", seconds=1.0, quota=0), {(429, "1")}),
        (Phase(name="p", seconds=1.0, closed=True), {(503, "30")}),
    ],
)
def test_the_service_answers_as_the_phase_says(phase: Phase, expected: set[tuple[int, str | None]]) -> None:
    assert set(asyncio.run(answers_of(phase, 40))) == expected


def test_a_quota_lets_so_many_through_each_second() -> None:
    phase = Phase(name="throttling", seconds=1.0, service=(0, 0), errors=(0, 0), quota=5)

    found = [status for status, _ in asyncio.run(answers_of(phase, 60))]

    assert found.count(200) in {5, 10}, "one second, or two when it turned meanwhile"
    assert found.count(429) == 60 - found.count(200)


def test_requests_stand_in_line_for_a_worker() -> None:
    phase = Phase(name="slow", seconds=1.0, service=(0.1, 0.1), errors=(0, 0))

    began = time.monotonic()
    asyncio.run(answers_of(phase, 12))

    assert time.monotonic() - began >= 0.3, "four workers need three rounds of 0.1 s"
