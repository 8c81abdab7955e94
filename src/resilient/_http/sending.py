"""One call through a transport: what is sent at each attempt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from resilient._guards.timeout import AmbientCut, Cut
from resilient._http.bodies import upload
from resilient._http.hops import Hops
from resilient._http.keys import SAFE
from resilient._http.options import DEFAULT, EXTENSION, CallOptions
from resilient._http.pools import POOL_WAIT
from resilient._policy import NEVER
from resilient.deadline import ambient
from resilient.errors import DeadlineExceeded
from resilient.outcome import SUCCESS

if TYPE_CHECKING:
    from resilient._http.routes import Route

_NO_TIMEOUTS: dict[str, float | None] = dict.fromkeys(("connect", "read", "write", "pool"))


def _copied(request: Any) -> Any:  # noqa: ANN401
    """Return a request of the same parts.

    One by one: asking an object for its `__dict__` makes every later look at it slower (5 us of a
    client's call, CPython 3.11).
    """
    copy = object.__new__(type(request))
    copy.method = request.method
    copy.url = request.url
    copy.headers = request.headers
    copy.stream = request.stream
    try:  # noqa: SIM105 -- costs nothing where the body is in memory
        copy._content = request._content  # noqa: SLF001 -- what both families keep a body in
    except AttributeError:
        pass
    return copy


class Sending:
    """The part of a call that comes before each attempt."""

    # What most calls never change stands on the class: a call pays for what it sets.
    blocks: ClassVar[bool] = True
    attempts = 0
    bad = False
    begun: Any = None
    cookies: Sequence[list[tuple[str, str]]] = ()
    good = False
    key: str | None = None
    lease: Any = None
    over = False
    response: Any = None
    retries = 0
    spare = False
    upload: Any = None
    verdict = SUCCESS
    _hint: bool | None = None

    end: float
    began: float
    started: float
    cut: Cut | None
    timeouts: dict[str, float | None]

    def __init__(self, route: Route, request: Any, options: CallOptions, hops: Hops | None) -> None:  # noqa: ANN401
        """Begin a call.

        Args:
            route: Pipeline and pool of the downstream.
            request: The client's request, which is never changed.
            options: What the caller asked for this request.
            hops: What earlier redirects or auth rounds of the same call have used, or None.

        """
        self.route = route
        self.request = request
        self.options = options
        self.hops = hops
        self.held: list[tuple[Any, Any]] = []
        self.ambient = ambient()
        if hops is not None:
            self.retries = hops.retries

    def prepared(self, end: float, cut: Cut | None, began: float) -> Any:  # noqa: ANN401 -- of either family
        """Return the request to send: a copy with the time that is left and the headers we add.

        Raises:
            DeadlineExceeded: If no time is left; nothing is sent.

        """
        soonest = ambient()
        if soonest < end:  # no timeout of the pipeline, but a deadline of the caller's
            end, cut = soonest, AmbientCut(soonest - began, soonest - began)
        self.end, self.cut, self.began = end, cut, began
        left = end - began
        if left <= 0:
            raise DeadlineExceeded(self.route.env.downstream, "deadline" if cut is None else cut.label, None)
        request = self.request
        core = self.route.core
        if not self.attempts:
            self.started = began
            if core.marks.writes or request.method not in SAFE:
                self.key = core.marks.key(self)
        self.attempts += 1
        copy = _copied(request)
        copy.extensions = self._extensions(left)
        if type(copy.stream) is not core.family.byte_stream:
            self._body(copy)
        if core.marks.writes or self.key is not None or self.hops is not None:
            core.marks.write(self, copy, left)
        return copy

    def _extensions(self, left: float) -> dict[str, Any]:
        """Return a copy of the client's extensions, without ours, its timeouts cut to what is left."""
        given = self.request.extensions
        extensions = {**given, "timeout": self._timeouts(given.get("timeout") or _NO_TIMEOUTS, left)}
        if self.options is not DEFAULT:
            extensions.pop(EXTENSION, None)
        if self.hops is not None:
            extensions.pop(Hops.KEY, None)
        return extensions

    def _timeouts(self, given: dict[str, float | None], left: float) -> dict[str, float | None]:
        """Return timeouts of which none is longer than before, or than what is left."""
        most: float | None = None if left == NEVER else left
        self.timeouts = timeouts = {
            kind: most if value is None or (most is not None and value > most) else value
            for kind, value in given.items()
        }
        if most is not None and len(timeouts) < len(_NO_TIMEOUTS):
            for kind in _NO_TIMEOUTS:
                timeouts.setdefault(kind, most)
        if self.options.stream:
            timeouts["read"] = given.get("read")
        if self.route.pool.owned:
            value = timeouts.get("pool")
            timeouts["pool"] = POOL_WAIT if value is None or value > POOL_WAIT else value
        return timeouts

    def _body(self, copy: Any) -> None:  # noqa: ANN401
        """Give the copy a body that is watched, and can be sent again if that is possible at all."""
        if self.attempts == 1:
            self.upload = upload(self.route.core.family, self.request)
        if self.upload is not None:
            # Also on the client's request: a redirect takes the body from there.
            copy.stream = self.request.stream = self.upload.stream
