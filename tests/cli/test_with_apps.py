"""Real applications are tripped from a shell, also while their event loop is blocked, and with no server anywhere."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from tests.cli._shell import environment, here, resilient

APP = Path(__file__).with_name("_app.py")


class Application:
    """A running application."""

    def __init__(self, process):
        self.process = process
        self.first = process.stdout.readline().strip()

    def call(self):
        """Unblock the loop for one call, and return what came of it."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@contextmanager
def application(place):
    process = subprocess.Popen(
        [sys.executable, str(APP)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(RESILIENT_APP="checkout", RESILIENT_CONTROL_DIR=str(place)),
    )
    try:
        yield Application(process)
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def alive(place, number):
    """Wait until so many applications are seen."""
    end = time.monotonic() + 15
    while time.monotonic() < end:
        done = here("processes", "--dir", str(place), "-o", "json")
        if done.code == 0 and len(done.json) == number:
            return
        time.sleep(0.05)
    raise AssertionError(done)


def test_applications_whose_loop_is_blocked_are_tripped_and_released(place):
    trip = ("trip", "payments", "--reason", "INC-7: wrong amounts", "--for", "5m", "--dir", str(place))
    with application(place) as one, application(place) as two:
        assert (one.first, two.first) == ("paid", "paid")
        alive(place, 2)
        done = resilient(*trip)
        assert done.code == 0, done
        assert "In force in 2 of 2 processes" in done.out
        assert [each.call() for each in (one, two)] == ["BreakerOpen forced_open"] * 2
        with application(place) as late:
            assert late.first == "BreakerOpen forced_open"
        shown = here("show", "payments", "--dir", str(place), "-o", "json").json
        assert (shown["state"], shown["holds"][0]["reason"]) == ("forced_open", "INC-7: wrong amounts")
        assert here("release", "payments", "--dir", str(place)).code == 0
        assert {one.call() for _ in range(40)} >= {"paid"}


def test_a_real_directory_is_sound_to_the_doctor(place):
    with application(place):
        alive(place, 1)
        done = here("doctor", "--dir", str(place), "-o", "json")
    assert [each for each in done.json if each["status"] == "fail"] == []


def test_the_report_of_an_incident_is_markdown(place):
    with application(place) as app:
        alive(place, 1)
        here("trip", "payments", "--reason", "INC-7: wrong amounts", "--for", "5m", "--dir", str(place))
        app.call()
        done = resilient("incident", "report", "payments", "--since", "1h", "--dir", str(place))
    assert done.code == 0
    assert done.out.startswith("# ")
    assert "INC-7: wrong amounts" in done.out
    found = here("incident", "report", "payments", "-o", "json", "--dir", str(place)).json
    assert found["downstream"] == "payments"
