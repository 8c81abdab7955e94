"""once: execute a function once for each key, and return the recorded result to whoever comes again."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from resilient import _check, faults
from resilient._runtime.blocking import complete
from resilient._weave.colour import colour_of
from resilient.errors import ConfigError, Unguardable
from resilient.idempotency.book import KeyBook, opened
from resilient.idempotency.calls import Calls, InTasks, InThreads
from resilient.idempotency.context import current_key
from resilient.idempotency.errors import RecordedFailure, ResultNotKept
from resilient.idempotency.fingerprints import fingerprint as fingerprint_of
from resilient.idempotency.keys import checked_key
from resilient.idempotency.pages import Page
from resilient.idempotency.renewal import Claim
from resilient.idempotency.results import recorded_failure, to_json
from resilient.stores.contract import Store

__all__ = ["once"]

P = ParamSpec("P")
T = TypeVar("T")
Errors = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], object]


def once(  # noqa: PLR0913 -- one setting for each thing that functions do differently
    book: KeyBook | Store,
    *,
    key: str | Callable[..., str | None] | None = None,
    scope: str | None = None,
    fingerprint: Callable[..., str] | None = None,
    not_executed: Errors | None = None,
    encode: Callable[[Any], bytes] | None = None,
    decode: Callable[[bytes], Any] | None = None,
    wait: _check.Duration = 0.0,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that executes a function once for each idempotency key.

    A later call of the same key returns what the first one returned, without executing anything.
    If the first one raised, a later one raises `RecordedFailure`.

    Args:
        book: A `KeyBook`; or a store, for a book with the usual settings.
        key: The parameter that holds the key; or a function of the arguments that returns it;
            None for the key of the block, `with idempotency_key(...)`, which also counts where
            the parameter is None.
        scope: Whose keys they are, and for what; the function's full name if left out. A function
            that is renamed begins anew; those that one function makes share a name, and so keys.
        fingerprint: Function of the arguments, returns text: what must be alike under one key. By
            default all arguments but the key, which must be JSON values; of `self` only its class.
        not_executed: Exception types, or a predicate, by which the function says that it has done
            nothing: the key stays free.
        encode: Returns a result as bytes. By default as JSON.
        decode: Returns the result of those bytes.
        wait: Seconds, 0 or more, that a call waits for an earlier one of its key.

    Raises:
        TypeError: If one of the values is of a wrong type; when called, if the arguments cannot
            be compared.
        ConfigError: If a value is out of range, or only one of `encode` and `decode` is given;
            when called, if there is no key.
        Unguardable: When decorating, for generator functions and classes, and for functions
            without the parameter.
        KeyRefused: When called: the function was not executed now.

    Example:
        >>> from resilient.stores import MemoryStore
        >>> @once(MemoryStore(), key="order")
        ... def charge(order: str, cents: int) -> str:
        ...     print("charging", cents)
        ...     return f"receipt of {order}"
        >>> charge("order-4567", 1250)
        charging 1250
        'receipt of order-4567'
        >>> charge("order-4567", 1250)
        'receipt of order-4567'

    """
    _check_all(key, scope, fingerprint, not_executed, encode, decode)
    keeping = opened(book)
    codec = (encode or to_json, decode or json.loads)
    seconds = _check.seconds("wait", wait, zero=True)

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        if isinstance(function, (classmethod, staticmethod)):
            return cast("Callable[P, T]", type(function)(decorate(function.__func__)))
        colour = colour_of(function)
        operation = _Operation(keeping, function, key, scope, fingerprint)
        operation.not_executed, operation.wait = not_executed, seconds
        operation.encode, operation.decode = codec
        guarded = operation.awaited() if colour == "async" else operation.called()
        return cast("Callable[P, T]", functools.wraps(function)(guarded))

    return decorate


def _check_all(key: object, scope: object, fingerprint: object, not_executed: object, *codec: object) -> None:
    if key is not None and not isinstance(key, str):
        _check.plain("key", key, "a parameter's name, a plain function of the arguments, or None")
    if scope is not None:
        _check.identifier("scope", scope)
    if fingerprint is not None:
        _check.plain("fingerprint", fingerprint, "a plain function of the arguments, or None")
    _check.kinds("not_executed", not_executed)
    if (codec[0] is None) != (codec[1] is None):
        _check.refuse("encode", codec[0], "given together with decode")
    for name, function in zip(("encode", "decode"), codec, strict=True):
        if function is not None:
            _check.plain(name, function, "a plain function, or None")


