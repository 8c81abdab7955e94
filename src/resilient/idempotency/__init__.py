"""Writes that happen once: keys for those who call, and the server side for those who are called."""

from resilient.idempotency.answers import recorded_response
from resilient.idempotency.book import KeyBook
from resilient.idempotency.context import current_key, idempotency_key
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
from resilient.idempotency.keys import derived_key, random_key
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
