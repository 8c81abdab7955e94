"""What a transport is set to do for all its downstreams."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from resilient import _check
from resilient._deadline_header import DeadlineHeader
from resilient._http.keys import A_HEADER, IdempotencyKey, checked_token


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a transport.

    Args:
        idempotency: Give unsafe requests a key, so that they may be retried; None sends none.
        rejections: "raise" raises our refusals as errors of the client family; "answer" turns
            them into a response 503 that asks not to be retried.
        attempt_header: Name of a header that tells the server which attempt it is, from 1 on.
        deadline_header: Tells the server how much time is left.
        repeatable: Methods that may be repeated here, such as "POST" where it only ever asks.
        drain: Bytes of a discarded answer that are read so that its connection can be used again.
        buffer: Most bytes that are read inside the attempt where a request asks for `buffer`.

    """

    idempotency: IdempotencyKey | None = None
    rejections: Literal["raise", "answer"] = "raise"
    attempt_header: str | None = None
    deadline_header: DeadlineHeader | None = None
    repeatable: Iterable[str] = ()
    drain: int = 65_536
    buffer: int = 1_048_576

    def __post_init__(self) -> None:
        """Check every value."""
        if self.idempotency is not None and not isinstance(self.idempotency, IdempotencyKey):
            _check.refuse_type("idempotency", self.idempotency, "an IdempotencyKey or None")
        if self.rejections not in ("raise", "answer"):
            _check.refuse("rejections", self.rejections, '"raise" or "answer"')
        if self.attempt_header is not None:
            checked_token("attempt_header", self.attempt_header, A_HEADER)
        if isinstance(self.repeatable, str) or not isinstance(self.repeatable, Iterable):
            _check.refuse_type("repeatable", self.repeatable, 'several names of methods, such as ("POST",)')
        methods = [checked_token("repeatable", each, "names of methods") for each in self.repeatable]
        object.__setattr__(self, "repeatable", frozenset(method.upper() for method in methods))
        if self.deadline_header is not None and not isinstance(self.deadline_header, DeadlineHeader):
            _check.refuse_type("deadline_header", self.deadline_header, "a DeadlineHeader or None")
        _check.count("drain", self.drain, least=0)
        _check.count("buffer", self.buffer, least=0)
