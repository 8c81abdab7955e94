"""The classifier: one verdict for all policies, and hostile hints, groups and callbacks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import math
from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient import (
    BreakerOpen,
    CallTimeout,
    Certainty,
    Classifier,
    ConfigError,
    Outcome,
    Unguardable,
    Verdict,
    faults,
    from_status,
)
from resilient.outcome import thrown_away, usable_hint


class HintedError(Exception):
    def __init__(self, retry_after: object) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class HostileError(Exception):
    @property
    def retry_after(self) -> float:
        raise RuntimeError


PLAIN = Classifier()


def test_an_exception_is_a_failure_and_carries_its_hint() -> None:
    assert PLAIN.of_error(OSError()) == Verdict(Outcome.FAILURE)
    assert PLAIN.of_error(HintedError(2)).retry_after == 2.0
    assert PLAIN.of_error(HintedError(timedelta(seconds=3))).retry_after == 3.0


@pytest.mark.parametrize("hint", [-1, math.nan, math.inf, "5", True, None, 10**400, object()])
def test_a_hint_that_makes_no_sense_is_ignored(hint: object) -> None:
    assert PLAIN.of_error(HintedError(hint)) == Verdict(Outcome.FAILURE)


def test_a_hostile_property_is_no_hint() -> None:
    assert PLAIN.of_error(HostileError()) == Verdict(Outcome.FAILURE)


@given(st.one_of(st.floats(), st.integers(), st.text(), st.none(), st.timedeltas()))
def test_a_usable_hint_is_finite_and_not_negative(value: object) -> None:
    hint = usable_hint(value)
    assert hint is None or (math.isfinite(hint) and hint >= 0)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit(), SystemExit()])
def test_what_is_no_exception_is_inconclusive(error: BaseException) -> None:
    assert PLAIN.of_error(error).outcome is Outcome.INCONCLUSIVE


def test_our_refusals_say_nothing_about_the_downstream() -> None:
    verdict = PLAIN.of_error(BreakerOpen("d", "circuit_breaker", 3.0))
    assert verdict == Verdict(Outcome.INCONCLUSIVE, Certainty.NOT_SENT, 3.0)
    assert PLAIN.of_error(Unguardable("no")).outcome is Outcome.INCONCLUSIVE


def test_a_cut_attempt_counts_only_if_it_ran_half_of_its_timeout() -> None:
    assert PLAIN.of_error(CallTimeout("d", "timeout", 2.0, 1.0)).outcome is Outcome.FAILURE
    assert PLAIN.of_error(CallTimeout("d", "timeout", 2.0, 0.999)).outcome is Outcome.INCONCLUSIVE


def test_the_gravest_leaf_of_a_group_decides() -> None:
    group = ExceptionGroup("g", [BreakerOpen("d", "b"), ExceptionGroup("h", [HintedError(4)])])
    assert PLAIN.of_error(group) == Verdict(Outcome.FAILURE, retry_after=4.0)
    only = ExceptionGroup("g", [BreakerOpen("d", "b")])
    assert PLAIN.of_error(only).outcome is Outcome.INCONCLUSIVE
    mixed = BaseExceptionGroup("g", [KeyboardInterrupt(), OSError()])
    assert PLAIN.of_error(mixed).outcome is Outcome.INCONCLUSIVE


def test_a_users_classifier_sees_leaves_and_decides() -> None:
    missing = Classifier(error=lambda error: Outcome.SUCCESS if isinstance(error, KeyError) else None)
    assert missing.of_error(ExceptionGroup("g", [KeyError()])).outcome is Outcome.SUCCESS
    assert missing.of_error(OSError()).outcome is Outcome.FAILURE
    throttling = Classifier(error=lambda _: Outcome.THROTTLED)
    assert throttling.of_error(HintedError(7)) == Verdict(Outcome.THROTTLED, retry_after=7.0)
    stated = Classifier(error=lambda _: Verdict(Outcome.FAILURE, Certainty.NOT_SENT, math.nan))
    assert stated.of_error(HintedError(7)) == Verdict(Outcome.FAILURE, Certainty.NOT_SENT, 7.0)


def test_a_raising_classifier_is_reported_once_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: object) -> Outcome:
        raise ZeroDivisionError

    classifier = Classifier(error=broken, result=broken)
    with caplog.at_level(logging.ERROR, "resilient"):
        assert classifier.of_error(OSError()).outcome is Outcome.FAILURE
        assert classifier.of_result(1).outcome is Outcome.SUCCESS
        assert classifier.of_error(OSError()).outcome is Outcome.FAILURE
    assert len(caplog.records) == 1
    assert faults.total() == 3


def test_a_classifier_that_answers_nonsense_is_reported_and_ignored() -> None:
    classifier = Classifier(error=lambda _: "failure", result=lambda _: 3)  # type: ignore[arg-type, return-value]
    assert classifier.of_error(OSError()).outcome is Outcome.FAILURE
    assert classifier.of_result(1).outcome is Outcome.SUCCESS
    assert faults.total() == 2


@pytest.mark.parametrize(
    ("status", "hint", "outcome"),
    [
        (200, None, Outcome.SUCCESS),
        (404, None, Outcome.SUCCESS),
        (408, None, Outcome.FAILURE),
        (429, None, Outcome.THROTTLED),
        (429, 3.0, Outcome.THROTTLED),
        (500, None, Outcome.FAILURE),
        (503, None, Outcome.FAILURE),
        (503, 2.0, Outcome.THROTTLED),
        (503, -2.0, Outcome.FAILURE),
        (504, 2.0, Outcome.FAILURE),
    ],
)
def test_http_statuses(status: int, hint: float | None, outcome: Outcome) -> None:
    assert from_status(status, hint).outcome is outcome


@pytest.mark.parametrize("value", [3, "f", Outcome.FAILURE])
def test_a_classifier_refuses_what_cannot_be_called(value: object) -> None:
    with pytest.raises(TypeError, match="result"):
        Classifier(result=value)  # type: ignore[arg-type]


def test_a_cancelled_future_of_a_pool_is_inconclusive() -> None:
    assert PLAIN.of_error(concurrent.futures.CancelledError()).outcome is Outcome.INCONCLUSIVE


def test_our_own_configuration_errors_blame_nobody() -> None:
    assert PLAIN.of_error(ConfigError("max_wait must be ...")).outcome is Outcome.INCONCLUSIVE


def test_what_a_closed_coroutine_leaves_behind_is_seen_through_its_context() -> None:
    def closing() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise OSError

    generator = closing()
    next(generator)
    with pytest.raises(OSError) as caught:
        generator.close()
    assert thrown_away(caught.value)
    assert thrown_away(GeneratorExit())
    assert not thrown_away(OSError())
