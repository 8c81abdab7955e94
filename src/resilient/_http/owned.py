"""What a transport sends through: pools of its own, or a transport that it was given; and who closes it."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from resilient._http.family import Family
from resilient._http.leases import Foreign
from resilient._http.pool_closing import gone, here
from resilient._http.pool_registry import AsyncPools, SyncPools

_MORE = frozenset({"keepalive_expiry"})
_NOT_OURS = frozenset({"self", "limits", "retries"})


def _known(family: Family, kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """Refuse an option that the family's transport would not know, now and not with the first request.

    Raises:
        TypeError: Naming the option that may have been meant.

    """
    names = (set(inspect.signature(getattr(family.module, kind)).parameters) | _MORE) - _NOT_OURS
    for name in options:
        if name in _NOT_OURS:
            continue  # refused by the pools, which say why
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            message = f"{name!r} is no option of this transport{hint}; it may be one of {', '.join(sorted(names))}"
            raise TypeError(message)
    return options


class _Entered:
    """Counts how often a transport is entered: a client enters it once for each mount."""

    def __init__(self) -> None:
        self._times = 0

    @contextmanager
    def one_more(self) -> Iterator[bool]:
        """Tell whether this is the first; if entering fails, it was none."""
        self._times += 1
        try:
            yield self._times == 1
        except BaseException:
            self._times -= 1
            raise

    def last(self) -> bool:
        """Tell whether nobody is left."""
        self._times = max(0, self._times - 1)
        return self._times == 0


class Connections:
    """Pools of our own, for threads."""

    def __init__(self, family: Family, options: dict[str, Any]) -> None:
        """Open nothing yet."""
        self._pools = SyncPools(family, _known(family, "HTTPTransport", options))
        self._entered = _Entered()
        self.get = self._pools.get

    def enter(self) -> None:
        """Count."""
        with self._entered.one_more():
            pass

    def leave(self, *_error: object) -> bool:
        """Close with the last; tell whether this was it."""
        last = self._entered.last()
        if last:
            self._pools.close()
        return last

    def close(self) -> None:
        """Close every connection."""
        self._pools.close()


class AsyncConnections:
    """Pools of our own, for tasks."""

    def __init__(self, family: Family, options: dict[str, Any]) -> None:
        """Open nothing yet."""
        self._pools = AsyncPools(family, _known(family, "AsyncHTTPTransport", options))
        self._entered: dict[object, _Entered] = {}
        self.get = self._pools.get

    async def enter(self) -> None:
        """Count, for each event loop by itself: each has its own connections."""
        for home in [each for each in self._entered if gone(each)]:
            self._entered.pop(home, None)
        with self._entered.setdefault(here(), _Entered()).one_more():
            pass

    async def leave(self, *_error: object) -> bool:
        """Close the connections of this loop with the last; tell whether this was it."""
        entered = self._entered.get(here())
        last = entered is None or entered.last()
        if last:
            self._entered.pop(here(), None)
            await self._pools.aclose()
        return last

    async def close(self) -> None:
        """Close every connection."""
        await self._pools.aclose()


class _Given:
    """What the two kinds of wrapped transports share."""

    def __init__(self, transport: Any, options: dict[str, Any], *, owns: bool) -> None:  # noqa: ANN401
        if options:
            message = f"{', '.join(options)}: options of pools of our own, of which a given transport has no use"
            raise TypeError(message)
        self._transport = transport
        self._owns = owns
        self._foreign = Foreign(transport, closes=owns)
        self._entered = _Entered()

    def get(self, *_downstream: object) -> Foreign:
        """Return the one pool there is, for every downstream."""
        return self._foreign


class Wrapped(_Given):
    """A transport that we were given, for threads."""

    def enter(self) -> None:
        """Enter it with the first, if it is ours."""
        with self._entered.one_more() as first:
            if first and self._owns:
                self._transport.__enter__()

    def leave(self, *error: Any) -> bool:  # noqa: ANN401 -- as for any `__exit__`
        """Leave it with the last; tell whether this was it."""
        last = self._entered.last()
        if last and self._owns:
            self._foreign.left()
            self._transport.__exit__(*error)
        return last

    def close(self) -> None:
        """Close it, if it is ours and was used since."""
        self._foreign.close()


class AsyncWrapped(_Given):
    """A transport that we were given, for tasks."""

    async def enter(self) -> None:
        """Enter it with the first, if it is ours."""
        with self._entered.one_more() as first:
            if first and self._owns:
                await self._transport.__aenter__()

    async def leave(self, *error: Any) -> bool:  # noqa: ANN401
        """Leave it with the last; tell whether this was it."""
        last = self._entered.last()
        if last and self._owns:
            self._foreign.left()
            await self._transport.__aexit__(*error)
        return last

    async def close(self) -> None:
        """Close it, if it is ours and was used since."""
        await self._foreign.aclose()
