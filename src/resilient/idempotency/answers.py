"""Responses as they are recorded and repeated: the status, the headers that are about the content, the body.

Headers of the connection are the server's own business, and `Date` says when a response was sent:
neither is kept, and the server that repeats a response writes its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, NamedTuple

from resilient import _check

__all__ = ["Answer", "Headers", "Message", "Send", "recorded_response"]

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_NOT_KEPT = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade date".split()
)
_FAILURE = 500


class Answer(NamedTuple):
    """One whole response."""

    status: int
    headers: Headers
    body: bytes

    def kept(self) -> Answer:
        """Return what is recorded of it, and sent: the first time as every other time.

        A failure is answered in the same way from now on, so it tells clients not to repeat it.
        """
        named = {
            token.strip().lower()
            for name, value in self.headers
            if name == b"connection"
            for token in value.split(b",")
        }
        headers = [(name, value) for name, value in self.headers if name not in _NOT_KEPT and name not in named]
        if self.status >= _FAILURE and not any(name == b"x-should-retry" for name, _ in headers):
            headers.append((b"x-should-retry", b"false"))
        return self._replace(headers=headers)

    def head(self) -> dict[str, object]:
        """Return what is recorded beside the body."""
        pairs = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers]
        return {"status": self.status, "headers": pairs}

    @staticmethod
    def of(head: object, body: bytes) -> Answer | None:
        """Return a recorded response, or None for what is none."""
        try:
            status = int(head["status"])  # type: ignore[index]
            pairs = [(str(n).encode("latin-1"), str(v).encode("latin-1")) for n, v in head["headers"]]  # type: ignore[index]
        except (TypeError, KeyError, ValueError):
            return None
        return Answer(status, pairs, body)

    async def send(self, send: Send, *added: tuple[bytes, bytes]) -> None:
        """Send it, with further headers."""
        await send({"type": "http.response.start", "status": self.status, "headers": [*self.headers, *added]})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


FAILED = Answer(
    _FAILURE,
    [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"21")],
    b"Internal Server Error",
)
"""What a server answers for an application that raised."""


def recorded_response(status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> dict[str, Any]:
    """Return the arguments of `KeyBook.resolve` that say what a request is answered from now on.

    Args:
        status: The status, 200 to 599.
        headers: Pairs of names and values; the length is added.
        body: The body.

    Raises:
        ConfigError: If the status is out of range.

    Example:
        >>> recorded_response(201, [("content-type", "application/json")], b"{}")["answer"]["status"]
        201

    """
    if not 200 <= _check.count("status", status) <= 599:  # noqa: PLR2004 -- HTTP's own numbers
        _check.refuse("status", status, "a final status, 200 to 599")
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    pairs.append((b"content-length", str(len(body)).encode()))
    return {"answer": Answer(status, pairs, body).kept().head(), "body": body}
