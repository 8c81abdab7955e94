"""Which host and which start of it this is, and who this process is on it."""

from __future__ import annotations

import functools
import os
import platform
import re
import socket
from dataclasses import dataclass

from resilient import __version__
from resilient.clock import SYSTEM

__all__ = ["Identity", "boot", "hostname", "new_instance"]

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


@functools.cache
def boot() -> str:
    """Return what tells one start of this host from another, empty where that cannot be known."""
    try:
        with open(_BOOT_ID, encoding="ascii") as file:  # noqa: PTH123 -- no Path for a name of the kernel's
            return file.read().strip()
    except OSError:
        return ""


def hostname() -> str:
    """Return this host's name."""
    return socket.gethostname()


def new_instance() -> str:
    """Return a name for this process: host, process number, and chance."""
    host = re.sub(r"[^A-Za-z0-9_-]", "-", hostname())[:64].lstrip("-") or "host"
    return f"{host}-{os.getpid()}-{os.urandom(4).hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a process is, for as long as it lives.

    Attributes:
        instance: Its name, as `new_instance` makes it.
        host: Its host's name.
        pid: Its number there.
        app: The application it belongs to.
        python: Version of Python.
        version: Version of this library.
        started: Seconds since 1970.
        boot: Which start of the host this is, empty if unknown.

    """

    instance: str
    host: str
    pid: int
    app: str
    python: str
    version: str
    started: float
    boot: str

    @classmethod
    def own(cls, app: str) -> Identity:
        """Return a new identity for this process, which a forked child must not use."""
        return cls(
            instance=new_instance(),
            host=hostname(),
            pid=os.getpid(),
            app=app,
            python=platform.python_version(),
            version=__version__,
            started=SYSTEM.wall(),
            boot=boot(),
        )
