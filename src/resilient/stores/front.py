"""The front of a store: it never raises and never takes longer than it was given.

A store that fails or stalls is left alone for a while: calls go on without it, as if it held
nothing. How long grows with each failure in a row, from half a second to half a minute. Then one
call tries it again, and the others follow if that went well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from resilient import _check, clock, events, faults
from resilient._runtime import live, threads
from resilient.stores.contract import Store, StoreFull
from resilient.stores.lane import Lane
from resilient.stores.missed import Missed
from resilient.stores.sound import SOUND

__all__ = ["Front"]

_FIRST_REST = 0.5
_LONGEST_REST = 30.0
_MOST_DOUBLINGS = 8

_AT_ONCE = 8
"""How many operations of a blocking store run at once, and so how many threads it can ever hold."""


class Front:
    """A store as calls use it.

    Args:
        store: The store.
        name: Whose store it is, for events: the name of a pipeline or transport.
        patience: Seconds, above 0, that a call waits for a blocking store at most.

    Raises:
        TypeError: If it is no store.
        ConfigError: If the patience is not above 0.

    """

    __slots__ = (
        *("__weakref__", "_bypasses", "_failures", "_fails", "_lane", "_missed", "_name", "_rests_until"),
        *("bypassed", "failed", "patience", "store"),
    )

    def __init__(self, store: Store, *, name: str, patience: _check.Duration = 0.25) -> None:
        """Check the settings."""
        if isinstance(store, type) or not isinstance(store, Store):
            _check.refuse_type("store", store, "a store, such as a MemoryStore")
        self.store = store
        self.patience = _check.seconds("patience", patience)
        self._name = name
        self._lane = Lane(_AT_ONCE)
        self._missed = Missed(store)
        self._failures = 0
        self._rests_until = 0.0
        self._fails, self._bypasses = count(1).__next__, count(1).__next__
        self.failed = 0
        """How often the store failed or stalled."""
        self.bypassed = 0
        """How often it was left alone because of that."""
        live.add(self)

    def run(self, default: Any, method: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- of any method
        """Call a method of the store; return `default` if the store does not answer, or is full."""
        failures = self._failures
        if failures and self._resting():
            self._left_out(method, args, kwargs)
            return default
        try:
            missed = bool(self._missed.calls)
            call = self._missed.before(method) if missed else getattr(self.store, method)
            if not self.store.blocking:
                result = call(*args, **kwargs)
            elif method == "get" and not missed and getattr(self.store, "direct_reads", False):
                result = self._directly(call, args, kwargs)
            else:
                operation = self._lane.start(call, args, kwargs)
                result = _result(operation, threads.finish(operation, clock.current(), self.patience), self.patience)
            _check_sound(method, result)
        except StoreFull:
            result = default
        except Exception as fault:  # noqa: BLE001 -- a store never fails a call
            self._missed.note(method, args, kwargs)
            self._rest(failures, fault)
            return default
        except BaseException:
            self._missed.note(method, args, kwargs)
            raise
        if failures:
            self._recovered(failures)
        return result

    async def arun(self, default: Any, method: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Do the same without blocking the event loop."""
        if not self.store.blocking:
            return self.run(default, method, *args, **kwargs)
        failures = self._failures
        if failures and self._resting():
            self._left_out(method, args, kwargs)
            return default
        from resilient._runtime.hopping import ended  # noqa: PLC0415 -- only async code loads asyncio

        try:
            call = self._missed.before(method) if self._missed.calls else getattr(self.store, method)
            operation = self._lane.start(call, args, kwargs)
            result = _result(operation, await ended(operation, clock.current(), self.patience), self.patience)
            _check_sound(method, result)
        except StoreFull:
            result = default
        except Exception as fault:  # noqa: BLE001
            self._missed.note(method, args, kwargs)
            self._rest(failures, fault)
            return default
        except BaseException:
            self._missed.note(method, args, kwargs)
            raise
        if failures:
            self._recovered(failures)
        return result

    def _directly(self, call: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Read on this thread, of a store that says that it bounds its waiting by itself."""
        failures, now = self._failures, clock.current().now
        end = now() + self.patience
        result = call(*args, **kwargs)
        if now() > end:
            self._rest(failures, _stalled(self.patience))
        return result

    def _resting(self) -> bool:
        """Tell whether the store is still left alone; False lets this one call try it."""
        now = clock.current().now()
        if now < self._rests_until or not self._lane.free():
            return True
        self._rests_until = now + self.patience  # the others wait for what this one finds
        return False

    def _left_out(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._missed.note(method, args, kwargs)
        self.bypassed = self._bypasses()

    def _rest(self, failures: int, fault: Exception) -> None:
        """Leave the store alone for a while; `failures` is how many there were as the operation began."""
        self.failed = self._fails()
        faults.report(type(self.store), fault)
        if failures != self._failures:  # one that began at the same time has said so already
            return
        rest = min(_LONGEST_REST, _FIRST_REST * 2 ** min(failures, _MOST_DOUBLINGS))
        self._rests_until = clock.current().now() + rest
        self._failures = failures + 1
        if events.wanted():
            fields = {"store": type(self.store).__name__, "cause": type(fault).__name__, "rest": rest}
            events.publish("resilient.store.bypassed", self._name, fields)

    def _recovered(self, failures: int) -> None:
        if failures != self._failures:
            return
        self._failures = 0
        if events.wanted():
            events.publish("resilient.store.resumed", self._name, {"store": type(self.store).__name__})

    def renew(self) -> None:
        """Count on no thread of the parent, in a forked child."""
        self._lane = Lane(_AT_ONCE)

    def use_clock(self, _: clock.Clock) -> None:
        """Try the store again: another clock tells nothing of how long it rests."""
        self._rests_until = 0.0


def _result(operation: threads.Job, ended: bool, patience: float) -> Any:  # noqa: ANN401, FBT001
    if not ended:
        raise _stalled(patience)
    if operation.error is not None:
        raise operation.error
    return operation.result


def _stalled(patience: float) -> TimeoutError:
    return TimeoutError(f"the store took longer than {patience:g} s")


def _check_sound(method: str, result: object) -> None:
    sound = SOUND.get(method)
    if sound is not None and not sound(result):
        message = f"the store's {method} returned {type(result).__name__}, which is against the contract"
        raise TypeError(message)
