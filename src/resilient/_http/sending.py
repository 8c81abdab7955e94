"""One call through a transport: what is sent at each attempt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from resilient._guards.timeout import AmbientCut, Cut
from resilient._http.bodies import upload
from resilient._http.clamping import limit
from resilient._http.hops import Hops
from resilient._http.keys import SAFE
from resilient._http.late import settle_late
from resilient._http.options import DEFAULT, EXTENSION, CallOptions
from resilient._policy import NEVER
from resilient._runtime.ledger import ledger
from resilient.deadline import ambient
from resilient.errors import DeadlineExceeded
from resilient.idempotency.context import inside
from resilient.outcome import SUCCESS

if TYPE_CHECKING:
    from resilient._http.route import Route

_UNLIMITED: dict[str, float | None] = dict.fromkeys(("connect", "read", "write", "pool"))
_new = object.__new__


def copied(request: Any) -> Any:  # noqa: ANN401 -- of either family
    """Return a request of the same parts, without extensions."""
    copy = _new(request.__class__)
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
    bad = False
    begun: Any = None
    cookies: Sequence[list[tuple[bytes, bytes]]] = ()
    good = False
    key: str | None = None
    lease: Any = None
    named: str | None = None
    over = False
    replacement = False
    response: Any = None
    retries = 0
    spare = False
    upload: Any = None
    verdict = SUCCESS
    _hint: bool | None = None
    _worth = False

    end: float
    began: float
    started: float
    cut: Cut | None
    timeouts: dict[str, float | None]
    send: Any

    def __init__(self, route: Route, request: Any, options: CallOptions, hops: Hops | None) -> None:  # noqa: ANN401
        """Begin a call.

        Args:
            route: Pipeline and pool of the downstream.
            request: The client's request, which is never changed.
            options: What the caller asked for this request.
            hops: What earlier redirects or auth rounds of the same call have used, or None.

        Raises:
            ConfigError: If the idempotency key of the block around it names another request.

        """
        if route.late:
            settle_late(route.late)
        self.route = route
        self.request = request
        self.options = options
        self.hops = hops
        self.held: list[tuple[Any, Any]] = []
        self.attempts = 0
        self.simple = False
        self.mark = ledger.mark
        self.swift = (
            route.swift
            and options is DEFAULT
            and hops is None
            and request.method in SAFE
            and type(request.stream) is route.memory
        )
        if hops is not None:
            self.retries = hops.retries
        if not self.swift and inside():
            self.named = route.core.marks.of_block(self)

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
            self._too_late("deadline" if cut is None else cut.label)
        route = self.route
        if route.send is None:
            self._leased()
        else:  # a transport that we were given
            route.pool.used = True
            self.lease, self.send = route.lease, route.send
        request = self.request
        copy = copied(request)
        self.attempts += 1
        if self.attempts == 1:
            self.started = began
        if not self.swift or left == NEVER:
            self._particular(copy, left)
            return copy
        given = request.extensions
        limits = given.get("timeout", _UNLIMITED)
        try:
            connect, read, write, pool = limits["connect"], limits["read"], limits["write"], limits["pool"]
        except (KeyError, TypeError):  # not all four, or none
            self._particular(copy, left)
            return copy
        # Each cut to what is left; written out, for this is what every request pays.
        wait = left if left < route.wait else route.wait  # noqa: FURB136 -- a comparison costs less than a call
        most = left if route.send is not None else limit(left, end)
        self.timeouts = {
            "connect": most if connect is None or connect > left else connect,
            "read": most if read is None or read > left else read if route.send is not None else limit(read, end),
            "write": most if write is None or write > left else write,
            "pool": wait if pool is None or pool > wait else pool,
        }
        copy.extensions = {**given, "timeout": self.timeouts}
        return copy

    def _too_late(self, label: str) -> NoReturn:
        env = self.route.env
        env.emit("resilient.call.rejected", policy=label, reason=DeadlineExceeded.default_reason, retry_after=None)
        raise DeadlineExceeded(env.downstream, label, None)

    def _leased(self) -> None:
        """Take a place in the pool, and what sends a request from there."""
        raise NotImplementedError

    def _particular(self, copy: Any, left: float) -> None:  # noqa: ANN401
        """Fill in a request that needs more than its timeouts cut."""
        core = self.route.core
        if self.attempts == 1:
            self.key = core.marks.key(self)
        given = self.request.extensions
        copy.extensions = extensions = {**given, "timeout": self._timeouts(given.get("timeout") or {}, left)}
        extensions.pop(EXTENSION, None)
        extensions.pop(Hops.KEY, None)
        if type(copy.stream) is not core.family.byte_stream:
            self._body(copy)
        core.marks.write(self, copy, left)

    def _timeouts(self, given: dict[str, float | None], left: float) -> dict[str, float | None]:
        """Return timeouts of which none is longer than before, or than what is left."""
        most: float | None = None if left == NEVER else left
        self.timeouts = timeouts = dict(given)
        for kind in _UNLIMITED:
            value = given.get(kind)
            timeouts[kind] = most if value is None or (most is not None and value > most) else value
        if self.options.stream:
            timeouts["read"] = given.get("read")
        elif most is not None and self.route.send is None:
            timeouts["read"] = limit(timeouts["read"] or 0.0, self.end)
        wait, value = self.route.wait, timeouts["pool"]
        if wait < NEVER and (value is None or value > wait):
            timeouts["pool"] = wait
        return timeouts

    def _body(self, copy: Any) -> None:  # noqa: ANN401
        """Give the copy a body that is watched, and can be sent again if that is possible at all."""
        if self.attempts == 1:
            self.upload = upload(self.route.core.family, self.request)
        if self.upload is not None:
            # Also on the client's request: a redirect takes the body from there.
            copy.stream = self.request.stream = self.upload.stream
