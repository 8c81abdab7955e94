"""The weaver: what the text may contain, what tracebacks show, what re-weaving does to calls in flight."""

from __future__ import annotations

import asyncio
import gc
import inspect
import linecache
import pickle
import threading
import traceback
import tracemalloc
from pathlib import Path

import pytest
import trio

from resilient import (
    Bulkhead,
    CircuitBreaker,
    Classifier,
    ConfigError,
    Count,
    Fallback,
    Pipeline,
    RateLimit,
    Retry,
    RetryBudget,
    StaleCache,
    Timeout,
    Unguardable,
    standard,
)
from resilient._policy import Colour
from resilient._weave import assembly, weaver
from resilient._weave.template import Layer, Shape, render

GOLDEN = Path(__file__).parent / "golden"

RESULTS = Classifier(result=lambda _: None)


def held(name: str) -> Pipeline:
    """One with its gate woven in, once more behind a queue."""
    pipeline = Pipeline(name, Fallback(0), Retry(), CircuitBreaker(), Bulkhead(5, queue=5, max_wait=1))
    pipeline.hold("observe", reason="to be seen", expires=None).release()
    return pipeline


TYPICAL = {
    "standard": standard,
    "breaker_count": lambda name: Pipeline(name, CircuitBreaker(window=Count(100))),
    "two_breakers": lambda name: Pipeline(name, CircuitBreaker(), CircuitBreaker(window=Count(50))),
    "limited": lambda name: Pipeline(name, Retry(budget=None), RateLimit(100), Bulkhead(5)),
    "results": lambda name: Pipeline(name, Fallback(0), Retry(), CircuitBreaker(), classifier=RESULTS),
    "cooperative": lambda name: Pipeline(name, Bulkhead(2), Timeout(1, cooperative=True)),
    "cached": lambda name: Pipeline(name, StaleCache(60, stale=600), Timeout(3)),
    "held": held,
    "cached_by_key": lambda name: Pipeline(name, StaleCache(60, stale=600, key=str)),
}


def streamed(name: str, colour: Colour) -> str:
    """The form for calls whose answer outlasts them, with every policy."""
    budget = RetryBudget.grpc()
    policies = (
        Fallback(0),
        Timeout(9),
        Retry(budget=budget, on_result=bool),
        CircuitBreaker(),
        RateLimit(9),
        Bulkhead(5, queue=5),
    )
    pipeline = Pipeline(name, *policies, Timeout(3))
    return render(pipeline._assembly._shape(colour, weaver.EXCHANGE))


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_the_streamed_form_is_what_was_reviewed(colour: Colour) -> None:
    file = GOLDEN / f"streamed_{colour}.py.txt"
    source = streamed(f"golden-streamed-{colour}", colour)
    assert source == file.read_text(), f"review the change, then write it to {file.name}"
    compile(source, file.name, "exec")


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("kind", sorted(TYPICAL))
def test_woven_source_is_what_was_reviewed(kind: str, colour: str) -> None:
    source = TYPICAL[kind](f"golden-{kind}").source(colour)
    file = GOLDEN / f"{kind}_{colour}.py.txt"
    assert source == file.read_text(), f"review the change, then write it to {file.name}"
    compile(source, file.name, "exec")


HOSTILE = 'x\'); import os; os._exit(3) #""" {}'


def test_no_text_of_the_users_becomes_source() -> None:
    pipeline = Pipeline(HOSTILE, Timeout(1), Retry(), CircuitBreaker(), Bulkhead(3), Fallback(HOSTILE))

    def innocent(import_os: int, *, kw_evil: int = 2) -> int:
        return import_os + kw_evil

    def positional(evil_name: int) -> int:
        return evil_name

    assert pipeline(innocent)(1) == 3
    assert pipeline(positional)(evil_name=1) == 1
    source = pipeline.source()
    assert "evil" not in source
    assert "os._exit" not in source
    for code in weaver._codes.values():
        text = "".join(linecache.getlines(code.co_filename))
        assert "evil" not in text
        assert "_exit" not in text


def test_two_policies_of_a_kind_keep_their_names_apart() -> None:
    template = "kept_ = made_()\n<inner>\nused_(kept_)\n"
    source = render(
        Shape((Layer(template, 0), Layer(template, 1)), "result = call(ARGS)\n", 0, frozenset({"sync"}), "a0", "a0")
    )
    assert source == (
        "def guarded(a0):\n    kept_0 = made_0()\n    kept_1 = made_1()\n    result = call(a0)\n"
        "    used_1(kept_1)\n    used_0(kept_0)\n    return result\n"
    )


def test_conditional_lines_follow_their_flags() -> None:
    template = "one_()  #: a\ntwo_()  #: !a\nthree_()  #: a & b\n<inner>\n"
    layer = Layer(template, 0, frozenset({"a"}))
    source = render(Shape((layer,), "result = call()\n", 0, frozenset({"sync"}), "", ""))
    assert "one_0()" in source
    assert "two_0()" not in source
    assert "three_0()" not in source


def test_a_traceback_shows_the_woven_line() -> None:
    @Pipeline("weave-traceback", Retry(attempts=1), Bulkhead(1))
    def fails() -> None:
        raise OSError

    with pytest.raises(OSError) as caught:
        fails()
    text = "".join(traceback.format_tb(caught.tb))
    assert "result = call(" in text
    assert "<resilient shape" in text


