"""Keep layers of retries from multiplying, without a cost on success.

Two facts travel: outwards, that an inner pipeline gave up on an error (a mark on the error,
newer than the start of the outer attempt); inwards, that an outer retry is in its second or
later attempt (a context variable, set only then). A task that outlives the call inherits the
variable, so what it holds says itself when the call is over.
"""

from __future__ import annotations

from contextvars import ContextVar
from threading import Lock

from resilient._machines.retry import Turn

_ATTRIBUTE = "_resilient_gave_up"
ANSWER = "resilient.gave_up"
"""Extension of a response under which a transport leaves the same mark."""


class Ledger:
    """A number that grows with every giving up; woven code remembers it per attempt."""

    __slots__ = ("_lock", "mark")

    def __init__(self) -> None:
        self.mark = 0
        self._lock = Lock()

    def step(self) -> int:
        """Return a new mark, later than every attempt that has begun."""
        with self._lock:
            self.mark += 1
            return self.mark

    def gave_up(self, error: BaseException) -> None:
        """Mark an error as one that a retry has given up on."""
        mark = self.step()
        # Not setattr: a frozen dataclass that is an exception refuses it.
        try:
            BaseException.__setattr__(error, _ATTRIBUTE, mark)
        except (AttributeError, TypeError):
            return

    def renew(self) -> None:
        """Replace the lock, in a forked child."""
        self._lock = Lock()


ledger = Ledger()

_REPEATING: ContextVar[Turn | None] = ContextVar("resilient_repeating", default=None)


def given_up_since(error: BaseException, mark: int) -> bool:
    """Tell whether an inner retry gave up on this error since `ledger.mark` had this value.

    Looks into exception groups. A shared exception object that was marked in an earlier call
    is not taken for given up: its mark is older.
    """
    if isinstance(error, BaseExceptionGroup):
        return any(given_up_since(each, mark) for each in error.exceptions)
    if error.__dict__.get(_ATTRIBUTE, 0) > mark:
        return True
    # The error that a client makes of an answer, on which a transport has given up.
    extensions = getattr(error.__dict__.get("response"), "extensions", None)
    return isinstance(extensions, dict) and extensions.get(ANSWER, 0) > mark


def repeating() -> bool:
    """Tell whether an outer retry, whose call is not over, is in its second or later attempt."""
    return outer_turn() is not None


def outer_turn() -> Turn | None:
    """Return the outer retry's later attempts, if it is in them and its call is not over."""
    turn = _REPEATING.get()
    return None if turn is None or turn.over else turn


def set_repeating(turn: Turn | None) -> None:
    """Tell everything inside that an outer retry is in its second or later attempt, or no more."""
    _REPEATING.set(turn)
