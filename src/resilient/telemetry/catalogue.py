"""Every metric: its name, what it means, and by what it is told apart.

Names, labels and buckets are part of the public interface. Seconds are the only unit of time. No label ever
holds a URL, a path, a user, a reason that people wrote or the id of a hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = ["METRICS", "OTHER", "Kind", "Metric"]

Kind = Literal["counter", "gauge", "histogram"]

OTHER = "_other"
"""The value of a label that stands for all values beyond its cap."""

_CALLS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0)
_RETRIES = (1.0, 2.0, 3.0, 4.0, 5.0)
_INCIDENTS = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        kind: "counter" and "histogram" only grow, and are added up over processes; a "gauge" is a look at now.
        help: What it means, in one sentence.
        labels: Names of the labels, in the order of their values.
        buckets: Upper bounds of a histogram, ascending, without the infinite one.

    """

    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _counter(text: str, *labels: str) -> Metric:
    return Metric("counter", text, labels)


def _gauge(text: str, *labels: str) -> Metric:
    return Metric("gauge", text, labels)


def _histogram(text: str, buckets: tuple[float, ...], *labels: str) -> Metric:
    return Metric("histogram", text, labels, buckets)


_CALL_METRICS = {
    "resilient_call_duration_seconds": _histogram(
        "Duration of calls, retries and waits included.", _CALLS, "downstream", "outcome", "error_type"
    ),
    "resilient_call_active": _gauge("Calls in flight.", "downstream"),
    "resilient_call_rejections_total": _counter(
        "Attempts that were refused here, without asking the downstream.", "downstream", "policy", "reason"
    ),
    "resilient_call_would_reject_total": _counter(
        "Calls that only an observing hold let pass.", "downstream", "reason"
    ),
    "resilient_call_fallbacks_total": _counter("Calls that a fallback answered.", "downstream", "policy"),
    "resilient_attempt_duration_seconds": _histogram(
        "Duration of attempts: of the function alone, for HTTP until the head of the answer is there.",
        _CALLS,
        "downstream",
        "kind",
        "outcome",
        "error_type",
    ),
    "resilient_call_retries": _histogram(
        "Retries of calls that needed any; calls without a retry are not recorded.", _RETRIES, "downstream", "outcome"
    ),
    "resilient_retry_delay_seconds": _histogram("Pauses before retries.", _CALLS, "downstream"),
    "resilient_retry_exhausted_total": _counter("Calls that gave up on retrying, by why.", "downstream", "why"),
    "resilient_retry_budget_exhausted_total": _counter("Retries for which the budget had nothing left.", "downstream"),
    "resilient_retry_budget_ratio": _gauge(
        "Share of the retry budget that is left, the least of all processes.", "downstream"
    ),
}

_POLICY_METRICS = {
    "resilient_breaker_status": _gauge("Processes whose breaker is in this state.", "downstream", "breaker", "state"),
    "resilient_breaker_transitions_total": _counter(
        "Changes of a breaker's state.", "downstream", "breaker", "from", "to", "cause"
    ),
    "resilient_breaker_state_time_seconds_total": _counter(
        "Time that breakers have spent in a state, added up over processes.", "downstream", "breaker", "state"
    ),
    "resilient_breaker_failure_ratio": _gauge(
        "Share of failed calls in the window, the highest of all processes.", "downstream", "breaker"
    ),
    "resilient_breaker_slow_ratio": _gauge(
        "Share of slow calls in the window, the highest of all processes.", "downstream", "breaker"
    ),
    "resilient_breaker_failure_threshold": _gauge(
        "Share of failed calls at which the breaker opens.", "downstream", "breaker"
    ),
    "resilient_breaker_window_calls": _gauge("Calls in the windows of all processes.", "downstream", "breaker"),
    "resilient_bulkhead_active": _gauge("Permits in use.", "downstream", "bulkhead"),
    "resilient_bulkhead_limit": _gauge("Permits there are, over all processes.", "downstream", "bulkhead"),
    "resilient_bulkhead_queued": _gauge("Calls that wait for a permit.", "downstream", "bulkhead"),
    "resilient_rate_limiter_rate": _gauge(
        "Calls per period that may pass now, over all processes; less than configured while the server throttles.",
        "downstream",
        "limiter",
    ),
    "resilient_cache_stale_served_total": _counter(
        "Stale answers that stood in for fresh ones, by the error or reason.", "downstream", "cause"
    ),
    "resilient_cache_refresh_failures_total": _counter(
        "Background refreshes of stored answers that failed.", "downstream", "cause"
    ),
}

_OPERATOR_METRICS = {
    "resilient_hold_active": _gauge("Holds in force or masked by a stronger one.", "downstream", "mode"),
    "resilient_hold_expiry_timestamp_seconds": _gauge(
        "When the last hold of the downstream ends, in seconds since 1970.", "downstream"
    ),
    "resilient_control_revision": _gauge(
        "Revision of the control directory: the one desired, and the oldest one that a live process has applied.",
        "kind",
    ),
    "resilient_control_staleness_seconds": _gauge("Age of the oldest heartbeat of a live process."),
    "resilient_control_process_count": _gauge("Processes on this host, live or with a late heartbeat.", "state"),
    "resilient_control_errors_total": _counter("Faults of the control directory, by what failed.", "error_type"),
    "resilient_admin_request_duration_seconds": _histogram(
        "Duration of requests to the admin API.", _CALLS, "route", "method", "status", "role"
    ),
    "resilient_admin_denials_total": _counter("Requests that the admin API denied.", "reason"),
    "resilient_incidents_total": _counter("Incidents that have begun.", "downstream", "planned"),
    "resilient_incident_duration_seconds": _histogram(
        "Duration of incidents that are over.", _INCIDENTS, "downstream", "planned"
    ),
    "resilient_downstream_state_time_seconds_total": _counter(
        "Time that a downstream was up, degraded or down, as seen from this host.", "downstream", "state", "planned"
    ),
    "resilient_events_total": _counter("Everything that happened, by the name of the event.", "downstream", "event"),
    "resilient_faults_total": _counter("Faults of user callbacks and of the library's own parts that changed no call."),
    "resilient_build_info": _gauge("Processes by version of the library and of Python.", "version", "python"),
}

METRICS: Mapping[str, Metric] = MappingProxyType({**_CALL_METRICS, **_POLICY_METRICS, **_OPERATOR_METRICS})
"""By the name under which Prometheus knows it."""
