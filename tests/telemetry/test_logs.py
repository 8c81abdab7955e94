"""A storm of refusals is one line in ten seconds, and what operators do is never overlooked."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

import pytest

from resilient import CircuitBreaker, Pipeline, log_events
from resilient.testing import FakeClock, isolated, use


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    kept: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = kept.append
    logger = logging.getLogger("resilient")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    with isolated():
        stop = log_events()
        yield kept
        stop()
    logger.setLevel(before)
    logger.removeHandler(handler)


def down() -> None:
    raise OSError("down")


def refuse(pipeline: Pipeline, times: int) -> None:
    for _ in range(times):
        with contextlib.suppress(Exception):
            pipeline.call(down)


def summaries(records: list[logging.LogRecord]) -> list[str]:
    return [record.getMessage() for record in records if record.event == "resilient.call.rejections"]


def test_the_first_refusal_is_told_at_once_and_the_others_together(records: list[logging.LogRecord]) -> None:
    with use(FakeClock()) as clock:
        pipeline = Pipeline("storm", CircuitBreaker(consecutive=1, open_for=60, jitter=0))
        refuse(pipeline, 101)
        assert summaries(records) == ["resilient.call.rejections storm reason=breaker_open count=1"]
        clock.advance(10)
        refuse(pipeline, 5)
        assert summaries(records)[1:] == ["resilient.call.rejections storm reason=breaker_open count=100 in 10 s"]
    (last,) = [record for record in records if record.event == "resilient.call.rejections"][1:]
    assert (last.levelname, last.name) == ("WARNING", "resilient.call")
    assert (last.resilient_downstream, last.resilient_reason, last.resilient_count) == ("storm", "breaker_open", "100")


def test_each_downstream_and_reason_has_its_line(records: list[logging.LogRecord]) -> None:
    one, other = Pipeline("one", CircuitBreaker(consecutive=1)), Pipeline("other")
    other.hold("forced_open", reason="maintenance", expires=60)
    refuse(one, 3)
    refuse(other, 3)
    assert summaries(records) == [
        "resilient.call.rejections one reason=breaker_open count=1",
        "resilient.call.rejections other reason=forced_open count=1",
    ]


def test_threads_tell_together_once(records: list[logging.LogRecord]) -> None:
    pipeline = Pipeline("threads", CircuitBreaker(consecutive=1, open_for=60))
    threads = [threading.Thread(target=refuse, args=(pipeline, 50)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert len(summaries(records)) == 1


def test_a_hold_is_a_warning_that_says_who_why_and_how_long(records: list[logging.LogRecord]) -> None:
    Pipeline("held", CircuitBreaker()).hold("forced_open", reason="bank closed", actor="ann", expires=60)
    (applied,) = [record for record in records if record.event == "resilient.override.applied"]
    assert (applied.levelname, applied.name) == ("WARNING", "resilient.override")
    assert (applied.resilient_reason, applied.resilient_actor, applied.resilient_mode) == (
        "bank closed",
        "ann",
        "forced_open",
    )
    assert "reason=bank closed" in applied.getMessage()


def test_news_of_the_control_directory_is_one_line_with_or_without_log_events(records: list[logging.LogRecord]) -> None:
    from resilient.control.news import tell

    tell("resilient.control.lost", directory="/gone", problem="it was removed")
    (lost,) = records
    assert (lost.name, lost.levelname, lost.resilient_problem) == ("resilient.control", "ERROR", "it was removed")


def test_news_of_the_control_directory_is_logged_where_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    from resilient.control.news import tell

    tell("resilient.control.lost", directory="/gone", problem="it was removed")
    (lost,) = caplog.records
    assert (lost.name, lost.levelname) == ("resilient.control", "ERROR")
