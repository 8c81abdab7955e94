"""Every way of asking reaches the calls of every other process: shell, API and code; shares, retries, maintenances."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from resilient.control.directory import Directory
from resilient.control.operations import Operations
from resilient.control.receipts import Who
from tests.admin._site import Site
from tests.cli._shell import resilient
from tests.control._peers import APP, Peer, until

CODE = f"""
{APP}
tried = []

def flaky():
    tried.append(1)
    raise OSError("down")

calling = Pipeline("payments", Retry(attempts=3, backoff=Backoff(base=0.0001), budget=None))

def attempts():
    tried.clear()
    try:
        calling.call(flaky)
    except OSError:
        pass
    return len(tried)

plain = Pipeline("stock")

def refused(calls=400):
    count = 0
    for _ in range(calls):
        try:
            plain.call(int)
        except BreakerOpen as error:
            assert error.reason in ("forced_open", "ramping"), error.reason
            count += 1
    return count
"""
REASON = "a test of reach"


@pytest.fixture
def place(tmp_path):
    return tmp_path / "control"


@pytest.fixture
def peers(place):
    """Two processes that were not forked from anything that knows of the hold."""
    several = [Peer(CODE, RESILIENT_APP="shop", RESILIENT_CONTROL_DIR=str(place)) for _ in range(2)]
    assert [each("refused(1)") for each in several] == [0, 0]
    assert [each("attempts()") for each in several] == [3, 3]
    yield several
    for each in several:
        each.kill()


class Shell:
    def __init__(self, place):
        self.place = str(place)

    def run(self, *words):
        done = resilient(*words, "--dir", self.place)
        assert done.code == 0, done

    def percent(self, share):
        self.run("trip", "stock", "--percent", str(share), "--reason", REASON, "--for", "5m")

    def retries(self, word):
        self.run("retries", word, "payments", "--reason", REASON, *(("--for", "5m") if word == "off" else ()))

    def release(self):
        self.run("release", "stock")

    def maintenance(self):
        self.run("maint", "schedule", "st*", "--reason", REASON, "--from", "now", "--for", "5m")


class Api:
    def __init__(self, place):
        self.site = Site(Directory(place))

    def done(self, answer):
        assert answer.status_code in (200, 201), answer.text
        assert answer.json()["convergence"]["complete"]

    def percent(self, share):
        body = {"mode": "forced_open", "percent": share, "reason": REASON, "ttl": "5m"}
        self.done(self.site.put("v1/downstreams/stock/hold?wait=10s", body))

    def retries(self, word):
        path = "v1/downstreams/payments/retries?wait=10s"
        answer = self.site.put(path, {"reason": REASON, "ttl": "5m"}) if word == "off" else self.site.delete(path)
        self.done(answer)

    def release(self):
        self.done(self.site.delete("v1/downstreams/stock/hold?wait=10s"))

    def maintenance(self):
        now = datetime.now(UTC)
        body = {"selector": "st*", "reason": REASON, "starts_at": now.isoformat()}
        body["ends_at"] = (now + timedelta(minutes=5)).isoformat()
        self.done(self.site.post("v1/windows?wait=10s", body))


class Code:
    who = Who("ann", "operator", "code")

    def __init__(self, place):
        self.operations = Operations(Directory(place))

    def percent(self, share):
        self.operations.place("stock", "forced_open", percent=share, reason=REASON, ttl=300, who=self.who)

    def retries(self, word):
        if word == "off":
            self.operations.place("payments", "no_retries", reason=REASON, ttl=300, who=self.who)
        else:
            self.operations.release("payments", who=self.who, retries=True)

    def release(self):
        self.operations.release("stock", who=self.who)

    def maintenance(self):
        now = datetime.now(UTC).timestamp()
        self.operations.schedule("st*", "forced_open", starts_at=now, ends_at=now + 300, reason=REASON, who=self.who)


@pytest.fixture(params=[Shell, Api, Code])
def desk(request, place, peers):
    return request.param(place)


def test_a_share_and_retries_and_a_release_reach_the_very_next_calls_of_others(desk, peers):
    desk.percent(30)
    for each in peers:
        assert 70 <= each("refused(400)") <= 170, "30 percent of 400, which is 120"
    desk.retries("off")
    assert [each("attempts()") for each in peers] == [1, 1]
    assert all(70 <= each("refused(400)") <= 170 for each in peers), "the switch stands beside the share"
    desk.retries("on")
    assert [each("attempts()") for each in peers] == [3, 3]
    desk.release()
    for each in peers:
        until(lambda each=each: each("refused(20)") < 20, "calls return")


def test_a_maintenance_that_begins_now_reaches_the_very_next_calls_of_others(desk, peers):
    desk.maintenance()
    assert [each("refused(50)") for each in peers] == [50, 50]
    assert [each("attempts()") for each in peers] == [3, 3], "what its pattern does not cover goes on"


def test_a_maintenance_that_is_planned_begins_and_ends_in_others_by_itself(place, peers):
    operations = Operations(Directory(place))
    now = datetime.now(UTC).timestamp()
    who = Who("ann", "operator", "code")
    operations.schedule("st*", "forced_open", starts_at=now + 1.5, ends_at=now + 4, reason=REASON, who=who)
    assert [each("refused(20)") for each in peers] == [0, 0], "not before its time"
    for each in peers:
        until(lambda each=each: each("refused(1)") == 1, "it begins", 5)
    for each in peers:
        until(lambda each=each: each("refused(1)") == 0, "it ends", 10)
    (window,) = operations.windows(ended=True)
    assert window.selector == "st*", "and is still in the record"


def test_the_holds_of_two_operators_stand_by_themselves_in_every_process(place, peers):
    operations = Operations(Directory(place))
    ann, bob = Who("ann", "operator", "api"), Who("bob", "operator", "api")
    operations.place("stock", "forced_open", reason="ann knows why", ttl=300, who=ann)
    operations.place("stock", "forced_open", reason="bob knows why", ttl=300, who=bob)
    operations.release("stock", who=ann)
    assert [each("refused(50)") for each in peers] == [50, 50], "bob's is left"
    operations.release("stock", who=bob)
    for each in peers:
        until(lambda each=each: each("refused(20)") < 20, "calls return")


def test_a_name_with_a_slip_of_the_pen_trips_nothing_anywhere(place, peers):
    done = resilient("trip", "stokc", "--reason", REASON, "--for", "5m", "--dir", str(place))
    assert done.code == 3
    assert "stock" in done.err
    site = Site(Directory(place))
    answer = site.put("v1/downstreams/stokc/hold", {"mode": "forced_open", "reason": REASON, "ttl": 60})
    assert (answer.status_code, answer.json()["close_matches"]) == (404, ["stock"])
    assert [each("refused(20)") for each in peers] == [0, 0]


def test_an_invalid_name_of_an_application_fails_no_call_and_is_told():
    for name in ("../up", "a b", "x" * 65, "naïve"):
        peer = Peer(CODE, RESILIENT_APP=name)
        assert peer("refused(5)") == 0
        assert peer("attempts()") == 3
        told = peer.end()
        peer.kill()
        assert "app must be" in told or "RESILIENT_APP" in told, (name, told)


def test_where_no_directory_can_be_made_the_process_is_by_itself_and_says_so(tmp_path):
    """Whatever is in the way: a file, a place that is read-only, one that others may write to."""
    file = tmp_path / "file"
    file.write_text("")
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    for place in (file / "control", "/proc/none/control", open_to_all / "control"):
        peer = Peer(CODE, RESILIENT_APP="shop", RESILIENT_CONTROL_DIR=str(place))
        assert peer("refused(5)") == 0
        peer.run("held = plain.hold('forced_open', reason='here only', expires=60)")
        assert peer("refused(5)") == 5, "holds of its own work"
        peer.run("held.release()")
        told = peer.end()
        peer.kill()
        assert "by itself" in told or "on its own" in told or str(place) in told, (place, told)
