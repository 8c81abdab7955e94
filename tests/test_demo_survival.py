"""The demo of survival keeps what it promises, and notices when a promise is broken."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from examples.common.callers import FAMILIES
from examples.common.traffic import Arrival
from examples.survival import summary, verdict
from examples.survival.board import Board
from examples.survival.journal import BEGUN, DONE, DOUBT, Journal
from examples.survival.ledger import Ledger
from examples.survival.log import Reading, ReadingLog, shares
from examples.survival.phases import KILLED, PHASES, TOTAL, spans, timeline
from examples.survival.readers import READERS

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "_static" / "stale-outage.svg"


@pytest.mark.alone
@pytest.mark.timeout(120)
@pytest.mark.parametrize("family", [FAMILIES[0], pytest.param(FAMILIES[1], marks=pytest.mark.soak)])
def test_a_shop_that_is_killed_costs_no_read_and_doubles_no_order(family: str) -> None:
    command = [sys.executable, "-m", "examples.survival", "--family", family, "--seconds", "8", "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=110)
    result = json.loads(done.stdout)

    assert done.returncode == 0, (result["checks"], done.stderr)
    assert result["holds"] is True
    assert all(check["holds"] for check in result["checks"])
    assert result["family"] == family
    readers, writers = result["readers"], result["writers"]
    calls = {sum(row[1] for row in reader["series"]) for reader in readers.values()}
    assert len(calls) == 1, "every reader makes the same calls"
    for name in ("cached", "function"):
        killed = readers[name]["phases"][KILLED]
        assert killed["errors"] == {}
        assert killed["stale"] > 0
        assert killed["oldest"] > 0
    assert writers["keyed"]["once"] == writers["keyed"]["acknowledged"] == writers["keyed"]["orders"]
    assert writers["keyed"]["replayed"] > 0, "answers that were lost come again"
    assert writers["plain"]["more_than_once"] > 0


def reader(*, answered: int = 40, stale: int = 0, errors: int = 0, oldest: float = 3.0, unmarked: int = 0) -> Any:
    killed = {"fresh": 0, "stale": stale, "oldest": oldest, "unmarked": unmarked, "errors": {"E": errors}}
    healthy = {"fresh": answered, "stale": 0, "oldest": 0.0, "unmarked": 0, "errors": {}}
    return {"phases": {"healthy": healthy, KILLED: killed}, "hidden": 2.0, "slowest": 1.2, "series": []}


def kept() -> dict[str, Any]:
    """A result in which every promise was kept."""
    keyed = {
        "orders": 50,
        "once": 50,
        "more_than_once": 0,
        "never": 0,
        "acknowledged": 50,
        "lost": [],
        "kills": 3,
        "reopened": 7,
        "in_doubt": 2,
        "resolved": {"had taken effect": 1, "had not": 1},
    }
    return {
        "family": "httpx2",
        "seconds": TOTAL,
        "readers": {
            "bare": reader(errors=10),
            "pipeline": reader(errors=10),
            "cached": reader(stale=10),
            "function": reader(stale=10),
        },
        "writers": {"keyed": keyed, "plain": {**keyed, "once": 47, "more_than_once": 3}},
        "shop": {"answered": {}, "mischief": {"late": 3, "reset": 2, "lost": 1}},
    }


def test_the_verdict_holds_when_every_promise_was_kept() -> None:
    assert [check.claim for check in verdict.checks(kept()) if not check.holds] == []


@pytest.mark.parametrize(
    ("place", "value", "claim"),
    [
        (("readers", "cached"), reader(stale=10, errors=1), "cached: every read was answered"),
        (("readers", "function"), reader(stale=0, answered=50), "function: every read was answered"),
        (("readers", "cached"), reader(stale=10, unmarked=1), "cached: each stale answer showed its age"),
        (("readers", "function"), reader(stale=10, oldest=60.0), "function: each stale answer showed its age"),
        (("readers", "cached"), {**reader(stale=10), "hidden": 5.0}, "cached: each stale answer showed its age"),
        (("readers", "bare"), reader(answered=50), "without stale answers most reads failed"),
        (("writers", "keyed", "once"), 49, "exactly once"),
        (("writers", "keyed", "acknowledged"), 49, "acknowledged"),
        (("writers", "keyed", "lost"), ["keyed-3"], "acknowledged"),
        (("writers", "keyed", "kills"), 2, "killed in the middle"),
        (("writers", "keyed", "reopened"), 0, "killed in the middle"),
        (("writers", "keyed", "in_doubt"), 3, "in doubt"),
        (("shop", "mischief"), {"late": 3, "reset": 2}, "late, broken off or lost"),
        (("writers", "plain", "more_than_once"), 0, "without keys"),
    ],
)
def test_the_verdict_names_the_promise_that_was_broken(place: tuple[str, ...], value: Any, claim: str) -> None:
    result = copy.deepcopy(kept())
    inner = result
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value

    broken = [check.claim for check in verdict.checks(result) if not check.holds]

    assert len(broken) == 1
    assert claim in broken[0]


def test_the_summary_says_which_promise_was_broken() -> None:
    result = kept()
    result["writers"]["keyed"]["once"] = 49
    checks = [check.as_dict() for check in verdict.checks(result)]

    text = "\n".join(summary.lines({**result, "checks": checks}))

    assert "FAILS: keyed orders: each was carried out exactly once" in text
    assert "holds: cached: every read was answered: 50 of 50" in text
    assert re.search(r"killed +0 % +0 % +100 % \(10, 3 s\)", text)


def test_the_ledger_tells_an_order_that_was_carried_out_twice(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for order in ("a", "b", "a"):
        ledger.apply(order, 100)

    assert Ledger(tmp_path / "ledger.jsonl").effects() == {"a": 2, "b": 1}


def test_a_journal_knows_after_a_crash_what_is_open(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for order, state in (("a", BEGUN), ("b", BEGUN), ("a", DONE), ("c", BEGUN)):
        journal.note(order, state)
    journal.note("c", DOUBT, "key-of-c")

    again = Journal(tmp_path / "journal.jsonl")

    assert again.within(BEGUN) == ["b"]
    assert again.within(BEGUN, DOUBT) == ["b", "c"]
    assert again.doubts == {"c": "key-of-c"}
    again.note("c", DONE)
    assert Journal(tmp_path / "journal.jsonl").doubts == {}


@pytest.mark.parametrize("seconds", [TOTAL, 8.0])
def test_the_phases_fill_the_run(seconds: float) -> None:
    found = list(spans(seconds))

    assert [phase.name for phase, _, _ in found] == [phase.name for phase in PHASES]
    assert found[0][1] == 0.0
    assert found[-1][2] == pytest.approx(seconds)
    for phase, begin, end in found:
        assert timeline(seconds).at((begin + end) / 2).phase is phase


def test_a_log_counts_what_answers_say_of_themselves() -> None:
    log = ReadingLog(timeline(TOTAL))
    now = time.time()
    healthy, killed = Arrival(0.1, "threads"), Arrival(6.2, "asyncio")
    log.end(healthy, Reading(stale=False, age=0.0, since=now), 0.01)
    log.end(killed, Reading(stale=True, age=4.0, since=now - 5.0), 0.02)
    log.end(killed, Reading(stale=True, age=None, since=now), 0.02)
    log.end(killed, OSError(), 0.03)

    report = log.report()

    assert report["phases"]["healthy"] == {"fresh": 1, "stale": 0, "oldest": 0.0, "unmarked": 0, "errors": {}}
    assert report["phases"][KILLED] == {"fresh": 0, "stale": 2, "oldest": 4.0, "unmarked": 1, "errors": {"OSError": 1}}
    assert report["hidden"] == pytest.approx(1.0, abs=0.2)
    assert log.series() == [[0.0, 1, 1, 0, 0.0], [6.0, 3, 2, 2, 4.0]]


def test_the_picture_shows_shares_of_the_calls_that_were_made() -> None:
    assert shares([[0.0, 4, 4, 0, 0.0], [0.5, 0, 0, 0, 0.0], [1.0, 4, 3, 2, 1.0]]) == (
        [0.0, 1.0],
        [100.0, 25.0],
        [0.0, 50.0],
    )


def test_the_board_shows_the_phase_in_force() -> None:
    board = Board(TOTAL)
    board.elapsed = 6.0
    board.from_reader("cached", reader(stale=10, errors=30))
    board.from_writer("keyed", {"done": 4, "open": 1, "in_doubt": {"keyed-2": "id"}})
    board.from_writer("keyed", {"kills": 2})

    rows = {label: dict(zip(READERS, values, strict=True)) for label, *values in board.rows()}

    assert board.phase == KILLED
    assert (rows["answered"]["cached"], rows["stale"]["cached"], rows["oldest"]["cached"]) == ("25 %", "10", "3 s")
    assert rows["answered"]["bare"] == "-"
    assert board.notes() == ["keyed writer: 4 orders done, 1 open, 1 in doubt, killed 2 times"]


def test_the_picture_of_the_documentation_is_small_and_says_how_it_was_made() -> None:
    assert PICTURE.stat().st_size < 150_000
    assert ET.parse(PICTURE).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    pages = [page.read_text("utf-8") for page in (ROOT / "docs").rglob("*.md")]
    shown = [page for page in pages if f"_static/{PICTURE.name}" in page]
    assert shown, "no page shows it"
    assert all(f"python -m examples.survival --picture docs/_static/{PICTURE.name}" in page for page in shown)
