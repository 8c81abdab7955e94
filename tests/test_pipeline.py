"""What `Pipeline` promises: what it decorates, how it is called, varied, looked into, held and pickled."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle

import pytest

from resilient import (
    Backoff,
    BreakerOpen,
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    Classifier,
    ConfigError,
    Fallback,
    Keyed,
    Outcome,
    Pipeline,
    RateLimit,
    Retry,
    Timeout,
    Unguardable,
    registry,
    standard,
)
from tests._stage import TRIO, VirtualClock, every_colour, installed, name

QUICK = Backoff(base=0)


class Down(Exception):
    """What the downstream raises when it fails."""


def counting():
    """Return a pipeline in which a call can see that it is guarded."""
    return Pipeline(name(), Bulkhead(5))


def guarded(pipeline):
    return pipeline[Bulkhead].snapshot()["in_flight"] == 1


# -- forms of decoration -----------------------------------------------------------------------

pipeline = counting()


def plain(a, b=2, *rest, c=3, **more):
    """Say what came."""
    return guarded(pipeline), a, b, rest, c, more


async def later(a, b=2, *rest, c=3, **more):
    """Say what came."""
    return plain(a, b, *rest, c=c, **more)


class Callable:
    def __call__(self, a, b=2, *rest, c=3, **more):
        return plain(a, b, *rest, c=c, **more)


class AsyncCallable:
    async def __call__(self, a, b=2, *rest, c=3, **more):
        return plain(a, b, *rest, c=c, **more)


class Service:
    @pipeline
    def method(self, a, b=2, *rest, c=3, **more):
        assert type(self) is Service
        return plain(a, b, *rest, c=c, **more)

    @pipeline
    async def amethod(self, a, b=2, *rest, c=3, **more):
        assert type(self) is Service
        return plain(a, b, *rest, c=c, **more)

    @pipeline
    @classmethod
    def above_class(cls, a, b=2, *rest, c=3, **more):
        assert cls is Service
        return plain(a, b, *rest, c=c, **more)

    @classmethod
    @pipeline
    def below_class(cls, a, b=2, *rest, c=3, **more):
        assert cls is Service
        return plain(a, b, *rest, c=c, **more)

    @pipeline
    @classmethod
    async def aclass(cls, a, b=2, *rest, c=3, **more):
        assert cls is Service
        return plain(a, b, *rest, c=c, **more)

    @pipeline
    @staticmethod
    def above_static(a, b=2, *rest, c=3, **more):
        return plain(a, b, *rest, c=c, **more)

    @staticmethod
    @pipeline
    async def below_static(a, b=2, *rest, c=3, **more):
        return plain(a, b, *rest, c=c, **more)

    def unguarded(self, a, b=2, *rest, c=3, **more):
        return plain(a, b, *rest, c=c, **more)

    async def aunguarded(self, a, b=2, *rest, c=3, **more):
        return plain(a, b, *rest, c=c, **more)


FORMS = {
    "function": lambda: pipeline(plain),
    "async function": lambda: pipeline(later),
    "lambda": lambda: pipeline(lambda *args, **kwargs: (*plain(*args, **kwargs),)),
    "method": lambda: Service().method,
    "async method": lambda: Service().amethod,
    "classmethod, decorated after": lambda: Service.above_class,
    "classmethod, decorated after, of an instance": lambda: Service().above_class,
    "classmethod, decorated before": lambda: Service.below_class,
    "async classmethod": lambda: Service.aclass,
    "staticmethod, decorated after": lambda: Service.above_static,
    "async staticmethod, decorated before": lambda: Service().below_static,
    "bound method": lambda: pipeline(Service().unguarded),
    "bound async method": lambda: pipeline(Service().aunguarded),
    "callable object": lambda: pipeline(Callable()),
    "async callable object": lambda: pipeline(AsyncCallable()),
    "partial": lambda: pipeline(functools.partial(plain, c=3)),
    "async partial": lambda: pipeline(functools.partial(later, c=3)),
    "partial of a partial": lambda: pipeline(functools.partial(functools.partial(later, c=0), c=3)),
    "partial of a callable object": lambda: pipeline(functools.partial(AsyncCallable(), c=3)),
    "partial of a bound method": lambda: pipeline(functools.partial(Service().aunguarded, c=3)),
    "wrapped function": lambda: pipeline(functools.wraps(plain)(lambda *args, **kwargs: (*plain(*args, **kwargs),))),
    "partial of a guarded function": lambda: functools.partial(pipeline(later), c=3),
}


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_every_form_is_guarded_and_gets_its_arguments(make):
    function = make()

    def call(*args, **kwargs):
        answer = function(*args, **kwargs)
        return asyncio.run(answer) if inspect.isawaitable(answer) else answer

    assert call(1) == (True, 1, 2, (), 3, {})
    assert call(1, 5, 6, 7, d=8, call=9) == (True, 1, 5, (6, 7), 3, {"d": 8, "call": 9})
    assert call(a=1, b=0, c=4, error=5, result=6) == (True, 1, 0, (), 4, {"error": 5, "result": 6})
    assert pipeline.resting()


@pytest.mark.parametrize(
    ("make", "is_async"),
    [(form, "async" in label or label.startswith("partial of")) for label, form in FORMS.items()],
    ids=FORMS,
)
def test_async_stays_async(make, is_async):
    assert inspect.iscoroutinefunction(make()) is is_async


def test_names_documentation_and_signature_are_the_functions_own():
    for function in (plain, later):
        woven = pipeline(function)
        assert (woven.__name__, woven.__qualname__, woven.__module__) == (function.__name__,) * 2 + (__name__,)
        assert woven.__doc__ == "Say what came."
        assert woven.__wrapped__ is function
        assert inspect.signature(woven) == inspect.signature(function)


def awkward(now, ledger, NEVER=1, call=2, left=3, error=4, result=5, timeout_0=6):
    return now, ledger, NEVER, call, left, error, result, timeout_0


def awkward_one(now, call, bulkhead_0, a0=4):
    return now, call, bulkhead_0, a0


@pytest.mark.parametrize("function", [awkward, awkward_one])
def test_parameters_may_be_named_like_anything_of_ours(function):
    own = Pipeline(name(), Timeout(9, cooperative=True), Retry(), Bulkhead(1), Fallback(0))
    size = len(inspect.signature(function).parameters)
    given = tuple(range(10, 10 + size))
    assert own(function)(*given) == given
    assert own(function)(**dict(zip(inspect.signature(function).parameters, given, strict=True))) == given
    assert own.call(function, *given) == given


def test_many_parameters_and_changing_defaults():
    def wide(a, b, c, d, e, f, g, h, i, j, k, m, n=13, o=14):
        return n, o

    assert pipeline(wide)(*range(12)) == (13, 14)
    assert pipeline(wide)(*range(12), o=1) == (13, 1)


def test_a_guarded_method_may_call_super_and_be_overridden():
    class Base:
        @pipeline
        def greet(self):
            return "base"

    class Derived(Base):
        @pipeline
        def greet(self):
            return super().greet() + " and derived"

    assert Derived().greet() == "base and derived"


def test_policies_stack_in_the_order_of_the_decorators():
    outer, inner = Pipeline(name(), Fallback("instead")), Pipeline(name(), Retry(2, backoff=QUICK))
    tries = []

    @outer
    @inner
    def fail():
        tries.append(1)
        raise Down

    assert fail() == "instead"
    assert len(tries) == 2


@pytest.mark.parametrize("thing", [3, "text", None, [], property(lambda self: 1), functools.partialmethod(plain)])
def test_what_cannot_be_called_cannot_be_decorated(thing):
    with pytest.raises(TypeError, match="function must be callable, got"):
        pipeline(thing)


# -- classes -----------------------------------------------------------------------------------


def orders(*names):
    own = counting()

    @own.methods(*names)
    class Orders:
        limit = 3
        factory = dict

        def find(self):
            return guarded(own)

        async def fetch(self):
            return guarded(own)

        @classmethod
        def of(cls):
            return guarded(own)

        @staticmethod
        def count():
            return guarded(own)

        @property
        def size(self):
            return guarded(own)

        def _private(self):
            return guarded(own)

        def __len__(self):
            return int(guarded(own))

    return Orders


def test_all_public_methods_of_a_class_are_guarded():
    Orders = orders()
    one = Orders()
    assert [one.find(), asyncio.run(one.fetch()), Orders.of(), one.of(), Orders.count(), one.count()] == [True] * 6
    assert [one.size, one._private(), bool(len(one))] == [False] * 3
    assert Orders.limit == 3
    assert Orders.factory is dict


def test_named_methods_are_guarded_and_no_others():
    one = orders("find", "_private", "of", "__len__")()
    assert [one.find(), one._private(), one.of(), bool(len(one))] == [True] * 4
    assert [asyncio.run(one.fetch()), one.count()] == [False] * 2


def test_an_inherited_method_is_guarded_in_the_class_that_asks():
    own = counting()

    class Base:
        def find(self):
            return guarded(own)

        def other(self):
            return guarded(own)

    @own.methods("find")
    class Derived(Base):
        pass

    @own.methods()
    class Plain(Base):
        def mine(self):
            return guarded(own)

    assert Derived().find()
    assert not Derived().other()
    assert not Base().find()
    assert Plain().mine()
    assert not Plain().find(), "only what the class defines itself"


@pytest.mark.parametrize(
    ("apply", "words"),
    [
        (lambda p: p.methods("find", "missing")(type("Orders", (), {"find": plain})), "names must be .*got 'missing'"),
        (lambda p: p.methods()(plain), "owner must be a class"),
        (lambda p: p.methods(type("Orders", (), {})), "names must be .*@pipeline.methods\\(\\)"),
        (lambda p: p.methods()(type("Empty", (), {"_private": plain})), "owner must be a class with public methods"),
        (lambda p: p.methods("x")(type("Orders", (), {"x": 3})), "function must be callable"),
    ],
    ids=["no such method", "no class", "forgotten parentheses", "nothing to guard", "no method"],
)
def test_a_class_that_cannot_be_guarded_as_asked_is_refused(apply, words):
    with pytest.raises((TypeError, ConfigError), match=words):
        apply(counting())


def test_a_class_with_a_generator_method_is_refused_whole():
    class Orders:
        def find(self):
            return 1

        def pages(self):
            yield 1

    before = Orders.__dict__["find"]
    with pytest.raises(Unguardable, match="pages"):
        counting().methods()(Orders)
    assert Orders.__dict__["find"] is before


# -- call and acall ----------------------------------------------------------------------------


@every_colour
def test_call_and_acall_hand_everything_on(colour):
    own = counting()

    async def work(*args, **kwargs):
        return guarded(own), args, kwargs

    async def scenario(stage):
        if colour.label == "threads":
            return own.call(lambda *args, **kwargs: (guarded(own), args, kwargs), 1, 2, call=3, self=4, function=5)
        return await own.acall(work, 1, 2, call=3, self=4, function=5)

    assert colour.play(scenario) == (True, (1, 2), {"call": 3, "self": 4, "function": 5})


def test_call_is_one_function_for_the_life_of_a_pipeline():
    own = counting()
    assert own.call is own.call
    assert own.acall is own.acall
    assert inspect.iscoroutinefunction(own.acall)
    assert Pipeline(own.name, Bulkhead(5)).call is own.call, "its twin shares it"


def test_acall_awaits_whatever_can_be_awaited():
    own = counting()

    async def scenario():
        future = asyncio.get_running_loop().create_future()
        future.set_result("future")
        return await own.acall(lambda: future)

    assert asyncio.run(scenario()) == "future"


def test_a_pipeline_without_policies_just_calls():
    own = Pipeline(name())
    assert own.call(int, "7") == 7
    assert own(plain)(1)[1] == 1
    assert TRIO.play(lambda stage: own.acall(later, 1))[1] == 1
    assert own.snapshot() == {}
    assert own.resting()


def test_order_is_outermost_first():
    both = [Bulkhead(1), Retry(2, backoff=QUICK, on=BulkheadFull)]
    with installed(VirtualClock()) as _:
        inside, outside = Pipeline(name(), *both), Pipeline(name(), *reversed(both))
        for own, refusals in ((inside, 1), (outside, 2)):
            with own.permit(), pytest.raises(BulkheadFull):
                own.call(int)
            assert own.policies[0].kind == ("bulkhead" if refusals == 1 else "retry")


# -- variants ----------------------------------------------------------------------------------


def test_options_change_what_they_name_and_share_the_rest():
    own = Pipeline(name(), Timeout(9), Retry(3), CircuitBreaker(), Bulkhead(2), Timeout(3))
    variant = own.with_options(timeout=5, attempts=2)
    assert [repr(policy) for policy in variant.policies] == [
        repr(policy) for policy in (Timeout(5), Retry(2), CircuitBreaker(), Bulkhead(2), Timeout(3))
    ]
    assert variant.name == own.name
    assert variant[CircuitBreaker] is own[CircuitBreaker]
    assert variant[Bulkhead] is own[Bulkhead]
    assert variant[4] is own[4]
    assert variant[Retry].budget is own[Retry].budget
    assert (own.policies[0], own.policies[1]) == (Timeout(9), Retry(3)), "unchanged itself"
    hold = variant.hold("forced_open", reason="test", expires=None)
    with pytest.raises(BreakerOpen):
        own.call(int)
    hold.release()
    assert registry.find(own.name) is own


def test_the_same_options_are_the_same_variant():
    own = Pipeline(name(), Timeout(9), Retry(3))
    assert own.with_options(timeout=5) is own.with_options(timeout=5.0)
    assert own.with_options(timeout=5) is not own.with_options(timeout=6)
    assert own.with_options(attempts=2).with_options(timeout=5).policies == (Timeout(5), Retry(2))


def test_variants_are_bounded_in_number():
    own = Pipeline(name(), Timeout(9))
    for number in range(1, 200):
        assert own.with_options(timeout=number).policies == (Timeout(number),)
    assert len(own._options) <= 64


def test_a_variant_keeps_a_cooperative_timeout_cooperative():
    own = Pipeline(name(), Timeout(9, cooperative=True))
    assert own.with_options(timeout=5).policies == (Timeout(5, cooperative=True),)


@pytest.mark.parametrize(
    ("policies", "options", "words"),
    [
        ((Retry(),), {"timeout": 5}, "timeout must be left out"),
        ((Timeout(5),), {"attempts": 2}, "attempts must be left out"),
        ((Timeout(5),), {"timeout": 0}, "timeout must be a duration above 0 s, got 0"),
        ((Timeout(5),), {"timeout": "5"}, "timeout must be a number, got '5'"),
        ((Retry(),), {"attempts": 0}, "attempts must be a whole number of 1 or more, got 0"),
        ((Retry(),), {"attempts": True}, "attempts must be a whole number, got True"),
        ((Retry(),), {"attempts": 2.0}, "attempts must be a whole number, got 2.0"),
    ],
)
def test_options_that_cannot_work_are_refused(policies, options, words):
    own = Pipeline(name(), *policies)
    if isinstance(own.policies[0], Retry):
        own.with_options(attempts=1)
        own.with_options(attempts=2)
    with pytest.raises((ConfigError, TypeError), match=words):
        own.with_options(**options)


# -- looking into it ---------------------------------------------------------------------------


def test_live_state_is_found_by_class_or_position():
    own = Pipeline(name(), Timeout(9), Retry(), Timeout(3))
    assert own[Timeout] is own[0]
    assert own[Timeout].policy == Timeout(9), "the outermost"
    assert own[2].policy == Timeout(3)
    assert own[Retry].policy == Retry()


@pytest.mark.parametrize("kind", [Bulkhead, 3, -1, "retry", None, True])
def test_what_is_not_there_is_a_key_error_that_lists_what_is(kind):
    own = Pipeline(name(), Timeout(9))
    with pytest.raises(KeyError, match=r"no policy .* it has .'timeout'."):
        own[kind]


def test_a_snapshot_has_each_policy_by_its_label():
    own = Pipeline(name(), Timeout(9), Retry(), CircuitBreaker(), RateLimit(5), Bulkhead(2), Timeout(3), Fallback(0))
    snapshot = own.snapshot()
    assert list(snapshot) == [
        *("timeout_0", "retry", "circuit_breaker", "rate_limit", "bulkhead", "timeout_5", "fallback")
    ]
    assert snapshot["timeout_5"]["seconds"] == 3
    assert snapshot["circuit_breaker"]["state"] == "closed"
    assert snapshot["bulkhead"] == {"limit": 2, "in_flight": 0, "queued": 0}


def test_it_shows_its_name_and_policies():
    own = Pipeline("shown", Timeout(9), Bulkhead(2))
    assert repr(own) == (
        "Pipeline('shown', Timeout(seconds=9.0, cooperative=False), Bulkhead(limit=2, queue=0, max_wait=None))"
    )


def test_the_source_is_shown_for_both_colours():
    own = Pipeline(name(), Retry())
    assert own.source().startswith("def guarded(*args, **kwargs):")
    assert own.source("async").startswith("async def guarded(*args, **kwargs):")
    with pytest.raises(ConfigError, match=r"colour must be .*got 'purple'"):
        own.source("purple")


# -- holds -------------------------------------------------------------------------------------


def test_a_hold_on_a_pipeline_is_a_hold_on_its_breaker():
    own = Pipeline(name(), Retry(), CircuitBreaker(), Bulkhead(1))
    hold = own.hold("forced_open", reason="maintenance", actor="me", expires=60)
    assert (hold.mode, hold.reason, hold.actor, hold.expires, hold.active) == (
        "forced_open",
        "maintenance",
        "me",
        pytest.approx(60, abs=1),
        True,
    )
    with pytest.raises(BreakerOpen) as caught:
        own.call(int)
    assert caught.value.reason == "forced_open"
    assert hold.release()
    assert not hold.release()
    assert own.call(int) == 0


def test_without_a_breaker_the_gate_is_held():
    own = Pipeline(name(), Retry())
    hold = own.hold("forced_open", reason="maintenance", expires=None)
    with pytest.raises(BreakerOpen) as refusal:
        own.call(int)
    assert (refusal.value.reason, refusal.value.policy) == ("forced_open", "hold")
    hold.release()


# -- names -------------------------------------------------------------------------------------


def ignore(error):
    return Outcome.SUCCESS


def test_the_same_name_and_configuration_is_the_same_pipeline():
    own = Pipeline(name(), Bulkhead(1), classifier=Classifier(error=ignore))
    twin = Pipeline(own.name, Bulkhead(1), classifier=Classifier(error=ignore))
    assert twin[Bulkhead] is own[Bulkhead]
    with own.permit(), pytest.raises(BulkheadFull):
        twin.call(int)


@pytest.mark.parametrize(
    "again",
    [
        lambda own: Pipeline(own.name, Bulkhead(2)),
        lambda own: Pipeline(own.name),
        lambda own: Pipeline(own.name, Bulkhead(1), Retry()),
        lambda own: Pipeline(own.name, Bulkhead(1), classifier=Classifier(error=ignore)),
        lambda own: Keyed(own.name, Bulkhead(1)),
        lambda own: standard(own.name),
    ],
    ids=["other settings", "fewer policies", "more policies", "another classifier", "a family", "the standard"],
)
def test_the_same_name_with_another_configuration_is_refused(again):
    own = Pipeline(name(), Bulkhead(1))
    with pytest.raises(ConfigError, match=f"{own.name}.*replace=True"):
        again(own)
    assert registry.find(own.name) is own


def test_replacing_leaves_functions_that_were_decorated_before_alone():
    own = Pipeline(name(), Bulkhead(1))
    before = own(lambda: own[Bulkhead].snapshot()["in_flight"])
    other = Pipeline(own.name, Bulkhead(2), replace=True)
    assert registry.find(own.name) is other
    assert other[Bulkhead] is not own[Bulkhead]
    assert before() == 1


# -- pickling ----------------------------------------------------------------------------------


def test_a_pipeline_pickles_by_name_and_configuration():
    own = Pipeline(name(), Timeout(9), Retry(2, on=OSError), Bulkhead(1), classifier=Classifier(error=ignore))
    data = pickle.dumps(own)
    assert pickle.loads(data)[Bulkhead] is own[Bulkhead]
    registry.clear()
    fresh = pickle.loads(data)
    assert (fresh.name, fresh.policies, fresh.classifier) == (own.name, own.policies, own.classifier)
    assert fresh[Bulkhead] is not own[Bulkhead]
    assert registry.find(own.name) is fresh


def test_a_variant_pickles_as_a_variant():
    own = Pipeline(name(), Timeout(9), Retry(2), Bulkhead(1))
    variant = own.with_options(timeout=5, attempts=4)
    again = pickle.loads(pickle.dumps(variant))
    assert again.policies == variant.policies
    assert again[Bulkhead] is own[Bulkhead]
    nested = pickle.loads(pickle.dumps(variant.with_options(timeout=3)))
    assert nested.policies == (Timeout(3), Retry(4), Bulkhead(1))
    assert nested[Bulkhead] is own[Bulkhead]


def test_a_member_of_a_family_pickles_as_a_member():
    family = Keyed(name(), Bulkhead(1), most=7, idle=60)
    member = pickle.loads(pickle.dumps(family["a"]))
    assert member[Bulkhead] is family["a"][Bulkhead]
    again = pickle.loads(pickle.dumps(family))
    assert (again.name, again.most, again.idle) == (family.name, 7, 60)
    assert again["a"][Bulkhead] is family["a"][Bulkhead]
    assert member.name not in registry.names()


def test_copies_share_the_state():
    own = Pipeline(name(), Bulkhead(1))
    for twin in (copy.copy(own), copy.deepcopy(own)):
        assert twin[Bulkhead] is own[Bulkhead]


pickled = Pipeline("test-pipeline-pickled", Timeout(9), Bulkhead(1))


@pickled
def module_level(x):
    return x


class Pickled:
    @pickled
    def method(self):
        return "method"


def test_decorated_functions_and_methods_pickle_by_their_names():
    assert pickle.loads(pickle.dumps(module_level)) is module_level
    assert pickle.loads(pickle.dumps(Pickled().method))() == "method"
    assert pickle.loads(pickle.dumps(functools.partial(module_level, 3)))() == 3
