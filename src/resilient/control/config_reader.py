"""Checking tables of TOML key by key, collecting every problem with the place where it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from resilient.control.durations import parse_duration
from resilient.errors import ConfigError

__all__ = ["KINDS", "ROLES", "Check", "Reader"]

Check = Callable[[str, Any, Path], Any]
"""Takes the name of a key, its value and the folder of relative paths; returns the setting or raises ConfigError."""

ROLES = ("viewer", "operator", "admin")
STATES = ("open", "half_open", "forced_open", "forced_closed", "observe")
KINDS: Mapping[str, str | None] = {
    "min_available": "n",
    "max_forced_open_fraction": "fraction",
    "never": None,
    "max_ttl": "seconds",
    "wait_period": "seconds",
}
"""Kinds of rules, and the key that each needs beside `group`, which only "never" cannot do without."""

_MOST_PORT = 65_535
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TOKEN_ID = re.compile(r"[0-9a-f]{12}")


class Reader:
    """Reads tables and remembers what was wrong with them.

    Args:
        folder: Where relative paths start.

    Attributes:
        problems: One line for each.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []

    def table(
        self, place: str, given: object, checks: Mapping[str, Check], required: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Return the settings of a table that are as they must be.

        Args:
            place: What the table is called; empty for the whole file.
            given: The table.
            checks: What may be in it.
            required: What must be in it.

        """
        if not isinstance(given, Mapping):
            self.problems.append(f"{place} must be a table, got {given!r}")
            return {}
        good = {}
        for key, value in given.items():
            name = f"{place}.{key}" if place else key
            if key not in checks:
                self.problems.append(f"{name}: unknown key{suggestion(key, checks)}")
                continue
            try:
                good[key] = checks[key](name, value, self.folder)
            except ConfigError as error:
                self.problems.append(str(error))
        self.problems += [f"{place}.{key} is required" for key in required if key not in given]
        return good

    def rule(self, place: str, given: object) -> dict[str, Any]:
        """Return a control rule: its kind says which other key it has."""
        kind = given.get("kind") if isinstance(given, Mapping) else None
        kind = kind if isinstance(kind, str) else None
        own = None if kind is None else KINDS.get(kind)
        needed = ["id", "kind", *([own] if own else ["group"] if kind == "never" else [])]
        # Of an unknown kind nobody knows what else it has.
        checks = {key: RULE[key] for key in (*needed, "group")} if kind in KINDS else RULE
        return self.table(place, given, checks, needed)

    def unique(self, place: str, entries: Sequence[Mapping[str, Any]], key: str) -> None:
        """Note the values that several entries share and must not."""
        values = [entry[key] for entry in entries if key in entry]
        self.problems += [
            f"{place}: {key} {value!r} is there {values.count(value)} times"
            for value in dict.fromkeys(values)
            if values.count(value) > 1
        ]

    def finish(self) -> None:
        """Raise one ConfigError with everything that was wrong, if anything was."""
        if self.problems:
            raise ConfigError("\n".join(self.problems))


def suggestion(key: str, known: Iterable[str]) -> str:
    """Return what a wrong key may have been meant to be, and what there is."""
    known = list(known)
    close = get_close_matches(key, known, 1, 0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(sorted(known))}"


def refuse(name: str, value: object, allowed: str) -> ConfigError:
    """Return the error that a bad setting gets."""
    shown = repr(value)
    return ConfigError(f"{name} must be {allowed}, got {shown if len(shown) <= 80 else shown[:80] + '...'}")  # noqa: PLR2004 -- a line


def table(name: str, value: object, _: Path) -> object:
    """Accept a table; what is in it is checked by itself."""
    if not isinstance(value, Mapping):
        raise refuse(name, value, "a table")
    return value


def tables(name: str, value: object, _: Path) -> object:
    """Accept a list of tables; what is in them is checked by itself."""
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
        raise refuse(name, value, f"a list of tables, each begun with [[{name}]]")
    return value


def tokens(name: str, value: object, _: Path) -> object:
    """Accept a table of tables under the ids of tokens; what might be a token itself is not repeated."""
    if not isinstance(value, Mapping) or not all(_TOKEN_ID.fullmatch(key) for key in value):
        message = f"{name} must be tables under the ids of tokens, as `resilient token new` prints them"
        raise ConfigError(message)
    return value


def text(pattern: str, allowed: str) -> Check:
    """Accept a text that matches a pattern."""
    compiled = re.compile(pattern)

    def check(name: str, value: object, _: Path) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise refuse(name, value, allowed)
        return value

    return check


def one_of(*choices: str) -> Check:
    """Accept one of some words."""

    def check(name: str, value: object, _: Path) -> str:
        if value not in choices:
            close = get_close_matches(value, choices, 1) if isinstance(value, str) else ()
            raise refuse(
                name, value, f"one of {', '.join(choices)}" + (f" (did you mean {close[0]}?)" if close else "")
            )
        return str(value)

    return check


def flag(name: str, value: object, _: Path) -> bool:
    """Accept true or false, and nothing that is merely taken for it."""
    if not isinstance(value, bool):
        raise refuse(name, value, "true or false")
    return value


def number(low: float, high: float, *, whole: bool = False) -> Check:
    """Accept a number within bounds, both included."""

    def check(name: str, value: object, _: Path) -> float:
        kind = isinstance(value, int) if whole else isinstance(value, (int, float))
        if isinstance(value, bool) or not kind or not low <= cast("float", value) <= high:
            raise refuse(name, value, f"a{' whole' if whole else ''} number from {low:g} to {high:g}")
        return cast("float", value)

    return check


def path(name: str, value: object, folder: Path) -> Path:
    """Accept a path; a relative one starts at the folder of the file."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise refuse(name, value, "a path")
    return folder / Path(value).expanduser()


def names(name: str, value: object, _: Path) -> tuple[str, ...]:
    """Accept a list of names or patterns."""
    if not isinstance(value, list) or not all(isinstance(each, str) and each and each.isprintable() for each in value):
        raise refuse(name, value, "a list of names")
    return tuple(value)


def metrics(name: str, value: object, _: Path) -> bool | str:
    """Accept true, false or "public"."""
    if not isinstance(value, bool) and value != "public":
        raise refuse(name, value, 'true, false or "public"')
    return value


def states(name: str, value: object, folder: Path) -> tuple[str, ...]:
    """Accept a list of states of a downstream in which it does not do all its work."""
    found = names(name, value, folder)
    for each in found:
        one_of(*STATES)(name, each, folder)
    return found


def some_names(name: str, value: object, folder: Path) -> tuple[str, ...]:
    """Accept a list of names or patterns, or one of them by itself, but not none."""
    found = names(name, [value] if isinstance(value, str) else value, folder)
    if not found:
        raise refuse(name, value, "a list of at least one name or pattern")
    return found


def digest(name: str, value: object, _: Path) -> str:
    """Accept a SHA-256 in hexadecimal digits; a token that was put there by mistake is not repeated."""
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        message = f"{name} must be the SHA-256 of a token in 64 hexadecimal digits, as `resilient token new` prints it"
        raise ConfigError(message)
    return value


def duration(name: str, value: object, _: Path) -> float:
    """Accept a duration, as a text or a number of seconds."""
    return parse_duration(value, name)


port = number(0, _MOST_PORT, whole=True)
identifier = text(r"[A-Za-z0-9._-]{1,64}", "1 to 64 letters, digits, '.', '_' or '-'")
RULE: Mapping[str, Check] = {
    "id": identifier,
    "kind": one_of(*KINDS),
    "group": some_names,
    "n": number(1, 1_000_000, whole=True),
    "fraction": number(0, 1),
    "seconds": duration,
}
