"""What the last calls were worth: outcomes kept by number of calls or by age.

A success is recorded without a lock, by one atomic step on an object of the window. Everything
else happens under the lock of the machine that owns the window: failures, slow calls, totals.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count, groupby
from typing import Final

from resilient._machines.tally import (
    BUCKETS,
    FAILED,
    KINDS,
    PASSED,
    SLOW,
    SLOW_FAILED,
    Count,
    Row,
    Totals,
)


class CountWindow:
    """The last N outcomes, in a bounded deque whose `append` records a success.

    None stands for a success: it is the one value that is appended without the lock.

    Attributes:
        run: Failures since the last success, as of the latest locked step.
        succeed: Records a success; safe from any thread; call it with None.

    """

    __slots__ = ("_values", "run", "succeed")

    end: Final = math.inf

    def __init__(self, size: int) -> None:
        self._values: deque[int | None] = deque(maxlen=size)
        self.succeed: Callable[[None], None] = self._values.append
        self.run = 0

    def step(self) -> None:
        """Record a success."""
        self._values.append(None)

    def advance(self, now: float) -> None:  # noqa: ARG002 -- age means nothing here
        """Take note of successes since the latest locked step."""
        if self._values and self._values[-1] is None:
            self.run = 0

    def record(self, kind: int, now: float) -> int:
        """Record one outcome; return the mark that `amend` takes."""
        self.advance(now)
        self._values.append(kind or None)
        self.run += kind & FAILED
        return 0

    def amend(self, mark: int, now: float) -> None:  # noqa: ARG002 -- equal entries are interchangeable
        """Turn a call that was recorded as slow into one that failed as well."""
        self.advance(now)
        try:
            self._values[self._values.index(SLOW)] = SLOW_FAILED
        except ValueError:  # pushed out by later calls: it still failed
            self._values.append(FAILED)
        self.run += 1

    def totals(self, now: float) -> Totals:
        """Count what the window holds."""
        self.advance(now)
        both = self._values.count(SLOW_FAILED)
        failures = self._values.count(FAILED) + both
        slow = self._values.count(SLOW) + both
        # Only successes arrive without the lock, so the length is read last.
        return Totals(len(self._values), failures, slow)

    @property
    def calls(self) -> int:
        """How many calls the window holds."""
        return len(self._values)

    def rows(self, now: float) -> list[Row]:
        """Return the history, run by run."""
        self.advance(now)
        values = self._values.copy()
        return [(0.0, kind or PASSED, len(list(same))) for kind, same in groupby(values)]

    def load(self, rows: Iterable[Row]) -> None:
        """Append a history."""
        for _, kind, number in rows:
            self._values.extend([kind or None] * min(number, self._values.maxlen or 0))


class TimeWindow:
    """The outcomes of the last seconds, in ten buckets; the current one is counted by `step`.

    The counter runs on for ever; what it moved since the last look belongs to the bucket that
    was current until then. So no success is lost, and each is dated exactly to the gap between
    two admissions. A look steps the counter too, hence the plus one.

    Attributes:
        end: Time at which the current bucket is over and `advance` is due.
        run: Failures since the last success, as of the latest locked step.
        step: Records a success; safe from any thread.

    """

    __slots__ = ("_cells", "_index", "_origin", "_seen", "_sums", "_width", "end", "run", "step")

    def __init__(self, seconds: float, now: float) -> None:
        self._width = seconds / BUCKETS
        self._origin = now
        self._index = 0
        self._cells = array("Q", bytes(8 * BUCKETS * KINDS))
        self._sums = array("Q", _EMPTY)  # of all buckets, so that a failure need not add them up
        self._seen = 0
        self.end = now + self._width
        self.step: Callable[[], int] = count().__next__
        self.run = 0

    def succeed(self, _: None = None) -> None:
        """Record a success."""
        self.step()

    def advance(self, now: float) -> None:
        """Fold in the successes since the last look, then begin the bucket `now` falls into."""
        ticks = self.step()
        fresh, self._seen = ticks - self._seen, ticks + 1
        if fresh:
            self._add(self._index, PASSED, fresh)
            self.run = 0
        if now < self.end:
            return
        index = max(self._index + 1, int((now - self._origin) / self._width))
        for each in range(max(self._index, index - BUCKETS) + 1, index + 1):
            self._clear(each)
        self._index = index
        self.end = self._origin + (index + 1) * self._width

    def record(self, kind: int, now: float) -> int:
        """Record one outcome; return the mark that `amend` takes."""
        self.advance(now)
        self._add(self._index, kind, 1)
        if kind & FAILED:
            self.run += 1
        elif kind == PASSED:
            self.run = 0
        return self._index

    def amend(self, mark: int, now: float) -> None:
        """Turn a call that was recorded as slow into one that failed as well."""
        self.advance(now)
        if self._index - mark < BUCKETS and self._cells[mark % BUCKETS * KINDS + SLOW]:
            self._add(mark, SLOW, -1)
            self._add(mark, SLOW_FAILED, 1)
        else:  # its bucket is over: it still failed
            self._add(self._index, FAILED, 1)
        self.run += 1

    def totals(self, now: float) -> Totals:
        """Count what the window holds."""
        self.advance(now)
        passed, failed, slow, both = self._sums
        return Totals(passed + failed + slow + both, failed + both, slow + both)

    @property
    def calls(self) -> int:
        """How many calls the window held at the last look."""
        return sum(self._sums)

    def rows(self, now: float) -> list[Row]:
        """Return the history, bucket by bucket."""
        self.advance(now)
        return [
            (back * self._width, kind, number)
            for back in range(BUCKETS - 1, -1, -1)
            for kind in range(KINDS)
            if (number := self._cells[(self._index - back) % BUCKETS * KINDS + kind])
        ]

    def load(self, rows: Iterable[Row]) -> None:
        """Add a history, each row to the bucket of its age."""
        for age, kind, number in rows:
            # The slack keeps k widths in bucket k when the product was rounded down.
            back = int(age / self._width + 1e-6)
            if back < BUCKETS:
                self._add(self._index - back, kind, number)

    def _add(self, index: int, kind: int, number: int) -> None:
        self._cells[index % BUCKETS * KINDS + kind] += number
        self._sums[kind] += number

    def _clear(self, index: int) -> None:
        place = index % BUCKETS * KINDS
        for kind in range(KINDS):
            self._sums[kind] -= self._cells[place + kind]
        self._cells[place : place + KINDS] = _EMPTY


_EMPTY: Final = array("Q", bytes(8 * KINDS))

Window = CountWindow | TimeWindow


def new_window(size: float | Count, now: float) -> Window:
    """Return an empty window of so many seconds or calls."""
    return CountWindow(size.calls) if isinstance(size, Count) else TimeWindow(size, now)
