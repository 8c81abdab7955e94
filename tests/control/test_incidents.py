"""What is an incident, what it lasted, and what time was up, degraded and down: against a naive model."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient.control.incidents import LONGEST, LOST, SETTLE, Incident, Incidents, Look
from resilient.control.moment import Moment

UP, HALF, DOWN = Look(0, 2, 2), Look(0, 1, 2), Look(2, 0, 2, own=2)
ONE_OPEN = Look(1, 1, 2, cause="consecutive", own=1)
HELD = Look(2, 0, 2, covered=True, cause="hold")
BROKEN_AND_HELD = Look(2, 0, 2, covered=True, own=1)
RELEASED = Look(2, 0, 2, cause="hold")
"""Nothing is held any more, and the pages do not know yet."""

START, WALL = 1_000.0, 1_700_000_000.0


class Told:
    """Looks once a second, and remembers what came of it."""

    def __init__(self, kept: Incidents | None = None) -> None:
        self.kept = kept or Incidents()
        self.now = START
        self.offset = WALL - START
        self.boot = "boot"
        self.begun: list[Incident] = []
        self.over: list[tuple[Incident, float]] = []

    def look(self, look: Look | None, seconds: int = 1, step: float = 1.0) -> Told:
        for _ in range(seconds):
            self.now += step
            looks = {} if look is None else {"pay": look}
            begun, over = self.kept.step(Moment(self.now + self.offset, self.now, self.boot), looks)
            self.begun += begun
            self.over += over
        return self

    def replaced(self) -> Told:
        """Another keeper goes on."""
        self.kept = Incidents.load(json.loads(json.dumps(self.kept.dump())))
        return self

    @property
    def lasted(self) -> list[float]:
        return [end - incident.started_at for incident, end in self.over]


def test_an_incident_begins_with_the_first_process_and_ends_when_all_have_been_closed_for_a_minute() -> None:
    told = Told().look(UP, 10).look(ONE_OPEN).look(DOWN, 29).look(UP, 60)
    assert len(told.begun) == 1
    assert told.over == []
    told.look(UP)
    assert told.lasted == [30.0], "the minute in which it was closed does not count"
    (incident,) = told.begun
    assert (incident.started_at, incident.planned, incident.cause) == (WALL + 11, False, "consecutive")


def test_flapping_is_one_incident() -> None:
    told = Told()
    for _ in range(20):
        told.look(DOWN, 10).look(HALF, 5).look(UP, 45)
    told.look(UP, 61)
    assert len(told.begun) == 1
    assert told.lasted == [20 * 60 - 45]


def test_after_a_quiet_minute_trouble_is_another_incident() -> None:
    told = Told().look(DOWN, 5).look(UP, 61).look(DOWN, 7).look(UP, 61)
    assert len(told.begun) == 2
    assert told.lasted == [5.0, 7.0]


def test_coming_back_is_neither_the_begin_nor_the_end_of_an_incident() -> None:
    told = Told().look(HALF, 100)
    assert told.begun == []
    told.look(DOWN, 5).look(HALF, 500)
    assert len(told.begun) == 1
    assert told.over == []


def test_trouble_that_a_hold_covers_when_it_begins_is_planned_until_all_is_well() -> None:
    told = Told().look(UP, 5).look(HELD, 10).look(RELEASED).look(HALF, 9).look(UP, 61)
    assert [incident.planned for incident in told.begun] == [True]
    times = told.kept.take_times()
    expected = {("pay", "up", False): 5.0, ("pay", "down", True): 11.0, ("pay", "degraded", True): 9.0}
    assert times == {**expected, ("pay", "up", True): 60.0}
    assert told.lasted == [20.0]


@pytest.mark.parametrize("broken", [DOWN, ONE_OPEN])
def test_a_breaker_that_opens_by_itself_after_the_hold_is_an_incident_of_its_own(broken: Look) -> None:
    told = Told().look(HELD, 10).look(RELEASED).look(HALF, 4).look(broken, 30).look(UP, 61)
    assert [incident.planned for incident in told.begun] == [True, False]
    assert told.begun[1].cause == broken.cause
    assert told.lasted == [15.0, 30.0]
    times = told.kept.take_times()
    assert times["pay", broken.state, False] == 30.0
    assert times["pay", "down", True] == 11.0


def test_a_planned_incident_that_ends_in_a_real_one_ended_when_all_were_closed() -> None:
    told = Told().look(HELD, 10).look(UP, 20).look(DOWN, 30).look(UP, 61)
    assert [incident.planned for incident in told.begun] == [True, False]
    assert told.lasted == [10.0, 30.0]
    assert told.kept.take_times()["pay", "down", False] == 30.0


def test_what_breaks_under_a_hold_is_an_incident_when_the_hold_ends() -> None:
    told = Told().look(HELD, 5).look(BROKEN_AND_HELD, 20)
    assert [incident.planned for incident in told.begun] == [True]
    told.look(DOWN, 10)
    assert [incident.planned for incident in told.begun] == [True, False]
    assert told.lasted == [25.0]
    again = Told().look(HELD, 5).replaced().look(BROKEN_AND_HELD).replaced().look(DOWN)
    assert again.lasted == [6.0], "another keeper goes on with it"


def test_a_hold_over_an_incident_makes_it_no_planned_one() -> None:
    unplanned = Told().look(DOWN, 10).look(HELD, 10).look(DOWN, 10).look(UP, 61)
    assert [incident.planned for incident in unplanned.begun] == [False]
    assert unplanned.kept.take_times()["pay", "down", False] == 30.0


def test_time_is_told_apart_by_state() -> None:
    told = Told().look(UP, 10).look(ONE_OPEN, 20).look(DOWN, 30).look(HALF, 5).look(UP, 100)
    times = told.kept.take_times()
    assert times == {("pay", "up", False): 109.0, ("pay", "degraded", False): 25.0, ("pay", "down", False): 30.0}
    assert told.kept.take_times() == {}


def test_a_new_keeper_goes_on_with_the_incident_and_its_minute() -> None:
    told = Told().look(DOWN, 10).replaced().look(DOWN, 10).replaced().look(UP, 30).replaced().look(UP, 31)
    assert len(told.begun) == 1
    assert told.lasted == [20.0]


def test_a_time_without_any_keeper_neither_begins_nor_ends_an_incident_nor_counts() -> None:
    told = Told().look(UP, 10)
    told.now += 5_000
    told.replaced().look(UP, 10)
    assert told.begun == []
    assert sum(told.kept.take_times().values()) == 9.0
    told.look(DOWN, 10).look(UP, 30)
    told.now += 5_000
    told.replaced().look(UP, 20)
    assert told.over == [], "nobody saw it closed for a minute"
    told.look(UP, 20)
    assert told.lasted == [10.0]


def test_an_incident_that_is_still_there_after_a_gap_is_the_same() -> None:
    told = Told().look(DOWN, 10)
    told.now += 3_000
    told.replaced().look(DOWN, 10).look(UP, 61)
    assert len(told.begun) == 1
    assert told.lasted == [3_020.0]


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0, 3_600.0])
def test_a_clock_that_is_set_changes_no_duration(jump: float) -> None:
    told = Told().look(UP, 5).look(DOWN, 10)
    told.offset += jump
    told.look(DOWN, 10).look(UP, 61)
    assert told.lasted == [20.0]
    assert len(told.begun) == 1
    assert sum(told.kept.take_times().values()) == 85.0


def test_another_start_of_the_host_goes_on_by_the_time_of_day() -> None:
    told = Told().look(UP, 5).look(DOWN, 10).look(UP, 50)
    told.boot, told.offset, told.now = "another", told.now + told.offset + 300.0 - 7.0, 6.0
    told.replaced().look(UP, 60)
    assert told.over == [], "that it was closed before nobody can know to have lasted"
    told.look(UP)
    assert told.lasted == [359.0]
    again = Told().look(DOWN, 10)
    again.boot, again.offset, again.now = "another", again.offset - 90_000.0, 6.0
    again.replaced().look(DOWN, 10).look(UP, 61)
    assert again.lasted == [10.0], "a clock that went back makes nothing last less than it was seen to"


def test_an_incident_of_a_downstream_that_is_gone_ends_when_it_was_seen_last() -> None:
    told = Told().look(DOWN, 10).look(None, int(LOST) - 1)
    assert told.over == []
    told.look(None, 2)
    assert told.lasted == [9.0]
    told = Told().look(DOWN, 10).look(None, 500).look(UP, 62)
    assert len(told.begun) == 1
    assert told.lasted == [510.0]


def test_a_downstream_that_nobody_shows_takes_no_time() -> None:
    told = Told().look(UP, 10).look(None, 100).look(UP, 10)
    assert sum(told.kept.take_times().values()) == 19.0


@pytest.mark.parametrize(
    "data", [{}, {"running": 3, "states": {}, "last": None}, {"running": [{}], "states": {}, "last": None}]
)
def test_a_state_that_is_none_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="no state of incidents"):
        Incidents.load(data)


# -- the naive model -----------------------------------------------------------------------------

LOOKS = {
    "up": UP,
    "half": HALF,
    "one": ONE_OPEN,
    "down": DOWN,
    "held": HELD,
    "both": BROKEN_AND_HELD,
    "released": RELEASED,
    "none": None,
}


@dataclass
class Model:
    """Keeps every second there was, and looks through all of them for the answer."""

    seconds: list[tuple[float, str]] = field(default_factory=list)
    """When, and what was seen; in order."""

    def incidents(self) -> tuple[list[tuple[float, bool]], list[tuple[float, float]]]:
        """Return when incidents began, and whether planned; and of those that are over, when they did and ended."""
        begun: list[tuple[float, bool]] = []
        over: list[tuple[float, float]] = []
        began: float | None = None
        for index, (at, seen) in enumerate(self.seconds):
            end = None
            if began is not None and seen in {"up", "none"}:
                end = self._end(index)
            elif began is not None and seen in {"one", "down"} and begun[-1][1]:
                end = self._closed(index)
            if began is not None and end is not None:
                over.append((began, end))
                began = None
            if began is None and seen in {"one", "down", "held", "both", "released"}:
                began = at
                begun.append((at, seen in {"held", "both"}))
        return begun, over

    def _closed(self, index: int) -> float:
        """Return since when all had been closed before a second, or the time of this second if they were not."""
        closed = self.seconds[index][0]
        for at, seen in reversed(self.seconds[:index]):
            if seen not in {"up", "none"}:
                break
            closed = at if seen == "up" else closed
        return closed

    def _end(self, index: int) -> float | None:
        """Return since when all have been closed, if for a minute; seconds that nobody saw settle nothing."""
        since: float | None = None
        settled, missing = 0.0, 0.0
        back = index
        while back >= 0 and self.seconds[back][1] in {"up", "none"}:
            back -= 1
        last = None
        for number in range(back + 1, index + 1):
            at, seen = self.seconds[number]
            step = at - self.seconds[number - 1][0] if number else 0.0
            step = step if step <= LONGEST else 0.0
            if seen == "none":
                missing += step
                if missing >= LOST and number == index:
                    return since if since is not None else self.seconds[back][0]
            else:
                if since is None:
                    since = at
                elif last != "none" or not missing:
                    settled += step
                missing = 0.0
                if settled >= SETTLE and number == index:
                    return since
            last = seen
        return None

    def times(self) -> dict[str, float]:
        found = {"up": 0.0, "degraded": 0.0, "down": 0.0}
        words = {"up": "up", "half": "degraded", "one": "degraded"}
        for (before, seen), (after, _) in zip(self.seconds, self.seconds[1:], strict=False):
            if after - before <= LONGEST and seen != "none":
                found[words.get(seen, "down")] += after - before
        return found


STEPS = st.lists(
    st.tuples(
        st.sampled_from([*LOOKS, "up", "up", "down"]),
        st.integers(1, 80),
        st.sampled_from([0.0, 0.0, 0.0, 5.0, 11.0, 4_000.0]),
        st.sampled_from([0.0, 0.0, -7_200.0, 900.0]),
        st.booleans(),
    ),
    max_size=25,
)


@given(STEPS)
def test_whatever_happens_incidents_are_what_a_naive_model_finds(
    steps: list[tuple[str, int, float, float, bool]],
) -> None:
    told, model = Told(), Model()
    for word, seconds, gap, jump, replaced in steps:
        told.now += gap
        told.offset += jump
        if replaced:
            told.replaced()
        for _ in range(seconds):
            told.look(LOOKS[word])
            model.seconds.append((told.now, word))
    begun, over = model.incidents()
    assert [(incident.began, incident.planned) for incident in told.begun] == begun
    assert [(incident.began, incident.began + end - incident.started_at) for incident, end in told.over] == [
        pytest.approx(each) for each in over
    ]
    assert all(end >= incident.started_at for incident, end in told.over)
