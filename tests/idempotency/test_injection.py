"""A function gets the key of its call, chosen once, outside of all attempts."""

from __future__ import annotations

import functools
import inspect
import pickle
import uuid
from typing import Any

import httpx
import pytest

from resilient import ConfigError, Pipeline, Retry, Unguardable
from resilient.idempotency import idempotency_key, inject_key
from resilient.testing import InstantClock, use


@inject_key("key")
def plain(cents: int, key: str | None = None, *rest: int) -> tuple[object, ...]:
    return (cents, key, *rest)


@inject_key("key")
async def awaited(cents: int, *, key: str | None = None) -> tuple[object, ...]:
    return (cents, key)


def run(coroutine: Any) -> Any:
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    return stopped.value.value


def test_the_key_comes_from_the_block() -> None:
    with idempotency_key("order-1"):
        assert plain(1) == (1, "order-1")
        assert plain(cents=1) == (1, "order-1")
        assert plain(1, None, 2) == (1, "order-1", 2)
        assert run(awaited(1)) == (1, "order-1")


def test_outside_of_a_block_each_call_has_a_new_key() -> None:
    keys = {plain(1)[1] for _ in range(5)} | {run(awaited(1))[1] for _ in range(5)}
    assert len(keys) == 10
    assert all(uuid.UUID(str(key)) for key in keys)


def test_a_key_of_the_callers_own_stays() -> None:
    with idempotency_key("order-1"):
        assert plain(1, "mine") == plain(1, key="mine") == (1, "mine")
        assert run(awaited(1, key="mine")) == (1, "mine")
        assert plain(1, "")[1] == ""  # only None asks for one


def test_all_attempts_of_a_call_share_it() -> None:
    keys: list[object] = []

    @inject_key("key")
    @Pipeline("inject-attempts", Retry(attempts=3, budget=None))
    def charge(cents: int, key: str | None = None) -> None:
        keys.append(key)
        raise OSError("reset")

    with use(InstantClock()):
        for _ in range(2):
            with pytest.raises(OSError, match="reset"):
                charge(1)
    assert len(keys) == 6
    assert keys[:3] == keys[:1] * 3
    assert keys[3:] == keys[3:4] * 3
    assert len(set(keys)) == 2


def test_signature_name_and_colour_are_kept() -> None:
    assert plain.__name__ == "plain"
    assert str(inspect.signature(plain)).startswith("(cents: ")
    assert inspect.iscoroutinefunction(awaited)
    assert not inspect.iscoroutinefunction(plain)
    assert pickle.loads(pickle.dumps(plain)) is plain


def test_methods_and_their_kin_get_one() -> None:
    class Shop:
        @inject_key("key")
        def bound(self, key: str | None = None) -> object:
            return key

        @inject_key("key")
        @classmethod
        def of_class(cls, key: str | None = None) -> object:
            return key

        @inject_key("key")
        @staticmethod
        def static(key: str | None = None) -> object:
            return key

    with idempotency_key("k"):
        assert (Shop().bound(), Shop.of_class(), Shop.static()) == ("k", "k", "k")


def test_positional_only_parameters_are_filled() -> None:
    @inject_key("key")
    def first(key: str, /) -> str:
        return key

    @inject_key("key")
    def second(cents: int, key: str, /, currency: str = "EUR") -> tuple[object, ...]:
        return (cents, key, currency)

    with idempotency_key("k"):
        assert first() == "k"  # type: ignore[call-arg]
        assert second(1) == (1, "k", "EUR")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="missing"):
            second()  # type: ignore[call-arg]


def test_whatever_takes_keywords_takes_the_key() -> None:
    @inject_key("key")
    def function(**options: Any) -> dict[str, Any]:
        return options

    with idempotency_key("k"):
        assert function(a=1) == {"a": 1, "key": "k"}
        assert inject_key("x")(functools.partial(lambda a, x: (a, x), 1))() == (1, "k")


@pytest.mark.parametrize("function", [lambda cents: cents, lambda *key: key, len], ids=["none", "rest", "built-in"])
def test_a_function_without_the_parameter_is_refused_when_decorating(function: Any) -> None:
    with pytest.raises(Unguardable, match="has no parameter 'key'"):
        inject_key("key")(function)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(TypeError, match="parameter must be"):
        inject_key(7)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="style must be"):
        inject_key("headers", header="Idempotency-Key", style="sf")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="function must be callable"):
        inject_key("key")(7)  # type: ignore[arg-type]


# Headers


@inject_key("headers", header="Idempotency-Key")
def post(url: str, headers: Any = None) -> Any:
    return headers


def test_a_header_is_added_to_a_copy() -> None:
    mine = {"Accept": "*/*"}
    with idempotency_key("k"):
        assert post("/") == {"Idempotency-Key": "k"}
        assert post("/", mine) == {"Accept": "*/*", "Idempotency-Key": "k"}
        assert post("/", headers=[("Accept", "*/*")]) == [("Accept", "*/*"), ("Idempotency-Key", "k")]
        assert post("/", headers=((b"Accept", b"*/*"),)) == [(b"Accept", b"*/*"), (b"Idempotency-Key", b"k")]
        assert post("/", httpx.Headers({"a": "b"})) == {"a": "b", "Idempotency-Key": "k"}
    assert mine == {"Accept": "*/*"}
    assert len(post("/")["Idempotency-Key"]) == 36


@pytest.mark.parametrize(
    "mine", [{"idempotency-key": "mine"}, [("IDEMPOTENCY-KEY", "mine")], [(b"Idempotency-Key", b"")]]
)
def test_a_header_of_the_callers_own_stays(mine: Any) -> None:
    with idempotency_key("k"):
        assert post("/", mine) is mine


def test_a_header_is_quoted_where_that_is_asked() -> None:
    quoted = inject_key("headers", header="Idempotency-Key", style="quoted")(lambda headers=None: headers)
    with idempotency_key('a "b"'):
        assert quoted() == {"Idempotency-Key": '"a \\"b\\""'}


def test_headers_of_an_unknown_kind_are_refused() -> None:
    with pytest.raises(TypeError, match="headers must be a mapping"):
        post("/", headers=7)
