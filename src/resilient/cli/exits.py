"""How the command ends: its exit codes, and the one exception that carries them."""

from __future__ import annotations

from typing import Final

__all__ = ["APPLIED", "FOUND", "PARTLY", "REFUSED", "UNREACHABLE", "UNSAFE_BIND", "USAGE", "Stop"]

APPLIED: Final = 0
"""Done, and in force in every live process."""

FOUND: Final = 1
"""A check (`doctor`, `audit --verify`) found something wrong, or the command was interrupted."""

USAGE: Final = 2
"""The command line or a settings file was wrong; nothing was done."""

REFUSED: Final = 3
"""Understood and refused, by a rule or because something is not as expected; nothing was done."""

PARTLY: Final = 4
"""Done, and not yet acknowledged by every live process."""

UNREACHABLE: Final = 5
"""There is no control directory, or it cannot be used."""

UNSAFE_BIND: Final = 78
"""The admin server was asked to listen where it would not be safe."""


class Stop(Exception):
    """End the command with a message on stderr.

    Args:
        code: Exit code, one of this module's.
        message: What happened, for people; empty if everything is said already.
        hints: What to do about it, one line each.

    """

    def __init__(self, code: int, message: str = "", *hints: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hints = hints
