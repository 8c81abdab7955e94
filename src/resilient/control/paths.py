"""Where the control directory of an application is, and which ones there are on this host."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from resilient import _check
from resilient.control import private
from resilient.control.errors import ControlUnavailable

__all__ = [
    "DATABASE",
    "EPOCH",
    "KEEPER",
    "LOCK",
    "VARIABLE",
    "Found",
    "app_name",
    "found",
    "location",
    "places",
    "plain",
]

VARIABLE = "RESILIENT_CONTROL_DIR"
"""The environment's way to name the directory itself."""

DATABASE = "control.sqlite3"
EPOCH = "epoch"
LOCK = "lock"
KEEPER = "keeper.lock"

_APP = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,64}")
_RUN = Path("/run/user")
_TMP = Path("/tmp")  # noqa: S108 -- looked through, nothing is made there by this name


@dataclass(frozen=True, slots=True)
class Found:
    """A control directory on this host.

    Attributes:
        path: Where it is.
        app: Name of the application, as far as the place tells it.
        uid: Number of its owner.
        user: Name of its owner.
        problem: Why it cannot be used, or None.

    """

    path: Path
    app: str
    uid: int
    user: str
    problem: str | None = None


def app_name(name: object) -> str:
    """Return an application's name: letters, digits, ".", "_" and "-", 1 to 64 of them.

    Raises:
        ConfigError: If it is none.
        TypeError: If it is no string.

    """
    if not isinstance(name, str):
        _check.refuse_type("app", name, "a string")
    if not _APP.fullmatch(name):
        _check.refuse("app", name, "1 to 64 letters, digits, '.', '_' or '-'")
    return name


def location(app: str, directory: str | os.PathLike[str] | None = None) -> Path:
    """Return where the control directory of an application is, or is to be.

    Args:
        app: Its name.
        directory: The directory itself, from code; before the environment's `RESILIENT_CONTROL_DIR`, the
            user's runtime directory, and one among the temporary files.

    """
    named = os.fspath(directory) if directory is not None else os.environ.get(VARIABLE)
    if named:
        return plain(Path(named))
    return next(_bases(os.geteuid())) / app_name(app)


def named(where: str | os.PathLike[str]) -> Path:
    """Return the control directory that somebody means: by its path, or by the application's name.

    Raises:
        ConfigError: If a text without a separator is no name of an application.

    """
    if isinstance(where, str) and os.sep not in where:
        return location(app_name(where))
    return Path(where)


def found(app: str | None = None) -> list[Found]:
    """Return the control directories that this process may look at: its user's; as root those of all users.

    Args:
        app: Name of the application to look for, or None for all.

    """
    uid = os.geteuid()
    several = [plain(Path(given))] if (given := os.environ.get(VARIABLE)) else []
    for base in places():
        several += sorted(base.glob("*")) if app is None else [base / app_name(app)]
    seen: dict[tuple[int, int], Found] = {}
    for path in several:
        try:
            status = path.lstat()
            there = (path / DATABASE).exists()
        except OSError:
            continue
        if there and (status.st_dev, status.st_ino) not in seen:
            seen[status.st_dev, status.st_ino] = _found(path, status.st_uid)
    return sorted(seen.values(), key=lambda each: each.uid != uid)


def places() -> list[Path]:
    """Return where the control directories lie that this process may look at, whether there are any or not."""
    uid = os.geteuid()
    bases = [*_bases(uid), _RUN / str(uid) / "resilient", _TMP / f"resilient-{uid}"]
    if uid == 0:
        bases += sorted(_RUN.glob("*/resilient")) + sorted(_TMP.glob("resilient-*"))
        bases += sorted(Path(tempfile.gettempdir()).glob("resilient-*"))
    return list(dict.fromkeys(bases))


def _found(path: Path, uid: int) -> Found:
    problem = None
    try:
        private.checked(path, foreign=True)
    except ControlUnavailable as fault:
        problem = str(fault)
    return Found(path, path.name, uid, private.owner_name(uid), problem)


def _bases(uid: int) -> Iterator[Path]:
    """Yield the places where this user's directories are made, the best one first."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    # Not another user's, as `sudo` may leave it; and not guessed: without the variable nobody keeps it for a service.
    if runtime.is_absolute() and runtime.is_dir() and runtime.stat().st_uid == uid:
        yield runtime.resolve() / "resilient"
    yield Path(tempfile.gettempdir()).resolve() / f"resilient-{uid}"


def plain(path: Path) -> Path:
    """Return an absolute path whose last part is not resolved, so that a link there is seen; nor is ours above it."""
    if path.name in {"", ".."}:
        return path.resolve()
    if path.parent.name.startswith("resilient"):
        return path.parent.parent.resolve() / path.parent.name / path.name
    return path.parent.resolve() / path.name
