"""Show the board live: a table where there is a terminal and `rich`, else a line per second."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from examples.outage.board import SIDES, Board

__all__ = ["Show", "choose", "plain", "silent", "table"]

Show = Callable[[Board], None]

COLUMNS = ("fresh", "last known", "errors", "p99", "server gets", "breaker")


@contextlib.contextmanager
def silent() -> Iterator[Show]:
    """Show nothing, for machines."""
    yield lambda _board: None


@contextlib.contextmanager
def plain() -> Iterator[Show]:
    """Print both sides once a second, and what the pipeline did once per phase."""
    shown, phase = -1, ""

    def show(board: Board) -> None:
        nonlocal shown, phase
        second = int(board.elapsed)
        if second <= shown:
            return
        shown = second
        rows = {label: values for label, *values in board.rows()}
        if board.phase != phase:
            phase = board.phase
            print(f"-- {phase}")
        for index, side in enumerate(SIDES):
            cells = "  ".join(f"{label} {rows[label][index]:>8}" for label in COLUMNS)
            print(f"{second if index == 0 else '':>3}  {side:<11}  {cells}")
        sys.stdout.flush()

    yield show


@contextlib.contextmanager
def table() -> Iterator[Show]:
    """Draw a table and keep it up to date."""
    from rich.live import Live  # noqa: PLC0415 -- only where it is installed
    from rich.table import Table  # noqa: PLC0415

    with Live(refresh_per_second=4) as live:

        def show(board: Board) -> None:
            title = f"{board.phase}, second {board.elapsed:.0f} of {board.timeline.seconds:.0f}"
            drawn = Table("", *SIDES, title=title, min_width=72)
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
