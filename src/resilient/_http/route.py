"""One downstream as a transport uses it: its pipeline, woven for open answers, and its connection pool."""

from __future__ import annotations

from collections import deque
from types import FunctionType
from typing import TYPE_CHECKING, Any

from resilient._guards.fallback import FallbackGuard
from resilient._guards.rate_limit import RateLimitGuard
from resilient._guards.retry import RetryGuard
from resilient._guards.timeout import TimeoutGuard
from resilient._http.late import Late
from resilient._http.options import CallOptions
from resilient._http.pools import POOL_WAIT
from resilient._policy import NEVER, Colour
from resilient.errors import ConfigError
from resilient.pipeline import Pipeline

if TYPE_CHECKING:
    from resilient._http.core import Core


class Route:
    """A pipeline as one transport uses it."""

    __slots__ = (
        "_colour",
        "core",
        "curious",
        "env",
        "late",
        "lease",
        "limiters",
        "memory",
        "pipeline",
        "pool",
        "send",
        "swift",
        "wait",
        "whole",
        "woven",
    )

    def __init__(self, core: Core, pipeline: Pipeline, pool: Any, colour: Colour) -> None:  # noqa: ANN401
        """Weave the pipeline for calls that outlast their function."""
        assembly = pipeline._assembly  # noqa: SLF001 -- the transport weaves it in a form of its own
        guards = assembly.guards
        self.core, self.pipeline, self.pool, self._colour = core, pipeline, pool, colour
        self.env = assembly.env
        self.late: Late = deque()
        self.limiters = [each for each in guards if isinstance(each, RateLimitGuard) and each.policy.adaptive]
        self.curious = bool(self.limiters) or self.env.classifier.result is not None
        self.lease = None if pool.owned else pool.lease()
        handler = "handle_request" if colour == "sync" else "handle_async_request"
        self.send: Any = None if self.lease is None else getattr(self.lease.transport, handler)
        self.memory = core.family.byte_stream
        self.swift = not core.marks.writes
        self.wait = POOL_WAIT if pool.owned else NEVER
        places = [place for place, each in enumerate(guards) if isinstance(each, RetryGuard)]
        outer = guards[: places[0]] if places else guards
        self.whole = min((each.seconds for each in outer if isinstance(each, TimeoutGuard)), default=NEVER)
        self.woven: FunctionType = assembly.streamed(colour)
        for each in guards:
            if isinstance(each, FallbackGuard):
                core.check_fallback(each.policy.value)
            elif each.policy.kind == "stale_cache":
                message = (
                    f"{pipeline.name}: StaleCache keeps answers of functions; give the transport a cache=HttpCache()"
                )
                raise ConfigError(message)

    def whole_for(self, options: CallOptions) -> float:
        """Return how many seconds the whole call may take; a request may only shorten it."""
        return self.whole if options.timeout is None else min(self.whole, options.timeout)

    def woven_for(self, options: CallOptions) -> FunctionType:
        """Return the woven function with the limits that a request asks for.

        A timeout replaces the one around the whole call; where there is none, it is not for us.
        """
        attempts, whole = options.most_attempts, self.whole_for(options)
        timeout = whole if whole < self.whole < NEVER else None
        guards = self.pipeline._assembly.guards  # noqa: SLF001
        if not options.retry and not any(isinstance(each, RetryGuard) for each in guards):
            attempts = None
        if attempts is None and timeout is None:
            return self.woven
        variant = self.pipeline.with_options(timeout=timeout, attempts=attempts)
        return variant._assembly.streamed(self._colour)  # noqa: SLF001
