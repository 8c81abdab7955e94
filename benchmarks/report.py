"""Turn results into a Markdown section and into JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks import control, http, http_clients, memory, promises, startup, subjects, telemetry, threads, timing

DASH = "–"  # noqa: RUF001 -- a dash means: no such feature, or not installed


@dataclass(slots=True)
class Results:
    """Everything one run found out."""

    machine: dict[str, Any]
    effort: dict[str, Any]
    calls: list[timing.Measured] = field(default_factory=list)
    throughput: list[threads.Throughput] = field(default_factory=list)
    permits: dict[str, threads.Permits] = field(default_factory=dict)
    http: list[http.Measured] = field(default_factory=list)
    telemetry: list[telemetry.Measured] = field(default_factory=list)
    control: list[control.Measured] = field(default_factory=list)
    startup: startup.Startup | None = None
    memory: memory.Memory | None = None

    def promises(self) -> list[promises.Promise]:
        """Return every promise this run can judge."""
        found = [*promises.of_calls(self.calls)]
        found += promises.of_threads(self.throughput, self.permits.get(subjects.OURS))
        found += promises.of_http(self.http)
        found += promises.of_telemetry(self.telemetry)
        found += promises.of_control(self.control)
        found += promises.of_startup(self.startup) if self.startup else []
        found += promises.of_memory(self.memory) if self.memory else []
        return found


def as_json(results: Results) -> str:
    """Return the results as JSON."""
    return json.dumps(
        {
            "machine": results.machine,
            "effort": results.effort,
            "calls": [_call(measured) for measured in results.calls],
            "throughput": [
                {"policy": each.case.policy, "ratios": _spreads(each.ratios), "missing": each.missing}
                for each in results.throughput
            ],
            "permits": {name: asdict(each) for name, each in results.permits.items()},
            "http": [_request(measured) for measured in results.http],
            "telemetry": [asdict(measured) for measured in results.telemetry],
            "control": [asdict(measured) for measured in results.control],
            "startup": results.startup and asdict(results.startup),
            "memory": results.memory and asdict(results.memory),
            "promises": [asdict(each) | {"met": each.met} for each in results.promises()],
        },
        indent=1,
    )


def _call(measured: timing.Measured) -> dict[str, Any]:
    case = measured.case
    return {
        "policy": case.policy,
        "colour": case.colour,
        "path": case.path,
        "title": case.title,
        "empty_decorator_ns": round(measured.baseline, 1),
        "multiples": _spreads(measured.ratios),
        "missing": measured.missing,
    }


def _request(measured: http.Measured) -> dict[str, Any]:
    return asdict(measured.case) | {
        "bare_client_us": round(measured.baseline, 1),
        "multiples": _spreads(measured.ratios),
        "missing": measured.missing,
    }


def _spreads(ratios: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    return {name: _spread(rounds) for name, rounds in ratios.items()}


def _spread(rounds: list[float]) -> dict[str, float]:
    if len(rounds) == 1:
        return {"median": round(rounds[0], 3)}
    low, _, high = quantiles(rounds, n=4)
    return {"median": round(median(rounds), 3), "low": round(low, 3), "high": round(high, 3)}


def as_markdown(results: Results, label: str) -> str:
    """Return the results as one Markdown section."""
    parts = [f"## Python {label}", _machine(results)]
    found = results.promises()
    if found:
        met = sum(each.met for each in found)
        parts += [f"### Promises: {met} of {len(found)} met", _promises(found)]
    for group in dict.fromkeys(each.case.group for each in results.calls):
        lines = [each for each in results.calls if each.case.group == group]
        parts += [f"### {group.capitalize()}", _calls(lines)]
    if results.throughput:
        parts += ["### Throughput of 8 threads over one", _throughput(results.throughput)]
    if results.permits:
        parts += ["### A bulkhead under 8 threads", _permits(results.permits)]
    if results.http:
        parts += ["### HTTP", _http_intro(results.effort["http"]), _http(results.http)]
    if results.telemetry:
        parts += ["### Statistics", _telemetry(results.telemetry)]
    if results.control:
        parts += ["### Control directory, as multiples of an empty decorator", _control(results.control)]
    if results.startup:
        parts += ["### Import, over bare Python", _startup(results.startup)]
    if results.memory:
        parts += ["### Memory", _memory(results.memory)]
    return "\n\n".join(parts) + "\n"


def write(path: Path, label: str, section: str) -> None:
    """Replace the section between the marks of `label` in a file, or append it."""
    begin, end = f"<!-- generated: {label} -->", f"<!-- end of generated: {label} -->"
    text = path.read_text(encoding="utf-8") if path.exists() else "# Benchmarks\n"
    before, mark, rest = text.partition(begin)
    after = rest.partition(end)[2] if mark else "\n"
    gap = "" if mark else "\n"
    path.write_text(f"{before}{gap}{begin}\n\n{section}\n{end}{after}", encoding="utf-8")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _mark(*, met: bool) -> str:
    return "met" if met else "**missed**"


def _machine(results: Results) -> str:
    machine, versions = results.machine, results.machine["versions"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{machine['machine']} ({machine['processor']}), {machine['implementation']} {machine['python']}.\n"
        f"Subjects: {listed}.\nEffort: {results.effort['rounds']} rounds of "
        f"{results.effort['milliseconds']:g} ms for each subject."
    )


def _promises(found: list[promises.Promise]) -> str:
    rows = []
    for each in found:
        sign = "≥" if each.at_least else "≤"
        limit = f"{sign} {each.limit:g}{each.unit}"
        rows.append([each.text, limit, _number(each.reached) + each.unit, _mark(met=each.met)])
    return _table(("promise", "target", "reached", ""), rows)


def _columns(lines: list[Any]) -> list[str]:
    """Return the subjects that have at least one number, ours first."""
    order = dict.fromkeys(name for line in lines for name in line.ratios)
    ours = [name for name in (subjects.OURS, subjects.OURS_CALL) if name in order]
    return [*ours, *(name for name in order if name not in {*ours, subjects.EMPTY})]


def _calls(lines: list[timing.Measured]) -> str:
    columns = _columns(lines)
    rows = []
    for line in lines:
        limit, ours = promises.limit_of(line.case), line.median(subjects.OURS)
        target = DASH
        if limit is not None:
            target = f"≤ {limit:g}" + ("" if ours is None else " " + _mark(met=ours <= limit))
        numbers = [_number(line.median(name)) for name in columns]
        rows.append([line.case.title, f"{line.baseline:.0f} ns", target, *numbers])
    return _table(("policy", "empty decorator", "target", *columns), rows)


def _throughput(lines: list[threads.Throughput]) -> str:
    columns = [subjects.EMPTY, *_columns(lines)]
    rows = [[line.case.title, *(_number(line.median(name)) for name in columns)] for line in lines]
    return _table(("policy", *columns), rows)


def _permits(permits: dict[str, threads.Permits]) -> str:
    rows = [
        [name, str(each.limit), str(each.most), str(each.left), f"{each.refused:,}"] for name, each in permits.items()
    ]
    head = ("library", "permits", "most in flight", "free afterwards", "refused calls")
    return _table(head, rows)


def _http_intro(effort: dict[str, Any]) -> str:
    return (
        "Multiples of a bare client's `client.get()`, with the quartiles of the rounds in parentheses.\n"
        "Over loopback the server is another process and the connection is kept. Time is the thread's own\n"
        "processor time, with the collector on. No peer has the whole pipeline: they have one policy, or two.\n"
        "A fresh hit sends nothing; it pays for an answer that is still to be read, which the bare mock does not.\n"
        f"Effort: {effort['rounds']} rounds of {effort['milliseconds']:g} ms for each client."
    )


def _http(lines: list[http.Measured]) -> str:
    names = [name for name in http_clients.WRAPS if any(name in line.ratios for line in lines)]
    rows = []
    for line in lines:
        met = (line.median(subjects.OURS) or 0) <= (limit := promises.HTTP[line.case.over])
        spreads = _spreads(line.ratios)
        cells = [_quartiles(spreads[name]) if name in spreads else DASH for name in names]
        rows.append([line.case.title, f"{line.baseline:.0f} µs", f"≤ {limit:g} {_mark(met=met)}", *cells])
    return _table(("`client.get()`", "bare client", "target", *names), rows)


def _quartiles(spread: dict[str, float]) -> str:
    return f"{spread['median']:.2f} ({spread['low']:.2f} to {spread['high']:.2f})"


def _telemetry(lines: list[telemetry.Measured]) -> str:
    rows = [[f"{line.case.group}: {line.case.title}", f"{line.off:.2f} µs", f"{line.added:.2f} µs"] for line in lines]
    return _table(("a call", "without statistics", "statistics add"), rows)


def _control(lines: list[control.Measured]) -> str:
    rows = [[f"{line.case.group}: {line.case.title}", f"{line.off:.2f}", f"{line.added:.2f}"] for line in lines]
    return _table(("a call", "without control", "control adds"), rows)


def _startup(measured: startup.Startup) -> str:
    rows = [[name, f"{value:.0f} ms"] for name, value in measured.imports.items()]
    return _table(("import", f"over bare Python ({measured.bare:.0f} ms)"), rows)


def _memory(measured: memory.Memory) -> str:
    rows = [[f"one breaker: {name}", f"{used:,.0f} bytes"] for name, used in measured.breakers.items()]
    resident = measured.keyed_resident
    rows += [
        ["100 000 keyed breakers, resident", DASH if resident is None else f"{resident:,.0f} MB"],
        ["one keyed breaker, heap", f"{measured.keyed_each:,.0f} bytes"],
        ["growth over 90 000 short-lived decorations", f"{measured.decorations:,.0f} bytes"],
    ]
    return _table(("what", "memory"), rows)
