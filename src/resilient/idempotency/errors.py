"""Why an operation was not executed, or what became of it when it was.

Rejected
└── KeyRefused             not executed now
    ├── KeyInProgress      the first one has not ended
    ├── KeyInDoubt         the first one began, and nobody knows how it ended
    ├── KeyReused          the key names another operation
    ├── ResultNotKept      executed, but its result could not be kept
    └── KeyStoreDown       the store does not answer, so nobody knows
RecordedFailure            executed, and it failed
"""

from __future__ import annotations

from resilient.errors import Rejected, ResilienceError

__all__ = [
    "KeyInDoubt",
    "KeyInProgress",
    "KeyRefused",
    "KeyReused",
    "KeyStoreDown",
    "RecordedFailure",
    "ResultNotKept",
]


class KeyRefused(Rejected):
    """An operation was not executed because of its idempotency key.

    The `downstream` is the name of the key book, the `policy` is "idempotency".
    """

    title = "not executed"
    default_reason = "key_refused"

    @property
    def key_id(self) -> str:
        """Under which the key is in the store; what `KeyBook.resolve` wants."""
        return str(self.args[4]) if len(self.args) > 4 else ""  # noqa: PLR2004 -- the fifth argument


class KeyInProgress(KeyRefused):
    """The first operation of this key has not ended; `retry_after` says how long its lease lasts."""

    title = "the original operation is still in progress"
    default_reason = "in_progress"


class KeyInDoubt(KeyRefused):
    """The first operation of this key began, and whoever executed it is gone: nobody knows how it ended."""

    title = "whether the original operation took effect is in doubt"
    default_reason = "in_doubt"


class KeyReused(KeyRefused):
    """The key was used before, for an operation with other content."""

    title = "the idempotency key names an operation with other content"
    default_reason = "key_reused"


class ResultNotKept(KeyRefused):
    """The operation was executed before; its result was too large, or of a kind that cannot be kept."""

    title = "the operation was executed, and its result was not kept"
    default_reason = "not_kept"


class KeyStoreDown(KeyRefused):
    """The store of the keys does not answer, so nobody knows whether the operation was executed."""

    title = "the store of idempotency keys does not answer"
    default_reason = "store_down"


class RecordedFailure(ResilienceError):
    """The operation was executed before, and failed; this is the record of that.

    Args:
        kind: Name of the class of the original exception.
        text: Its message.

    """

    def __init__(self, kind: str, text: str) -> None:
        """Keep the arguments for pickling."""
        super().__init__(kind, text)
        self.kind = kind
        self.text = text

    def __str__(self) -> str:
        """Say what it was."""
        return f"recorded failure {self.kind}: {self.text}"
