"""The timeline for the post-mortem tells what happened, who did what about it, and why, and nothing that breaks it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resilient import events
from resilient.control import events_log
from resilient.control.directory import Directory
from resilient.control.errors import Refused
from resilient.control.incident_report import incident_report
from resilient.control.intent import Rule
from resilient.control.operations import Operations
from resilient.control.receipts import Who
from tests.control._rows import Shown, row

ALICE = Who("alice", "operator", "cli")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    found = Directory(tmp_path / "resilient" / "shop", create=True, app="shop")
    Shown(found.path, "a", pay=row(), search=row())
    yield found
    found.close()


def moved(to: str, cause: str, **more: Any) -> events.Event:
    fields = {"breaker": "circuit_breaker", "from": "closed", "to": to, "cause": cause, **more}
    return events.Event("resilient.breaker.transition", "pay", fields)


def add_incident(directory: Directory, *values: Any) -> None:
    add = "INSERT INTO incidents (downstream, started_at, ended_at, planned, cause, peaks) VALUES (?, ?, ?, ?, ?, ?)"
    directory.database.write(lambda db: db.execute(add, values))


def told(directory: Directory, **more: Any) -> str:
    return incident_report(directory, "pay", now=time.time(), **more)


def timeline(text: str) -> list[list[str]]:
    rows = text.partition("## Timeline")[2].strip().splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[2:-1]] for line in rows]


def test_a_quiet_downstream_has_a_short_report(directory: Directory) -> None:
    text = told(directory)
    assert text.startswith("# Incident report: pay\n")
    assert "- Incidents: 0, of which 0 planned." in text
    assert "## Incidents\n\nNone.\n" in text
    assert "## Timeline\n\nNothing is recorded.\n" in text


def test_the_story_is_told_in_order_with_people_and_reasons(directory: Directory) -> None:
    now = time.time()
    peaks = '{"open": 3, "processes": 4, "rate": 120.55, "rejected_rate": 80.0, "error_share": 0.75}'
    add_incident(directory, "pay", now - 3_600, now - 3_000, 0, "failure_ratio", peaks)
    add_incident(directory, "search", now - 3_600, now - 3_000, 0, "consecutive", "{}")
    for instance, offset in (("a", 0.0), ("b", 0.4), ("c", 1.1)):
        seen = moved("open", "failure_ratio", failure_rate=0.75, calls=40)
        events_log.append(directory, instance, [(now - 3_600 + offset, seen)])
    full = events.Event("resilient.bulkhead.saturated", "pay", {"policy": "bulkhead", "limit": 20})
    noise = events.Event("resilient.override.applied", "pay", {"mode": "forced_open"})
    events_log.append(
        directory, "a", [(now - 3_500, full), (now - 3_400, noise), (now - 3_005, moved("closed", "probe_ok"))]
    )
    operations = Operations(directory)
    operations.place("pay", "forced_open", reason="PSP | maintenance", ttl=600, who=ALICE, percent=40)
    operations.command("pay", "reset", reason="they are back", who=ALICE)
    operations.release("pay", who=ALICE, reason="done")
    operations.place("search", "observe", reason="of no interest", ttl=600, who=ALICE)
    text = told(directory)
    assert [cells[0] for cells in timeline(text)] == [
        "**incident begins**",
        "circuit_breaker: closed -> open",
        "bulkhead: bulkhead full",
        "circuit_breaker: closed -> closed",
        "**incident ends**",
        "hold placed: forced_open 40 %",
        "command: reset",
        "hold released: forced_open 40 %",
    ]
    story = {cells[0]: cells[1:] for cells in timeline(text)}
    assert story["circuit_breaker: closed -> open"] == ["3 processes", "failure_ratio; 75% of 40 calls had failed"]
    assert story["hold placed: forced_open 40 %"] == ["alice via cli", r"PSP \| maintenance"]
    assert story["command: reset"] == ["alice via cli", "they are back"]
    assert "| 10 min | no | failure_ratio | 3 of 4 | 120.5 | 80.0 | 75% |" in text
    assert "- Mean time to repair (all that is recorded): 10 min." in text


def test_an_incident_that_is_under_way_is_told_from_before_its_begin(directory: Directory) -> None:
    now = time.time()
    add_incident(directory, "pay", now - 200_000, None, 0, "consecutive", "{}")
    events_log.append(directory, "a", [(now - 200_300, moved("open", "consecutive"))])
    text = told(directory)
    assert "of which 0 planned. One is under way." in text
    assert "| under way |" in text
    assert len(timeline(text)) == 2
    later = told(directory, since=now - 100)
    assert "Nothing is recorded." in later, "it began earlier"
    assert "| under way |" in later


def test_maintenance_is_told_of_every_downstream_that_it_covers(directory: Directory) -> None:
    operations = Operations(directory)
    now = time.time()
    for selector in ("p*", "sea*"):
        operations.schedule(
            selector, "forced_open", starts_at=now + 60, ends_at=now + 120, reason="CHG-12: their database", who=ALICE
        )
    ((what, who, why),) = timeline(told(directory))
    assert (what, who, why) == ("maintenance scheduled: forced_open", "alice via cli", "CHG-12: their database")


def test_what_a_rule_refused_is_told_with_the_rule_and_slips_of_the_keyboard_are_not(directory: Directory) -> None:
    operations = Operations(directory)
    with pytest.raises(Refused):
        operations.place("pay", "forced_opne", reason="a good reason", ttl=600, who=ALICE)  # type: ignore[arg-type]
    with pytest.raises(Refused):
        operations.place("pay", "forced_open", reason="", ttl=600, who=ALICE)
    operations.set_rules([Rule(id="always-up", kind="never", group=("pay",))], who=Who("root", "admin", "cli"))
    with pytest.raises(Refused):
        operations.place("pay", "forced_open", reason="a good reason", ttl=600, who=ALICE)
    with pytest.raises(Refused):
        operations.command("pay", "reset", reason="a good reason", who=Who("vic", "viewer", "api"))
    refused, command = timeline(told(directory))
    assert refused[0] == "hold refused: forced_open"
    assert refused[1] == "alice via cli"
    assert refused[2].startswith("rule always-up: ")
    assert command[:2] == ["command refused: reset", "vic via api"]
    assert command[2].startswith("forbidden: ")


def test_no_text_of_people_breaks_the_page(directory: Directory) -> None:
    operations = Operations(directory)
    operations.place(
        "pay", "observe", reason="<script> *bold* [x](y) \\ `code`", ttl=600, who=Who("a|b", "operator", "api")
    )
    text = told(directory)
    assert [len(cells) for cells in timeline(text)] == [3]
    assert timeline(text)[0][1:] == [r"a\|b via api", r"&lt;script> \*bold\* \[x](y) \\ \`code\`"]


def test_a_long_story_is_cut_at_its_beginning(directory: Directory) -> None:
    now = time.time()
    batch = [(now - 5_000 + number, moved("open" if number % 2 else "closed", "x")) for number in range(1_200)]
    events_log.append(directory, "a", batch)
    text = told(directory)
    assert "800 earlier lines are left out." in text
    assert text.count("circuit_breaker: closed ->") == 400
