"""One call through a transport: what becomes of its answers, handed out or discarded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from resilient._http.hops import Hops
from resilient._http.sending import Sending
from resilient._http.watch import Watch
from resilient.outcome import SUCCESS, Verdict

if TYPE_CHECKING:
    from resilient._http.exchange import Exchange

_EVENT_STREAM = "text/event-stream"
_DIGITS = 16
_FRAMING = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


class Keeping(Sending):
    """The part of a call that comes after an answer was judged."""

    def endless(self, response: Any) -> bool:  # noqa: ANN401
        """Tell whether this answer is a stream that may never end."""
        if self.options.stream is not None:
            return self.options.stream
        status = response.status_code
        if status == 101 or (self.request.method == "CONNECT" and 200 <= status < 300):  # noqa: PLR2004
            return True  # the connection speaks something else now
        kind = response.headers.get("content-type")
        return kind is not None and kind.lower().startswith(_EVENT_STREAM)

    def settle(self, verdict: Verdict) -> None:
        """Settle the permits of an answer that is done with."""
        held = self.held
        while held:
            guard, ticket = held.pop()
            guard.leave(ticket, verdict)

    def abandon(self) -> None:
        """Give back permits that were not handed on, without taking a lock."""
        while self.held:
            guard, ticket = self.held.pop()
            guard.drop(ticket)

    def drain_begun(self, response: Any) -> list[bytes] | None:  # noqa: ANN401
        """Return a list for the chunks of an answer that will be discarded, or None if it is not worth reading.

        An answer in memory, and one that was read to its end, can still be handed out.
        """
        self.cookies = [*self.cookies, [pair for pair in response.headers.raw if pair[0].lower() == b"set-cookie"]]
        begun, self.begun = self.begun, None
        self.spare = type(response.stream) is self.route.core.family.byte_stream
        length = response.headers.get("content-length", "0")
        fits = length.isdecimal() and len(length) < _DIGITS and int(length) <= self.route.core.settings.drain
        return [] if fits and not self.spare and begun is None and not self.endless(response) else None

    def saved(self, response: Any, chunks: list[bytes]) -> Any:  # noqa: ANN401
        """Keep a discarded answer that was read to its end, for the case that no other comes."""
        self.spare = True
        self.response = self.rebuilt(response, chunks)
        return self.response

    def rebuilt(self, response: Any, chunks: list[bytes]) -> Any:  # noqa: ANN401
        """Return a response whose raw body has been read as one that was not."""
        family = self.route.core.family
        return family.response(
            response.status_code,
            headers=response.headers,
            stream=family.byte_stream(b"".join(chunks)),
            extensions=response.extensions,
        )

    def own(self, response: Any) -> Any:  # noqa: ANN401
        """Return the response of a fallback as one to hand out.

        Raises:
            TypeError: If a fallback answered with something else.

        """
        family = self.route.core.family
        if not isinstance(response, family.response):
            message = f"in a transport a Fallback must answer with an {family.name}.Response, got {response!r}"
            raise TypeError(message)
        self.verdict = SUCCESS
        if not hasattr(response, "_content"):
            return response
        # It may be one for all calls: each gets a copy of its own, unread like any answer of a transport.
        headers = [pair for pair in response.headers.raw if pair[0].lower() not in _FRAMING]
        if response.content:
            headers.append((b"Content-Length", b"%d" % len(response.content)))
        stream = family.byte_stream(response.content)
        return family.response(response.status_code, headers=headers, stream=stream, extensions=response.extensions)

    def opened(self, response: Any) -> None:  # noqa: ANN401
        """Watch over the end of a body that is handed out."""
        endless = self.endless(response)
        if endless and "read" in self.timeouts:
            # httpcore looks when the body is first read: a silent stream is cut by the client's own limit only.
            self.timeouts["read"] = (self.request.extensions.get("timeout") or {}).get("read")
        first, rest = self.begun or ((), None)
        response.stream = self.route.core.body(
            response.stream, Watch(cast("Exchange", self), endless=endless), first, rest
        )

    def finish(self, response: Any) -> Any:  # noqa: ANN401
        """Hand the response out; what is open is settled when its body ends."""
        lease = self.lease
        if self.over and self.swift and self.attempts == 1 and response.status_code < 300:  # noqa: PLR2004
            self.lease = None
            lease.end(ok=True)
            return response
        if response is not self.response:
            response = self.own(response)
        if lease is None:
            self.settle(self.verdict)
        elif type(response.stream) is self.route.memory:
            self.lease = None
            self.settle(self.verdict)
            lease.end(ok=True)
        else:
            self.opened(response)
        if self.cookies:
            unseen = self.cookies[:-1] if self.spare and response is self.response else self.cookies
            if any(unseen):
                pairs = [*(pair for each in unseen for pair in each), *response.headers.raw]
                response.headers = self.route.core.family.headers(pairs)
        if self.hops is not None or 300 <= response.status_code < 500:  # noqa: PLR2004
            Hops.leave(self, response)
        return response
