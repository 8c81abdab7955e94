"""Metrics for Prometheus: of this process, or of all processes of a host, from whichever of them is asked.

    Collector()  # and start_http_server(9000), or whatever shows the registry

With a control directory any worker answers for all of them: it writes its own page, then reports pages only, those
of dead processes included. Do not set PROMETHEUS_MULTIPROC_DIR for these metrics; they need no such directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.utils import floatToGoString

from resilient import clock, faults
from resilient._weave.gates import gates
from resilient.control.host import Identity
from resilient.control.overview import STALE
from resilient.control.pages import PageView
from resilient.control.paths import named
from resilient.control.snapshot import snapshot
from resilient.telemetry.catalogue import METRICS
from resilient.telemetry.catalogue import Metric as Known
from resilient.telemetry.gauges import MOST, Gauges, gauges
from resilient.telemetry.names import Names
from resilient.telemetry.statistics import PROCESS
from resilient.telemetry.totals import Labels, Totals, Value

if TYPE_CHECKING:
    from resilient.control.directory import Directory
    from resilient.control.intent import Intent

__all__ = ["Collector", "exposition"]

Held = tuple[str, str, float | None]
"""Downstream, mode, and when it ends, in seconds since 1970."""


class Collector:
    """Report the catalogue's metrics to a registry of prometheus_client.

    Where control is configured (`RESILIENT_APP`, `control.configure`), it reports all processes of the application on
    this host. Elsewhere it switches this process's statistics on, and reports those.

    Args:
        directory: Another application's control directory, its path, or the application's name.
        registry: Where to register; None for nowhere.

    Example:
        >>> from prometheus_client import CollectorRegistry, generate_latest
        >>> from resilient import Pipeline
        >>> from resilient.prometheus import Collector
        >>> registry = CollectorRegistry()
        >>> collector = Collector(registry=registry)
        >>> Pipeline("doc-collector").call(len, "hello")
        5
        >>> labels = 'downstream="doc-collector",error_type="",outcome="success"'
        >>> f"resilient_call_duration_seconds_count{{{labels}}} 1.0" in generate_latest(registry).decode()
        True
        >>> collector.close()

    """

    def __init__(
        self, directory: Directory | str | os.PathLike[str] | None = None, registry: CollectorRegistry | None = REGISTRY
    ) -> None:
        """Report from now on."""
        self._directory = directory
        self._registry = registry
        self._open = True
        self._found: Directory | None = None
        if directory is None:
            PROCESS.start()
        if registry is not None:
            registry.register(self)

    def close(self) -> None:
        """Report no longer; statistics that this switched on are switched off."""
        if not self._open:
            return
        self._open = False
        if self._registry is not None:
            self._registry.unregister(self)
        if self._directory is None:
            PROCESS.stop()
        self._let_go()

    def describe(self) -> Iterator[Metric]:
        """Yield every metric without a value: registering looks at no process."""
        for name, known in METRICS.items():
            yield _family(name, known)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric that has a value; none at all if the control directory cannot be read, and say so."""
        try:
            directory = self._opened()
            totals, shown = _of_process() if directory is None else _of_host(directory)
        except Exception as fault:  # noqa: BLE001 -- other metrics of the registry are none of our business
            faults.report(self.collect, fault)
            return
        for name, known in METRICS.items():
            series = totals.series(name) or shown.get(name)
            if series:
                yield _family(name, known, series.items())

    def _opened(self) -> Directory | None:
        """Return the control directory to report, or None for this process alone."""
        from resilient.control.directory import Directory  # noqa: PLC0415 -- only with a control directory

        given = self._directory
        if isinstance(given, Directory):
            return given
        path = _own() if given is None else named(given)
        if path is None:
            return None
        if self._found is None or self._found.path != path or not self._found.intact():
            self._let_go()
            self._found = Directory(path)
        return self._found

    def _let_go(self) -> None:
        """Close the directory that was opened here; one that was given is its owner's."""
        if self._found not in (None, self._directory):
            self._found.close()


def _own() -> Path | None:
    """Return the control directory of this process, once it has begun with it."""
    from resilient.control import agent  # noqa: PLC0415 -- only with a control directory

    here = agent.current()
    return here.path if here is not None and here.begun and not here.problem else None


