"""Which control directory is meant: the one that is named, else the only one there is."""

from __future__ import annotations

import os
from pathlib import Path

from resilient.cli.exits import UNREACHABLE, USAGE, Stop
from resilient.cli.words import count
from resilient.control import paths
from resilient.control.errors import ControlUnavailable
from resilient.control.pages import read_pages
from resilient.errors import ConfigError

__all__ = ["APP_VARIABLE", "choose", "described", "why"]

APP_VARIABLE = "RESILIENT_APP"


def choose(directory: Path | None, app: str | None) -> Path:
    """Return the control directory to work on.

    Args:
        directory: What `--dir` says.
        app: What `--app` says.

    Raises:
        Stop: If there is none, or several and none of them is named.

    """
    if not hasattr(os, "geteuid"):
        raise Stop(
            UNREACHABLE, "Control directories need file locks and shared maps of POSIX, which this system lacks."
        )
    named = directory or _named()
    if named is not None:
        return named
    app = app or os.environ.get(APP_VARIABLE) or None
    try:
        found = paths.found(app)
    except (ConfigError, ControlUnavailable) as error:
        raise Stop(USAGE, str(error)) from None
    if len(found) == 1:
        return found[0].path
    if found:
        what = f"There are {len(found)} control directories{f' of {app}' if app else ''}. Say which one with --dir:"
        raise Stop(USAGE, what, *(f"  --dir {described(each)}" for each in found))
    others = [] if app is None else paths.found()
    what = f"There is no control directory{f' of {app}' if app else ''} that this user can see."
    if others:
        raise Stop(UNREACHABLE, what, "These are there:", *(f"  --dir {described(each)}" for each in others))
    raise Stop(
        UNREACHABLE,
        what,
        "An application makes one at its first call, if RESILIENT_APP is set or control.configure() was called.",
        "`resilient doctor` tells where it was looked for.",
    )


def why(directory: Path | None, app: str | None) -> str:
    """Return what decided which directory it is."""
    if directory is not None:
        return "named by --dir"
    if _named() is not None:
        return f"named by {paths.VARIABLE}"
    if app:
        return f"the one of --app {app}"
    if os.environ.get(APP_VARIABLE):
        return f"the one of {APP_VARIABLE}={os.environ[APP_VARIABLE]}"
    return "the only one found"


def described(found: paths.Found) -> str:
    """Return a directory with its owner and how many processes live in it."""
    try:
        living = sum(page.alive for page in read_pages(found.path))
        alive = count(living, "live process", "live processes")
    except OSError as error:
        alive = f"cannot be read: {error.strerror}"
    problem = f"; {found.problem}" if found.problem else ""
    return f"{found.path}  ({found.user}, {alive}{problem})"


def _named() -> Path | None:
    value = os.environ.get(paths.VARIABLE)
    return Path(value) if value else None
