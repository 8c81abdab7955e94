"""CUBIC: the published sequences, to the last digit that matters."""

from __future__ import annotations

import math

import pytest

from resilient._machines.cubic import Backpressure, Cubic, Meter


def exactly(expected):
    return pytest.approx(expected, rel=1e-12)


def test_P2a_after_a_throttle_the_rate_follows_the_curve():
    cubic = Cubic()
    rates = [cubic.throttled(10, 5), *(cubic.grown(t) for t in range(6, 12))]
    assert rates == exactly(
        [
            7.0,
            9.64893600966,
            10.000030849917364,
            10.453284520772092,
            13.408697022224185,
            21.26626835427364,
            36.425998516920465,
        ]
    )


def test_P2b_throttles_and_growth_in_turn():
    cubic = Cubic()
    rate = cubic.throttled(10, 5)
    rates = []
    for t, throttled in ((5, 0), (6, 0), (7, 1), (8, 1), (9, 0), (10, 0), (11, 0), (12, 0)):
        rate = cubic.throttled(rate, t) if throttled else cubic.grown(t)
        if throttled:
            cubic.throttled(rate, t)  # the table takes the rate after the cut for the next plateau
        rates.append(rate)
    assert rates == exactly(
        [
            7.0,
            9.64893600966,
            6.754255206761999,
            4.727978644733399,
            4.670125557970046,
            4.770870456867401,
            6.011819748005445,
            10.792973431384178,
        ]
    )


def test_P2c_the_adaptive_mode_of_the_aws_sdks():
    table = """
        0.2 0 0.5; 0.4 0 0.5; 0.6 4.8 0.5; 0.8 4.8 0.5; 1.0 4.16 0.5; 1.2 4.16 0.6912; 1.4 4.16 1.0976;
        1.6 5.632 1.6384; 1.8 5.632 2.3328; 2.0 4.3264 3.02848; 2.2 4.3264 3.48663917347026;
        2.4 4.3264 3.821874416040255; 2.6 5.66528 4.053385727709987; 2.8 5.66528 4.200373108479454;
        3.0 4.333056 4.282036558348658; 3.2 4.333056 2.99742559084406; 3.4 4.333056 3.4522263943863463
    """
    meter = Meter(0.0)
    pressure = Backpressure(meter=meter)
    for row in table.split(";"):
        t, measured, fill = map(float, row.split())
        rate = pressure.throttled(t) if t in (2.0, 3.2) else pressure.succeeded(t)
        assert (meter.rate, rate) == (exactly(measured), exactly(fill)), t


def test_P2d_plateau_and_beta():
    cubic = Cubic()
    cubic.throttled(10, 0)
    assert cubic.plateau == exactly(1.9574338205844317)
    cubic.throttled(8, 0)
    assert cubic.plateau == exactly(1.8171205928321397)
    milder = Cubic(beta=0.6)
    assert milder.throttled(10, 3) == exactly(6.0)
    assert milder.grown(3) == exactly(6.0)


def test_P2e_measuring():
    meter = Meter(0.0)
    steady = [meter.step(float(t)) for t in range(1, 21)]
    assert steady[-1] == pytest.approx(1.0, rel=1e-9)
    meter = Meter(0.0)
    assert [meter.step(t) for t in (0.0, 0.1, 0.2, 0.3, 0.4, 0.49)] == [0] * 6
    burst = Meter(0.0)
    for t in (0.0, 0.1, 0.2, 0.3, 0.4):
        burst.step(t)
    assert burst.step(0.5) == exactly(12 * 0.8)


def test_pressure_rests_until_the_first_throttle_and_again_at_the_configured_rate():
    pressure = Backpressure(ceiling=10.0, floor=0.5)
    assert not pressure.active
    assert pressure.throttled(100.0) == exactly(7.0)
    assert pressure.active
    assert pressure.succeeded(101.0) == exactly(9.64893600966)
    assert pressure.active
    assert pressure.succeeded(102.0) == 10.0, "never above the configured rate"
    assert not pressure.active


def test_a_burst_of_throttles_ends_at_the_floor():
    pressure = Backpressure(ceiling=100.0, floor=1.0)
    rates = [pressure.throttled(7.0) for _ in range(20)]
    cuts = math.ceil(math.log(1 / 100) / math.log(0.7))
    assert rates[:3] == exactly([70.0, 49.0, 34.3])
    assert rates[cuts - 2] > 1.0
    assert rates[cuts - 1 :] == [1.0] * (20 - cuts + 1)
    assert pressure.lowest


def test_from_the_floor_the_rate_returns_within_seconds():
    pressure = Backpressure(ceiling=100.0, floor=1.0)
    for _ in range(20):
        pressure.throttled(0.0)
    reached = [pressure.succeeded(float(t)) for t in range(1, 9)]
    assert reached == sorted(reached)
    assert not pressure.active
