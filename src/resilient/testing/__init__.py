"""The testing kit: time that tests control, events they can read, switches for one block.

The same things come as pytest fixtures, of the same meaning: `resilient_clock`,
`resilient_events`, `resilient_isolated`, `resilient_no_waits` and `resilient_no_policies`.
"""

from resilient.testing.fake_clock import FakeClock
from resilient.testing.instant import InstantClock
from resilient.testing.switches import (
    Events,
    capture_events,
    force_open,
    isolated,
    no_policies,
    no_waits,
    use,
)

__all__ = [
    "Events",
    "FakeClock",
    "InstantClock",
    "capture_events",
    "force_open",
    "isolated",
    "no_policies",
    "no_waits",
    "use",
]
