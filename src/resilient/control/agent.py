"""The one agent of this process: configured by name, begun with the first call, ended with the process."""

from __future__ import annotations

import atexit
import os
from threading import RLock

from resilient import _check
from resilient._gate import gate as _gate
from resilient._runtime import live
from resilient._weave import inlays
from resilient._weave.gates import gates
from resilient.control import paths
from resilient.control.following import Agent
from resilient.telemetry.statistics import PROCESS

__all__ = ["configure", "current", "stop", "write_page"]

_agent: Agent | None = None
_by_environment = False
_lock = RLock()


def configure(app: str, *, directory: str | os.PathLike[str] | None = None, statistics: bool = True) -> Agent:
    """Have operators' holds reach this process from its first call on.

    Args:
        app: Name of the application: all processes with this name (and this user) are operated together.
        directory: The control directory itself; by default $RESILIENT_CONTROL_DIR, else a place of the user's own.
        statistics: Whether calls are measured, for `resilient status`, the dashboard and Prometheus.

    Raises:
        ConfigError: If the name is none, or another one was configured; `stop` first.

    """
    global _agent  # noqa: PLW0603 -- one for the process
    name = paths.app_name(app)
    _check.flag("statistics", statistics)
    with _lock:  # the first pipelines of several threads come here, too
        if _agent is not None and _by_environment and not _agent.begun:
            stop()  # what the code says counts, as long as nothing has happened
        if _agent is not None:
            if (_agent.app, _agent.asked, _agent.statistics) != (name, directory, statistics):
                told = f"{_agent.app!r} with the same settings, as configured before; or stop() first"
                _check.refuse("app", app, told)
            return _agent
        _agent = Agent(name, directory, statistics=statistics)
        _install(_agent)
        if statistics:  # before the first call, so that it is measured, too; no thread and no file belongs to them
            PROCESS.start()
        return _agent


def configure_by_environment(app: str) -> None:
    """Do the same, by the name that stands in the environment, unless the code has spoken.

    Raises:
        ConfigError: If the name is none.

    """
    global _by_environment  # noqa: PLW0603 -- one for the process
    with _lock:
        if _agent is None:
            configure(app)
            _by_environment = True


def stop() -> None:
    """Go on without a control directory; what other processes hold is let go of here."""
    global _agent, _by_environment  # noqa: PLW0603
    with _lock:
        agent, _agent = _agent, None
        _by_environment = False
        if agent is None:
            return
        agent.end()
        agent.applying.use(None)
        agent.applying.forget()
        agent.applying.refresh(gates())
        if agent.statistics:
            PROCESS.stop()
        _install(None)


def _install(agent: Agent | None) -> None:
    """Have the gates ask an agent, or nobody, from their next call on."""
    _gate.install(agent)
    for gate in gates():
        gate.unsettle()
    inlays.reweave_all()


def current() -> Agent | None:
    """Return what keeps this process in step, or None where control is off."""
    return _agent


def write_page() -> bool:
    """Write this process's page now; tell whether there is one."""
    return _agent is not None and _agent.show()


def _renew() -> None:
    """Replace the lock, in a forked child."""
    global _lock  # noqa: PLW0603 -- the parent's may be held by a thread that is not here
    _lock = RLock()


def _at_exit() -> None:
    if _agent is not None:
        _agent.end()


live.renewing(_renew)
atexit.register(_at_exit)