class _Operation:
    """A function whose calls are operations."""

    not_executed: Errors | None
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    wait: float

    def __init__(
        self,
        book: KeyBook,
        function: Callable[..., Any],
        key: str | Callable[..., str | None] | None,
        scope: str | None,
        content: Callable[..., str] | None,
    ) -> None:
        self.book, self.desk, self.function = book, book.desk, function
        name = getattr(function, "__qualname__", None)
        if name is None and scope is None:
            message = f"{function!r} has no name of its own; give once() a `scope=`"
            raise Unguardable(message)
        self.name = f"{function.__module__}.{name}" if name else str(scope)
        self.scope = scope or self.name
        self.key, self.content = key, content
        self.signature = inspect.signature(function)
        if isinstance(key, str) and key not in self.signature.parameters:
            message = f"{self.name}{self.signature} has no parameter {key!r} that could hold the idempotency key"
            raise Unguardable(message)

    def called(self) -> Callable[..., Any]:
        """Return the plain function that executes once."""
        calls = InThreads()

        def called(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- as of the function
            found = complete(self._begin(calls, args, kwargs))
            if isinstance(found, Page):
                return self._recorded(found)
            try:
                result = self.function(*args, **kwargs)
            except BaseException as error:
                complete(self._failed(calls, found, error))
                raise
            complete(self._done(calls, found, result))
            return result

        return called

    def awaited(self) -> Callable[..., Any]:
        """Return the async function that executes once."""
        calls = InTasks()

        async def awaited(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            found = await self._begin(calls, args, kwargs)
            if isinstance(found, Page):
                return self._recorded(found)
            try:
                result = await self.function(*args, **kwargs)
            except BaseException as error:
                await self._failed(calls, found, error)
                raise
            await self._done(calls, found, result)
            return result

        return awaited

    async def _begin(self, calls: Calls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Claim | Page | None:
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        key = given.pop(self.key, None) if isinstance(self.key, str) else self.key and self.key(*args, **kwargs)
        if key is None:
            key = current_key()
        if key is None:
            message = f"{self.name} needs an idempotency key: in its arguments, or by `with idempotency_key(...)`"
            raise ConfigError(message)
        key_id = self.book.id_of(checked_key("idempotency key", key), scope=self.scope)
        content = self._arguments(given) if self.content is None else self.content(*args, **kwargs)
        return await self.desk.begin(calls, key_id, content, self.wait)

    def _arguments(self, given: dict[str, Any]) -> str:
        first = next(iter(self.signature.parameters), None)
        if first in ("self", "cls") and first in given:  # its class, for a method may be inherited by several
            kind = given[first] if isinstance(given[first], type) else type(given[first])
            given[first] = f"{kind.__module__}.{kind.__qualname__}"
        try:
            return fingerprint_of(given)
        except (TypeError, ConfigError) as error:
            message = f"the arguments of {self.name} cannot be compared; give once() a `fingerprint=` ({error})"
            raise TypeError(message) from error

    def _recorded(self, page: Page) -> Any:  # noqa: ANN401
        """Return the result of a page, or raise what it says."""
        answer = page.answer if isinstance(page.answer, dict) else {}
        if "error" in answer:
            raise RecordedFailure(*map(str, answer["error"]))
        if "result" not in answer:
            raise ResultNotKept(self.book.name, "idempotency", None, ResultNotKept.default_reason)
        return self.decode(page.body)

    async def _done(self, calls: Calls, claim: Claim | None, result: object) -> None:
        if claim is None:
            return
        try:
            body, answer = _encoded(self.encode, result), {"result": True}
        except Exception as fault:  # noqa: BLE001 -- it was executed; only its result is lost
            faults.report(self.function, fault)
            body, answer = b"", {}
        await self.desk.finish(calls, claim, answer, body)

    async def _failed(self, calls: Calls, claim: Claim | None, error: BaseException) -> None:
        if claim is None:
            return
        if not isinstance(error, Exception):
            self.desk.abandon(claim)
        elif self.not_executed is not None and _check.matches(self.not_executed, error):
            await self.desk.free(calls, claim)
        else:
            await self.desk.finish(calls, claim, recorded_failure(error))


def _encoded(encode: Callable[[Any], bytes], result: object) -> bytes:
    body: object = encode(result)
    if type(body) is not bytes:
        _check.refuse_type("encode", body, "a function that returns bytes")
    return body
