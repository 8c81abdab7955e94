"""An application that has a name in the environment: control is configured when its first pipeline is made.

It begins with the first call, not earlier: a server that loads the application and then forks must not have a
thread yet. But what it measures is woven in by then, so that the first call counts, too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from resilient import faults
from resilient._gate import gate as _gate
from resilient._gate.gate import NO_WORD, GateGuard
from resilient.errors import ConfigError

VARIABLE: Final = "RESILIENT_APP"
"""The environment's way to name the application."""


class Pending:
    """The source of holds until control is configured."""

    word: Sequence[int] = NO_WORD
    begun = False

    def refresh(self, gate: GateGuard) -> None:
        """Configure, and have the gate ask who is in charge then."""
        self.configure()
        here = _gate.source
        if here is None or here is self:
            gate.unsettle()
        else:
            here.refresh(gate)

    def configure(self) -> None:
        """Hand over to the agent of this process; without a usable name to nobody."""
        try:
            from resilient.control import agent  # noqa: PLC0415 -- only an application with a name pays for it

            agent.configure_by_environment(os.environ.get(VARIABLE, ""))
        except ConfigError as fault:
            import logging  # noqa: PLC0415 -- kept off the import path of the library

            message = "%s: %s; this process goes on without its operators"
            logging.getLogger("resilient.control").error(message, VARIABLE, fault)  # noqa: TRY400 -- the user's own typing error
        except Exception as fault:  # noqa: BLE001 -- a fault of ours never fails a call
            faults.report(Pending, fault)
        if _gate.source is self:  # nobody has taken over: others ask nobody, either, once they have looked
            _gate.install(None)


def expect() -> None:
    """Have control begin with the first call, if the environment names the application."""
    if os.environ.get(VARIABLE):
        _gate.install(Pending())


def configure() -> None:
    """Configure what is expected, now that there is a pipeline."""
    here = _gate.source
    if isinstance(here, Pending):
        here.configure()
