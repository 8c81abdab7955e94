"""The ambient deadline: the absolute end of the call, which everything inside is cut to.

It informs; it does not interrupt. Each `Timeout`, wait and sleep of a pipeline inside it is
shortened to what is left, and user code asks `remaining()`.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from types import TracebackType

from resilient import _check, clock

__all__ = ["deadline", "remaining"]

_AMBIENT: ContextVar[float] = ContextVar("resilient_deadline", default=math.inf)

ambient = _AMBIENT.get
enter = _AMBIENT.set
leave = _AMBIENT.reset


def until(end: float) -> float:
    """Return the earlier of an absolute end and the ambient deadline."""
    return min(end, _AMBIENT.get())


def remaining() -> float | None:
    """Return the seconds left until the ambient deadline (0.0 once passed), or None without one.

    Example:
        >>> from resilient import deadline, remaining
        >>> remaining() is None
        True
        >>> with deadline(30):
        ...     with deadline(60):  # only ever moves earlier on the way in
        ...         remaining() <= 30
        True

    """
    end = _AMBIENT.get()
    if end == math.inf:
        return None
    return max(0.0, end - clock.current().now())


class deadline:  # noqa: N801 -- reads as a verb in `with deadline(2.0):`
    """Set the ambient deadline for a block: `with deadline(2.0): ...`.

    Works in plain and in async code. A deadline inside another can only be earlier. Do not
    hold it across a `yield` of a generator: the block would leak into the caller.

    Args:
        seconds: Seconds from the start of the block, 0 or more; or a timedelta.

    Raises:
        ConfigError: If the duration is negative, NaN or infinite.

    """

    __slots__ = ("_seconds", "_tokens")

    def __init__(self, seconds: _check.Duration) -> None:
        """Check the duration."""
        self._seconds = _check.seconds("seconds", seconds, zero=True)
        self._tokens: list[object] = []

    def __enter__(self) -> deadline:
        """Move the ambient deadline earlier."""
        end = min(_AMBIENT.get(), clock.current().now() + self._seconds)
        self._tokens.append(_AMBIENT.set(end))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Restore the deadline that was in force before."""
        _AMBIENT.reset(self._tokens.pop())  # type: ignore[arg-type]
