"""Writes that happen once: keys for those who call, and the server side for those who are called."""

from resilient.idempotency.context import current_key, idempotency_key
from resilient.idempotency.fingerprints import fingerprint
from resilient.idempotency.injection import inject_key
from resilient.idempotency.keys import derived_key, random_key

__all__ = [
    "current_key",
    "derived_key",
    "fingerprint",
    "idempotency_key",
    "inject_key",
    "random_key",
]
