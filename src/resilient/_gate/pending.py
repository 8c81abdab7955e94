"""An application that has a name in the environment, before its first call: control begins with that call.

Not earlier: a server that loads the application and then forks must not have a thread yet.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from resilient import faults
from resilient._gate import gate as _gate
from resilient._gate.gate import NO_WORD, GateGuard

VARIABLE: Final = "RESILIENT_APP"
"""The environment's way to name the application."""


class Pending:
    """The source of holds until the first call."""

    word: Sequence[int] = NO_WORD
    begun = False

    def refresh(self, gate: GateGuard) -> None:
        """Begin, and have the gate take what is in force."""
        try:
            from resilient.control import agent  # noqa: PLC0415 -- only an application with a name pays for it

            agent.configure(os.environ[VARIABLE]).refresh(gate)
        except Exception as fault:  # noqa: BLE001 -- a fault of ours never fails a call
            faults.report(Pending, fault)
            if _gate.source is self:  # others ask nobody, either, once they have looked
                _gate.install(None)
            gate.unsettle()


def expect() -> None:
    """Have control begin with the first call, if the environment names the application."""
    if os.environ.get(VARIABLE):
        _gate.install(Pending())
