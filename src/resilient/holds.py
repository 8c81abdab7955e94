"""An operator's hold on a breaker: a mode, a reason, a name, and perhaps an end."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from resilient import _check
from resilient._machines.holds import DISPOSITIONS, FORCED_OPEN, MODES, Entry

__all__ = ["Hold"]

_ALL = 100


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold in force, until it is released or its time is over.

    Several holds on one breaker coexist, and the most restrictive counts: forced_open, then
    observe, then forced_closed. Time, successes and `reset()` do not end a hold.

    Attributes:
        mode: "forced_open" refuses every call, "forced_closed" admits every call and never
            opens, "observe" admits every call and tells what would have been refused,
            "no_retries" lets no failed attempt be repeated.
        reason: Why, for people.
        actor: Who, for people.
        expires: Seconds after which it was to end by itself, or None for never.
        id: Unique name.
        percent: The share of calls that "forced_open" refuses.

    """

    mode: str
    reason: str
    actor: str
    expires: float | None
    id: str
    _release: Callable[[str], bool] = field(repr=False, compare=False)
    _active: Callable[[str], bool] = field(repr=False, compare=False)
    percent: int = 100

    @property
    def active(self) -> bool:
        """Whether the hold is still there, be it masked by a stronger one."""
        return self._active(self.id)

    def release(self) -> bool:
        """End the hold; tell whether it was still there. Releasing twice does nothing."""
        return self._release(self.id)


def new_entry(  # noqa: PLR0913 -- the settings of a hold
    mode: object,
    reason: object,
    actor: object,
    expires: object,
    now: float,
    *,
    modes: Sequence[str] = MODES,
    percent: object = 100,
    disposition: object = "fallback",
) -> Entry:
    """Return what the machine keeps of a new hold.

    Args:
        mode: One of `modes`.
        reason: A text of 1 to 200 characters.
        actor: A text of up to 200 characters.
        expires: Seconds (or a timedelta) until it ends by itself, or None for never.
        now: The current time.
        modes: What can be asked for.
        percent: The share of calls to refuse, 1 to 100; all of them but for "forced_open".
        disposition: "fallback" or "reject".

    Raises:
        ConfigError: If the mode is unknown, the reason is empty, the duration is not above zero,
            or the share or the disposition is none.

    """
    if not isinstance(mode, str) or mode not in modes:
        _check.refuse("mode", mode, f"one of {', '.join(modes)}")
    share = _check.count("percent", percent)
    if share > _ALL or (share < _ALL and mode != FORCED_OPEN):
        _check.refuse("percent", percent, "1 to 100 with forced_open, 100 with every other mode")
    if not isinstance(disposition, str) or disposition not in DISPOSITIONS:
        _check.refuse("disposition", disposition, f"one of {', '.join(DISPOSITIONS)}")
    until = math.inf if expires is None else now + _check.seconds("expires", expires)
    who = "" if actor == "" else _check.identifier("actor", actor)
    text = _check.identifier("reason", reason)
    return Entry(os.urandom(6).hex(), mode, text, who, until, share, disposition)
