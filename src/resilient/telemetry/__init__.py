"""What a process counts about its calls: the catalogue of metrics, totals that add up, and live numbers."""

from __future__ import annotations

from resilient.telemetry.catalogue import METRICS, Metric
from resilient.telemetry.totals import Totals

__all__ = ["METRICS", "Metric", "Totals"]
