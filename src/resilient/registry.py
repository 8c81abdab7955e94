"""Every named pipeline and family of this process, by name."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Protocol

from resilient import _check
from resilient.errors import ConfigError

__all__ = ["clear", "find", "names"]


class Entry(Protocol):
    """What the registry holds."""

    @property
    def name(self) -> str:
        """The downstream's name."""

    def snapshot(self) -> dict[str, object]:
        """Return the state as plain data."""


_entries: dict[str, tuple[object, Entry]] = {}


def register(entry: Entry, configuration: object, *, replace: bool) -> Entry:
    """Return the entry of this name, which is `entry` itself if the name is new.

    Raises:
        ConfigError: If the name stands for another configuration.
        TypeError: If `replace` is no bool.

    """
    if not isinstance(replace, bool):
        _check.refuse_type("replace", replace, "True or False")
    if replace:
        _entries[entry.name] = (configuration, entry)
        return entry
    # One atomic step and no lock: comparing settings may call the user's own code.
    known = _entries.setdefault(entry.name, (configuration, entry))
    if known[1] is not entry and known[0] != configuration:
        message = (
            f"name must be new, or have the same configuration as before, got {entry.name!r} with "
            f"{_difference(known[0], configuration)}; pass replace=True to replace it"
        )
        raise ConfigError(message)
    return known[1]


def _difference(known: object, given: object) -> str:
    """Name the first parts in which two configurations differ."""
    if isinstance(known, tuple) and isinstance(given, tuple) and len(known) == len(given):
        for one, other in zip(known, given, strict=True):
            if one != other:
                return _difference(one, other)
    if is_dataclass(given) and type(known) is type(given):
        for each in fields(given):
            one, other = getattr(known, each.name), getattr(given, each.name)
            if each.compare and one != other:
                return f"{type(given).__name__}.{each.name}: {_difference(one, other)}"
    return f"{given!r} in place of {known!r}"


def find(name: str) -> Entry:
    """Return the pipeline or family of a name.

    Raises:
        KeyError: If there is none; the message lists the names there are.

    """
    known = _entries.get(name)
    if known is None:
        message = f"no pipeline named {name!r}; known: {', '.join(names()) or 'none'}"
        raise KeyError(message)
    return known[1]


def names() -> list[str]:
    """Return the names in use, sorted."""
    return sorted(_entries)


def clear() -> None:
    """Forget every name; functions already decorated keep working. For tests and notebooks."""
    _entries.clear()


def exchange(entries: dict[str, tuple[object, Entry]]) -> dict[str, tuple[object, Entry]]:
    """Put other names in force and return those before. For tests."""
    global _entries
    before, _entries = _entries, entries
    return before
