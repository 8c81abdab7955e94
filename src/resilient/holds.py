"""An operator's hold on a breaker: a mode, a reason, a name, and perhaps an end."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from resilient import _check
from resilient._machines.holds import MODES, Entry

__all__ = ["Hold"]


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold in force, until it is released or its time is over.

    Several holds on one breaker coexist, and the most restrictive counts: forced_open, then
    observe, then forced_closed. Time, successes and `reset()` do not end a hold.

    Attributes:
        mode: "forced_open" refuses every call, "forced_closed" admits every call and never
            opens, "observe" admits every call and tells what would have been refused.
        reason: Why, for people.
        actor: Who, for people.
        expires: Seconds after which it was to end by itself, or None for never.
        id: Unique name.

    """

    mode: str
    reason: str
    actor: str
    expires: float | None
    id: str
    _release: Callable[[str], bool] = field(repr=False, compare=False)
    _active: Callable[[str], bool] = field(repr=False, compare=False)

    @property
    def active(self) -> bool:
        """Whether the hold is still there, be it masked by a stronger one."""
        return self._active(self.id)

    def release(self) -> bool:
        """End the hold; tell whether it was still there. Releasing twice does nothing."""
        return self._release(self.id)


def new_entry(mode: object, reason: object, actor: object, expires: object, now: float) -> Entry:
    """Return what the machine keeps of a new hold.

    Args:
        mode: One of "forced_open", "observe", "forced_closed".
        reason: A text of 1 to 200 characters.
        actor: A text of up to 200 characters.
        expires: Seconds (or a timedelta) until it ends by itself, or None for never.
        now: The current time.

    Raises:
        ConfigError: If the mode is unknown, the reason is empty or the duration is not above zero.

    """
    if not isinstance(mode, str) or mode not in MODES:
        _check.refuse("mode", mode, f"one of {', '.join(MODES)}")
    until = math.inf if expires is None else now + _check.seconds("expires", expires)
    who = "" if actor == "" else _check.identifier("actor", actor)
    return Entry(os.urandom(6).hex(), mode, _check.identifier("reason", reason), who, until)
