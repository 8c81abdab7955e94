"""T47, T67, T68: what caches of functions are known to get wrong, here and where it is still wrong.

Each rule is held against this library, where it must hold, and against a pinned release of a
library in which it is known to be broken, where it must not.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pytest
import trio

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of other people's modules, at their import
    import cachetools
    import pyresilience
    import pyresilience._cache

from resilient import Fallback, Pipeline, StaleCache
from tests._stage import name

KEYS = 1_000
INSTEAD = "instead"

PINNED = {"cachetools": "8.0.0", "pyresilience": "0.4.1"}


@pytest.mark.parametrize("peer", PINNED)
def test_the_peer_is_the_release_that_has_the_bug(peer):
    assert version(peer) == PINNED[peer]


class Down(Exception):
    """What the downstream raises when it fails."""


@dataclass
class Subject:
    """A decorator that caches, and a count of what it keeps for each key."""

    guard: Callable[[Callable[..., Any]], Callable[..., Any]]
    kept: Callable[[], int] = lambda: 0


# -- rules ----------------------------------------------------------------------------------------


def t47_a_fallback_is_never_cached(subject: Subject) -> None:
    down = True

    def fetch(key: str) -> str:
        if down:
            raise Down
        return f"answer to {key}"

    guarded = subject.guard(fetch)
    first = guarded("a")
    assert first == INSTEAD, "the case needs a fallback"
    down = False
    assert guarded("a") == "answer to a"
    assert guarded("a") == "answer to a"


def t47_a_fallback_is_never_cached_for_async_functions_either(subject: Subject) -> None:
    down = True

    async def fetch(key: str) -> str:
        if down:
            raise Down
        return f"answer to {key}"

    async def main() -> None:
        nonlocal down
        guarded = subject.guard(fetch)
        first = await guarded("a")
        assert first == INSTEAD, "the case needs a fallback"
        down = False
        assert await guarded("a") == "answer to a"
        assert await guarded("a") == "answer to a"

    asyncio.run(main())


def t67_an_async_function_is_cached_by_its_answer(subject: Subject) -> None:
    calls = []

    async def fetch(key: str) -> str:
        calls.append(key)
        await asyncio.sleep(0)
        return f"answer to {key}"

    async def main() -> None:
        guarded = subject.guard(fetch)
        for _ in range(3):
            try:
                got = await guarded("a")
            except RuntimeError as error:
                raise AssertionError(error) from error
            assert got == "answer to a"

    asyncio.run(main())
    assert calls == ["a"]


def t68_failing_keys_leave_nothing_behind(subject: Subject) -> None:
    def fetch(key: int) -> None:
        raise Down

    guarded = subject.guard(fetch)
    before = subject.kept()
    for key in range(KEYS):
        with pytest.raises(Down):
            guarded(key)
    assert subject.kept() == before


# -- this library ---------------------------------------------------------------------------------


def cached(*policies: Any) -> Pipeline:
    return Pipeline(name(), *(policies or (StaleCache(60, stale=600, max_entries=10),)))


def ours() -> Subject:
    pipeline = cached()
    return Subject(pipeline, lambda: len(pipeline[StaleCache].flights) + len(pipeline[StaleCache].shelf))


def ours_inside_a_fallback() -> Subject:
    return Subject(cached(Fallback(INSTEAD), StaleCache(60, stale=600)))


def ours_around_a_fallback() -> Subject:
    return Subject(cached(StaleCache(60, stale=600), Fallback(INSTEAD)))


def ours_around_a_nested_pipeline() -> Subject:
    outer, inner = cached(), Pipeline(name(), Fallback(INSTEAD))

    def guard(function: Callable[..., Any]) -> Callable[..., Any]:
        nested = inner(function)
        if asyncio.iscoroutinefunction(function):

            async def afetch(key: str) -> Any:
                return await nested(key)

            return outer(afetch)
        return outer(nested)

    return Subject(guard)


# -- the others -----------------------------------------------------------------------------------


def with_pyresilience() -> Subject:
    fallback = pyresilience.FallbackConfig(INSTEAD, (Down,))
    return Subject(pyresilience.resilient(cache=pyresilience.CacheConfig(max_size=10, ttl=60), fallback=fallback))


def with_pyresilience_alone() -> Subject:
    caches: list[Any] = []

    def guard(function: Callable[..., Any]) -> Callable[..., Any]:
        known = {id(each) for each in gc.get_objects() if type(each) is pyresilience._cache.ResultCache}
        guarded = pyresilience.resilient(cache=pyresilience.CacheConfig(max_size=10, ttl=60))(function)
        new = [each for each in gc.get_objects() if type(each) is pyresilience._cache.ResultCache]
        caches.extend(each for each in new if id(each) not in known)
        return guarded

    return Subject(guard, lambda: sum(len(each._key_locks) for each in caches))


def with_cachetools() -> Subject:
    return Subject(cachetools.cached(cachetools.TTLCache(maxsize=10, ttl=60)))


CASES = [
    (t47_a_fallback_is_never_cached, ours_inside_a_fallback, with_pyresilience),
    (t47_a_fallback_is_never_cached, ours_around_a_fallback, with_pyresilience),
    (t47_a_fallback_is_never_cached, ours_around_a_nested_pipeline, with_pyresilience),
    (t47_a_fallback_is_never_cached_for_async_functions_either, ours_inside_a_fallback, with_pyresilience),
    (t47_a_fallback_is_never_cached_for_async_functions_either, ours_around_a_fallback, with_pyresilience),
    (t47_a_fallback_is_never_cached_for_async_functions_either, ours_around_a_nested_pipeline, with_pyresilience),
    (t67_an_async_function_is_cached_by_its_answer, ours, with_cachetools),
    (t68_failing_keys_leave_nothing_behind, ours, with_pyresilience_alone),
]
FAILING = list(dict.fromkeys((rule, peer) for rule, _, peer in CASES))


@pytest.mark.parametrize(
    ("rule", "mine"),
    [(rule, mine) for rule, mine, _ in CASES],
    ids=[f"{rule.__name__}-{mine.__name__}" for rule, mine, _ in CASES],
)
def test_the_rule_holds_here(rule, mine):
    rule(mine())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize(("rule", "peer"), FAILING, ids=[f"{rule.__name__}-{peer.__name__}" for rule, peer in FAILING])
def test_the_rule_can_fail(rule, peer):
    with pytest.raises(AssertionError):
        rule(peer())


# -- the same in the other colours ----------------------------------------------------------------


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_T68_failing_keys_of_tasks_leave_no_flight(loop):
    pipeline = cached()

    @pipeline
    async def fetch(key):
        await (asyncio.sleep if loop == "asyncio" else trio.sleep)(0)
        raise Down

    async def one(key):
        with pytest.raises(Down):
            await fetch(key)

    async def on_asyncio():
        await asyncio.gather(*(one(key) for key in range(KEYS)))

    async def on_trio():
        async with trio.open_nursery() as nursery:
            for key in range(KEYS):
                nursery.start_soon(one, key)

    if loop == "asyncio":
        asyncio.run(on_asyncio())
    else:
        trio.run(on_trio)
    assert len(pipeline[StaleCache].flights) == 0
    assert len(pipeline[StaleCache].shelf) == 0


def test_T68_failing_keys_of_threads_leave_no_flight():
    pipeline = cached()

    @pipeline
    def fetch(key):
        raise Down

    def work():
        for key in range(KEYS):
            with pytest.raises(Down):
                fetch(key)

    crowd = [threading.Thread(target=work) for _ in range(4)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join(30)
    assert len(pipeline[StaleCache].flights) == 0
    assert len(pipeline[StaleCache].shelf) == 0


def test_T67_an_async_function_is_cached_by_its_answer_under_trio():
    pipeline, calls = cached(), []

    @pipeline
    async def fetch(key):
        calls.append(key)
        await trio.sleep(0)
        return f"answer to {key}"

    async def main():
        return [await fetch("a") for _ in range(3)]

    assert trio.run(main) == ["answer to a"] * 3
    assert calls == ["a"]