def _of_host(directory: Directory) -> tuple[Totals, Gauges]:
    """Return what all processes of the host show, this one's page being as new as can be."""
    from resilient.control.retained import host_totals  # noqa: PLC0415 -- only with a control directory

    shown_by_page = write_own_page()
    totals, everyone = host_totals(directory)
    if not shown_by_page:
        totals.merge(_of_admin(directory.path))
    pages = [page for page in everyone if page.alive]
    shown = gauges([page.data for page in pages], totals.downstreams())
    _processes(shown, pages)
    intent = directory.load()
    revision = shown["resilient_control_revision"] = {("desired",): float(intent.revision)}
    if pages:
        revision["applied",] = float(min(page.data.get("applied") or 0 for page in pages))
    known = {name for page in pages for name in page.data.get("downstreams", {})} & totals.downstreams()
    _holds(shown, _in_force(intent, known), known)
    return totals, shown


def _in_force(intent: Intent, known: set[str]) -> Iterator[Held]:
    """Yield all holds, and the maintenances under way for the downstreams that they cover."""
    wall = clock.SYSTEM.wall()
    for hold in intent.holds:
        yield hold.target, hold.mode, hold.expires_at
    for window in intent.windows:
        if window.active(wall):
            yield from ((name, window.mode, window.ends_at) for name in sorted(known) if window.covers(name))


def exposition(directory: Directory | str | os.PathLike[str] | None = None) -> tuple[bytes, str]:
    """Return our metrics alone as text, and its content type.

    Args:
        directory: As of `Collector`.

    """
    collector = Collector(directory, registry=None)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    try:
        return generate_latest(registry), CONTENT_TYPE_LATEST
    finally:
        collector.close()


def write_own_page() -> bool:
    """Have this process's page tell what it has counted up to now; False if it takes no part in control."""
    from resilient.control import agent  # noqa: PLC0415 -- only with a control directory

    return agent.write_page()


def _of_admin(path: Path) -> Totals:
    """Return what the admin API of this process has counted, where no page tells it: a server of its own has none."""
    from resilient.control.telling import untold  # noqa: PLC0415 -- only with a control directory

    counted = untold(path, PROCESS.totals()).encode()
    return Totals.decode({name: series for name, series in counted.items() if name.startswith("resilient_admin_")})


def _processes(shown: Gauges, pages: Sequence[PageView]) -> None:
    late = sum(page.age > STALE for page in pages)
    shown["resilient_control_process_count"] = {("live",): float(len(pages) - late), ("stale",): float(late)}
    shown["resilient_control_staleness_seconds"] = {(): max((page.age for page in pages), default=0.0)}


def _of_process() -> tuple[Totals, Gauges]:
    totals = PROCESS.totals()
    shown = gauges([snapshot(Identity.own(""), 0, {}, PROCESS)])
    wall = clock.current().wall()
    held = [(gate.env.downstream, hold) for gate in gates() for hold in gate.holds()]
    ends = ((name, hold.mode, None if hold.expires is None else wall + hold.expires) for name, hold in held)
    _holds(shown, ends, totals.downstreams())
    return totals, shown


def _holds(shown: Gauges, holds: Iterable[Held], known: AbstractSet[str]) -> None:
    """Show holds; on names that nobody counts, as many as are told apart: scripts place holds, too."""
    active: dict[Labels, float] = {}
    ends: dict[Labels, float] = {}
    others = Names(max(0, MOST - len(known)), "names of holds")
    for target, mode, end in holds:
        name = target if target in known else others.of(target)
        active[name, mode] = active.get((name, mode), 0.0) + 1
        if end is not None:
            ends[name,] = max(end, ends.get((name,), 0.0))
    shown["resilient_hold_active"] = active
    shown["resilient_hold_expiry_timestamp_seconds"] = ends


def _family(name: str, known: Known, series: Iterable[tuple[Labels, Value]] = ()) -> Metric:
    made: Any
    if known.kind == "histogram":
        bounds = [*map(floatToGoString, known.buckets), "+Inf"]
        made = HistogramMetricFamily(name, known.help, labels=known.labels)
        for labels, value in sorted(series):
            assert isinstance(value, list)  # noqa: S101 -- narrows the type
            total, _, *counts = value
            made.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)
    else:
        made = (CounterMetricFamily if known.kind == "counter" else GaugeMetricFamily)(
            name, known.help, labels=known.labels
        )
        for labels, value in sorted(series):
            made.add_metric(labels, value)
    metric: Metric = made
    return metric
