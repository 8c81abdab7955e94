"""Say where the numbers were taken: machine, Python build and versions."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import sysconfig
from importlib import metadata
from typing import Any

from benchmarks.peers import PEERS


def describe() -> dict[str, Any]:
    """Return what a reader needs to judge the numbers."""
    return {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "processor": _processor(),
        "python": sys.version.replace("\n", " "),
        "implementation": platform.python_implementation(),
        "build": _build(),
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the version of every installed subject."""
    found = {"resilient": _version("resilient-client") or "source tree"}
    for peer in PEERS:
        version = _version(peer.distribution) if peer.distribution else None
        if version:
            found[peer.name] = version
    return found


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _build() -> list[str]:
    """Return how this Python was configured, as far as it says something about speed; no folders."""
    given = shlex.split(sysconfig.get_config_var("CONFIG_ARGS") or "")
    return [
        each
        for each in given
        if each.startswith(("--enable-", "--with-", "--disable-", "--without-")) and "/" not in each
    ]
