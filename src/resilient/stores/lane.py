"""A few worker threads for the operations of one store, so that a store that stalls holds no more than these.

Operations wait in line for a thread. Whoever leaves before his turn takes his operation along: it
is never begun.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from functools import partial
from itertools import count
from typing import Any

from resilient._runtime import threads

__all__ = ["Lane", "Operation"]


class Operation(threads.Job):
    """One call of a store's method. Whoever steps `turn` first decides: the worker, or the caller who leaves."""

    __slots__ = ("turn",)

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(call)
        self.turn = count().__next__

    def perform(self) -> None:
        """Call the method, in the worker, unless its caller has left."""
        if not self.turn():
            self.run()
            self.done.release()

    def abandon(self) -> bool:
        """Leave the operation; False if it has just ended and its result is here."""
        if self.turn():
            return super().abandon()
        self._call = _nothing  # which lets go of what it was to be called with
        return True


class Lane:
    """The line and the workers.

    Args:
        most: How many operations run at once.

    """

    __slots__ = ("_line", "_room")

    def __init__(self, most: int) -> None:
        self._line: deque[Operation] = deque()
        self._room: deque[None] = deque([None] * most)

    def free(self) -> bool:
        """Tell whether an operation would begin at once."""
        return bool(self._room)

    def start(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Operation:
        """Put an operation in line.

        Raises:
            RuntimeError: Where the system has no more threads.

        """
        operation = Operation(partial(function, *args, **kwargs))
        self._line.append(operation)
        try:
            self._spur()
        except RuntimeError:
            operation.abandon()
            raise
        return operation

    def _spur(self) -> None:
        try:
            self._room.pop()
        except IndexError:  # whoever gives room back looks at the line once more
            return
        try:
            threads.start(Context(), self._work, (), {})
        except BaseException:
            self._room.append(None)
            raise

    def _work(self) -> None:
        line = self._line
        while line:
            try:
                operation = line.popleft()
            except IndexError:  # another worker took it
                break
            operation.perform()
            del operation
        self._room.append(None)
        if line:
            self._spur()


def _nothing() -> None:
    return None
