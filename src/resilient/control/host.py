"""Which host and which start of it this is, and a name for this process that no other has had."""

from __future__ import annotations

import functools
import os
import re
import socket

__all__ = ["boot", "hostname", "new_instance"]

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
