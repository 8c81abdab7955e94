"""Writes that happen once: keys for those who call, and the server side for those who are called."""

from importlib import import_module
from typing import TYPE_CHECKING

from resilient.idempotency.context import current_key, idempotency_key
from resilient.idempotency.keys import derived_key, random_key

if TYPE_CHECKING:
    from resilient.idempotency.answers import recorded_response
    from resilient.idempotency.book import KeyBook
    from resilient.idempotency.errors import (
        KeyInDoubt,
        KeyInProgress,
        KeyRefused,
        KeyReused,
        KeyStoreDown,
        RecordedFailure,
        ResultNotKept,
    )
    from resilient.idempotency.fingerprints import fingerprint
    from resilient.idempotency.functions import once
    from resilient.idempotency.injection import inject_key
    from resilient.idempotency.middleware import IdempotencyMiddleware
    from resilient.idempotency.results import recorded_result

__all__ = [
    "IdempotencyMiddleware",
    "KeyBook",
    "KeyInDoubt",
    "KeyInProgress",
    "KeyRefused",
    "KeyReused",
    "KeyStoreDown",
    "RecordedFailure",
    "ResultNotKept",
    "current_key",
    "derived_key",
    "fingerprint",
    "idempotency_key",
    "inject_key",
    "once",
    "random_key",
    "recorded_response",
    "recorded_result",
]

_ELSEWHERE = {
    "IdempotencyMiddleware": "middleware",
    "KeyBook": "book",
    "fingerprint": "fingerprints",
    "inject_key": "injection",
    "once": "functions",
    "recorded_response": "answers",
    "recorded_result": "results",
}


def __getattr__(name: str) -> object:
    """Import what a client has no use for once somebody asks for it: every transport imports this package."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'errors')}"), name)
