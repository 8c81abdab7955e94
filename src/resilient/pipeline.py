"""Pipeline: a named, ordered list of policies around the calls to one downstream."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from resilient import _check, explain, registry
from resilient._guards.timeout import TimeoutGuard
from resilient._policy import NEVER, Colour, Guard, Policy
from resilient._weave.assembly import Assembly, assemble
from resilient._weave.colour import AsyncThrough, Through, colour_of
from resilient._weave.variants import guarding, with_limits
from resilient.explain import Finding
from resilient.operated import Operated
from resilient.outcome import Classifier
from resilient.permit import PermitRequest

__all__ = ["Pipeline"]

F = TypeVar("F", bound="Callable[..., Any] | classmethod[Any, ..., Any] | staticmethod[..., Any]")
C = TypeVar("C", bound=type)

_MOST_OPTIONS = 64
Origin = tuple[Callable[..., Any], tuple[Any, ...]] | None


class Pipeline(Operated):
    """Guard calls to one downstream with policies, outermost first.

    One object serves plain functions, threads, asyncio and trio. A pipeline of the same name
    and configuration is the same pipeline: it shares all state.

    Args:
        name: The downstream's name, in errors, events and metrics.
        policies: From the outermost to the innermost.
        classifier: What errors and results mean, for all policies.
        replace: Replace a pipeline of this name that has another configuration (notebooks).

    Raises:
        ConfigError: If the name is taken by another configuration, or settings cannot work.

    Example:
        >>> from resilient import Bulkhead, CircuitBreaker, Pipeline, Retry, Timeout
        >>> payments = Pipeline("doc-pipeline", Timeout(2), Retry(), CircuitBreaker(), Bulkhead(20))
        >>> @payments
        ... async def charge(amount: int) -> str:
        ...     return f"charged {amount}"
        >>> import asyncio
        >>> asyncio.run(charge(3))
        'charged 3'

    """

    __slots__ = ("__weakref__", "_assembly", "_async", "_options", "_origin", "_sync", "classifier", "name", "policies")

    _sync: Through
    _async: AsyncThrough

    def __init__(
        self, name: str, *policies: Policy, classifier: Classifier | None = None, replace: bool = False
    ) -> None:
        """Find the state of this name, or make it."""
        self.name = _check.identifier("name", name)
        self.policies = tuple(policies)
        self.classifier = Classifier() if classifier is None else classifier
        if not isinstance(self.classifier, Classifier):
            _check.refuse_type("classifier", classifier, "a Classifier or None")
        explain.refuse(self.name, self.policies)
        self._origin: Origin = None
        self._options: dict[tuple[float | None, int | None], Pipeline] | None = None  # made when asked for
        self._assembly = assemble(self.name, self.policies, self.classifier)
        known = registry.register(self, ("pipeline", self.policies, self.classifier), replace=replace)
        if known is not self:
            self._assembly = cast("Pipeline", known)._assembly  # noqa: SLF001 -- its twin

    @classmethod
    def _of(cls, policies: Sequence[Policy], assembly: Assembly, origin: Origin) -> Pipeline:
        """Return a pipeline outside the registry: a variant or a member; `origin` finds it again when unpickled."""
        self = cls.__new__(cls)
        self.name = assembly.env.downstream
        self.policies = tuple(policies)
        self.classifier = assembly.env.classifier
        self._options = None
        self._assembly = assembly
        self._origin = origin
        return self

    # -- calling ---------------------------------------------------------------------------

    def __call__(self, function: F) -> F:
        """Return the function, guarded; its signature and types are kept.

        Works on functions, methods, classmethods, staticmethods, partials and callable objects,
        plain and async.

        Raises:
            Unguardable: For generator functions and classes. A guarded generator would be open
                long after the policies have judged it; guard the calls inside it, or use
                `permit()`.

        """
        if isinstance(function, (classmethod, staticmethod)):
            return cast("F", type(function)(self(function.__func__)))
        return cast("F", self._assembly.guard(function, colour_of(function)))

    @property
    def call(self) -> Through:
        """Call a plain function through the policies, as in `pipeline.call(function, *args, **kwargs)`.

        It is the woven function itself, so that a call costs no layer more.
        """
        try:
            return self._sync
        except AttributeError:
            self._sync = cast("Through", self._assembly.through("sync"))
            return self._sync

    @property
    def acall(self) -> AsyncThrough:
        """Call an async function through the policies, as in `await pipeline.acall(function, *args, **kwargs)`."""
        try:
            return self._async
        except AttributeError:
            self._async = cast("AsyncThrough", self._assembly.through("async"))
            return self._async

    def permit(self) -> PermitRequest:
        """Return the two-step form: `with pipeline.permit() as permit: ...`.

        Only the policies that admit take part. `permit.succeeded()`, `.failed(error)` and
        `.dropped()` settle it, from any thread; a clean exit is a success.
        """
        limits: list[tuple[Guard, float]] = []
        nearest = NEVER
        for guard in self._assembly.admitting:
            if isinstance(guard, TimeoutGuard):
                nearest = min(nearest, guard.seconds)
            elif hasattr(guard, "enter"):
                limits.append((guard, nearest))
        return PermitRequest(self._assembly.env, limits)

    def methods(self, *names: str) -> Callable[[C], C]:
        """Return a class decorator that guards methods: those named, or all public ones.

        Example:
            >>> from resilient import Pipeline, Retry
            >>> orders = Pipeline("doc-methods", Retry())
            >>> @orders.methods("find")
            ... class Orders:
            ...     def find(self, number: int) -> str:
            ...         return f"order {number}"
            >>> Orders().find(7)
            'order 7'

        """
        return guarding(self, names)

    def with_options(self, *, timeout: _check.Duration | None = None, attempts: int | None = None) -> Pipeline:
        """Return a variant for some calls, which shares all state but what is changed.

        Args:
            timeout: Limit of the whole call in seconds, in place of the outermost `Timeout`.
            attempts: Attempts at most, in place of those of `Retry`; of several, the inner ones make one.

        Raises:
            ConfigError: If there is no such policy to change, or the value is out of range.

        """
        seconds = None if timeout is None else _check.seconds("timeout", timeout)
        key = (seconds, None if attempts is None else _check.count("attempts", attempts))
        if self._options is None:
            self._options = {}
        variant = self._options.get(key)
        if variant is None:
            guards = with_limits(self._assembly.guards, seconds, attempts)
            origin = functools.partial(Pipeline.with_options, timeout=timeout, attempts=attempts), (self,)
            variant = Pipeline._of([guard.policy for guard in guards], Assembly(self._assembly.env, guards), origin)
            if len(self._options) < _MOST_OPTIONS:
                self._options[key] = variant
        return variant

    def explain(self) -> str:
        """Say what is configured, in what order, and what would surprise you."""
        return explain.explain(self.name, self._assembly.guards)

    def lint(self) -> list[Finding]:
        """Return what would surprise you, as data."""
        return explain.lint([guard.policy for guard in self._assembly.guards])

    def source(self, colour: Colour = "sync") -> str:
        """Return the source that functions are woven into, "sync" or "async"."""
        if colour not in ("sync", "async"):
            _check.refuse("colour", colour, "'sync' or 'async'")
        return self._assembly.source(colour)

    def __repr__(self) -> str:
        """Show the name and the policies."""
        return f"Pipeline({', '.join([repr(self.name), *map(repr, self.policies)])})"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by name and configuration; unpickled where the name is in use, it is that pipeline."""
        if self._origin is not None:
            return self._origin
        return functools.partial(Pipeline, classifier=self.classifier), (self.name, *self.policies)
