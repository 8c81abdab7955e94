"""Pages of several processes, all written by this one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from resilient.control.host import Identity
from resilient.control.page import OwnPage
from resilient.control.snapshot import Showing
from resilient.telemetry.statistics import Statistics


@contextlib.contextmanager
def pages(path: Path, count: int) -> Iterator[list[Callable[[Statistics], None]]]:
    with contextlib.ExitStack() as stack:
        writers = []
        for number in range(count):
            identity = replace(Identity.own("shop"), instance=f"worker-{number}")
            page = OwnPage(path, identity.instance)
            stack.callback(page.close)
            writers.append(lambda statistics, i=identity, p=page: Showing(i, statistics).show(p, 0, {}))
        yield writers
