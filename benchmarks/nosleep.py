"""Make a sleep of zero seconds free, for every subject alike.

`time.sleep(0)` is a system call of some 50 microseconds, which would hide what a retry
without waits costs in the library. Import this before anything that may keep `time.sleep`.
"""

from __future__ import annotations

import time

really_sleep = time.sleep


def _sleep(seconds: float) -> None:
    if seconds:
        really_sleep(seconds)


time.sleep = _sleep
