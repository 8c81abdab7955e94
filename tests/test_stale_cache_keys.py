"""What a stale cache finds an answer by: never a wrong hit, and a clear error where there is no key."""

from __future__ import annotations

import asyncio
import functools
from collections import namedtuple
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient import ConfigError, Pipeline, Retry, StaleCache, Unguardable
from resilient._guards.stale_cache_keys import deepened, maker_of
from tests._stage import name

Point = namedtuple("Point", "x y")  # noqa: PYI024 -- equal to a plain tuple, which is the point


class Text(str):
    """Equal to a plain string of the same text."""

    __slots__ = ()


def cached(**options):
    return Pipeline(name(), StaleCache(60, stale=600, **options))


def forms(function, **options):
    """Return ways to call a function through a cache of its own: decorated, and through the call form."""
    one, other = cached(**options), cached(**options)
    return [one(function), functools.partial(other.call, function)]


class Counting:
    """Counts its calls, and returns what it was called with."""

    def __init__(self):
        self.asked = 0

    def plain(self):
        def fetch(a=1, b=2):
            self.asked += 1
            return a, b

        return fetch

    def varied(self):
        def fetch(*args, **kwargs):
            self.asked += 1
            return args, kwargs

        return fetch

    def named(self):
        def fetch(a, /, b=2, *rest, c=3, **more):
            self.asked += 1
            return a, b, rest, c, more

        return fetch


# -- equal and not equal -----------------------------------------------------------------------------

DIFFERENT = [1, 1.0, True, 1 + 0j, Decimal(1), Fraction(1), "1", b"1", None, (), frozenset(), Text("1"), 2]


@pytest.mark.parametrize("shape", ["plain", "varied", "named"])
@pytest.mark.parametrize("form", [0, 1])
def test_equal_arguments_of_different_types_are_different(shape, form):
    counting = Counting()
    fetch = forms(getattr(counting, shape)())[form]
    for _ in range(2):
        for value in DIFFERENT:
            got = fetch(value)
            flat = got[0][0] if shape == "varied" else got[0]
            assert type(flat) is type(value)
            assert flat == value
    assert counting.asked == len(DIFFERENT)


NESTED = [
    (1,),
    (True,),
    (1.0,),
    ((1,), 2),
    ((True,), 2),
    Point(1, 2),
    (1, 2),
    Point(True, 2),
    frozenset({1}),
    frozenset({True}),
    frozenset({(1,)}),
    frozenset({(True,)}),
    (frozenset({1}),),
    (frozenset({1.0}),),
]


@pytest.mark.parametrize("shape", ["plain", "varied", "named"])
@pytest.mark.parametrize("form", [0, 1])
def test_what_is_in_tuples_is_told_apart_by_its_type_too(shape, form):
    counting = Counting()
    fetch = forms(getattr(counting, shape)())[form]
    first = [fetch(value) for value in NESTED]
    second = [fetch(value) for value in NESTED]
    assert counting.asked == len(NESTED)
    assert list(map(repr, first)) == list(map(repr, second))


@pytest.mark.parametrize("form", [0, 1])
def test_names_may_come_in_any_order(form):
    counting = Counting()
    fetch = forms(counting.varied())[form]
    assert fetch(x=1, y=2) == fetch(y=2, x=1) == ((), {"x": 1, "y": 2})
    assert counting.asked == 1
    fetch(x=2, y=1)
    fetch(x=1)
    fetch(1, y=2)
    fetch(x=True, y=2)
    fetch("x", 1, "y", 2)
    assert counting.asked == 6


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("shape", ["plain", "named"])
def test_a_call_is_the_same_however_it_is_written(shape, form):
    counting = Counting()
    fetch = forms(getattr(counting, shape)())[form]
    fetch(1)
    fetch(1, 2)
    fetch(1, b=2)
    if shape == "plain":
        fetch()
        fetch(a=1)
        fetch(b=2, a=1)
    else:
        fetch(1, c=3)
        fetch(1, 2, c=3)
        fetch(1, c=3, b=2)
    assert counting.asked == 1
    fetch(1, 3)
    assert counting.asked == 2


def test_positional_and_named_leftovers_do_not_mix():
    counting = Counting()
    fetch = cached()(counting.named())
    calls = [((1, 2, 3), {}), ((1, 2), {"d": 3}), ((1, 2, "d", 3), {}), ((1, 2), {"c": 4}), ((1, 2), {"d": 3, "e": 4})]
    for _ in range(2):
        for args, kwargs in calls:
            fetch(*args, **kwargs)
    assert counting.asked == len(calls)


