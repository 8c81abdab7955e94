"""The one picture: every process's view brought together with what operators want, and said in a sentence."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resilient.control.directory import Directory
from resilient.control.operations import Operations
from resilient.control.overview import overview
from tests.control._rows import Shown, hold, put, row, window


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    found = Directory(tmp_path / "resilient" / "shop", create=True, app="shop")
    yield found
    found.close()


def seen(directory: Directory) -> dict[str, Any]:
    found = overview(directory, now=time.time())
    assert json.loads(json.dumps(found, allow_nan=False)) == found, "plain data"
    return found


def one(directory: Directory, name: str) -> dict[str, Any]:
    (found,) = (each for each in seen(directory)["downstreams"] if each["name"] == name)
    assert isinstance(found, dict)
    return found


def test_an_empty_directory_says_so(directory: Directory) -> None:
    found = seen(directory)
    assert found["verdict"] == "no downstream seen yet; no process is running"
    assert (found["app"], found["revision"], found["reach"]) == ("shop", 0, "no process on this host")
    assert found["audit_head"] == {"seq": 0, "hash": "0" * 64}
    assert found["at"].endswith("Z")


def test_a_quiet_host_is_said_in_one_sentence(directory: Directory) -> None:
    Shown(directory.path, "a", pay=row(), search=row())
    Shown(directory.path, "b", pay=row())
    found = seen(directory)
    assert found["verdict"] == "all 2 downstreams closed; all 2 processes in sync"
    assert found["reach"] == "2 processes on this host"
    assert [each["name"] for each in found["downstreams"]] == ["pay", "search"]
    assert one(directory, "pay")["live"] == 2


def test_the_sentence_has_people_in_it(directory: Directory) -> None:
    others = {f"d{number}": row() for number in range(13)}
    for number in range(11):
        Shown(directory.path, f"p{number}", payments=row("forced_open", share=0.0), **others).data["applied"] = 0
    put(directory, hold("payments", expires_at=1_800_000_000.0), revision=0)
    assert seen(directory)["verdict"] == (
        "1 of 14 downstreams open; payments held open by alice until 08:00 UTC (PSP maintenance); "
        "all 11 processes in sync"
    )
    put(directory, revision=1)
    assert seen(directory)["verdict"].endswith("0 of 11 processes in sync")


@pytest.mark.parametrize(
    ("placed", "said"),
    [
        (hold("pay", percent=30), "pay held open for 30 % of calls by alice until "),
        (hold("pay", "observe"), "pay only observed by alice until "),
        (hold("pay", "forced_closed"), "pay held closed by alice until "),
        (hold("pay", "no_retries"), "pay kept from retrying by alice until "),
        (hold("pay", actor=""), "pay held open until "),
        (window("pay*"), "maintenance of pay* by bob until "),
    ],
)
def test_each_kind_of_hold_has_its_words(directory: Directory, placed: Any, said: str) -> None:
    Shown(directory.path, "a", pay=row())
    put(directory, placed)
    assert said in seen(directory)["verdict"]


def test_many_holds_are_counted_and_not_listed(directory: Directory) -> None:
    put(directory, *(hold(f"d{number}") for number in range(6)))
    said = seen(directory)["verdict"]
    assert said.count("held open") == 3
    assert "; 3 more holds; " in said


def test_the_worst_state_of_any_process_is_shown_with_all_of_them(directory: Directory) -> None:
    Shown(directory.path, "a", pay=row("open", since=200.0, cause="consecutive"))
    Shown(directory.path, "b", pay=row("closed", since=50.0))
    Shown(directory.path, "c", pay=row("open", since=150.0, cause="failure_ratio"))
    found = one(directory, "pay")
    assert (found["state"], found["states"], found["live"]) == ("open", {"open": 2, "closed": 1}, 3)
    assert found["since"] == "1970-01-01T00:02:30.000Z"
    assert found["cause"] == "consecutive"
    assert seen(directory)["verdict"].startswith("1 of 1 downstream open;")


def test_the_return_of_a_downstream_is_said(directory: Directory) -> None:
    Shown(directory.path, "a", pay=row("half_open"), other=row(ramping=True, share=0.25), third=row())
    assert seen(directory)["verdict"].startswith("none of 3 downstreams open, 2 coming back;")
    assert one(directory, "other")["ramping"] is True
    assert one(directory, "other")["share"] == 0.25


def test_numbers_of_processes_are_brought_together(directory: Directory) -> None:
    first = {"rate": 30.0, "error_share": 0.1, "rejected_rate": 1.0, "in_flight": 2, "p50": 0.1, "p99": 0.5}
    second = {"rate": 10.0, "error_share": 0.5, "rejected_rate": 0.5, "in_flight": 3, "p50": 0.2, "p99": 0.4}
    breaker = {"state": "closed", "failure_rate": 0.1, "threshold": 0.5}
    bulkhead = {"limit": 5, "active": 2, "queued": 1}
    limit = {"rate": 2.0, "configured_rate": 4.0, "burst": 4, "adapting": True}
    for name, live, rate in (("a", first, 0.1), ("b", second, 0.4)):
        history = {"history": [0] * 58 + [1, 2], "errors": [0] * 59 + [1]}
        Shown(
            directory.path,
            name,
            pay=row(
                live={**live, **history},
                breakers={"cb": {**breaker, "failure_rate": rate}},
                bulkheads={"bh": bulkhead},
                rate_limits={"rl": limit},
                budget=rate,
            ),
        )
    found = one(directory, "pay")
    assert (found["rate"], found["rejected_rate"], found["in_flight"]) == (40.0, 1.5, 5)
    assert found["error_share"] == 0.2
    assert (found["p50"], found["p90"], found["p99"]) == (0.2, None, 0.5)
    assert found["history"][-3:] == [0, 2, 4]
    assert found["errors"][-2:] == [0, 2]
    assert found["breakers"]["cb"]["failure_rate"] == 0.4
    assert found["bulkheads"] == {"bh": {"limit": 10, "active": 4, "queued": 2}}
    assert found["rate_limits"] == {"rl": {"rate": 4.0, "configured_rate": 8.0, "burst": 8, "adapting": True}}
    assert found["budget"] == 0.1


def test_without_statistics_numbers_are_unknown_and_not_nought(directory: Directory) -> None:
    shown = Shown(directory.path, "a")
    shown.data["statistics"] = False
    shown.show(pay=row("open"))
    found = one(directory, "pay")
    assert (found["rate"], found["in_flight"], found["p99"], found["idle"]) == (None, None, None, False)
    assert found["history"] == [0] * 60


def test_an_open_breaker_that_nobody_calls_is_idle(directory: Directory) -> None:
    Shown(directory.path, "a", pay=row("open"), busy=row("open", live={"rejected_rate": 3.0}))
    assert one(directory, "pay")["idle"] is True
    assert one(directory, "busy")["idle"] is False


def test_a_hold_is_shown_at_once_be_it_applied_or_not(directory: Directory) -> None:
    Shown(directory.path, "a", pay=row())
    put(directory, hold("pay"), hold("later", percent=20))
    found = one(directory, "pay")
    assert (found["state"], found["states"], found["share"], found["cause"]) == (
        "forced_open",
        {"closed": 1},
        0.0,
        "hold",
    )
    (told,) = found["holds"]
    assert told.keys() >= {
        "id", "target", "mode", "percent", "disposition", "reason", "ticket", "actor", "via", "created_at",
        "expires_at", "remaining", "revision", "status", "masked",
    }  # fmt: skip
    assert told["masked"] is False
    assert 1790 < told["remaining"] <= 1800
    assert told["expires_at"].endswith("Z")
    later = one(directory, "later")
    assert (later["state"], later["live"], later["share"]) == ("forced_open", 0, 0.8)


def test_of_several_holds_the_most_restrictive_counts_and_the_others_are_masked(directory: Directory) -> None:
    Shown(directory.path, "a", pay=row())
    put(
        directory,
        hold("pay", "forced_closed"),
        hold("pay", "observe", actor="bob"),
        hold("pay", "no_retries", actor="bob"),
        hold("pay", "observe", actor="carol"),
    )
    found = one(directory, "pay")
    masked = {(told["mode"], told["actor"]): told["masked"] for told in found["holds"]}
    assert masked == {
        ("forced_closed", "alice"): True,
        ("observe", "bob"): False,
        ("observe", "carol"): False,
        ("no_retries", "bob"): False,
    }
    assert (found["state"], found["retries"], found["share"]) == ("observe", "off", 1.0)
    assert "held closed" not in seen(directory)["verdict"]


def test_holds_that_processes_keep_of_a_record_that_is_lost_are_told_apart(directory: Directory) -> None:
    ended = hold("pay", id="h-ended", status="released")
    put(directory, hold("pay", id="h-here"), ended)
    shows = ["h-gone", "h-here", "h-ended", "0123456789ab", "w-1", 7]
    Shown(directory.path, "a", pay=row("forced_open", holds=shows), search=row("forced_open", holds=["h-other"]))
    Shown(directory.path, "b", pay=row("forced_open", holds=["h-gone", "h-lost"]), mail=row())
    assert one(directory, "pay")["kept"] == ["h-gone", "h-lost"]
    assert one(directory, "search")["kept"] == ["h-other"]
    assert one(directory, "mail")["kept"] == []


def test_a_hold_on_a_part_of_the_calls_hides_no_open_breaker(directory: Directory) -> None:
    Shown(directory.path, "a", pay=row("open"), other=row())
    put(directory, hold("pay", percent=30), hold("other", percent=30))
    assert one(directory, "pay")["state"] == "open"
    assert one(directory, "other")["state"] == "forced_open"
    assert one(directory, "other")["share"] == 0.7
    assert seen(directory)["verdict"].startswith("1 of 2 downstreams open;")


def test_a_window_counts_from_its_start_to_its_end_and_is_shown_before(directory: Directory) -> None:
    Shown(directory.path, "a", pay=row(), search=row())
    put(directory, window("pay*", starts=600, ends=900), window("sea*"))
    assert one(directory, "pay")["state"] == "closed"
    assert [told["selector"] for told in one(directory, "pay")["windows"]] == ["pay*"]
    found = one(directory, "search")
    assert (found["state"], found["cause"]) == ("forced_open", "window")
    assert found["windows"][0]["ends_at"].endswith("Z")


def test_the_dead_are_not_shown_and_the_silent_are_stale(directory: Directory) -> None:
    Shown(directory.path, "dead", pay=row("open")).die()
    silent = Shown(directory.path, "silent", pay=row())
    silent.show(age=30, pay=row())
    Shown(directory.path, "well", pay=row())
    found = seen(directory)
    assert [each["instance"] for each in found["processes"]] == ["silent", "well"]
    first = found["processes"][0]
    assert first["stale"] is True
    assert 30 <= first["heartbeat_age"] < 33
    assert first.keys() == {
        "instance", "host", "pid", "version", "python", "started_at", "heartbeat_age", "applied", "stale", "errors",
    }  # fmt: skip
    assert found["verdict"] == "the one downstream closed; 1 of 2 processes in sync"


def test_a_tag_changes_with_the_holds_and_with_nothing_else(directory: Directory) -> None:
    Shown(directory.path, "a", pay=row(), search=row())
    operations = Operations(directory)
    before = one(directory, "pay")["etag"]
    put(directory, hold("search"))
    assert one(directory, "pay")["etag"] == before
    put(directory, hold("pay"))
    after = one(directory, "pay")["etag"]
    assert after not in {before, one(directory, "search")["etag"]}
    assert after == operations.etag("pay"), "the same that a change is checked against"
    put(directory, hold("pay", revision=2))
    assert one(directory, "pay")["etag"] != after


def test_the_past_is_told_from_the_record(directory: Directory) -> None:
    Shown(directory.path, "a", pay=row(), search=row())
    now = time.time()

    def write(db: Any) -> None:
        add = "INSERT INTO incidents (downstream, started_at, ended_at, planned, cause) VALUES (?, ?, ?, ?, ?)"
        db.execute(add, ("pay", now - 200_000, now - 199_900, 0, "consecutive"))
        db.execute(add, ("pay", now - 5_000, now - 4_700, 0, "consecutive"))
        db.execute(add, ("pay", now - 4_000, now - 1_000, 1, "hold"))
        db.execute(add, ("pay", now - 100, None, 0, "failure_ratio"))
        times = [("up", 0, 9_000.0), ("degraded", 0, 400.0), ("down", 0, 100.0), ("down", 1, 500.0)]
        db.executemany("INSERT INTO downstream_time VALUES ('pay', ?, ?, ?)", times)

    directory.database.write(write)
    assert one(directory, "pay")["incidents"] == {
        "open": True,
        "count_24h": 3,
        "mttr_s": 200.0,
        "mtbf_s": 3_000.0,
        "availability": 0.99,
    }
    empty = {"open": False, "count_24h": 0, "mttr_s": None, "mtbf_s": None, "availability": None}
    assert one(directory, "search")["incidents"] == empty
