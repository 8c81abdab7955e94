"""Stale cache: keep answers, and serve a stale one when a fresh one cannot be had.

Put it outside of `Retry`, `CircuitBreaker`, `Timeout` and what else admits calls, and inside of
`Fallback`. An answer is *fresh* first: it is served and nobody is asked. Then it is *stale*, up
to a hard age: it stands in where asking fails. What stood in for an answer is never stored.

A hit costs a tuple, a look-up and a look at the clock; it takes no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from resilient import _check
from resilient._policy import Env

if TYPE_CHECKING:
    from resilient._guards.stale_cache import StaleCacheGuard
    from resilient._guards.stale_cache_backing import Codec
    from resilient.stores.contract import Store

__all__ = ["StaleCache"]

TEMPLATE = """
key_ = None                                            #: keyed
try:
    key_ = KEY                                         #: positional & !keyed
    key_ = (makers_(call) or named_(call))(ARGS)       #: through & !keyed
    key_ = maker_(ARGS)                                #: !positional & !through & !keyed
    key_ = (call, keyed_(ARGS))                        #: keyed
    stored_ = find_(key_)
except TypeError as error:                             #: !keyed
    cache_.unhashable(error, call, ARGS)               #: !keyed
    raise                                              #: !keyed
except Exception as error:                             #: keyed
    cache_.keyless(error, key_)                        #: keyed
if stored_ is not None and now() < stored_.until:
    stored_.hits += 1
    if watching_() is not None:
        cache_.told(stored_)
    result = stored_.value
else:
    turn_ = AWAIT ask_(key_, END, call, ARGS)
    if turn_.answered:
        result = turn_.result
    else:
        began = now()                                  #: timed
        try:
            <inner>
        except BaseException as error:
            if not cache_.failed(turn_, error):
                if turn_.taken_back:                   #: backed
                    AWAIT settle_(turn_)               #: backed
                raise
            result = turn_.result
        else:
            result = cache_.returned(turn_, result)
            if turn_.made is not None:                 #: backed
                AWAIT settle_(turn_)                   #: backed