values = st.one_of(st.integers(0, 2), st.booleans(), st.sampled_from([0.0, 1.0, 2.0]), st.sampled_from("ab"))
nested = st.recursive(values, lambda inner: st.lists(inner, max_size=2).map(tuple), max_leaves=4)


@given(
    one=st.tuples(st.lists(nested, max_size=3), st.dictionaries(st.sampled_from("cde"), nested, max_size=2)),
    other=st.tuples(st.lists(nested, max_size=3), st.dictionaries(st.sampled_from("cde"), nested, max_size=2)),
)
def test_two_calls_have_one_key_only_if_they_look_the_same(one, other):
    def fetch(*args, **kwargs):
        """Take anything."""

    def key(call):
        return deepened(maker_of(fetch)(*call[0], **call[1]))

    same = repr((one[0], sorted(one[1].items()))) == repr((other[0], sorted(other[1].items())))
    assert (key(one) == key(other)) == same
    assert not same or hash(key(one)) == hash(key(other))


# -- functions -----------------------------------------------------------------------------------------


def test_functions_of_one_name_are_different():
    pipeline = cached()

    def make(factor):
        @pipeline
        def fetch(x):
            return x * factor

        return fetch

    functions = [make(factor) for factor in range(5)]
    assert [function(7) for function in functions] == [0, 7, 14, 21, 28]
    assert [function(7) for function in functions] == [0, 7, 14, 21, 28]
    assert pipeline[StaleCache].snapshot()["misses"] == 5


def test_one_function_is_the_same_decorated_twice_and_through_the_call_form():
    pipeline, counting = cached(), Counting()
    function = counting.plain()
    one, other = pipeline(function), pipeline(function)
    one(1, 2)
    other(1, 2)
    pipeline.call(function, 1, 2)
    pipeline.call(function, 1)
    pipeline.with_options().call(function, b=2)
    assert counting.asked == 1


def test_methods_belong_to_their_objects():
    pipeline, asked = cached(), []

    class Client:
        def __init__(self, base):
            self.base = base

        @pipeline
        def fetch(self, key):
            asked.append(key)
            return self.base + key

        def other(self, key, *, upper=False):
            asked.append(key)
            return self.base + (key.upper() if upper else key)

        @pipeline
        @classmethod
        def shared(cls, key):
            asked.append(key)
            return cls.__name__ + key

        @pipeline
        @staticmethod
        def alone(key):
            asked.append(key)
            return key

    a, b = Client("a"), Client("b")
    for _ in range(2):
        assert [a.fetch("x"), b.fetch("x"), a.fetch(key="x")] == ["ax", "bx", "ax"]
    assert asked == ["x", "x"]
    asked.clear()
    for _ in range(2):
        assert [pipeline.call(each.other, "x") for each in (a, b)] == ["ax", "bx"]
        assert pipeline.call(a.other, key="x", upper=False) == "ax"
        assert pipeline.call(a.other, "x", upper=True) == "aX"
    assert asked == ["x"] * 3
    asked.clear()
    for _ in range(2):
        assert (Client.shared("x"), a.shared("x"), Client.alone("x"), a.alone("x")) == ("Clientx", "Clientx", "x", "x")
    assert asked == ["x", "x"]


def test_builtins_partials_and_callable_objects_have_keys():
    pipeline = cached()

    class Adder:
        def __init__(self, number):
            self.number = number

        def __call__(self, x, *, y=0):
            return x + self.number + y

    one, two = Adder(1), Adder(2)
    plus = functools.partial(pow, 2)
    for _ in range(2):
        assert pipeline.call(len, (1, 2)) == 2
        assert pipeline.call(int, "7") == 7
        assert pipeline.call(int, "11", base=2) == 3
        assert [pipeline(one)(5), pipeline(two)(5), pipeline(one)(5, y=1)] == [6, 7, 7]
        assert pipeline.call(plus, 3) == 8
    assert pipeline[StaleCache].snapshot()["misses"] == 7


