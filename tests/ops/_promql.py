"""What a PromQL expression names, read well enough for the expressions of `ops/`; promtool checks the grammar."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from resilient.control.intent import MODES
from resilient.telemetry.catalogue import METRICS
from resilient.telemetry.outcomes import OUTCOMES

ROOT = Path(__file__).parents[2]
OPS = ROOT / "ops"

SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds to everything it scrapes."""

VALUES = {
    "outcome": set(OUTCOMES),
    "mode": set(MODES),
    "state": {"open", "half_open", "closed", "forced_open", "observe", "forced_closed"}
    | {"up", "degraded", "down"}
    | {"live", "stale"},
    "kind": {"first", "retry", "desired", "applied"},
    "planned": {"true", "false"},
}
"""Values of labels that are known in advance."""

_NAME = re.compile(r"\b(?:resilient_\w+|[a-z]+:resilient_[\w:]+|resilient:[\w:]+)")
_SELECTOR = re.compile(r"(?P<name>[\w:]+)\s*\{(?P<matchers>[^}]*)\}")
_MATCHER = re.compile(r"(?P<label>\w+)\s*(?P<how>=~|!~|!=|=)\s*\"(?P<value>[^\"]*)\"")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\((?P<labels>[^)]*)\)")
_RANGED = re.compile(r"\b(?P<function>rate|irate|increase)\s*\(\s*(?P<name>[\w:]+)")
_SUFFIX = re.compile(r"_(?:bucket|sum|count)$")


@dataclass(frozen=True)
class Matcher:
    metric: str
    label: str
    how: str
    value: str


def metrics(expression: str) -> set[str]:
    return set(_NAME.findall(re.sub(r'"[^"]*"', '""', expression)))


def grouped(expression: str) -> set[str]:
    found = {each.strip() for match in _GROUPING.finditer(expression) for each in match["labels"].split(",")}
    return found - {""}


def matchers(expression: str) -> list[Matcher]:
    return [
        Matcher(selector["name"], match["label"], match["how"], match["value"])
        for selector in _SELECTOR.finditer(expression)
        for match in _MATCHER.finditer(selector["matchers"])
    ]


def base(name: str) -> str:
    """Return the catalogue's name of what Prometheus stores under several."""
    return name if name in METRICS else _SUFFIX.sub("", name)


def labels_of(name: str, recorded: dict[str, set[str]]) -> set[str]:
    if name in recorded:
        return recorded[name]
    return {*METRICS[base(name)].labels, *SCRAPED, *({"le"} if name.endswith("_bucket") else ())}


def complaints(expression: str, recorded: dict[str, set[str]]) -> list[str]:
    """Say what the expression names that nobody exports; `recorded` has the labels of recording rules."""
    found = []
    for name in sorted(metrics(expression) - recorded.keys()):
        known = METRICS.get(base(name))
        if known is None:
            found.append(f"{name} is in no catalogue")
        elif (known.kind == "histogram") != (name != base(name)):
            found.append(f"{name} is not what a {known.kind} exports")
    if found:
        return found
    found += [
        f"{each.metric} has no label {each.label}"
        for each in matchers(expression)
        if each.label not in labels_of(each.metric, recorded)
    ]
    for each in matchers(expression):
        values = set(each.value.split("|")) if "~" in each.how else {each.value}
        strange = values - VALUES.get(each.label, values) - {".*"}
        found += [f"{each.label} is never {value}" for value in sorted(strange)]
    has = {label for name in metrics(expression) for label in labels_of(name, recorded)}
    found += [f"nothing here has the label {label}" for label in sorted(grouped(expression) - has)]
    found += [
        f"{match['function']}() of the gauge {match['name']}"
        for match in _RANGED.finditer(expression)
        if match["name"] not in recorded and METRICS[base(match["name"])].kind == "gauge"
    ]
    return found


def promtool(*arguments: str | Path) -> str:
    """Run promtool and return what it says; skip by name where it is missing, but not in CI."""
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is missing, and CI must not skip it (Debian: apt-get install prometheus)")
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
