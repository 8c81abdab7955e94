"""Bugs found by trying to break the library, each as the test that showed it."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from dataclasses import dataclass

import pytest

from resilient import Backoff, CircuitBreaker, Fallback, Pipeline, Retry


@pytest.mark.parametrize("function", [time.strptime, dt.datetime.strptime])
@pytest.mark.parametrize("decorated", [False, True])
def test_c_functions_that_import_can_be_guarded(function, decorated):
    pipeline = Pipeline("c-imports", Retry(1))
    guarded = pipeline(function) if decorated else lambda *args: pipeline.call(function, *args)
    assert guarded("2020", "%Y") == function("2020", "%Y")


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Touchy(Exception):
    def add_note(self, note: str) -> None:
        raise RuntimeError(note)

    def __setattr__(self, name: str, value: object) -> None:
        raise RuntimeError(name)


@pytest.mark.parametrize("error", [Frozen(7), Touchy(7)])
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("policies", "word"),
    [
        ((Retry(3, backoff=Backoff(base=1e-6)), CircuitBreaker(consecutive=1)), "refused"),
        ((Fallback(lambda cause: cause.there_is_no_such_thing),), "fallback failed"),
    ],
)
def test_an_error_that_takes_no_attributes_is_raised_itself_with_its_note(error, asynchronous, policies, word):
    pipeline = Pipeline(f"unchangeable-{type(error).__name__}-{word}-{asynchronous}", *policies)

    def fail():
        raise error

    async def afail():
        raise error

    with pytest.raises(type(error)) as caught:
        asyncio.run(pipeline.acall(afail)) if asynchronous else pipeline.call(fail)
    assert caught.value is error
    assert word in " ".join(error.__dict__["__notes__"])
