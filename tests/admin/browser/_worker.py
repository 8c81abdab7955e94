"""A worker of an application: calls made-up downstreams until its stdin is closed.

`python -m tests.admin.browser._worker DIRECTORY`
"""

from __future__ import annotations

import contextlib
import random
import sys
import threading
import time
from itertools import count
from pathlib import Path

from resilient import Bulkhead, CircuitBreaker, Pipeline, Retry, Timeout, control

# Name, calls per second of each worker, seconds at the median, share that fails (by seconds since the start).
DOWNSTREAMS = {
    "payments": (14.0, 0.024, lambda _: 0.002),
    "search": (11.0, 0.045, lambda t: 0.9 if t >= 75 else 0.01),
    "inventory": (22.0, 0.006, lambda _: 0.0),
    "recommendations": (6.0, 0.08, lambda _: 0.06),
    "tax": (5.0, 0.018, lambda _: 0.0),
    "mail": (1.5, 0.21, lambda _: 0.01),
    "ledger": (8.0, 0.033, lambda _: 0.0),
}


def calling(name: str, stopped: threading.Event, called: threading.Event) -> None:
    """Call one downstream at its rate, until stopped."""
    rate, median, failing = DOWNSTREAMS[name]
    pipeline = Pipeline(name, Timeout(2.0), Retry(attempts=2), CircuitBreaker(), Bulkhead(20), Timeout(1.0))
    chance = random.Random(f"{name}{time.monotonic_ns()}")
    begun = time.monotonic()

    def ask() -> None:
        time.sleep(median * chance.lognormvariate(0.0, 0.45))
        if chance.random() < failing(time.monotonic() - begun):
            raise OSError("connection refused")

    for _ in count():
        with contextlib.suppress(Exception):  # refusals and failures are what is to be seen
            pipeline.call(ask)
        called.set()
        if stopped.wait(chance.expovariate(rate)):
            return


def main(directory: str) -> None:
    """Call until stdin ends."""
    control.configure("shop", directory=Path(directory))
    stopped = threading.Event()
    signs = {name: threading.Event() for name in DOWNSTREAMS}
    threads = [threading.Thread(target=calling, args=(name, stopped, called)) for name, called in signs.items()]
    for each in threads:
        each.start()
    for called in signs.values():
        called.wait(10)
    sys.stdout.write("calling\n")
    sys.stdout.flush()
    sys.stdin.read()
    stopped.set()
    for each in threads:
        each.join()


if __name__ == "__main__":
    main(sys.argv[1])
