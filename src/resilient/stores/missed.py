"""Removals that a store did not hear of, made up for before it is asked anything else.

Otherwise a store that was left alone for a second would give out, afterwards, what was declared
invalid in that second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os.path import commonprefix
from typing import Any

from resilient import faults
from resilient.stores.contract import Store

__all__ = ["Missed"]

_MOST = 1_000
"""How many are remembered; with one more, everything is removed that has its beginning with all of them in common."""

_TRIES = 3
"""How often one may fail while the store does all else, before it is given up."""

Call = tuple[str, tuple[Any, ...], tuple[tuple[str, Any], ...]]


def _beginning(call: Call) -> str:
    """Return what the keys begin with that a call removes."""
    method, args, kwargs = call
    return str(args[0]) if method == "delete" else str(dict(kwargs).get("prefix", ""))


class Missed:
    """What is still to be removed from a store."""

    __slots__ = ("_store", "calls")

    def __init__(self, store: Store) -> None:
        self._store = store
        self.calls: dict[Call, int] = {}
        """By the call: how often it has failed while the store did all else."""

    def note(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Remember a call that did not reach the store, if it removes something.

        One that removes a certain version gives up a claim, which ends by itself.
        """
        if method not in {"delete", "purge"} or kwargs.get("expected") is not None:
            return
        self.calls[method, tuple(args), tuple(sorted(kwargs.items()))] = 0
        if len(self.calls) > _MOST:
            # Of this cache, not of all that share the store.
            common = commonprefix([_beginning(call) for call in self.calls])  # noqa: RUF071 -- letters, not paths
            self.calls.clear()
            self.calls["purge", (), (("prefix", common),)] = 0

    def before(self, method: str) -> Callable[..., Any]:
        """Return a function that makes up for everything, and then calls the method."""
        return partial(self._after_all, method)

    def _after_all(self, method: str, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- of any method
        fault = self._make_up()
        result = getattr(self._store, method)(*args, **kwargs)  # a store that is down says so here
        if fault is None or self._given_up(*fault):
            return result
        raise fault[1]

    def _make_up(self) -> tuple[Call, Exception] | None:
        """Remove what is to be removed, up to the first that fails."""
        for call in list(self.calls):
            method, args, kwargs = call
            try:
                getattr(self._store, method)(*args, **dict(kwargs))
            except Exception as fault:  # noqa: BLE001 -- of any store
                return call, fault
            self.calls.pop(call, None)
        return None

    def _given_up(self, call: Call, fault: Exception) -> bool:
        """Tell whether a call has failed so often that it never will succeed."""
        tries = self.calls.get(call, 0) + 1
        if tries < _TRIES:
            self.calls[call] = tries
            return False
        self.calls.pop(call, None)
        faults.report(type(self._store), fault)
        return True
