"""The reader of deadline headers for WSGI applications; for ASGI there is `resilient.asgi`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from resilient import _check
from resilient._deadline_header import DeadlineHeader
from resilient._deadline_reader import BODY, FIELDS, STATUS, Reader, passed
from resilient.deadline import ambient, enter, leave

__all__ = ["DeadlineHeader", "DeadlineMiddleware"]


class DeadlineMiddleware:
    """Run each request inside the deadline that its caller sent, its streamed body included.

    The deadline is that of `resilient.deadline`: it interrupts nothing by itself, and every
    pipeline and `remaining()` inside see it. A request whose deadline has passed is answered
    504 without asking the application.

    Args:
        app: The WSGI application.
        *headers: The headers that are read; the first one that makes sense counts. Left out:
            `grpc-timeout`, then `X-Request-Deadline`.
        default: Seconds, above 0, for a request that sends none; None sets no deadline.
        longest: Seconds, above 0, that a request gets at most, whatever it sends or leaves out.
        trust: Function of the environ that says whether the request's headers count. None: always.

    Raises:
        ConfigError: If a duration is not above 0, `default` exceeds `longest`, or a name comes twice.
        TypeError: If one of the values is of a wrong type.

    Example:
        >>> from resilient import remaining
        >>> def app(environ, start_response):
        ...     start_response("200 OK", [])
        ...     return [str(remaining()).encode()]
        >>> served = DeadlineMiddleware(app, longest=30)

    """

    def __init__(
        self,
        app: WSGIApplication,
        *headers: DeadlineHeader,
        default: _check.Duration | None = None,
        longest: _check.Duration | None = None,
        trust: Callable[[WSGIEnvironment], object] | None = None,
    ) -> None:
        """Check every value."""
        _check.plain("app", app, "a WSGI application")
        self.app = app
        self._reader: Reader[WSGIEnvironment] = Reader(headers, default, longest, trust, _key)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        values = {name: environ[name] for name in self._reader.fields if name in environ}
        end = self._reader.end(values, environ)
        if end is None:
            return self.app(environ, start_response)
        if passed(end):
            start_response(f"{STATUS} Gateway Timeout", list(FIELDS))
            return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else BODY]
        with _within(end):
            body = self.app(environ, start_response)
        return body if _inert(body, environ) else _Body(body, end)


class _Body:
    """A body whose every step runs inside the deadline, and nothing of its reader's does."""

    def __init__(self, body: Iterable[bytes], end: float) -> None:
        self._body = body
        self._end = end
        self._parts: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with _within(self._end):
            if self._parts is None:
                self._parts = iter(self._body)
            return next(self._parts)

    def close(self) -> None:
        """Close what the application returned, as the server would have."""
        close = getattr(self._body, "close", None)
        if close is not None:
            with _within(self._end):
                close()


def _key(name: str) -> str:
    """Return a header's name as a key of the environ."""
    return "HTTP_" + name.upper().replace("-", "_")


def _inert(body: object, environ: dict[str, Any]) -> bool:
    """Tell whether reading the body runs none of the application's code.

    Servers look at the type of such a body: a list of one part has a length, a file is sent whole.
    """
    wrapper = environ.get("wsgi.file_wrapper")
    return type(body) in (list, tuple) or (isinstance(wrapper, type) and isinstance(body, wrapper))


class _within:  # noqa: N801 -- reads as a preposition in `with _within(end):`
    """A deadline at an absolute time, around one step."""

    __slots__ = ("_end", "_token")

    def __init__(self, end: float) -> None:
        self._end = end

    def __enter__(self) -> None:
        self._token = enter(min(self._end, ambient()))

    def __exit__(self, *_: object) -> None:
        leave(self._token)
