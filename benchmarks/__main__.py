"""Run the benchmarks: `python -m benchmarks --help`."""

from __future__ import annotations

import benchmarks.nosleep  # noqa: F401  # isort: skip -- before anything that may keep `time.sleep`

import argparse
import asyncio
import importlib
import sys
from pathlib import Path

from benchmarks import (
    cases,
    control,
    http,
    http_clients,
    machine,
    memory,
    report,
    startup,
    subjects,
    telemetry,
    threads,
    timing,
)
from benchmarks.peers import PEERS

EXTRA_GROUPS = ("threads", http_clients.GROUP, telemetry.GROUP, control.GROUP, "startup", "memory")


def main() -> None:
    """Measure what was asked for, print it, and write the files."""
    options = _options()
    effort = timing.Effort(5, 0.002) if options.quick else timing.Effort(21, 0.006)
    results = report.Results(
        machine=machine.describe(),
        effort={"rounds": effort.rounds, "milliseconds": effort.seconds * 1e3, "quick": options.quick},
    )
    chosen = [case for case in cases.CASES if _wanted(case.group, options.only)]
    with asyncio.Runner() as runner:
        for case in chosen:
            _tell(f"{case.group}: {case.title}")
            results.calls.append(timing.measure(case, runner, effort))
        if _wanted(http_clients.GROUP, options.only):
            _measure_http(results, runner, quick=options.quick)
        if _wanted(telemetry.GROUP, options.only):
            results.telemetry = telemetry.measure(runner, effort, _tell)
        if _wanted(control.GROUP, options.only):
            results.control = control.measure(runner, effort, _tell)
    if _wanted("threads", options.only):
        _measure_threads(results, effort)
    if _wanted("startup", options.only):
        _tell("startup")
        results.startup = startup.measure(3 if options.quick else 11)
    if _wanted("memory", options.only):
        _tell("memory")
        results.memory = memory.measure(quick=options.quick)
    _finish(results, options)


def _options() -> argparse.Namespace:
    groups = [*dict.fromkeys(case.group for case in cases.CASES), *EXTRA_GROUPS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=sys.modules["benchmarks"].__doc__)
    parser.add_argument("--quick", action="store_true", help="few and short rounds: seconds, not minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace this Python's section of a page")
    parser.add_argument(
        "--only", action="append", metavar="GROUP", help=f"one of: {', '.join(groups)}; or a part of it"
    )
    parser.add_argument(
        "--python", default="{}.{}".format(*sys.version_info[:2]), metavar="LABEL", help="the section's name"
    )
    options = parser.parse_args()
    for word in options.only or ():
        if not any(word in group for group in groups):
            parser.error(f"--only {word!r} is none of: {', '.join(groups)}")
    return options


def _wanted(group: str, only: list[str] | None) -> bool:
    return not only or any(word in group for word in only)


def _measure_threads(results: report.Results, effort: timing.Effort) -> None:
    longer = timing.Effort(max(3, effort.rounds // 3), effort.seconds * 5)
    for policy in threads.POLICIES:
        _tell(f"threads: {policy}")
        results.throughput.append(threads.throughput(policy, longer))
    makers = {subjects.OURS: "benchmarks.ours"}
    makers |= {peer.name: f"benchmarks.peers.{peer.builder}" for peer in PEERS}
    for name, module in makers.items():
        try:
            decorate = importlib.import_module(module).decorate
            results.permits[name] = threads.permits(decorate, effort.rounds * 100)
        except (ImportError, cases.UnavailableError):
            continue


def _measure_http(results: report.Results, runner: asyncio.Runner, *, quick: bool) -> None:
    effort = http.effort_for(quick=quick)
    results.http = http.measure(runner, effort, _tell)
    results.effort["http"] = {"rounds": effort.rounds, "milliseconds": effort.seconds * 1e3}
    results.machine["versions"] |= http_clients.versions()


def _finish(results: report.Results, options: argparse.Namespace) -> None:
    section = report.as_markdown(results, options.python)
    print(section)
    for measured in (*results.calls, *results.throughput, *results.http):
        for name, reason in measured.missing.items():
            _tell(f"not measured: {name}, {measured.case.group}, {measured.case.policy}: {reason}")
    if options.json:
        options.json.write_text(report.as_json(results) + "\n", encoding="utf-8")
    if options.markdown:
        report.write(options.markdown, options.python, section)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
