"""Which downstream a request goes to: its pipeline and its connection pool.

A pattern is an origin, such as "https://payments.internal", with an optional path prefix, or a
wildcard: "https://*.example.com", "all://example.com", "all://". The most particular one that
fits wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from resilient import _check
from resilient._guards.bulkhead import BulkheadGuard
from resilient._http.patterns import Pattern, plain
from resilient._http.route import Route
from resilient._policy import Colour
from resilient._runtime import live
from resilient.keyed import Keyed
from resilient.pipeline import Pipeline

if TYPE_CHECKING:
    from resilient._http.core import Core
    from resilient.clock import Clock

_USUAL_LIMIT = 100
"""Connections of a downstream whose pipeline has no bulkhead."""

_MOST_HOSTS = 64
"""Hosts that get a pipeline of their own from a function; all others share one."""

_OTHERS = "other"
"""Name of that one."""

_MOST_KNOWN = 1024
"""Origins whose route is remembered."""

_LONGEST_NAME = 200
"""Characters of a pipeline's name."""

_Origin = tuple[str, bytes, int | None]
"""Scheme, host in ASCII, and port; None for the scheme's own."""

Default = Pipeline | Keyed | Callable[[str], Pipeline]


class Routes:
    """Finds the route of a URL; what it found for an origin is remembered."""

    def __init__(
        self,
        core: Core,
        pipelines: Pipeline | Mapping[str, Pipeline],
        default: Default,
        pool: Any,  # noqa: ANN401 -- of either colour
        colour: Colour,
    ) -> None:
        """Make a route for every pipeline.

        Args:
            core: What the routes of one transport share.
            pipelines: One for all requests, or several by pattern.
            default: For requests that no pattern fits: one pipeline, a family by origin, or a
                function of the origin's name that makes one.
            pool: A function that returns the pool of a downstream: `(name, limit, env)`.
            colour: "sync" or "async".

        """
        self._core, self._pool, self._colour = core, pool, colour
        self._lock = Lock()
        self._routes: dict[Pipeline, Route] = {}
        self._known: dict[_Origin, list[tuple[Pattern | None, Route]]] = {}
        self._hosts: dict[str, Pipeline | None] = {_OTHERS: None}
        self._default = _checked_default(default)
        self.only: Route | None = None  # known when the first request has shown that its client is one of ours
        self._single: Route | None = None
        self._patterns: list[tuple[Pattern, Route]] = []
        if isinstance(pipelines, Pipeline):
            self._single = self._route(pipelines)
        elif isinstance(pipelines, Mapping):
            for pattern, pipeline in pipelines.items():
                if not isinstance(pipeline, Pipeline):
                    _check.refuse_type(f"pipelines[{pattern!r}]", pipeline, "a Pipeline")
                self._patterns.append((Pattern(pattern, core.family.module.URL), self._route(pipeline)))
            self._patterns.sort(key=lambda pair: pair[0].order)
            _refuse_twins([each for each, _ in self._patterns])
        else:
            _check.refuse_type("pipelines", pipelines, "a Pipeline, or a mapping of origins or patterns to pipelines")
        live.add(self)

    def find(self, url: Any) -> Route:  # noqa: ANN401 -- the URL of either family
        """Return the route of a request to `url`."""
        if self._single is not None:
            self._core.family.refuse_client(url)
            self.only = self._single
            return self.only
        origin = (url.scheme, url.raw_host, url.port)  # `host` may raise, for what looks like IDNA
        candidates = self._known.get(origin)
        if candidates is None:
            self._core.family.refuse_client(url)
            candidates = self._candidates(origin)
        for pattern, route in candidates:
            if pattern is None or pattern.covers(url.path):
                return route
        return self._unknown(origin)

    def _candidates(self, origin: _Origin) -> list[tuple[Pattern | None, Route]]:
        scheme, host, port = origin[0], origin[1].decode(), origin[2]
        fitting = [pair for pair in self._patterns if pair[0].fits(scheme, host, port)]
        found: list[tuple[Pattern | None, Route]] = [*fitting]
        if not isinstance(self._default, Keyed) and all(each.path for each, _ in fitting):
            found.append((None, self._unknown(origin)))
        with self._lock:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            return self._known.setdefault(origin, found)

    def _unknown(self, origin: _Origin) -> Route:
        name = _named(origin)
        default = self._default
        if isinstance(default, Pipeline):
            return self._route(default)
        if isinstance(default, Keyed):
            return self._route(default[name])
        with self._lock:
            if name not in self._hosts and (len(self._hosts) > _MOST_HOSTS or len(name) > _LONGEST_NAME):
                name = _OTHERS
            pipeline = self._hosts.setdefault(name, None)  # the place is taken before the function is called
        if pipeline is None:
            made = _made(default, name)
            with self._lock:
                pipeline = self._hosts[name] = self._hosts[name] or made
        return self._route(pipeline)

    def _route(self, pipeline: Pipeline) -> Route:
        route = self._routes.get(pipeline)
        if route is None:
            limits = [each.line.limit for each in pipeline._assembly.guards if isinstance(each, BulkheadGuard)]  # noqa: SLF001
            pool = self._pool(pipeline.name, min(limits, default=_USUAL_LIMIT), pipeline._assembly.env)  # noqa: SLF001
            route = Route(self._core, pipeline, pool, self._colour)
            with self._lock:
                if len(self._routes) >= _MOST_KNOWN:
                    self._routes.clear()
                route = self._routes.setdefault(pipeline, route)
        return route

    def renew(self) -> None:
        """Replace the lock, in a forked child."""
        self._lock = Lock()

    def use_clock(self, clock: Clock) -> None:
        """Do nothing: pipelines hear of clocks themselves."""


def _named(origin: _Origin) -> str:
    """Return the name of an origin, as in a URL."""
    scheme, port = origin[0], origin[2]
    host = plain(origin[1].decode())
    return f"{scheme}://" + (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")


def _refuse_twins(patterns: list[Pattern]) -> None:
    """Refuse two patterns that mean the same, of which one would never be used."""
    meanings: dict[object, str] = {}
    for each in patterns:
        twin = meanings.setdefault(each.meaning, each.text)
        if twin != each.text:
            _check.refuse("pipelines", each.text, f"patterns of which no two mean the same, as this and {twin!r} do")


def _checked_default(default: object) -> Default:
    if not (isinstance(default, (Pipeline, Keyed)) or callable(default)):
        _check.refuse_type("default", default, "a Pipeline, a Keyed, or a function of a name such as `standard`")
    return cast("Default", default)


def _made(default: Callable[[str], Pipeline], name: str) -> Pipeline:
    pipeline = default(name)
    if not isinstance(pipeline, Pipeline):
        _check.refuse_type("default", pipeline, "a function that returns a Pipeline")
    return pipeline