def test_a_shape_is_compiled_once() -> None:
    pipelines = [Pipeline(f"weave-once-{n}", Retry(), CircuitBreaker()) for n in range(3)]

    def first(order: int) -> int:
        return order

    def second(other: int) -> int:
        return other

    woven = [pipelines[0](first), pipelines[1](second), pipelines[2](first)]
    assert len({each.__code__.co_filename for each in woven}) == 1
    assert woven[0].__code__.co_varnames[0] == "order"
    assert woven[1].__code__.co_varnames[0] == "other"


def signature_kept(a: int, b: str = "x", /, c: float = 1.5) -> tuple[int, str, float]:
    """Say."""
    return (a, b, c)


def test_signature_defaults_and_names_are_kept() -> None:
    woven = Pipeline("weave-signature", Retry())(signature_kept)
    assert inspect.signature(woven) == inspect.signature(signature_kept)
    assert woven.__name__ == "signature_kept"
    assert woven.__doc__ == "Say."
    assert woven(1) == (1, "x", 1.5)
    assert woven(1, "y", c=2.5) == (1, "y", 2.5)
    with pytest.raises(TypeError, match="signature_kept"):
        woven()
    with pytest.raises(TypeError):
        woven(a=1)


@Pipeline("weave-pickle", Retry(), Timeout(3, cooperative=True))
def pickled(x: int) -> int:
    return x + 1


def test_decorated_functions_and_pipelines_pickle() -> None:
    assert pickle.loads(pickle.dumps(pickled)) is pickled
    pipeline = Pipeline("weave-pickle", Retry(), Timeout(3, cooperative=True))
    twin = pickle.loads(pickle.dumps(pipeline))
    assert twin[Retry] is pipeline[Retry]


def test_reweaving_reaches_functions_already_handed_out_and_spares_calls_in_flight() -> None:
    pipeline = Pipeline("weave-inflight", Bulkhead(1))
    entered, leave = threading.Event(), threading.Event()

    @pipeline
    def slow() -> str:
        entered.set()
        assert leave.wait(5)
        return "done"

    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(slow()))
    thread.start()
    assert entered.wait(5)
    assembly.enable(False)
    try:
        leave.set()
        assert slow() == "done"  # one permit, held by the other: passes only without policies
        thread.join(5)
        assert results == ["done"]
        assert pipeline[Bulkhead].snapshot()["in_flight"] == 0
    finally:
        assembly.enable(True)
    assert "bulkhead" in " ".join(slow.__globals__)
    assert pipeline.call(lambda: pipeline[Bulkhead].snapshot()["in_flight"]) == 1


def test_every_callable_shape_is_guarded_or_refused() -> None:
    pipeline = Pipeline("weave-shapes", CircuitBreaker(consecutive=1))

    def generator():
        yield 1

    async def async_generator():
        yield 1

    class Callable_:
        async def __call__(self) -> int:
            return 1

    for shape in (generator, async_generator, Callable_):
        with pytest.raises(Unguardable):
            pipeline(shape)
    with pytest.raises(TypeError, match="callable"):
        pipeline(3)
    assert asyncio.run(pipeline(Callable_())()) == 1


def test_a_plain_function_that_returns_a_coroutine_is_refused_and_the_coroutine_closed() -> None:
    pipeline = Pipeline("weave-coroutine", Retry(), CircuitBreaker(consecutive=1))

    async def inner() -> int:
        return 1

    @pipeline
    def hidden():
        return inner()

    for _ in range(3):
        with pytest.raises(Unguardable, match="acall"):
            hidden()
    assert pipeline[CircuitBreaker].snapshot()["state"] == "closed"


def test_short_lived_decorations_leave_memory_flat() -> None:
    pipeline = Pipeline("weave-memory", Timeout(5, cooperative=True), Retry(), CircuitBreaker(), Bulkhead(5))

    def decorate(times: int) -> None:
        for number in range(times):
            pipeline(lambda x, n=number: (x, n))(1)

    decorate(500)
    gc.collect()
    tracemalloc.start()
    try:
        decorate(200)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        decorate(2_000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 20_000, f"{grown} bytes after 2 000 decorations"


def test_conflicting_re_declaration_is_an_error() -> None:
    first = Pipeline("weave-conflict", Retry(3))
    assert Pipeline("weave-conflict", Retry(3))[Retry] is first[Retry]
    with pytest.raises(ConfigError, match="weave-conflict"):
        Pipeline("weave-conflict", Retry(4))
    assert Pipeline("weave-conflict", Retry(4), replace=True)[Retry] is not first[Retry]


def test_call_refuses_a_generator_function_but_not_a_generator_as_an_answer() -> None:
    pipeline = Pipeline("weave-call-generator", CircuitBreaker(consecutive=1))

    def numbers():
        yield 1

    with pytest.raises(Unguardable, match="generator"):
        pipeline.call(numbers)
    assert list(pipeline.call(lambda: iter(numbers()))) == [1]
    assert pipeline[CircuitBreaker].snapshot()["state"] == "closed"


@pytest.mark.parametrize("policies", [(), (Timeout(3),)], ids=["bare", "timed"])
def test_acall_refuses_a_plain_function_without_blaming_the_downstream(policies: tuple[Timeout, ...]) -> None:
    pipeline = Pipeline(f"weave-acall-plain-{len(policies)}", Retry(), CircuitBreaker(consecutive=1), *policies)
    calls: list[int] = []
    for run in (asyncio.run, lambda coroutine: trio.run(lambda: coroutine)):
        with pytest.raises(Unguardable, match="call\\(\\) for a plain one"):
            run(pipeline.acall(calls.append, 1))
    assert calls == [1, 1]
    assert pipeline[CircuitBreaker].snapshot()["state"] == "closed"
