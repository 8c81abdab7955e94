"""`status`, `show` and `processes` show what the live processes say, for people and for programs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import typer.main

from resilient.cli import quick, root
from resilient.control import events_log
from resilient.control.directory import Directory
from resilient.events import Event
from tests.cli._pty import Terminal
from tests.cli._shell import environment, here, member, resilient
from tests.control._rows import Shown, row

REASON = ("--reason", "INC-7: night", "--for", "5m")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    place = tmp_path_factory.mktemp("resilient") / "checkout"
    with member(place, "payments", "search=open") as one, member(place, "payments", "stock") as two:
        yield place, (one, two)


def test_status_shows_every_downstream_the_worst_first(two):
    place, _ = two
    done = resilient("status", "--dir", str(place))
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert "1 of 3 downstreams open" in lines[0]
    head = lines[2].split()
    assert head == "NAME STATE SINCE RATE ERR% REJ/S IN-FLIGHT P50 P99 RETRIES HOLDS PROCESSES".split()
    rows = [dict(zip(head, line.split(), strict=True)) for line in lines[3:6]]
    assert [row["NAME"] for row in rows] == ["search", "payments", "stock"]
    assert rows[0]["STATE"] == "open"
    assert rows[0]["SINCE"].startswith("2h")
    assert (rows[1]["RATE"], rows[1]["IN-FLIGHT"], rows[1]["PROCESSES"]) == ("237", "18", "2")
    assert (rows[2]["RATE"], rows[2]["P50"], rows[2]["P99"], rows[2]["RETRIES"]) == ("118", "12ms", "1.30s", "on")
    assert lines[-1] == f"2 processes on this host; revision 0; {place}"


def test_status_as_json_is_the_overview(two):
    place, instances = two
    done = resilient("--output", "json", "--dir", str(place), "status")
    assert {each["instance"] for each in done.json["processes"]} == set(instances)
    assert [each["name"] for each in done.json["downstreams"]] == ["payments", "search", "stock"]
    assert {"at", "app", "path", "revision", "reach", "verdict", "audit_head"} <= done.json.keys()
    line = resilient("status", "-o", "ndjson", f"--dir={place}").out
    assert line.count("\n") == 1
    assert json.loads(line)["revision"] == 0


def test_options_may_stand_before_and_after_the_name_of_a_command(two):
    place, _ = two
    for words in (("processes", "--dir", str(place)), ("--dir", str(place), "processes")):
        done = here(*words, "--output", "ndjson")
        assert len(done.out.splitlines()) == 2


def test_show_tells_everything_about_one(two):
    place, (one, _) = two
    done = here("show", "search", "--dir", str(place))
    assert done.out.startswith("search is open, for 2h")
    for part in (
        "5 failures in a row",
        "open: 62 % of 40 calls failed (opens at 50 % of 20 or more)",
        "9 of 20 places taken",
        "p99 1.30s",
        f"{one}: open, 118/s",
    ):
        assert part in done.out
    found = here("show", "payments", "--dir", str(place), "-o", "json").json
    assert found["name"] == "payments"
    assert len(found["in_processes"]) == 2


def test_show_tells_which_errors_there_were_and_what_has_happened_last(place):
    with member(place, "payments") as one, member(place, "payments", "search") as other:
        directory = Directory(place)
        now = time.time()
        opened = {"breaker": "circuit_breaker", "from": "closed", "to": "open", "cause": "consecutive"}
        held = {"mode": "observe", "actor": "ann", "reason": "INC-7: night\x1b[2J", "id": "h-1", "expires": 3}
        for number in range(12):
            past = [(now - 100 + number, Event("resilient.bulkhead.saturated", "payments", {"policy": f"b{number}"}))]
            events_log.append(directory, one, past)
        events_log.append(directory, one, [(now - 60.0, Event("resilient.breaker.transition", "payments", opened))])
        events_log.append(directory, other, [(now - 59.5, Event("resilient.breaker.transition", "payments", opened))])
        events_log.append(directory, one, [(now - 50.0, Event("resilient.override.applied", "payments", held))])
        events_log.append(directory, one, [(now - 40.0, Event("resilient.override.applied", "search", held))])
        directory.close()
        lines = [line.strip() for line in here("show", "payments", "--dir", str(place)).out.splitlines()]
        found = here("show", "payments", "--dir", str(place), "-o", "json").json
    assert [" ".join(line.split()) for line in lines if line.startswith(("errors ", "refused "))] == [
        "errors 4 ConnectError, 2 ReadTimeout, 2 CallTimeout (timeout), since the processes began",
        "refused 6 bulkhead_full (bulkhead), since the processes began",
    ]
    told = [line.split("Z ", 1)[1] for line in lines if line.startswith("event ")]
    assert len(told) == 10
    assert told[-2] == "circuit_breaker: closed -> open (consecutive), 2 processes"
    assert told[-1] == f"hold applied: mode observe, actor ann, reason INC-7: night\\x1b[2J, {one}"
    assert found["error_types"][0] == {"error_type": "ConnectError", "outcome": "failure", "count": 4}
    assert found["refusals"] == [{"policy": "bulkhead", "reason": "bulkhead_full", "count": 6}]
    assert len(found["events"]) == 10
    assert found["events"][-1]["name"] == "resilient.override.applied"
    assert found["events"][-1]["fields"]["actor"] == "ann"
    assert found["errors"] == [0] * 60, "the history of the sparkline"


def test_holds_of_an_earlier_record_are_shown_with_what_lets_go_of_them(place):
    Directory(place, create=True).close()
    shown = Shown(place, "web-1-7-abc", payments=row("forced_open", share=0.0, holds=["h-1"]), stock=row())
    told = here("status", "--dir", str(place)).out
    detail = here("show", "payments", "--dir", str(place)).out
    shown.die()
    line = "kept: 1 hold of an earlier record; `resilient reset payments --reason TEXT` lets go"
    assert f"payments: {line}" in told.splitlines()
    assert re.search("^payments +held open .* 1 kept +1$", told, re.MULTILINE)
    assert line in detail


def test_show_of_an_unknown_name_tells_what_comes_close(two):
    done = here("show", "paymnets", "--dir", str(two[0]))
    assert (done.code, done.out) == (3, "")
    assert "Did you mean payments?" in done.err


def test_processes_are_shown_with_what_they_have_applied(two):
    place, instances = two
    done = here("processes", "--dir", str(place))
    head, *rows = [line.split() for line in done.out.splitlines()]
    assert head[:2] == ["INSTANCE", "PID"]
    assert {row[0] for row in rows} == set(instances)
    assert all(row[-1] == "ok" for row in rows)


def test_a_killed_process_is_not_shown(place):
    with member(place, "payments") as stays, member(place, "payments") as dies:
        os.kill(int(dies.split("-")[-2]), signal.SIGKILL)
        found = resilient("processes", "--dir", str(place), "-o", "json").json
        while len(found) > 1:  # the kernel drops the lock when the process is reaped
            found = here("processes", "--dir", str(place), "-o", "json").json
        assert [each["instance"] for each in found] == [stays]


def test_watching_without_a_terminal_prints_a_line_for_each_change(two):
    place, _ = two
    command = [sys.executable, "-m", "resilient.cli", "status", "-w", "--every", "50ms", "--dir", str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as watching:
        lines = [watching.stdout.readline() for _ in range(3)]
        assert [line.split()[1] for line in lines] == ["payments", "search", "stock"]
        assert "state=open" in lines[1]
        with member(place, "fresh=half_open"):
            assert "fresh  state=half_open" in watching.stdout.readline()
            watching.send_signal(signal.SIGINT)
            watching.communicate(timeout=10)
        assert watching.returncode == 0


def test_watching_goes_on_when_the_record_cannot_be_read_for_a_while(place):
    command = [sys.executable, "-m", "resilient.cli", "status", "-w", "--every", "50ms", "--dir", str(place)]
    with (
        member(place, "payments"),
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        ) as watching,
    ):
        assert "state=closed" in watching.stdout.readline()
        (place / "control.sqlite3").rename(place / "aside")
        assert "cannot be read now" in watching.stderr.readline()
        (place / "aside").rename(place / "control.sqlite3")
        with member(place, "fresh"):
            assert "fresh  state=closed" in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=10)
    assert watching.returncode == 0


def test_watching_as_one_json_is_refused(two):
    done = here("status", "-w", "-o", "json", "--dir", str(two[0]))
    assert (done.code, done.out) == (2, "")
    assert "ndjson" in done.err


def test_a_closed_pipe_ends_it_quietly(two):
    place, _ = two
    command = f"{sys.executable} -m resilient.cli status -w --every 20ms -o ndjson --dir {place} | head -n 1"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=20, env=environment(), check=True
    )
    assert json.loads(done.stdout)["revision"] == 0
    assert done.stderr == ""


def test_a_terminal_gets_colours_and_a_table_that_fits(two):
    place, _ = two
    with Terminal("status", "--dir", str(place), columns=80) as terminal:
        text = terminal.until_end()
    assert terminal.code == 0
    assert "\x1b[1;31mopen" in text
    assert "PROCS" in text
    assert "P50" not in text
    assert max(len(line) for line in terminal.plain().splitlines()[2:6]) <= 80


def test_a_narrow_terminal_gets_a_short_name_for_the_column_of_processes(two):
    with Terminal("status", "--dir", str(two[0]), columns=70) as terminal:
        terminal.until_end()
    head = next(line for line in terminal.plain().splitlines() if line.startswith("NAME"))
    assert head.split()[-2:] == ["HOLDS", "PROCS"]
    assert len(head) <= 70


def test_what_is_held_is_told_in_the_words_of_the_dashboard_and_to_programs_in_those_of_the_record(place):
    modes = {"one": "forced_open", "two": "observe", "three": "forced_closed"}
    with member(place, *modes):
        for name, mode in modes.items():
            assert here("trip", name, *REASON, "--mode", mode, "--dir", str(place)).code == 0
        told = here("status", "--dir", str(place)).out
        known = here("status", "--dir", str(place), "-o", "json").json
        with Terminal("status", "--dir", str(place), columns=120) as terminal:
            text = terminal.until_end()
    for name, word in (("one", "held open"), ("two", "observed only"), ("three", "held closed")):
        assert re.search(rf"^{name} +{word} ", told, re.MULTILINE)
        assert f"{name}: {word} by " in told
    assert "forced" not in told
    assert {each["name"]: each["state"] for each in known["downstreams"]} == modes
    assert "\x1b[1;37;41mheld open" in text
    assert "\x1b[1;30;46mheld closed" in text


@pytest.mark.parametrize(("words", "more"), [(["--no-color"], {}), ([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"})])
def test_no_colour_means_none(two, words, more):
    with Terminal("status", "--dir", str(two[0]), *words, **more) as terminal:
        text = terminal.until_end()
    assert "\x1b[1;31m" not in text
    assert "\x1b[3" not in text


def test_a_terminal_is_refreshed_in_place_until_ctrl_c(two):
    with Terminal("status", "-w", "--every", "100ms", "--dir", str(two[0])) as terminal:
        terminal.until("Ctrl-C ends")
        terminal.until("Ctrl-C ends", times=3)
        terminal.send("\x03")
        text = terminal.until_end()
    assert terminal.code == 0
    assert "\x1b[?1049h" in text
    assert text.rstrip().endswith("\x1b[?1049l")


def test_the_quick_way_to_status_knows_the_options_that_typer_knows():
    found = {}
    for option in typer.main.get_command(root.application()).commands["status"].params:
        if option.name not in {"help", "context"}:
            found |= dict.fromkeys(option.opts, option.is_flag)
    assert found == dict.fromkeys(quick.FLAGS, True) | dict.fromkeys(quick.VALUES, False)


@pytest.mark.parametrize(
    "words",
    [
        [], ["status", "status"], ["status", "--help"], ["-w", "status"], ["status", "--dir"], ["status", "-o", "yaml"],
        ["status", "--dir="], ["show", "payments"], ["status", "--quiet"], ["--every=1s", "status"],
        ["status", "-o=json"],
    ],
)  # fmt: skip
def test_the_quick_way_leaves_all_else_to_typer(words):
    assert quick.run(words) is None


def test_status_loads_no_typer_pydantic_or_starlette(place):
    with member(place, "payments"):
        done = resilient(
            "status", "--dir", str(place), command=(sys.executable, "-X", "importtime", "-m", "resilient.cli")
        )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.err.splitlines()}
    assert "resilient" in loaded
    assert not loaded & {"typer", "click", "pydantic", "rich", "starlette", "asyncio", "httpx", "uvicorn"}


@pytest.mark.alone
def test_status_takes_under_400_ms(place):
    # The processor's time, and the best of several: what else the machine does is not ours.
    def spent():
        times = os.times()
        return times.children_user + times.children_system

    command = [sys.executable, "-m", "resilient.cli", "status", "--dir", str(place)]
    taken = []
    with member(place, "payments"):
        for _ in range(5):
            before = spent()
            subprocess.run(command, check=True, capture_output=True, env=environment(), timeout=20)
            taken.append(spent() - before)
    assert min(taken) < 0.4