def test_plain_and_async_functions_are_different():
    pipeline = cached()

    @pipeline
    def fetch(x):
        return "plain"

    @pipeline
    async def afetch(x):
        return "async"

    assert fetch(1) == "plain"
    assert asyncio.run(afetch(1)) == "async"
    assert fetch(1) == "plain"


def test_a_call_that_does_not_fit_is_the_functions_own_error():
    pipeline = cached()

    @pipeline
    def fetch(a, *, b=1):
        return a

    for form in (fetch, functools.partial(pipeline.call, fetch.__wrapped__)):
        with pytest.raises(TypeError, match=r"fetch\(\) missing 1 required positional argument: 'a'"):
            form()
        with pytest.raises(TypeError, match=r"fetch\(\) got an unexpected keyword argument 'c'"):
            form(1, c=2)
    assert len(pipeline[StaleCache].flights) == 0


# -- what has no key -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize(
    ("shape", "args", "kwargs", "named"),
    [
        ("plain", ([1],), {}, "'a'"),
        ("plain", (1, {}), {}, "'b'"),
        ("plain", (), {"b": set()}, "'b'"),
        ("plain", (1, (2, [3])), {}, "'b'"),
        ("named", (1, 2, [3]), {}, r"'rest\[0\]'"),
        ("named", (1,), {"c": []}, "'c'"),
        ("named", (1,), {"d": []}, "'d'"),
        ("varied", (1, []), {}, r"'args\[1\]'"),
        ("varied", (), {"x": bytearray()}, "'x'"),
    ],
)
def test_an_argument_without_a_hash_is_named(shape, form, args, kwargs, named):
    counting = Counting()
    fetch = forms(getattr(counting, shape)())[form]
    with pytest.raises(TypeError, match=rf"argument {named} of .*fetch is a .*pass key=") as caught:
        fetch(*args, **kwargs)
    assert isinstance(caught.value, Unguardable)
    assert counting.asked == 0


def test_a_function_without_a_hash_is_named():
    class Odd:
        __hash__ = None

        def __call__(self, x):
            return x

    with pytest.raises(TypeError, match="objects of Odd cannot be told apart"):
        cached().call(Odd(), 1)
    with pytest.raises(TypeError, match="objects of Odd cannot be told apart"):
        cached()(Odd())(1)


def test_an_argument_whose_comparison_fails_is_nobodys_wrong_hit():
    class Bad:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            raise TypeError("not comparable")

    fetch = cached()(lambda x: x)
    first = Bad()
    assert fetch(first) is first
    with pytest.raises(TypeError, match="not comparable"):
        fetch(Bad())


def test_an_unguardable_call_is_not_retried():
    tries = []
    pipeline = Pipeline(name(), Retry(3), StaleCache(60, stale=600))

    @pipeline
    def fetch(x):
        tries.append(x)

    with pytest.raises(Unguardable):
        fetch([])
    assert tries == []


@pytest.mark.parametrize("length", [65_536, 65_537])
def test_a_call_with_a_huge_argument_is_made_and_not_kept(length):
    pipeline, asked = cached(), []
    fetch = pipeline(lambda text: asked.append(1) or len(text))
    for text in ("x" * length, b"x" * length):
        assert [fetch(text), fetch(text)] == [length, length]
    kept = length == 65_536
    assert len(asked) == (2 if kept else 4)
    assert len(pipeline[StaleCache].shelf) == (2 if kept else 0)
    assert len(pipeline[StaleCache].flights) == 0


# -- keys that are made ------------------------------------------------------------------------------------


def test_a_key_of_the_users_decides():
    pipeline, asked = cached(key=lambda sku, options: (sku, tuple(sorted(options)))), []

    @pipeline
    def fetch(sku, options):
        asked.append(sku)
        return sku

    @pipeline
    def other(sku, options):
        return "other"

    assert fetch("a", ["x", "y"]) == fetch("a", ["y", "x"]) == "a"
    assert asked == ["a"]
    assert fetch("a", ["x"]) == "a"
    assert other("a", ["x"]) == "other", "functions are different, whatever the key"
    assert pipeline.call(fetch.__wrapped__, "a", ["x", "y"]) == "a"
    assert asked == ["a", "a"]


