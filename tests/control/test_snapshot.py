"""What a process shows of itself: every downstream's state, those in trouble first, at a bounded size."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from resilient import Bulkhead, CircuitBreaker, Keyed, Pipeline, RateLimit, Retry, Timeout, events, faults, registry
from resilient.control import page
from resilient.control.host import Identity
from resilient.control.page import OwnPage
from resilient.control.pages import read_pages
from resilient.control.snapshot import MOST, OTHER, Showing, snapshot
from resilient.testing import FakeClock, use


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    before = registry.exchange({})
    yield
    registry.exchange(before)


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with use(FakeClock()) as fake:
        yield fake


class Counted:
    """What the statistics offer, with given numbers."""

    def __init__(self, live: Mapping[str, Mapping[str, object]] | None = None, totals: object = None) -> None:
        self._live = live or {}
        self._totals = totals or {"resilient_faults_total": [[[], 3]]}

    def totals(self) -> Counted:
        return self

    def encode(self) -> Any:
        return self._totals

    def live(self, name: str) -> Mapping[str, object]:
        return self._live.get(name, {"in_flight": 0, "rate": 0.0, "history": [0] * 60})


def shown(name: str, showing: Showing | None = None) -> dict[str, Any]:
    showing = showing or Showing(Identity.own("shop"))
    data = showing.snapshot(1, {})["downstreams"][name]
    assert isinstance(data, dict)
    return data


def trip(pipeline: Pipeline) -> None:
    def fail() -> None:
        raise OSError("down")

    for _ in range(5):
        with pytest.raises(OSError, match="down"):
            pipeline.call(fail)


def test_a_process_tells_who_it_is_and_what_it_has_applied() -> None:
    identity = Identity.own("shop")
    data = snapshot(identity, 7, {"reload": 2}, Counted())
    assert data["v"] == 1
    assert (data["app"], data["pid"], data["applied"]) == ("shop", os.getpid(), 7)
    assert data["instance"] == identity.instance
    assert data["errors"] == {"reload": 2}
    assert data["statistics"] is True
    failed = {"resilient_control_errors_total": [[["reload"], 2]]}
    assert data["totals"] == {"resilient_faults_total": [[[], 3]], **failed}
    assert data["downstreams"] == {}
    assert data["heartbeat"] >= data["started"]
    assert snapshot(identity, 0, {})["statistics"] is False


def test_a_downstream_shows_each_policy_beside_its_settings() -> None:
    Pipeline("pay", Timeout(2), Retry(), CircuitBreaker(min_calls=7), RateLimit(5), Bulkhead(3, queue=2))
    data = shown("pay")
    assert data["state"] == "closed"
    assert (data["share"], data["ramping"], data["retries"], data["holds"]) == (1.0, False, "on", [])
    breaker = data["breakers"]["circuit_breaker"]
    assert (breaker["state"], breaker["threshold"], breaker["min_calls"], breaker["calls"]) == ("closed", 0.5, 7, 0)
    assert data["bulkheads"] == {"bulkhead": {"limit": 3, "active": 0, "queued": 0}}
    assert data["rate_limits"]["rate_limit"]["rate"] == 5
    assert 0 < data["budget"] <= 1
    assert data["live"]["rate"] == 0


def test_a_pipeline_without_policies_is_shown_too() -> None:
    Pipeline("plain")
    data = shown("plain")
    assert (data["state"], data["breakers"], data["budget"]) == ("closed", {}, None)


def test_an_open_breaker_is_shown_with_the_time_and_the_cause_of_its_opening(clock: FakeClock) -> None:
    pipeline = Pipeline("pay", CircuitBreaker())
    showing = Showing(Identity.own("shop"))
    stop = events.subscribe(showing.heard)
    try:
        first = shown("pay", showing)
        trip(pipeline)
        data = shown("pay", showing)
    finally:
        stop()
    assert (data["state"], data["cause"]) == ("open", "consecutive")
    assert data["since"] >= first["since"]
    assert data["breakers"]["circuit_breaker"]["open_for"] > 0
    again = shown("pay", showing)
    assert (again["since"], again["cause"]) == (data["since"], data["cause"])
    clock.advance(60)
    pipeline.call(lambda: None)
    later = shown("pay", showing)
    assert (later["state"], later["cause"]) == ("half_open", "")


def test_holds_are_shown_before_what_breakers_say() -> None:
    pipeline = Pipeline("pay", Retry(), CircuitBreaker())
    hold = pipeline.hold("forced_open", reason="maintenance", expires=60)
    data = shown("pay")
    assert (data["state"], data["share"], data["holds"]) == ("forced_open", 0.0, [hold.id])
    hold.release()
    off = pipeline.hold("no_retries", reason="storm", expires=60)
    data = shown("pay")
    assert (data["retries"], data["holds"]) == ("off", [off.id])


def test_a_hold_of_the_breaker_alone_is_shown() -> None:
    pipeline = Pipeline("pay", CircuitBreaker())
    hold = pipeline[CircuitBreaker].hold("observe", reason="looking")
    assert shown("pay")["state"] == "observe"
    assert shown("pay")["holds"] == [hold.id]


def test_a_hold_on_a_part_of_the_calls_hides_no_open_breaker() -> None:
    pipeline = Pipeline("pay", CircuitBreaker())
    hold = pipeline.hold("forced_open", reason="shed load", expires=60, percent=30)
    data = shown("pay")
    assert (data["state"], data["share"], data["ramping"]) == ("forced_open", 0.7, False)
    hold.release()
    trip(pipeline)
    pipeline.hold("forced_open", reason="shed load", expires=60, percent=30)
    data = shown("pay")
    assert (data["state"], data["share"]) == ("open", 0.7)


def test_the_return_after_a_release_is_shown(clock: FakeClock) -> None:
    pipeline = Pipeline("plain")
    pipeline.hold("forced_open", reason="maintenance", expires=600).release()
    clock.advance(1)
    data = shown("plain")
    assert (data["state"], data["ramping"]) == ("closed", True)
    assert 0 < data["share"] < 1


def test_members_of_families_are_shown_by_their_names() -> None:
    hosts = Keyed("hosts", CircuitBreaker())
    trip(hosts["a"])
    assert shown("hosts[a]")["state"] == "open"


def test_of_too_many_downstreams_those_in_trouble_come_first_and_the_rest_is_one_row(clock: FakeClock) -> None:
    Pipeline("named")
    hosts = Keyed("hosts", CircuitBreaker(slow_call=1.0))
    plain = Keyed("plain")
    for number in range(MOST + 50):
        hosts[number].call(lambda: None)
        plain[number].call(lambda: None)
        clock.advance(0.001)
    trip(hosts[3])
    plain[7].hold("observe", reason="looking", expires=60)
    clock.advance(1)
    plain[11].call(lambda: None)
    data = snapshot(Identity.own("shop"), 1, {})
    names = list(data["downstreams"])
    assert len(names) == MOST + 1
    assert set(names[:2]) == {"hosts[3]", "plain[7]"}
    assert names[2:4] == ["named", "plain[11]"]
    assert data["names"] == 2 * (MOST + 50) + 1
    assert data["downstreams"][OTHER]["names"] == data["names"] - MOST
    assert data["downstreams"][OTHER].keys() >= shown("named").keys()


def test_the_text_is_what_was_shown_and_only_what_changed_is_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = Keyed('ho"sts\u2603', CircuitBreaker())
    for number in range(20):
        hosts[number].call(lambda: None)
    showing = Showing(Identity.own("shop"), Counted())
    first = json.loads(showing.encode(1, {}))
    assert len(first["downstreams"]) == 20
    sizes: list[int] = []
    real = json.dumps
    monkeypatch.setattr(json, "dumps", lambda data, **kw: sizes.append(1) or real(data, **kw))
    trip(hosts[3])
    text = showing.encode(2, {})
    assert len(sizes) == 1 + 2, "the frame, one name and one row"
    second = json.loads(text)
    changed = [name for name, row in second["downstreams"].items() if row != first["downstreams"][name]]
    assert changed == [hosts[3].name]


def test_a_page_shows_what_the_process_shows(tmp_path: Path) -> None:
    Pipeline("pay", CircuitBreaker())
    showing = Showing(Identity.own("shop"), Counted())
    own = OwnPage(tmp_path, showing.identity["instance"])
    showing.show(own, 3, {})
    (view,) = read_pages(tmp_path)
    assert view.alive
    assert view.age < 5
    assert view.data["applied"] == 3
    assert view.data["downstreams"]["pay"]["state"] == "closed"
    assert "truncated" not in view.data
    own.close()


def test_what_does_not_fit_is_shown_in_less_detail_and_reported_once(tmp_path: Path) -> None:
    noise = {f"many-{number}": {"history": [os.urandom(4000).hex()], "rate": 1.0} for number in range(50)}
    for name in noise:
        trip(Pipeline(name, CircuitBreaker()))
    big = {"pad": os.urandom(400_000).hex()}
    showing = Showing(Identity.own("shop"), Counted(noise, big))
    own = OwnPage(tmp_path, "one")
    for _ in range(3):
        showing.show(own, 3, {})
    (view,) = read_pages(tmp_path)
    assert view.data["truncated"] is True
    assert view.data["totals"] == big, "what was counted is never left out"
    assert view.data["downstreams"]["many-0"]["state"] == "open"
    assert "history" not in view.data["downstreams"]["many-0"]["live"]
    assert faults.total() == 3
    own.close()


def test_where_nothing_fits_the_text_before_stays(tmp_path: Path) -> None:
    showing = Showing(Identity.own("shop"), Counted({}, {"pad": os.urandom(page.MOST).hex()}))
    own = OwnPage(tmp_path, "one", first=b'{"v": 1, "n": 0}')
    showing.show(own, 3, {})
    assert read_pages(tmp_path)[0].data["n"] == 0
    assert faults.total() == 1
    own.close()
