"""Control: what operators want, kept where every process of the host sees it.

`configure` has holds reach this process; `Directory` and `Operations` are what the command line and the admin
server change them with. Nothing of this is loaded before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resilient.control.agent import configure, stop
    from resilient.control.directory import Directory
    from resilient.control.errors import ControlUnavailable, Refused, UnsafeDirectory
    from resilient.control.operations import Operations
    from resilient.control.receipts import Who

__all__ = [
    "ControlUnavailable",
    "Directory",
    "Operations",
    "Refused",
    "UnsafeDirectory",
    "Who",
    "configure",
    "stop",
]

_FROM = {
    "ControlUnavailable": "errors",
    "Directory": "directory",
    "Operations": "operations",
    "Refused": "errors",
    "UnsafeDirectory": "errors",
    "Who": "receipts",
    "configure": "agent",
    "stop": "agent",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- of the module that has it
    """Load what is asked for."""
    module = _FROM.get(name)
    if module is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{module}"), name)
