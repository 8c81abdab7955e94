"""Which requests a service guards, whose keys they carry, what must be alike under a key, and what is recorded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from resilient import _check, faults
from resilient.idempotency.answers import Answer
from resilient.idempotency.field import Form, checked_forms
from resilient.idempotency.keys import A_HEADER, checked_token
from resilient.idempotency.uploads import Scope, Upload, digest

__all__ = ["MEGABYTE", "NOT_EXECUTED", "Judged", "Rules"]

Judged = Collection[int] | Callable[[int, Mapping[str, str]], object]

MEGABYTE = 1_048_576
NOT_EXECUTED = frozenset({401, 403, 429})
"""Statuses by which servers say that they have not even begun."""

_SECRETS = frozenset((b"authorization", b"cookie", b"x-api-key", b"api-key", b"x-auth-token"))
"""Fields by which services commonly tell their callers apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Settings of `IdempotencyMiddleware`, which explains them."""

    methods: Collection[str] | Iterable[str]
    required: bool | Callable[[Scope], object]
    header: str
    accept: tuple[Form, ...]
    scope: Callable[[Scope], str] | None
    fingerprint: Callable[[Scope, bytes], str] | None
    max_body: int
    larger: Literal["refuse", "unchecked"]
    max_response: int
    not_executed: Judged

    def __post_init__(self) -> None:
        """Check and normalise."""
        if isinstance(self.methods, str) or not isinstance(self.methods, Iterable):
            _check.refuse_type("methods", self.methods, 'several names of methods, such as ("POST", "PATCH")')
        methods = frozenset(checked_token("methods", each, "names of methods").upper() for each in self.methods)
        object.__setattr__(self, "methods", methods)
        if not isinstance(self.required, bool):
            _check.plain("required", self.required, "True, False, or a plain function of the ASGI scope")
        object.__setattr__(self, "header", checked_token("header", self.header, A_HEADER).lower())
        object.__setattr__(self, "accept", checked_forms(self.accept))
        for name, function in (("scope", self.scope), ("fingerprint", self.fingerprint)):
            if function is not None:
                _check.plain(name, function, "a plain function, or None")
        _check.count("max_body", self.max_body, least=0)
        _check.count("max_response", self.max_response, least=0)
        if self.larger not in ("refuse", "unchecked"):
            _check.refuse("larger", self.larger, '"refuse" or "unchecked"')
        judged: object = self.not_executed
        if isinstance(judged, str) or not isinstance(judged, Collection):
            _check.plain("not_executed", judged, "several statuses, or a function of the status and headers")

    def guards(self, scope: Scope) -> bool:
        """Tell whether a connection is a request that is looked at; servers hand on a method as it was written."""
        return scope["type"] == "http" and scope["method"].upper() in self.methods

    def values(self, scope: Scope) -> list[bytes]:
        """Return the lines of the key's field."""
        field = self.header.encode("latin-1")
        return [value for name, value in scope["headers"] if name.lower() == field]

    def needs(self, scope: Scope) -> bool:
        """Tell whether a request without a key is refused."""
        return bool(self.required(scope)) if callable(self.required) else self.required

    def whose(self, scope: Scope) -> str:
        """Return whose key it is, and for what; by default as far as a request tells by itself."""
        if self.scope is not None:
            return _text("scope", self.scope(scope))
        secrets = [name.lower() + b"\0" + value for name, value in scope["headers"] if name.lower() in _SECRETS]
        where = f"{scope.get('root_path') or ''} {scope['path']}"  # servers differ in what the path says of the root
        return f"{scope['method'].upper()} {where} {digest(*sorted(secrets))}"  # a proxy may change their order

    def content(self, scope: Scope, upload: Upload) -> str:
        """Return the fingerprint of a request."""
        compared = upload.body[: self.max_body]
        if self.fingerprint is not None:
            return digest(_bytes(_text("fingerprint", self.fingerprint(scope, compared))))
        path = scope.get("raw_path") or _bytes(scope["path"])  # a path that is decoded may be that of several
        request = (_bytes(scope["method"].upper()), path, scope.get("query_string", b""))
        return digest(*request, b"longer" if upload.longer else b"", compared)

    def nothing_done(self, answer: Answer) -> bool:
        """Tell whether the application says that it has done nothing."""
        judged = self.not_executed
        if not callable(judged):
            return answer.status in judged
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
        try:
            return bool(judged(answer.status, headers))
        except Exception as fault:  # noqa: BLE001 -- then it counts as executed
            faults.report(judged, fault)
            return False


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        _check.refuse_type(name, value, "a function that returns text")
    return value


def _bytes(text: str) -> bytes:
    """Return any text as bytes; what a client sends need not be Unicode."""
    return text.encode("utf-8", "surrogatepass")
