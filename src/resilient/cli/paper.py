"""What is printed: results on stdout, messages on stderr, and nothing in a stranger's text that a terminal obeys."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, TextIO

from resilient.cli.words import clean

__all__ = ["Output", "Paper", "fitting", "plain", "styled"]

Row = Sequence[str]
GAP = 2
"""Columns between two cells."""

FOLDED = 24
"""Columns that the last cell of a row needs at least, if it has so much to say."""

WARN, BAD, GOOD, QUIET = "yellow", "bold red", "green", "dim"

STYLES: Mapping[str, str] = {
    "held open": "bold white on red",
    "held closed": "bold black on cyan",
    "observed only": "bold black on cyan",
    "open": BAD,
    "half_open": WARN,
    "closed": GOOD,
    "off": WARN,
    "ok": GOOD,
    "warn": WARN,
    "fail": BAD,
    "refused": BAD,
    "stale": WARN,
    "dead": BAD,
}
"""How the cells look that begin with these words; the word itself always says it too."""

SHORT: Mapping[str, str] = {"PROCESSES": "PROCS"}
"""What columns are called where there is little room."""


class Output(StrEnum):
    """Form of the results: a table for people, or JSON for programs, whole or one object per line."""

    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"


class Paper:
    """Where the results and the messages of one command go.

    Args:
        output: Form of the results.
        color: Whether colours are wanted; only a terminal gets any.

    """

    def __init__(self, output: Output = Output.TABLE, *, color: bool = True) -> None:
        self.output = output
        self.color = color and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    @property
    def people(self) -> bool:
        """Whether results are read by people."""
        return self.output is Output.TABLE

    @property
    def terminal(self) -> bool:
        """Whether results go to a terminal."""
        return sys.stdout.isatty()

    def say(self, *lines: str) -> None:
        """Print lines of a result for people; nothing in them reaches a terminal that it would obey."""
        _write(sys.stdout, _lines(lines))

    def note(self, *lines: str) -> None:
        """Print messages; they are no result."""
        sys.stdout.flush()
        _write(sys.stderr, _lines(lines))

    def data(self, value: object) -> None:
        """Print a result for programs: one object, or for NDJSON each object of a list on its own line."""
        if self.output is Output.NDJSON:
            for each in value if isinstance(value, list) else [value]:
                _write(sys.stdout, f"{compact(each)}\n")
        else:
            _write(sys.stdout, f"{json.dumps(value, ensure_ascii=False, indent=2)}\n")

    def table(
        self, head: Sequence[str], rows: Iterable[Row], right: Iterable[str] = (), spare: Sequence[str] = ()
    ) -> None:
        """Print a table, in colours on a terminal and in plain columns elsewhere.

        Args:
            head: Names of the columns.
            rows: Their cells.
            right: Columns of numbers.
            spare: Columns that a narrow terminal does without, the first one first.

        """
        rows = [[clean(cell) for cell in row] for row in rows]
        if self.terminal:
            console = self.console()
            console.print(styled(*fitting(head, rows, spare, console.width), right))
        else:
            self.say(*plain(head, rows, right))

    def console(self) -> Any:  # noqa: ANN401 -- rich is optional, and imported only for a terminal
        """Return rich's console for stdout."""
        from rich.console import Console  # noqa: PLC0415 -- 60 ms that only a terminal pays

        return Console(file=sys.stdout, no_color=not self.color, highlight=False, markup=False, emoji=False)


def compact(value: object) -> str:
    """Return JSON in one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def plain(head: Sequence[str], rows: Sequence[Row], right: Iterable[str] = ()) -> list[str]:
    """Return a table as lines of columns that `awk` and `grep` can take."""
    ends = [name in set(right) for name in head]
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = (cell.rjust(w) if end else cell.ljust(w) for cell, w, end in zip(row, widths, ends, strict=True))
        lines.append((" " * GAP).join(cells).rstrip())
    return lines


def fitting(
    head: Sequence[str], rows: Sequence[Row], spare: Sequence[str], width: int
) -> tuple[Sequence[str], Sequence[Row]]:
    """Return a table with short names, and without the spare columns, if there is no room for all of it."""
    out: set[int] = set()
    widths = _widths(head, rows)
    if spare and sum(widths) - GAP > width:
        head = [SHORT.get(name, name) for name in head]
        widths = _widths(head, rows)
    for name in spare:
        if sum(widths) - sum(widths[n] for n in out) - GAP <= width:
            break
        out.add(list(head).index(name))
    stays = [n for n in range(len(head)) if n not in out]
    return [head[n] for n in stays], [[row[n] for n in stays] for row in rows]


def _widths(head: Sequence[str], rows: Sequence[Row]) -> list[int]:
    widths = [max(len(row[n]) for row in (head, *rows)) + GAP for n in range(len(head))]
    widths[-1] = min(widths[-1], FOLDED)  # it may have several lines
    return widths


def styled(head: Sequence[str], rows: Sequence[Row], right: Iterable[str] = ()) -> Any:  # noqa: ANN401 -- as above
    """Return a table for a terminal."""
    from rich.table import Table  # noqa: PLC0415 -- as above
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    ends = set(right)
    for place, name in enumerate(head):
        folds = place == len(head) - 1
        justify: Literal["left", "right"] = "right" if name in ends else "left"
        table.add_column(name, justify=justify, no_wrap=not folds, overflow="fold" if folds else "ellipsis")
    for row in rows:
        table.add_row(*(Text(cell, _style(cell)) for cell in row))
    return table


def _style(cell: str) -> str:
    one, *more = cell.split(" ", 2)
    return STYLES.get(" ".join((one, *more[:1]))) or STYLES.get(one, "")


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{clean(each)}\n" for line in lines for each in line.split("\n"))


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # a terminal of another age
        stream.write(text.encode("ascii", "backslashreplace").decode("ascii"))
    stream.flush()
