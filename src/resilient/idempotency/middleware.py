"""IdempotencyMiddleware: execute each request once, for any ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal

from resilient import _check
from resilient.idempotency import problems
from resilient.idempotency.answers import FAILED, Answer, Send
from resilient.idempotency.book import KeyBook, opened
from resilient.idempotency.calls import InTasks
from resilient.idempotency.errors import KeyRefused, ResultNotKept
from resilient.idempotency.field import Form, key_of
from resilient.idempotency.pages import Page
from resilient.idempotency.recording import Recorder
from resilient.idempotency.renewal import Claim
from resilient.idempotency.rules import MEGABYTE, NOT_EXECUTED, Judged, Rules
from resilient.idempotency.uploads import Receive, Scope, Upload, received
from resilient.stores.contract import Store

__all__ = ["IdempotencyMiddleware"]

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_CALLS = InTasks()
_REPLAYED = (b"idempotency-replayed", b"true")
_GUARDED = "resilient.idempotency"
"""Where a scope names the operations that it belongs to."""


class IdempotencyMiddleware:
    """Execute requests with an `Idempotency-Key` once, and answer repetitions as the first time.

    Args:
        app: The ASGI 3 application.
        book: A `KeyBook`; or a store, for a book with the usual settings.
        methods: Requests of these methods are looked at; all others pass.
        required: Whether such a request without a key is refused (400); or a function of the
            ASGI scope that says so. By default it passes, without protection.
        header: Name of the header.
        accept: Forms of the key: "quoted" as in the IETF draft, "bare" as with many vendors.
        scope: Function of the ASGI scope: whose key it is, and for what. Two callers of the same
            scope share keys. By default: method, path, and a digest of the fields Authorization,
            Cookie, X-Api-Key, Api-Key and X-Auth-Token. So a caller whose token or cookie has
            changed is somebody else: where tokens are renewed, or callers told apart in another
            way, return the authenticated principal and the route.
        fingerprint: Function of the ASGI scope and the body, returns text: what must be alike
            under one key. By default: method, path, query and body.
        max_body: Bytes of a body that are read to be compared.
        larger: What a larger body gets: "refuse" (413); "unchecked" executes it, and compares
            only its first `max_body` bytes.
        max_response: Bytes of a response that are held back and recorded. A larger one is sent
            as it comes, and its repetitions hear that it was not kept (409).
        not_executed: Statuses, or a function of the status and headers, by which the application
            says that it has done nothing: these are not recorded, and the key stays free.
        wait: Seconds, 0 or more, that a repetition waits for the original before it gets 409.
        about: URL of your own documentation, for the problem details.

    Raises:
        TypeError: If one of the values is of a wrong type.
        ConfigError: If a value is out of range, or quoted keys are accepted without `http-sf`.

    Example:
        >>> from resilient.stores import MemoryStore
        >>> async def app(scope, receive, send):
        ...     await send({"type": "http.response.start", "status": 201, "headers": []})
        ...     await send({"type": "http.response.body", "body": b"made"})
        >>> served = IdempotencyMiddleware(app, MemoryStore(), required=True)

    """

    def __init__(  # noqa: PLR0913 -- one setting for each thing that services do differently
        self,
        app: App,
        book: KeyBook | Store,
        *,
        methods: Iterable[str] = ("POST", "PATCH"),
        required: bool | Callable[[Scope], object] = False,
        header: str = "Idempotency-Key",
        accept: tuple[Form, ...] = ("quoted", "bare"),
        scope: Callable[[Scope], str] | None = None,
        fingerprint: Callable[[Scope, bytes], str] | None = None,
        max_body: int = MEGABYTE,
        larger: Literal["refuse", "unchecked"] = "refuse",
        max_response: int = MEGABYTE,
        not_executed: Judged = NOT_EXECUTED,
        wait: _check.Duration = 0.0,
        about: str | None = None,
    ) -> None:
        """Check every value."""
        if not callable(app):
            _check.refuse_type("app", app, "an ASGI 3 application")
        self.app = app
        self.book = opened(book)
        self._desk = self.book.desk
        self._rules = Rules(
            methods=methods,
            required=required,
            header=header,
            accept=accept,
            scope=scope,
            fingerprint=fingerprint,
            max_body=max_body,
            larger=larger,
            max_response=max_response,
            not_executed=not_executed,
        )
        self._wait = _check.seconds("wait", wait, zero=True)
        self._about = None if about is None else _check.identifier("about", about)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        rules = self._rules
        if not rules.guards(scope):
            return await self.app(scope, receive, send)
        if not isinstance(scope["headers"], (list, tuple)):  # any iterable may come, and we read it more than once
            scope = {**scope, "headers": list(scope["headers"])}
        values = rules.values(scope)
        if not values:
            if not rules.needs(scope):
                return await self.app(scope, receive, send)
            return await self._refuse(problems.MISSING, "Send a key, new for each request, with this request.", send)
        key = key_of(values, rules.accept)
        if key is None:
            detail = "The field must be one key of at most 255 printable characters."
            return await self._refuse(problems.MALFORMED, detail, send)
        return await self._keyed(key, scope, receive, send)

    async def _refuse(self, problem: problems.Problem, detail: str, send: Send) -> None:
        await problem.answer(detail, self._about).send(send)

    async def _keyed(self, key: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request with a key."""
        rules = self._rules
        upload = await received(receive, rules.max_body)
        if upload is None:  # the client left before it had said all: nothing was asked
            return None
        if upload.longer and rules.larger == "refuse":
            detail = f"With a key, at most {rules.max_body} bytes are accepted."
            return await self._refuse(problems.TOO_LARGE, detail, send)
        key_id, found = self.book.id_of(key, scope=rules.whose(scope)), None
        try:
            if key_id not in scope.get(_GUARDED, ()):  # else the same book is around us: it is that very operation
                found = await self._desk.begin(_CALLS, key_id, rules.content(scope, upload), self._wait)
            if isinstance(found, Page):
                return await self._repeat(found, key_id, send)
        except KeyRefused as refusal:
            return await problems.of_refusal(refusal, self._about).send(send)
        if found is None:
            return await self.app(scope, upload.receiver(receive, None), send)
        return await self._execute(found, scope, upload, receive, send)

    async def _repeat(self, page: Page, key_id: str, send: Send) -> None:
        answer = Answer.of(page.answer, page.body)
        if answer is None:
            raise ResultNotKept(self.book.name, "idempotency", None, ResultNotKept.default_reason, key_id)
        await answer.send(send, _REPLAYED)

    async def _execute(self, claim: Claim, scope: Scope, upload: Upload, receive: Receive, send: Send) -> None:
        """Run the application on a request that nobody has executed."""

        async def record(answer: Answer | None) -> Answer | None:
            if answer is None:
                await self._desk.finish(_CALLS, claim, None)
                return None
            if answer is not FAILED and self._rules.nothing_done(answer):
                await self._desk.free(_CALLS, claim)
                return answer
            kept = answer.kept()
            await self._desk.finish(_CALLS, claim, kept.head(), kept.body)
            return kept

        recorder = Recorder(send, record, self._rules.max_response)
        try:
            await self.app(_inner(scope, claim.key), upload.receiver(receive, recorder), recorder)
        except Exception:
            await _failed(recorder)
            raise
        except BaseException:
            if not recorder.ended:
                self._desk.abandon(claim)
            raise
        await _failed(recorder)  # it has returned without a whole response


async def _failed(recorder: Recorder) -> None:
    """Record and send a failure, unless there was a whole response."""
    if recorder.ended:
        return
    if recorder.flows:
        await recorder.cut()
    else:
        await recorder.end(FAILED)


def _inner(scope: Scope, key_id: str) -> Scope:
    """Return the scope of a guarded request, without the ways to send a response that could not be recorded."""
    given: Mapping[str, Any] = scope.get("extensions") or {}
    return {
        **scope,
        _GUARDED: (*scope.get(_GUARDED, ()), key_id),
        "extensions": {name: each for name, each in given.items() if not name.startswith("http.response.")},
    }
