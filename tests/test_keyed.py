"""A family of pipelines by key: separate state, bounded, and careful about whom it forgets."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc

import pytest

from resilient import BreakerOpen, Bulkhead, CircuitBreaker, ConfigError, Keyed, Retry, Timeout, clock


class Still(clock.SystemClock):
    """A clock that moves when told."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 1000.0
        self.now = lambda: self.time


@pytest.fixture
def still():
    fake = Still()
    previous = clock.install(fake)
    yield fake
    clock.install(previous)


def fail() -> None:
    raise OSError


def trip(family: Keyed, key: str) -> None:
    for _ in range(5):
        with pytest.raises(OSError):
            family.call(key, fail)


def test_members_share_configuration_and_code_but_no_state() -> None:
    family = Keyed("keyed-state", CircuitBreaker())
    trip(family, "bad")
    with pytest.raises(BreakerOpen) as refused:
        family.call("bad", int)
    assert refused.value.downstream == "keyed-state[bad]"
    assert family.call("good", int) == 0
    assert family["good"] is family["good"]
    assert family["good"].call.__code__ is family["bad"].call.__code__


def test_decorated_functions_find_their_member() -> None:
    family = Keyed("keyed-by", Retry(), CircuitBreaker())

    @family.by(lambda host, **_: host)
    async def fetch(host: str, *, path: str) -> str:
        return host + path

    assert asyncio.run(fetch("a", path="/x")) == "a/x"
    assert "a" in family
    with pytest.raises(TypeError, match="key"):
        family.by("host")  # type: ignore[arg-type]


def test_the_family_is_bounded_and_evicts_the_longest_at_rest(still: Still) -> None:
    family = Keyed("keyed-bound", CircuitBreaker(), most=3)
    for key in "abcdef":
        still.time += 1
        family.call(key, int)
    assert len(family) == 3
    assert "f" in family


def test_an_open_or_held_breaker_is_never_evicted(still: Still) -> None:
    family = Keyed("keyed-open", CircuitBreaker(), most=3, idle=10)
    trip(family, "open")
    family["held"].hold("observe", reason="watching", expires=None)
    for number in range(200):
        still.time += 60
        family.call(f"key-{number}", int)
        assert len(family) <= 3
    assert "open" in family
    assert "held" in family
    assert family["held"][CircuitBreaker].snapshot()["mode"] == "observe"


def test_a_member_with_calls_in_flight_is_never_evicted() -> None:
    family = Keyed("keyed-flight", Bulkhead(1), most=1)
    with family["busy"].permit():
        assert family.call("other", int) == 0
        assert "other" not in family
        assert family["third"].name == "keyed-flight[_other]"
        assert Keyed("keyed-flight", Bulkhead(1), most=1)["third"] is family["third"]
        assert set(family.snapshot()) == {"keyed-flight[busy]", "keyed-flight[_other]"}


def test_idle_members_go_when_asked(still: Still) -> None:
    family = Keyed("keyed-idle", CircuitBreaker(), idle=100)
    family.call("a", int)
    trip(family, "open")
    still.time += 99
    assert family.evict_idle() == 0
    still.time += 2
    assert family.evict_idle() == 1
    assert "open" in family


def test_one_member_per_key_under_threads() -> None:
    family = Keyed("keyed-threads", CircuitBreaker())
    barrier = threading.Barrier(8)
    seen: list[object] = []

    def work() -> None:
        barrier.wait()
        seen.extend(family[number] for number in range(50))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(each) for each in seen}) == 50


def test_bad_settings_show_at_construction() -> None:
    with pytest.raises(ConfigError, match="most"):
        Keyed("keyed-bad", most=0)
    with pytest.raises(ConfigError, match="Timeout"):
        Keyed("keyed-bad", Timeout(1), Timeout(2))
    Keyed("keyed-twice", Retry())
    with pytest.raises(ConfigError, match="keyed-twice"):
        Keyed("keyed-twice", Retry(5))


def test_a_keyed_breaker_is_small() -> None:
    family = Keyed("keyed-size", CircuitBreaker(), most=100_000)
    for number in range(50):
        family.call(f"warm-{number}", int)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(1000):
            family.call(f"host-{number}", int)
        each = (tracemalloc.get_traced_memory()[0] - before) / 1000
    finally:
        tracemalloc.stop()
    assert each < 4_000, f"{each:.0f} bytes for each member"
