"""The front of a store: it never raises and never takes longer than it was given.

A store that fails or stalls is left alone for a while: calls go on without it, as if it held
nothing. How long grows with each failure in a row, from half a second to half a minute.
"""

from __future__ import annotations

from contextvars import Context
from typing import Any

from resilient import _check, clock, events, faults
from resilient._runtime import threads
from resilient.stores.contract import Store, StoreFull

__all__ = ["Front"]

_FIRST_REST = 0.5
_LONGEST_REST = 30.0
_MOST_DOUBLINGS = 8


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

    __slots__ = ("_failures", "_name", "_rests_until", "bypassed", "failed", "patience", "store")

    def __init__(self, store: Store, *, name: str, patience: _check.Duration = 0.25) -> None:
        """Check the settings."""
        if isinstance(store, type) or not isinstance(store, Store):
            _check.refuse_type("store", store, "a store, such as a MemoryStore")
        self.store = store
        self.patience = _check.seconds("patience", patience)
        self._name = name
        self._failures = 0
        self._rests_until = 0.0
        self.failed = 0
        """How often the store failed or stalled."""
        self.bypassed = 0
        """How often it was left alone because of that."""

    def run(self, default: Any, method: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- of any method
        """Call a method of the store; return `default` if the store does not answer, or is full."""
        if self._rests_until and self._resting():
            return default
        store = self.store
        try:
            if not store.blocking:
                result = getattr(store, method)(*args, **kwargs)
            else:
                job = threads.start(Context(), getattr(store, method), args, kwargs)
                if not threads.finish(job, clock.current(), self.patience):
                    return self._stalled(default)
                result = _result(job)
        except StoreFull:
            return default
        except Exception as fault:  # noqa: BLE001 -- a store never fails a call
            return self._broke(fault, default)
        if self._failures:
            self._recovered()
        return result

    async def arun(self, default: Any, method: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Do the same without blocking the event loop."""
        if not self.store.blocking or (self._rests_until and self._resting()):
            return self.run(default, method, *args, **kwargs)
        from resilient._runtime.hopping import in_thread  # noqa: PLC0415 -- only async code loads asyncio

        try:
            job = await in_thread(getattr(self.store, method), args, kwargs, clock.current(), self.patience)
            if job is None:
                return self._stalled(default)
            result = _result(job)
        except StoreFull:
            return default
        except Exception as fault:  # noqa: BLE001
            return self._broke(fault, default)
        if self._failures:
            self._recovered()
        return result

    def _resting(self) -> bool:
        if clock.current().now() < self._rests_until:
            self.bypassed += 1
            return True
        self._rests_until = 0.0  # the next ones try again
        return False

    def _stalled(self, default: Any) -> Any:  # noqa: ANN401
        return self._broke(TimeoutError(f"the store took longer than {self.patience:g} s"), default)

    def _broke(self, fault: Exception, default: Any) -> Any:  # noqa: ANN401
        self.failed += 1
        rest = min(_LONGEST_REST, _FIRST_REST * 2 ** min(self._failures, _MOST_DOUBLINGS))
        self._failures += 1
        self._rests_until = clock.current().now() + rest
        faults.report(type(self.store), fault)
        if events.wanted():
            fields = {"store": type(self.store).__name__, "cause": type(fault).__name__, "rest": rest}
            events.publish("resilient.store.bypassed", self._name, fields)
        return default

    def _recovered(self) -> None:
        self._failures = 0
        if events.wanted():
            events.publish("resilient.store.resumed", self._name, {"store": type(self.store).__name__})


def _result(job: threads.Job) -> Any:  # noqa: ANN401
    if job.error is not None:
        raise job.error
    return job.result