def broken(sku):
    raise KeyError(sku)


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (broken, ConfigError, "key of stale_cache raised KeyError"),
        (lambda: 1, ConfigError, "key of stale_cache raised TypeError"),
        (lambda sku: [sku], Unguardable, "must return something that can be hashed, such as a string, got a list"),
        (lambda sku: (sku, {}), Unguardable, "got a tuple"),
        (lambda sku: "x" * 70_000, ConfigError, "at most 65536 characters"),
        (lambda sku: b"x" * 70_000, ConfigError, "at most 65536 characters"),
    ],
)
def test_a_key_that_cannot_be_is_a_clear_error_at_the_call(key, error, message, colour):
    pipeline, asked = cached(key=key), []

    def fetch(sku):
        asked.append(sku)

    async def afetch(sku):
        asked.append(sku)

    with pytest.raises(error, match=message):
        if colour == "sync":
            pipeline(fetch)("a")
        else:
            asyncio.run(pipeline(afetch)("a"))
    assert asked == []
    assert len(pipeline[StaleCache].flights) == 0


def test_a_key_whose_comparison_fails_is_its_own_error():
    class Bad:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            raise ArithmeticError

    fetch = cached(key=lambda sku: Bad())(lambda sku: sku)
    assert fetch(1) == 1
    with pytest.raises(ArithmeticError):
        fetch(1)


# -- forgetting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyed", [False, True])
def test_forgetting_finds_the_answer_however_function_and_call_are_written(keyed):
    pipeline = cached(key=(lambda *args, **kwargs: repr((args[-1:], kwargs))) if keyed else None)
    guard = pipeline[StaleCache]

    class Client:
        @pipeline
        def method(self, key, *, option=1):
            return key

        def other(self, key):
            return key

    @pipeline
    def plain(key, option=1):
        return key

    @functools.wraps(plain)
    def wrapped(*args, **kwargs):
        return plain(*args, **kwargs)

    client = Client()
    plain(1)
    assert not guard.forget(plain, 2)
    assert guard.forget(plain, 1)
    assert not guard.forget(plain, 1)
    for function in (plain, plain.__wrapped__, wrapped):
        plain(1)
        assert guard.forget(function, 1)
    client.method(1)
    assert not guard.forget(Client().method, 1) or keyed
    client.method(1)
    assert guard.forget(client.method, 1)
    client.method(1)
    assert guard.forget(Client.method, client, 1)
    pipeline.call(client.other, 1)
    assert guard.forget(client.other, 1)
    if not keyed:
        plain(1)
        assert guard.forget(plain, key=1, option=1)
        plain(((1,), 2))
        assert not guard.forget(plain, ((True,), 2))
        assert guard.forget(plain, ((1,), 2))
    assert len(guard.shelf) == 0


def test_of_two_pipelines_around_each_other_each_forgets_its_own():
    inner, outer, asked = cached(), cached(), []

    @outer
    @inner
    def fetch(key):
        asked.append(key)
        return len(asked)

    assert fetch(1) == 1
    assert inner[StaleCache].forget(fetch, 1)
    assert fetch(1) == 1
    assert outer[StaleCache].forget(fetch, 1)
    assert fetch(1) == 2


def test_forgetting_with_arguments_that_have_no_key_is_a_clear_error():
    pipeline = cached()

    @pipeline
    def fetch(key):
        return key

    with pytest.raises(TypeError, match=r"argument 'key' of .*fetch is a list"):
        pipeline[StaleCache].forget(fetch, [])
    with pytest.raises(TypeError, match="missing 1 required"):
        pipeline[StaleCache].forget(fetch)
    with pytest.raises(ConfigError, match="raised KeyError"):
        cached(key=broken)[StaleCache].forget(fetch, 1)
    with pytest.raises(Unguardable, match="got a list"):
        cached(key=lambda key: [key])[StaleCache].forget(fetch, 1)


def test_priming_stores_an_answer_before_anybody_asks():
    pipeline, asked = cached(), []

    @pipeline
    def fetch(key, option=1):
        asked.append(key)
        return key

    pipeline[StaleCache].prime("stored", fetch, 1)
    assert fetch(1) == fetch(1, 1) == fetch(key=1, option=1) == "stored"
    assert asked == []
    pipeline[StaleCache].prime("again", fetch, 1)
    assert fetch(1) == "again"


def test_many_short_lived_functions_leave_no_key_makers_behind():
    pipeline = cached()
    guard = pipeline[StaleCache]
    for number in range(3000):
        assert pipeline.call(lambda number=number: number) == number
    assert len(guard.makers) <= 1024
    assert len(guard.shelf) == 1024
