"""What a stale cache's guard needs to know of its configuration."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Protocol

from resilient._policy import Policy

if TYPE_CHECKING:
    from resilient._guards.stale_cache_backing import Codec
    from resilient.stores.contract import Store


class Settings(Policy, Protocol):
    """What the guard needs of a `StaleCache`."""

    @property
    def fresh(self) -> float:
        """Seconds for which an answer is served without asking."""

    @property
    def stale(self) -> float:
        """Seconds after that in which it may stand in."""

    @property
    def while_revalidating(self) -> float:
        """Seconds of that in which it is served while it is refreshed."""

    @property
    def jitter(self) -> float:
        """Share by which fresh times are shortened."""

    @property
    def early(self) -> float | None:
        """How eagerly answers are refreshed early."""

    @property
    def key(self) -> Callable[..., Hashable] | None:
        """What makes keys."""

    @property
    def on(self) -> object:
        """Where a stored answer may stand in."""

    @property
    def max_entries(self) -> int:
        """Answers at most."""

    @property
    def max_bytes(self) -> int | None:
        """Their bytes at most."""

    @property
    def size(self) -> Callable[[object], int] | None:
        """How many bytes an answer counts for."""

    @property
    def negative(self) -> float | None:
        """Seconds for which an error is stored."""

    @property
    def negative_on(self) -> object:
        """Which errors."""

    @property
    def store(self) -> Store | None:
        """Where answers are kept, too."""

    @property
    def codec(self) -> Codec | None:
        """What turns answers into bytes and back."""

    @property
    def refreshes(self) -> int:
        """Refreshes at once."""


def shallow_size(value: object) -> int:
    """Return the bytes of an object and, for lists, tuples, sets and dicts, of what stands in it directly."""
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + sum(map(sys.getsizeof, value)) + sum(map(sys.getsizeof, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return size + sum(map(sys.getsizeof, value))
    return size
