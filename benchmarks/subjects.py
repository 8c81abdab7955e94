"""Build what is measured in one case, bring it into the case's state, and check that it is there."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import cases, functions
from benchmarks.peers import PEERS

OURS = "resilient"
OURS_CALL = "resilient, call form"
EMPTY = "empty decorator"

HIT_KEYS = 2
"""Values that a remembering function is ever called with: 0 to check it, 1 to time it."""

Finish = Callable[[Any], Any]
"""Turns what a function returned into its result: identity, or a loop that runs the coroutine."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One guarded function.

    Attributes:
        name: As it is shown.
        call: What is called and timed.
        leading: Arguments in front of the function's own (the call form's function).
        runs: How often the function under guard ran; counted only where it should not.

    """

    name: str
    call: Callable[..., Any]
    leading: tuple[Any, ...]
    runs: list[int]


def build(case: cases.Case, finish: Finish) -> tuple[list[Subject], dict[str, str]]:
    """Return the subjects of a case, the empty decorator first, and why others are missing."""
    subjects = [_empty(case)]
    missing: dict[str, str] = {}
    makers = [(OURS, "benchmarks.ours"), (OURS_CALL, "benchmarks.ours")]
    makers += [(peer.name, f"benchmarks.peers.{peer.builder}") for peer in PEERS]
    for name, module in makers:
        try:
            make = _guarded if case.colour == "sync" else _on_loop
            subject = finish(make(name, module, case))
            _prepare(case, subject, finish)
            check(case, subject, finish)
        except cases.UnavailableError:
            continue
        except Exception as error:  # noqa: BLE001 -- a peer that cannot is shown, never a failure
            missing[name] = f"{type(error).__name__}: {error}"
            continue
        subjects.append(subject)
    return subjects, missing


def check(case: cases.Case, subject: Subject, finish: Finish) -> None:
    """Raise if the subject does not do what the case is about: answer, fail or refuse."""
    if case.path != "refused":
        result = finish(subject.call(*subject.leading, 0))
        if result != 0:
            message = f"answered {result!r} instead of 0"
            raise AssertionError(message)
        if case.path == "hit" and subject.runs[0] > HIT_KEYS:
            message = "calls the function again"
            raise AssertionError(message)
    elif case.policy != "bulkhead" and not _refuses(subject, finish):
        message = "does not refuse"
        raise AssertionError(message)


_FUNCTIONS = {
    ("sync", "success"): functions.steady,
    ("async", "success"): functions.asteady,
    ("async", "suspended"): functions.asuspending,
    ("sync", "failure"): functions.failing,
    ("async", "failure"): functions.afailing,
}


def _function(case: cases.Case, runs: list[int]) -> Callable[..., Any]:
    if case.path == "hit":
        return _remembered(runs) if case.colour == "sync" else _aremembered(runs)
    if case.path != "refused":
        return _FUNCTIONS[case.colour, case.path]
    if case.policy == "bulkhead":
        return functions.holding if case.colour == "sync" else functions.aholding
    return _counting(runs) if case.colour == "sync" else _acounting(runs)


def _counting(runs: list[int]) -> Callable[..., Any]:
    def counted(value: object) -> object:
        runs[0] += 1
        return functions.failing(value)

    return counted


def _acounting(runs: list[int]) -> Callable[..., Any]:
    async def counted(value: object) -> object:
        runs[0] += 1
        return functions.failing(value)

    return counted


def _remembered(runs: list[int]) -> Callable[..., Any]:
    def counted(value: object) -> object:
        runs[0] += 1
        return functions.steady(value)

    return counted


def _aremembered(runs: list[int]) -> Callable[..., Any]:
    async def counted(value: object) -> object:
        runs[0] += 1
        return functions.steady(value)

    return counted


def _empty(case: cases.Case) -> Subject:
    # Where nothing is called, as it is refused or remembered, the measure is an empty decorator around
    # a function that answers.
    path = "success" if case.path in {"refused", "hit"} else case.path
    wrap = functions.empty if case.colour == "sync" else functions.aempty
    return Subject(EMPTY, wrap(_FUNCTIONS[case.colour, path]), (), [0])


def _guarded(name: str, module: str, case: cases.Case) -> Subject:
    builder = importlib.import_module(module)
    runs = [0]
    function = _function(case, runs)
    if name == OURS_CALL:
        return Subject(name, builder.caller(case), (function,), runs)
    return Subject(name, builder.decorate(case)(function), (), runs)


async def _on_loop(name: str, module: str, case: cases.Case) -> Subject:
    # Some libraries ask for the running loop when they are configured.
    return _guarded(name, module, case)


def _prepare(case: cases.Case, subject: Subject, finish: Finish) -> None:
    if case.path != "refused" or case.policy in {"bulkhead", "held"}:
        return
    value = 0 if case.policy == "rate-limit" else 1
    for _ in range(3 * cases.WINDOW_CALLS):
        with contextlib.suppress(Exception):
            finish(subject.call(*subject.leading, value))
        if _refuses(subject, finish):
            return


def _refuses(subject: Subject, finish: Finish) -> bool:
    before = subject.runs[0]
    try:
        finish(subject.call(*subject.leading, 1))
    except Exception:  # noqa: BLE001 -- each library has its own refusal
        return subject.runs[0] == before
    return False
