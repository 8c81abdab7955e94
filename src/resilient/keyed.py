"""Keyed: one pipeline per key (host, tenant), in a bounded family.

All members share one configuration and, woven, one code object; each has its own state. A
member is evicted only when it is idle and a fresh one would behave just the same: never an
open, half-open or held breaker, never one with calls in flight.
"""

from __future__ import annotations

import functools
import operator
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from itertools import islice
from threading import Lock
from typing import Any, ParamSpec, TypeVar, cast

from resilient import _check, explain, registry
from resilient._policy import Policy
from resilient._runtime import live
from resilient._weave.assembly import assemble
from resilient._weave.colour import colour_of
from resilient.clock import Clock, current
from resilient.outcome import Classifier
from resilient.pipeline import Origin, Pipeline

__all__ = ["Keyed"]

P = ParamSpec("P")
T = TypeVar("T")

_LOOKED_AT = 32
"""How many of the oldest members one insertion looks at for eviction."""


class Keyed:
    """A bounded family of pipelines, one per key.

    Args:
        name: Name of the family; a member is called "name[key]".
        policies: As for `Pipeline`.
        classifier: As for `Pipeline`.
        most: Members at most. While all of them are in use, new keys share one overflow member.
        idle: Seconds without a call after which a member may be evicted.
        replace: Replace a family of this name that has another configuration.

    Raises:
        ConfigError: If the name is taken by another configuration, or settings cannot work.

    Example:
        >>> from resilient import CircuitBreaker, Keyed
        >>> hosts = Keyed("doc-hosts", CircuitBreaker())
        >>> hosts["api.example.com"].call(lambda: "ok")
        'ok'
        >>> len(hosts)
        1

    """

    __slots__ = ("__weakref__", "_family", "classifier", "idle", "most", "name", "policies")

    def __init__(
        self,
        name: str,
        *policies: Policy,
        classifier: Classifier | None = None,
        most: int = 10_000,
        idle: _check.Duration = 600.0,
        replace: bool = False,
    ) -> None:
        """Find the family of this name, or make it."""
        self.name = _check.identifier("name", name)
        self.policies = tuple(policies)
        explain.refuse(self.name, self.policies)
        if classifier is not None and not isinstance(classifier, Classifier):
            _check.refuse_type("classifier", classifier, "a Classifier or None")
        self.classifier = Classifier() if classifier is None else classifier
        if not isinstance(self.classifier, Classifier):
            _check.refuse_type("classifier", classifier, "a Classifier or None")
        self.most = _check.count("most", most)
        self.idle = _check.seconds("idle", idle)
        self._family = _Family()
        configuration = ("keyed", self.policies, self.classifier, self.most, self.idle)
        self._member(self.name, None)  # bad settings show now, not with the first key
        known = registry.register(self, configuration, replace=replace)
        if known is not self:
            self._family = cast("Keyed", known)._family  # noqa: SLF001 -- its twin
        live.add(self)

    def __getitem__(self, key: Hashable) -> Pipeline:
        """Return the member of a key, making it if it is new."""
        member = self._family.members.get(key)
        if member is None:
            member = self._insert(key)
            if member is None:
                return self._shared()
        member.used = current().now()
        return member.pipeline

    def __len__(self) -> int:
        """Return how many members there are."""
        return len(self._family.members)

    def __contains__(self, key: object) -> bool:
        """Tell whether a key has a member."""
        return key in self._family.members

    def call(self, key: Hashable, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a plain function through the member of a key."""
        return self[key].call(function, *args, **kwargs)

    def acall(
        self, key: Hashable, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """Call an async function through the member of a key."""
        return self[key].acall(function, *args, **kwargs)

    def by(self, key: Callable[..., Hashable]) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Return a decorator that guards a function by a key made of its arguments.

        Args:
            key: A function of the call's arguments that returns the key.

        Example:
            >>> from resilient import Keyed, Retry
            >>> tenants = Keyed("doc-tenants", Retry())
            >>> @tenants.by(lambda tenant, query: tenant)
            ... def search(tenant: str, query: str) -> str:
            ...     return f"{query} for {tenant}"
            >>> search("acme", "invoices")
            'invoices for acme'

        """
        if not callable(key):
            _check.refuse_type("key", key, "a function of the call's arguments")

        def guard(function: Callable[P, T]) -> Callable[P, T]:
            if colour_of(function) == "async":

                @functools.wraps(function)
                async def aguarded(*args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401
                    target = cast("Callable[P, Awaitable[Any]]", function)
                    return await self[key(*args, **kwargs)].acall(target, *args, **kwargs)

                return cast("Callable[P, T]", aguarded)

            @functools.wraps(function)
            def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
                return self[key(*args, **kwargs)].call(function, *args, **kwargs)

            return guarded

        return guard

    def snapshot(self) -> dict[str, object]:
        """Return the states of all members, the overflow member included, by their names."""
        with self._family.lock:
            pipelines = [member.pipeline for member in self._family.members.values()]
            if self._family.overflow is not None:
                pipelines.append(self._family.overflow)
        return {pipeline.name: pipeline.snapshot() for pipeline in pipelines}

    def evict_idle(self) -> int:
        """Evict every member that is idle and at rest now; return how many went."""
        now = current().now()
        with self._family.lock:
            gone = [key for key, member in self._family.members.items() if member.rests(now - self.idle)]
            for key in gone:
                del self._family.members[key]
        return len(gone)

    def _insert(self, key: Hashable) -> _Member | None:
        with self._family.lock:
            member = self._family.members.get(key)
            if member is None:
                self._make_room()
                if len(self._family.members) >= self.most:
                    return None
                member = self._family.members[key] = self._member(
                    f"{self.name}[{key}]", (operator.getitem, (self, key))
                )
            return member

    def _make_room(self) -> None:
        """Evict what is idle among the oldest; at the bound, what has rested longest among them.

        Members in use since they were looked at last go to the back of the order.
        """
        now = current().now()
        full = len(self._family.members) >= self.most
        for key, member in list(islice(self._family.members.items(), _LOOKED_AT if full else 2)):
            if member.rests(now - self.idle) or (full and member.rests(member.seen)):
                del self._family.members[key]
                full = False
            else:
                member.seen = member.used
                self._family.members.move_to_end(key)

    def _member(self, name: str, origin: Origin) -> _Member:
        assembly = assemble(name, self.policies, self.classifier)
        return _Member(Pipeline._of(self.policies, assembly, origin))  # noqa: SLF001 -- its builder

    def _shared(self) -> Pipeline:
        with self._family.lock:
            if self._family.overflow is None:
                self._family.overflow = self._member(f"{self.name}[_other]", (Keyed._shared, (self,))).pipeline
            return self._family.overflow

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by name and configuration; unpickled where the name is in use, it is that family."""
        family = functools.partial(Keyed, classifier=self.classifier, most=self.most, idle=self.idle)
        return family, (self.name, *self.policies)

    def renew(self) -> None:
        """Replace the lock, in a forked child."""
        self._family.lock = Lock()

    def use_clock(self, clock: Clock) -> None:
        """Take the idle time of members from another clock's zero."""
        for member in list(self._family.members.values()):
            member.used = member.seen = clock.now()


class _Family:
    """What all `Keyed` objects of one name share."""

    __slots__ = ("lock", "members", "overflow")

    def __init__(self) -> None:
        self.lock = Lock()
        self.members: OrderedDict[Hashable, _Member] = OrderedDict()
        self.overflow: Pipeline | None = None


class _Member:
    """A pipeline of a family, when it was used last, and when it was looked at last."""

    __slots__ = ("pipeline", "seen", "used")

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.used = self.seen = current().now()

    def rests(self, since: float) -> bool:
        """Tell whether it was not used after `since` and a fresh one would behave the same."""
        return self.used <= since and self.pipeline.resting()
