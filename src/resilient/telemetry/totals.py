"""Counters and histograms that can be added up over processes, whatever the order, without an error.

Seconds are kept as multiples of 2**-20 (a microsecond, about): sums of such numbers are exact in a float for
270 years of calls, so it does not matter who adds what to what first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from resilient import _check
from resilient.telemetry.catalogue import METRICS, OTHER, Kind, Metric

__all__ = ["Labels", "Totals", "Value", "check", "exact"]

Labels = tuple[str, ...]
Value = float | list[float]
"""A counter, or a histogram: the sum, the count, and how many fell into each bucket, the infinite one last."""

_GRID = float(1 << 20)
_MOST = float(1 << 60)
"""What no counter reaches."""

_HEAD = 2
"""Sum and count, in front of the buckets."""


def exact(value: float) -> float:
    """Return the nearest number of which sums are exact."""
    return round(value * _GRID) / _GRID


class Totals:
    """What only grows: metric -> values of its labels -> number or histogram.

    Example:
        >>> totals = Totals()
        >>> totals.add("resilient_call_fallbacks_total", ("orders", "fallback"))
        >>> totals.observe("resilient_retry_delay_seconds", ("orders",), 0.25)
        >>> twice = Totals.decode(totals.encode())
        >>> twice.merge(totals)
        >>> twice.value("resilient_call_fallbacks_total", ("orders", "fallback"))
        2.0

    """

    __slots__ = ("_series",)

    def __init__(self) -> None:
        """Begin with nothing."""
        self._series: dict[str, dict[Labels, Value]] = {}

    def add(self, metric: str, labels: Labels, value: float = 1) -> None:
        """Add to a counter.

        Args:
            metric: Its name in the catalogue.
            labels: Values of its labels, in the catalogue's order.
            value: How much; seconds are rounded to a microsecond, about.

        Raises:
            ConfigError: If there is no such counter, it has other labels, or the value is negative.

        """
        check(metric, labels, "counter")
        if not value >= 0:
            _check.refuse("value", value, "0 or more: counters only grow")
        series = self._series.setdefault(metric, {})
        before = series.get(labels, 0.0)
        assert isinstance(before, (int, float))  # noqa: S101 -- narrows the type
        series[labels] = before + exact(value)

    def observe(self, metric: str, labels: Labels, value: float) -> None:
        """Record one value with a histogram.

        Raises:
            ConfigError: If there is no such histogram, or it has other labels.

        """
        bounds = check(metric, labels, "histogram").buckets
        counts = [0.0] * (len(bounds) + 1)
        counts[bisect_left(bounds, value)] = 1
        self.gather(metric, labels, value, counts)

    def gather(self, metric: str, labels: Labels, total: float, counts: Sequence[float]) -> None:
        """Record many values with a histogram.

        Args:
            metric: Its name in the catalogue.
            labels: Values of its labels, in the catalogue's order.
            total: Sum of the values.
            counts: How many fell into each bucket, the infinite one last.

        Raises:
            ConfigError: If there is no such histogram, or it has other labels or buckets.

        """
        buckets = len(check(metric, labels, "histogram").buckets) + 1
        if len(counts) != buckets:
            _check.refuse("counts", counts, f"a number for each of the {buckets} buckets of {metric}")
        self._gather(metric, labels, [exact(total), sum(counts), *counts])

    def _gather(self, metric: str, labels: Labels, other: Sequence[float]) -> None:
        series = self._series.setdefault(metric, {})
        before = series.get(labels)
        # A new list each time: somebody may be reading the old one.
        series[labels] = (
            [a + b for a, b in zip(before, other, strict=True)] if isinstance(before, list) else list(other)
        )

    def count(self, metric: str, labels: Labels, value: float) -> None:
        """Add to a counter, or record a value with a histogram, whichever it is."""
        known = METRICS.get(metric)
        if known is not None and known.kind == "histogram":
            self.observe(metric, labels, value)
        else:
            self.add(metric, labels, value)

    def merge(self, other: Totals) -> None:
        """Add everything that another one holds."""
        for metric, labels, value in other.items():
            if isinstance(value, list):
                self._gather(metric, labels, value)
            else:
                self.add(metric, labels, value)

    def less(self, other: Totals) -> Totals:
        """Return by how much this is more than an earlier state of it; what has not grown is left out."""
        more = Totals()
        for metric, labels, value in self.items():
            before = other.series(metric).get(labels)
            if isinstance(value, list):
                grown = value if before is None else [a - b for a, b in zip(value, before, strict=True)]  # type: ignore[arg-type]
                if grown[1] > 0:
                    more._gather(metric, labels, grown)
            elif value > (before or 0.0):  # type: ignore[operator]
                more.add(metric, labels, value - (before or 0.0))  # type: ignore[operator]
        return more

    def capped(self, names: Collection[str]) -> Totals:
        """Return the same with every downstream but these counted as `_other`."""
        kept = Totals()
        for metric, labels, value in self.items():
            named = METRICS[metric].labels[:1] == ("downstream",)
            at = (OTHER, *labels[1:]) if named and labels[0] and labels[0] not in names else labels
            if isinstance(value, list):
                kept._gather(metric, at, value)
            else:
                kept.add(metric, at, value)
        return kept

    def downstreams(self) -> set[str]:
        """Return the names of all downstreams that are told apart; the empty one of what belongs to none is not one."""
        named = (labels[0] for metric, labels, _ in self.items() if METRICS[metric].labels[:1] == ("downstream",))
        return {name for name in named if name}

    def value(self, metric: str, labels: Labels) -> Value:
        """Return a counter, 0 if nothing was counted, or a histogram's list, empty if nothing was recorded."""
        kind = check(metric, labels).kind
        return self._series.get(metric, {}).get(labels, [] if kind == "histogram" else 0.0)

    def items(self) -> Iterator[tuple[str, Labels, Value]]:
        """Yield metric, label values and value of everything there is."""
        for metric, series in self._series.items():
            for labels, value in series.items():
                yield metric, labels, value

    def series(self, metric: str) -> Mapping[Labels, Value]:
        """Return all values of one metric."""
        return self._series.get(metric, {})

    def copy(self) -> Totals:
        """Return the same, independent of this one."""
        twin = Totals()
        twin._series = {metric: dict(series) for metric, series in self._series.items()}
        return twin

    def encode(self) -> dict[str, list[list[object]]]:
        """Return it as data for JSON: metric -> list of [label values, value]."""
        return {
            metric: [[list(labels), _plain(value)] for labels, value in series.items()]
            for metric, series in self._series.items()
        }

    @classmethod
    def decode(cls, data: object) -> Totals:
        """Return what `encode` was given.

        What this version does not know (another version's metric, labels or buckets) is left out; it may come
        from another process, so nothing about its form is taken for granted.
        """
        totals = cls()
        for metric, rows in data.items() if isinstance(data, dict) else ():
            if metric in METRICS and isinstance(rows, list):
                for row in rows:
                    totals._read(metric, row)
        return totals

    def _read(self, metric: str, row: object) -> None:
        known = METRICS[metric]
        if not (isinstance(row, list) and len(row) == _HEAD and isinstance(row[0], list)):
            return
        labels, value = tuple(map(str, row[0])), row[1]
        if len(labels) != len(known.labels):
            return
        if known.kind == "histogram":
            if isinstance(value, list) and len(value) == _HEAD + len(known.buckets) + 1 and all(map(_number, value)):
                self._gather(metric, labels, value)
        elif _number(value) and value >= 0:
            self.add(metric, labels, value)

    def __eq__(self, other: object) -> bool:
        """Tell whether both hold the same."""
        return self._series == other._series if isinstance(other, Totals) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        """Say how much there is."""
        return f"<Totals: {sum(map(len, self._series.values()))} series of {len(self._series)} metrics>"


def check(metric: str, labels: Iterable[str], kind: Kind | None = None) -> Metric:
    """Return what the catalogue says about a metric.

    Raises:
        ConfigError: If there is no such metric, it is of another kind or has other labels.

    """
    known = METRICS.get(metric)
    if known is None or (kind is not None and known.kind != kind):
        _check.refuse("metric", metric, f"a {kind or 'metric'} of the catalogue")
    if len(tuple(labels)) != len(known.labels):
        _check.refuse("labels", labels, f"values of {', '.join(known.labels) or 'no labels'}")
    return known


def _number(value: object) -> bool:
    # No NaN, and nothing that is infinite or would become so: one such page would spoil the sums of the whole
    # host for good.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _MOST


def _plain(value: Value) -> object:
    """Return whole numbers without a fraction: shorter, and just as exact."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if value == int(value) else value
