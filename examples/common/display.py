"""Show a board live: a table where there is a terminal and `rich`, else lines once a second."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Protocol

__all__ = ["Board", "Show", "choose", "plain", "silent", "table"]


class Board(Protocol):
    """The latest news, as rows of texts.

    Attributes:
        elapsed: Seconds since the start.

    """

    elapsed: float

    @property
    def sides(self) -> tuple[str, ...]:
        """Headings of the columns."""

    @property
    def brief(self) -> tuple[str, ...]:
        """Labels of the rows that a line of text has room for."""

    @property
    def seconds(self) -> float:
        """Length of the run."""

    @property
    def phase(self) -> str:
        """Name of the phase in force."""

    def rows(self) -> list[tuple[str, ...]]:
        """Return a label and one text for each side, row by row."""

    def notes(self) -> list[str]:
        """Return what stands below the table, line by line."""


Show = Callable[[Board], None]


@contextlib.contextmanager
def silent() -> Iterator[Show]:
    """Show nothing, for machines."""
    yield lambda _board: None


@contextlib.contextmanager
def plain() -> Iterator[Show]:
    """Print all sides once a second, and the phase when it changes."""
    shown, phase = -1, ""

    def show(board: Board) -> None:
        nonlocal shown, phase
        second = int(board.elapsed)
        if second <= shown:
            return
        shown = second
        rows = {label: values for label, *values in board.rows()}
        width = max(map(len, board.sides))
        if board.phase != phase:
            phase = board.phase
            print(f"-- {phase}")
        for index, side in enumerate(board.sides):
            cells = "  ".join(f"{label} {rows[label][index]:>8}" for label in board.brief)
            print(f"{second if index == 0 else '':>3}  {side:<{width}}  {cells}")
        for note in board.notes():
            print(f"     {note}")
        sys.stdout.flush()

    yield show


@contextlib.contextmanager
def table() -> Iterator[Show]:
    """Draw a table and keep it up to date."""
    from rich.live import Live  # noqa: PLC0415 -- only where it is installed
    from rich.table import Table  # noqa: PLC0415

    with Live(refresh_per_second=4) as live:

        def show(board: Board) -> None:
            title = f"{board.phase}, second {board.elapsed:.0f} of {board.seconds:.0f}"
            drawn = Table("", *board.sides, title=title, caption="\n".join(board.notes()) or None, min_width=72)
            for row in board.rows():
                drawn.add_row(*row)
            live.update(drawn)

        yield show


def choose(*, json: bool) -> contextlib.AbstractContextManager[Show]:
    """Return the display that suits the place where the output goes."""
    if json:
        return silent()
    if not sys.stdout.isatty():
        return plain()
    try:
        import rich  # noqa: F401, PLC0415 -- only to see whether it is there
    except ImportError:
        return plain()
    return table()
