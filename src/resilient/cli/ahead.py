"""What root imports before it acts as another user, who may not reach the folders of root's Python."""

from __future__ import annotations

import io
from importlib import import_module

from resilient.cli.paper import Paper, styled

__all__ = ["load"]

MODULES = (
    "difflib",
    "encodings.ascii",
    "encodings.idna",
    "fcntl",
    "fnmatch",
    "mmap",
    "resilient.cli.trouble",
    "resilient.control.incident_report",
    "resilient.control.operations",
    "resilient.control.overview",
    "sqlite3",
    "zlib",
)


def load(paper: Paper) -> None:
    """Import now what commands import when they need it.

    Args:
        paper: Where the results will go; a terminal needs more.

    """
    for each in MODULES:
        import_module(each)
    if paper.terminal:
        from rich.console import Console  # noqa: PLC0415 -- as all that is only for terminals
        from rich.live import Live  # noqa: PLC0415

        # It imports some of its tables when it first draws.
        console = Console(file=io.StringIO(), force_terminal=True, width=200)
        with Live(styled(("A",), [("open \u00e9",)]), console=console, screen=True, auto_refresh=False):
            pass
