"""The picture of all downstreams as people read it: the sentence, a table, and what is held and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from resilient.cli.limits import WHY, limits
from resilient.cli.words import age, ago, count, epoch, latency, left, minute, per_second, percent, state
from resilient.control.states import STATES

__all__ = ["HEAD", "RIGHT", "SPARE", "detail", "footer", "holds", "mode", "row", "worst_first"]

HEAD = ("NAME", "STATE", "SINCE", "RATE", "ERR%", "REJ/S", "IN-FLIGHT", "P50", "P99", "RETRIES", "HOLDS", "PROCESSES")
RIGHT = ("RATE", "ERR%", "REJ/S", "IN-FLIGHT", "P50", "P99")
SPARE = ("P50", "IN-FLIGHT", "REJ/S", "RETRIES", "SINCE")
"""Columns that a narrow terminal does without."""

Row = Mapping[str, Any]
WHOLE = 100


def worst_first(downstreams: Iterable[Row]) -> list[Row]:
    """Return the downstreams with those that need somebody in front, held ones included, else by name."""
    rank = {state: place for place, state in enumerate(STATES)}
    calm = len(rank)
    return sorted(downstreams, key=lambda e: (rank.get(e["state"], calm), not e.get("holds"), e["name"]))


def row(downstream: Row, now: float) -> list[str]:
    """Return the cells of one downstream.

    Args:
        downstream: An entry of the overview.
        now: Seconds since 1970.

    """
    return [
        downstream["name"],
        _state(downstream),
        ago(downstream.get("since"), now),
        per_second(downstream.get("rate")),
        percent(downstream.get("error_share")),
        per_second(downstream.get("rejected_rate")),
        str(downstream.get("in_flight", 0)),
        latency(downstream.get("p50")),
        latency(downstream.get("p99")),
        downstream.get("retries") or "-",
        _held(downstream.get("holds", ()), len(downstream.get("kept") or ())),
        _processes(downstream),
    ]


def holds(downstreams: Iterable[Row]) -> list[str]:
    """Return a line for each hold and each window: what, who, for how long still, and why."""
    lines = []
    for each in downstreams:
        lines += [hold_line(hold) for hold in each.get("holds", ())]
        lines += [f"{each['name']}: {line}" for line in kept_lines(each)]
    windows = {window["id"]: window for each in downstreams for window in each.get("windows", ())}
    return lines + [window_line(window) for window in windows.values()]


def hold_line(hold: Row) -> str:
    """Return one hold as a line."""
    masked = " (masked by a stricter one)" if hold.get("masked") else ""
    ticket = f" [{hold['ticket']}]" if hold.get("ticket") else ""
    return (
        f"{hold['target']}: {mode(hold)} by {hold['actor']} via {hold['via']}, "
        f"{left(hold['remaining'])}{masked}: {hold['reason']}{ticket}  ({hold['id']})"
    )


def kept_lines(downstream: Row) -> list[str]:
    """Return what is to be known of holds that processes keep and the record does not know, if there are any."""
    number = len(downstream.get("kept") or ())
    if not number:
        return []
    how = f"`resilient reset {downstream['name']} --reason TEXT` lets go"
    return [f"kept: {count(number, 'hold')} of an earlier record; {how}"]


def window_line(window: Row) -> str:
    """Return one maintenance window as a line."""
    ticket = f" [{window['ticket']}]" if window.get("ticket") else ""
    return (
        f"{window['selector']}: maintenance ({mode(window)}), {window['status']}, {minute(epoch(window['starts_at']))} "
        f"to {minute(epoch(window['ends_at']))}, by {window['actor']}: {window['reason']}{ticket}  ({window['id']})"
    )


def footer(picture: Row) -> str:
    """Return where the picture is from."""
    return f"{picture.get('reach', '')}; revision {picture.get('revision', 0)}; {picture.get('path', '')}"


def detail(downstream: Row, processes: Iterable[Row], now: float, more: Iterable[tuple[str, str]] = ()) -> list[str]:
    """Return everything about one downstream.

    Args:
        downstream: An entry of the overview.
        processes: Its rows, one of each live process.
        now: Seconds since 1970.
        more: Label and sentence of what else there is to tell.

    """
    name = downstream["name"]
    since = ago(downstream.get("since"), now)
    cause = f": {WHY.get(downstream['cause'], downstream['cause'])}" if downstream.get("cause") else ""
    calls = (
        f"{per_second(downstream.get('rate'))}/s, {percent(downstream.get('error_share'))} % errors, "
        f"{per_second(downstream.get('rejected_rate'))}/s refused here, {downstream.get('in_flight', 0)} in flight"
    )
    head = f"{name} is {_state(downstream)}" + (f", for {since}" if since != "-" else "") + cause
    parts = [
        ("calls", calls),
        ("latency", ", ".join(f"{key} {latency(downstream.get(key))}" for key in ("p50", "p90", "p99"))),
        ("retries", downstream.get("retries") or "-"),
        *limits(downstream),
    ]
    incidents = downstream.get("incidents") or {}
    if incidents:
        parts.append(("incidents", _incidents(incidents)))
    parts += more
    parts += [("hold", hold_line(each)) for each in downstream.get("holds", ())]
    parts += [("hold", each) for each in kept_lines(downstream)]
    parts += [("window", window_line(each)) for each in downstream.get("windows", ())]
    parts += [("process", _process_line(each)) for each in processes]
    width = max(len(label) for label, _ in parts)
    return [head, *(f"  {label:{width}}  {text}" for label, text in parts)]


def _process_line(process: Row) -> str:
    live = process.get("live") or {}
    return (
        f"{process['instance']}: {state(process.get('state', '-'))}, {per_second(live.get('rate'))}/s, "
        f"{percent(live.get('error_share'))} % errors, {live.get('in_flight', 0)} in flight, "
        f"revision {process.get('applied', '-')}"
    )


def _state(downstream: Row) -> str:
    word = state(str(downstream["state"]))
    share = downstream.get("share", 1)
    if downstream["state"] == "forced_open" and share:
        return f"{word} {WHOLE - round(share * WHOLE)}%"
    if downstream.get("ramping"):
        return f"{word} ramping" + (f" {round(share * WHOLE)}%" if share is not None and share < 1 else "")
    return word


def mode(entry: Row) -> str:
    """Return what a hold or a window does, with its share if that is not all."""
    share = entry.get("percent", WHOLE)
    word = "retries off" if entry["mode"] == "no_retries" else state(str(entry["mode"]))
    return word + (f" {share}%" if share < WHOLE else "")


def _held(entries: Iterable[Row], kept: int) -> str:
    found = sorted(entries, key=lambda each: bool(each.get("masked")))
    if not found:
        return f"{kept} kept" if kept else "-"
    first = f"{found[0]['actor']} {age(found[0]['remaining'])}"
    more = len(found) - 1 + kept
    return first + (f" +{more}" if more else "")


def _processes(downstream: Row) -> str:
    states = downstream.get("states") or {}
    live = downstream.get("live", 0)
    if len(states) <= 1:
        return str(live)
    return f"{live}: " + ", ".join(f"{number} {state(each)}" for each, number in states.items())


def _incidents(incidents: Row) -> str:
    parts = ["one is open" if incidents.get("open") else "none open"]
    parts.append(f"{incidents.get('count_24h', 0)} in 24 h")
    for key, word in (("mttr_s", "mean time to repair"), ("mtbf_s", "mean time between")):
        if incidents.get(key) is not None:
            parts.append(f"{word} {age(incidents[key])}")
    if incidents.get("availability") is not None:
        parts.append(f"availability {incidents['availability'] * WHOLE:.3f} %")
    return ", ".join(parts)
