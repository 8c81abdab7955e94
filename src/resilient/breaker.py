"""Circuit breaker: stop calling a downstream that fails, and find the way back carefully.

What it costs while closed: one attribute load and one atomic step (and one look at the clock
with a time window). The permit of such a call is the window object of the current era, so an
outcome that comes too late lands in a window nobody looks at. Rates are computed on failure.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar

from resilient import _check
from resilient._guards.breaker import BreakerGuard
from resilient._machines.states import Settings
from resilient._machines.tally import Count
from resilient._policy import Env

__all__ = ["BreakerGuard", "CircuitBreaker", "Count"]

TEMPLATE = """\
window_ = machine_.window
if window_ is None:  #: !clocked
if window_ is None or now() >= window_.end:  #: clocked
    left_ = machine_.shut - now()
    if left_ > 0:
        raise breaker_.refusal(left_)
    window_ = breaker_.admit()
try:
    <inner>
except BaseException as error_:
    breaker_.failed(window_, error_)
    raise
window_.succeed(None)  #: !judged&!clocked&!streamed
window_.step()  #: !judged&clocked&!streamed
breaker_.succeeded(window_, result)  #: judged&!streamed
if exchange.over:  #: streamed
    window_.succeed(None)  #: streamed&!clocked
    window_.step()  #: streamed&clocked
else:  #: streamed
    exchange.held.append((breaker_, window_))  #: streamed
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreaker:
    """Refuse calls while the downstream fails, then let it recover.

    Closed, it lets every call pass and opens when a threshold is reached. Open, it refuses
    until its time is over. Half-open, it lets a few probes pass: enough successes close it,
    enough failures open it for longer. After closing, the share of admitted calls grows.
    Throttled, ignored and cancelled calls count in no rate.

    Durations are seconds or a timedelta.

    Args:
        failure_rate: Open when this share of the calls in the window failed, in (0, 1].
        window: Seconds, or `Count(100)` for the last 100 calls.
        min_calls: Calls the window must hold before a rate is judged.
        consecutive: Open after so many failures without a success between, or None for off.
        slow_call: A call slower than this is slow, even while it still runs; None for off.
        slow_rate: Open when this share of the calls in the window was slow, in (0, 1].
        open_for: Seconds of the first opening; each further one is twice as long. A healthy
            minute takes one doubling back.
        max_open_for: Seconds of the longest opening, also when the server asks for more.
        probes: Calls let through while half-open.
        max_half_open: Seconds after which a half-open breaker opens again.
        ramp: Seconds over which admitted traffic grows from 10 % after closing; 0 for none.
        jitter: Share by which openings vary, in [0, 1).

    Raises:
        ConfigError: If a value is out of range, `open_for` is above `max_open_for`, or
            `min_calls` is more than a `Count` window can hold.
        TypeError: If a value is of the wrong type.

    Example:
        >>> from resilient import CircuitBreaker, Count
        >>> CircuitBreaker(window=Count(50), consecutive=None, open_for=2).open_for
        2.0

    """

    failure_rate: float = 0.5
    window: _check.Duration | Count = 10.0
    min_calls: int = 20
    consecutive: int | None = 5
    slow_call: _check.Duration | None = None
    slow_rate: float = 0.5
    open_for: _check.Duration = 5.0
    max_open_for: _check.Duration = 60.0
    probes: int = 3
    max_half_open: _check.Duration = 30.0
    ramp: _check.Duration = 10.0
    jitter: float = 0.2
    settings: Settings = field(init=False, repr=False, compare=False)
    """The same in plain numbers, for the machine."""

    kind: ClassVar[str] = "circuit_breaker"
    template: ClassVar[str] = TEMPLATE

    def __post_init__(self) -> None:
        """Check every value and turn durations into seconds."""
        checked: dict[str, object] = {
            "failure_rate": _check.rate("failure_rate", self.failure_rate),
            "min_calls": _check.count("min_calls", self.min_calls),
            "slow_rate": _check.rate("slow_rate", self.slow_rate),
            "probes": _check.count("probes", self.probes),
            "ramp": _check.seconds("ramp", self.ramp, zero=True),
            "jitter": _check.number("jitter", self.jitter),
        }
        for name in ("open_for", "max_open_for", "max_half_open"):
            checked[name] = _check.seconds(name, getattr(self, name))
        if not isinstance(self.window, Count):
            checked["window"] = _check.seconds("window", self.window)
        if self.consecutive is not None:
            _check.count("consecutive", self.consecutive)
        if self.slow_call is not None:
            checked["slow_call"] = _check.seconds("slow_call", self.slow_call)
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        self._check_together()
        values = (getattr(self, each.name) for each in fields(Settings))
        object.__setattr__(self, "settings", Settings(*values))

    def _check_together(self) -> None:
        if not 0 <= self.jitter < 1:
            _check.refuse("jitter", self.jitter, "a share in [0, 1)")
        if _check.seconds("open_for", self.open_for) > _check.seconds("max_open_for", self.max_open_for):
            _check.refuse("open_for", self.open_for, f"at most max_open_for ({self.max_open_for} s)")
        if isinstance(self.window, Count) and self.min_calls > self.window.calls:
            allowed = f"at most the {self.window.calls} calls of the window"
            _check.refuse("min_calls", self.min_calls, allowed)

    def bind(self, env: Env, label: str) -> BreakerGuard:
        """Return a closed breaker for one position of one pipeline."""
        return BreakerGuard(env, label, self)

    def describe(self) -> str:
        """Say in one line what is configured."""
        plain = self.settings
        window = plain.window
        span = f"{window.calls} calls" if isinstance(window, Count) else f"{window:g} s"
        opens = [f"{plain.failure_rate:.0%} of >= {plain.min_calls} calls in {span} fail"]
        if plain.slow_call is not None:
            opens.append(f"{plain.slow_rate:.0%} take over {plain.slow_call:g} s")
        if plain.consecutive is not None:
            opens.append(f"{plain.consecutive} fail in a row")
        back = f"open {plain.open_for:g} s to {plain.max_open_for:g} s, {plain.probes} probes"
        ramp = f", ramp {plain.ramp:g} s" if plain.ramp else ""
        return f"opens when {', or '.join(opens)}; {back}{ramp}"
