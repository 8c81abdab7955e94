"""One call through a transport: what becomes of its answers, handed out or discarded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from resilient._guards.bulkhead import BulkheadGuard
from resilient._http.hops import Hops
from resilient._http.sending import Sending
from resilient.outcome import INCONCLUSIVE, SUCCESS, Verdict, attach

_CONTENT_TYPE = b"content-type"
_EVENT_STREAM = b"text/event-stream"
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
        for name, value in response.headers.raw:  # asking for a header by name takes four times as long
            if len(name) == len(_CONTENT_TYPE) and name.lower() == _CONTENT_TYPE:
                kind: bytes = value[: len(_EVENT_STREAM)]
                return kind.lower() == _EVENT_STREAM
        return False

    def settle(self, verdict: Verdict) -> None:
        """Settle the permits of an answer that is done with, from any thread."""
        held = self.held
        while held:
            try:
                guard, ticket = held.pop()
            except IndexError:  # the reader, or whoever closes the body meanwhile, was faster
                return
            guard.leave(ticket, verdict)

    def abandon(self) -> None:
        """Give back permits that were not handed on, without taking a lock."""
        for guard, ticket in self._taken():
            guard.drop(ticket)

    def settle_later(self, verdict: Verdict) -> None:
        """Leave it to the next request to settle: the collector may be the caller, and no lock may be taken."""
        held = list(self._taken())
        for guard, ticket in held:
            if isinstance(guard, BulkheadGuard):  # others wait for it, and giving it back again does nothing
                guard.drop(ticket)
        self.route.late.append((held, verdict))

    def _taken(self) -> Iterator[tuple[Any, Any]]:
        """Yield each permit to one taker only: the reader, or whoever closes the body meanwhile."""
        while self.held:
            try:
                yield self.held.pop()
            except IndexError:
                return

    def drain_begun(self, response: Any) -> list[bytes] | None:  # noqa: ANN401
        """Return a list for the chunks of an answer that will be discarded, or None if it is not worth reading.

        An answer in memory, and one that was read to its end, can still be handed out.
        """
        self.cookies = [*self.cookies, [pair for pair in response.headers.raw if pair[0].lower() == b"set-cookie"]]
        begun, self.begun = self.begun, None
        self.simple = False
        self.spare = type(response.stream) is self.route.memory or response.is_closed
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

    def replaced(self, response: Any) -> Any:  # noqa: ANN401
        """Take the response of a fallback for the answer: to all policies around it, it is a good one.

        Raises:
            TypeError: If a fallback answered with something else.

        """
        family = self.route.core.family
        if not isinstance(response, family.response):
            message = f"in a transport a Fallback must answer with an {family.name}.Response, got {response!r}"
            error = TypeError(message)
            attach(error, INCONCLUSIVE)
            raise error
        self.verdict, self.good, self.bad, self.over, self.simple = SUCCESS, True, False, True, False
        self.replacement = True
        self.response = self._of_its_own(response)
        return self.response

    def _of_its_own(self, response: Any) -> Any:  # noqa: ANN401
        """Return a copy of what may be one response for all calls, unread like any answer of a transport."""
        family = self.route.core.family
        if not hasattr(response, "_content"):
            return response
        headers = [pair for pair in response.headers.raw if pair[0].lower() not in _FRAMING]
        if response.content:
            headers.append((b"Content-Length", b"%d" % len(response.content)))
        stream = family.byte_stream(response.content)
        return family.response(response.status_code, headers=headers, stream=stream, extensions={**response.extensions})

    def opened(self, response: Any) -> None:  # noqa: ANN401
        """Watch over the end of a body that is handed out."""
        endless = self.endless(response)
        if endless and "read" in self.timeouts:
            # httpcore looks when the body is first read: a silent stream is cut by the client's own limit only.
            self.timeouts["read"] = (self.request.extensions.get("timeout") or {}).get("read")
        response.stream = self.route.core.body(response.stream, self, endless=endless)

    def finish(self, response: Any) -> Any:  # noqa: ANN401
        """Hand the response out; what is open is settled when its body ends."""
        lease = self.lease
        if lease is None:
            self.settle(self.verdict)
        elif type(response.stream) is self.route.memory or response.is_closed:  # such as one object for all calls
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
        self.response = None  # its body knows us: with a cycle, only the collector would find it unclosed
        return response
