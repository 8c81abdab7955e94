"""Delays: the published envelopes exactly, no overflow, never past the cap."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient._machines.backoff import CURVES, START, Curve, Growth, Tried

TRIED = Tried(1, 0.0, 0.0)
ALMOST_ONE = 1 - 2**-53


def curve(jitter: str, base: float = 0.05, cap: float = 20.0, throttled: float = 0.0) -> Curve:
    return Curve(base, cap, 2.0, throttled, jitter)


def series(settings: Curve, draws: list[float], throttled: bool = False) -> list[float]:
    growth = Growth(settings)
    return [growth.next(TRIED, draw, throttled=throttled) for draw in draws]


def test_P11_aws_ceilings():
    expected = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20, 20]
    assert series(curve("full"), [1.0] * 11) == pytest.approx(expected, rel=1e-12)


def test_P11_grpc_centres_and_spread():
    settings = curve("grpc", base=0.1, cap=1.0)
    centres = [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert series(settings, [0.5] * 6) == pytest.approx(centres, rel=1e-12)
    assert series(settings, [0.0] * 6) == pytest.approx([0.8 * each for each in centres], rel=1e-12)
    assert series(settings, [1.0] * 6) == pytest.approx([1.2 * each for each in centres], rel=1e-12)


def test_P11_envoy_ceilings():
    settings = curve("envoy", base=0.025, cap=0.25)
    assert series(settings, [1.0] * 4) == pytest.approx([0.025, 0.075, 0.175, 0.25], rel=1e-12)


def test_P11_polly_medians_means_and_maxima():
    medians = [0.896, 1.138, 2.011, 4.017, 7.922, 15.92]
    means = [0.872, 1.157, 2.077, 4.138, 8.183, 16.49]
    highest = [1.38, 2.79, 4.31, 8.54, 17.1, 34.2]
    draw = random.Random(20).random
    settings = curve("polly", base=1.0, cap=1e6)
    columns = list(zip(*(series(settings, [draw() for _ in range(6)]) for _ in range(20_000)), strict=True))
    assert [statistics.median(each) for each in columns] == pytest.approx(medians, rel=0.03)
    assert [statistics.fmean(each) for each in columns] == pytest.approx(means, rel=0.03)
    assert [max(each) for each in columns] == pytest.approx(highest, rel=0.03)
    assert max(min(each) for each in columns) < 0.2


def test_decorrelated_grows_from_the_last_delay():
    # Uniform between the base and three times the last delay; the first counts the base as last.
    assert series(curve("decorrelated", base=1.0), [0.5, 0.5, 0.0, 1.0, 1.0, 1.0, 1.0]) == pytest.approx(
        [2.0, 3.5, 1.0, 3.0, 9.0, 20.0, 20.0]
    )


def test_equal_jitter_keeps_half_and_fixed_keeps_all():
    assert series(curve("equal", base=1.0), [0.0, 0.0, 1.0]) == [0.5, 1.0, 4.0]
    assert series(curve("fixed", base=1.0), [0.0, 0.7, 1.0]) == [1.0, 1.0, 1.0]
    assert series(curve("none", base=1.0, cap=3.0), [0.0, 0.7, 1.0]) == [1.0, 2.0, 3.0]


def test_a_throttle_raises_the_base_and_only_then():
    settings = curve("full", throttled=1.0)
    growth = Growth(settings)
    assert growth.next(TRIED, 1.0, throttled=True) == 1.0
    assert growth.next(TRIED, 1.0, throttled=False) == 0.1
    assert growth.next(TRIED, 1.0, throttled=True) == 4.0
    assert series(curve("full", base=3.0, throttled=1.0), [1.0], throttled=True) == [3.0]
    for jitter in ("full", "fixed"):
        assert series(curve(jitter, cap=0.5, throttled=1.0), [1.0], throttled=True) == [0.5]


def test_P16_after_a_pushback_the_own_delay_is_the_first_again():
    growth = Growth(curve("grpc", base=0.1, cap=1.0))
    assert [growth.next(TRIED, 0.5, throttled=False) for _ in range(3)] == pytest.approx([0.1, 0.2, 0.4])
    growth.restart()
    assert [growth.next(TRIED, 0.5, throttled=False) for _ in range(2)] == pytest.approx([0.1, 0.2])


def test_after_a_pushback_the_smooth_curve_starts_anew_too():
    growth = Growth(curve("polly", base=1.0, cap=1e6))
    first = [growth.next(TRIED, 0.5, throttled=False) for _ in range(4)]
    growth.restart()
    assert [growth.next(TRIED, 0.5, throttled=False) for _ in range(4)] == first


@given(
    st.sampled_from(sorted(CURVES)),
    st.floats(0, 1e6),
    st.floats(0, 1e9),
    st.floats(1, 1e6),
    st.lists(st.tuples(st.floats(0, ALMOST_ONE), st.booleans()), min_size=1, max_size=30),
    st.sampled_from([0, 900, 10**6]),
)
def test_T37_T38_delays_stay_within_bounds(jitter, base, more, multiplier, draws, skip):
    cap = base + more
    settings = Curve(base, cap, multiplier, 1.0, jitter)
    state = START
    for retry, (draw, throttled) in enumerate(draws, start=1 + skip):
        delay, state = settings.delay(retry, state, draw, throttled=throttled)
        assert 0 <= delay <= cap * (1.2 if jitter == "grpc" else 1.0)


@pytest.mark.parametrize("jitter", sorted(CURVES))
def test_T37_the_millionth_retry_waits_for_the_cap(jitter):
    delay, _ = curve(jitter, base=0.05, cap=20.0).delay(10**6, 20.0, ALMOST_ONE)
    assert delay == pytest.approx({"fixed": 0.05, "grpc": 24.0}.get(jitter, 20.0))


@pytest.mark.parametrize("jitter", sorted(CURVES))
def test_a_base_of_zero_means_no_wait(jitter):
    settings = Curve(0.0, 20.0, 2.0, 0.0, jitter)
    assert [settings.delay(retry, START, 0.9)[0] for retry in (1, 2, 2000)] == [0.0, 0.0, 0.0]