"""

On = tuple[type[Exception], ...] | type[Exception] | Callable[[Exception], bool]


@dataclass(frozen=True, slots=True)
class StaleCache:
    """Keep the answers of calls, and serve a stale one when a fresh one cannot be had.

    Durations are seconds or a timedelta. An answer is never served when it is older than
    `fresh + stale`.

    Args:
        fresh: Seconds for which an answer is served without asking; 0 asks every time.
        stale: Seconds after that in which it stands in where asking fails; 0 for never.
        key: A function of the call's arguments that returns what to find the answer by. By
            default the arguments themselves, told apart by their types, too.
        while_revalidating: Seconds of `stale` in which an answer is served at once while a fresh
            one is asked for in the background; True for all of it, False for none. None takes
            as many seconds as `fresh`.
        on: Exception types or a predicate: where a stale answer may stand in. By default what the
            classifier calls a failure or throttled, our own refusals and timeouts; never the
            caller's own errors.
        max_entries: Answers kept at most, over all functions of the pipeline.
        max_bytes: Bytes that they may have together, as `size` says; None for no such limit.
        size: A function that says how many bytes an answer counts for. By default the object and,
            for lists, tuples, sets and dicts, what stands in it directly.
        negative: Seconds for which an error is raised again without asking; None for never.
        negative_on: Exception types or a predicate: which errors.
        early: How eagerly answers are refreshed in the background before their fresh time ends;
            1 is usual, None is off.
        jitter: Share in [0, 1) by which `fresh` and `negative` are shortened at random, so that
            answers that came together do not end together.
        refreshes: Refreshes in the background at once.
        store: A store that keeps the answers, too, so that they survive a restart and processes share
            them. It needs `key`, and that it returns a string.
        codec: Turns answers into bytes and back for the store. By default JSON, which keeps only
            what comes back from it as it was.

    Raises:
        ConfigError: If a value is out of range, or values do not go together.
        TypeError: If a value is of the wrong type.

    Example:
        >>> from resilient import Pipeline, StaleCache
        >>> rates = Pipeline("doc-stale-cache", StaleCache(60, stale=3600))
        >>> @rates
        ... def rate(currency: str) -> float:
        ...     print("asking")
        ...     return 1.08
        >>> rate("EUR")
        asking
        1.08
        >>> rate("EUR")
        1.08

    """

    fresh: float
    stale: float
    key: Callable[..., Hashable] | None
    while_revalidating: float
    on: On | None
    max_entries: int
    max_bytes: int | None
    size: Callable[[object], int] | None
    negative: float | None
    negative_on: On | None
    early: float | None
    jitter: float
    refreshes: int
    store: Store | None
    codec: Codec | None

    kind: ClassVar[str] = "stale_cache"
    template: ClassVar[str] = TEMPLATE

    def __init__(  # noqa: PLR0913 -- all keyword-only
        self,
        fresh: _check.Duration,
        *,
        stale: _check.Duration,
        key: Callable[..., Hashable] | None = None,
        while_revalidating: _check.Duration | bool | None = None,
        on: On | None = None,
        max_entries: int = 1024,
        max_bytes: int | None = None,
        size: Callable[[object], int] | None = None,
        negative: _check.Duration | None = None,
        negative_on: On | None = None,
        early: float | None = None,
        jitter: float = 0.1,
        refreshes: int = 8,
        store: Store | None = None,
        codec: Codec | None = None,
    ) -> None:
        """Check and normalise the settings."""
        checked: dict[str, object] = {
            **_ages(fresh, stale, while_revalidating),
            "key": None if key is None else _function("key", key, "a function of the call's arguments, or None"),
            "on": _kinds("on", on),
            "max_entries": _check.count("max_entries", max_entries),
            "max_bytes": None if max_bytes is None else _check.count("max_bytes", max_bytes),
            "size": None if size is None else _function("size", size, "a function of an answer, or None"),
            "negative": _negative(negative, negative_on),
            "negative_on": negative_on,
            "early": None if early is None else _check.positive("early", early),
            "jitter": _check.number("jitter", jitter),
            "refreshes": _check.count("refreshes", refreshes),
            **_stored(store, codec, key),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if size is not None and max_bytes is None:
            _check.refuse("size", size, "left out where max_bytes is None")
        if not 0 <= jitter < 1:
            _check.refuse("jitter", jitter, "a share in [0, 1)")

    def bind(self, env: Env, label: str) -> StaleCacheGuard:
        """Return an empty cache for one position of one pipeline."""
        from resilient._guards.stale_cache import StaleCacheGuard  # noqa: PLC0415 -- only who caches loads it

        return StaleCacheGuard(env, label, self)

    def describe(self) -> str:
        """Say in one line what is configured."""
        grace = self.while_revalidating
        parts = [f"fresh {self.fresh:g} s, then stale up to {self.stale:g} s"]
        if grace:
            parts.append(f"served while it is refreshed for {grace:g} s of that")
        if self.early is not None:
            parts.append("refreshed early")
        if self.negative is not None:
            parts.append(f"errors kept {self.negative:g} s")
        bounds = f"at most {self.max_entries} answers"
        return "; ".join([*parts, bounds if self.max_bytes is None else f"{bounds} of {self.max_bytes} bytes"])


def _function(name: str, given: object, allowed: str) -> object:
    _check.plain(name, given, allowed)
    return given


def _kinds(name: str, given: On | None) -> On | None:
    _check.kinds(name, given)
    return given


def _ages(fresh: _check.Duration, stale: _check.Duration, grace: _check.Duration | bool | None) -> dict[str, object]:  # noqa: FBT001 -- as given
    fresh = _check.seconds("fresh", fresh, zero=True)
    stale = _check.seconds("stale", stale, zero=True)
    if grace is None:
        seconds = min(fresh, stale)
    elif isinstance(grace, bool):
        seconds = stale if grace else 0.0
    else:
        seconds = _check.seconds("while_revalidating", grace, zero=True)
    if seconds > stale:
        _check.refuse("while_revalidating", grace, f"at most stale ({stale:g} s)")
    return {"fresh": fresh, "stale": stale, "while_revalidating": seconds}


def _negative(given: _check.Duration | None, on: On | None) -> float | None:
    _kinds("negative_on", on)
    if given is None:
        if on is not None:
            _check.refuse("negative_on", on, "left out where negative is None")
        return None
    seconds = _check.seconds("negative", given)
    if on is None:
        _check.refuse("negative_on", on, "the errors that are kept, where negative says for how long")
    return seconds


def _stored(store: Store | None, codec: Codec | None, key: object) -> dict[str, object]:
    if store is None:
        if codec is not None:
            _check.refuse("codec", codec, "left out where store is None")
        return {"store": None, "codec": None}
    from resilient.stores.contract import Store  # noqa: PLC0415 -- only who uses a store loads it

    if isinstance(store, type) or not isinstance(store, Store):
        _check.refuse_type("store", store, "a store, such as a MemoryStore")
    if key is None:
        _check.refuse("key", key, "a function that returns a string, where answers are kept in a store")
    if codec is not None and not (hasattr(codec, "encode") and hasattr(codec, "decode")):
        _check.refuse_type("codec", codec, "an object with encode() and decode(), or None")
    return {"store": store, "codec": codec}
