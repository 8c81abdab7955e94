"""A process and its control directory: holds arrive with the next call, whatever else has failed."""

from __future__ import annotations

import gc
import logging
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager

import pytest

from resilient import Backoff, BreakerOpen, Bulkhead, CircuitBreaker, ConfigError, Pipeline, Retry, control, subscribe
from resilient._gate import gate as _gate
from resilient._gate.gate import gate_of
from resilient._gate.pending import Pending
from resilient._weave.gates import gates
from resilient.control import agent, following
from resilient.control.applying import Applying
from resilient.control.beat import Beat
from resilient.control.directory import Directory
from resilient.control.errors import ControlUnavailable
from resilient.control.operations import Operations
from resilient.control.overview import overview
from resilient.control.pages import read_pages
from resilient.control.receipts import Who
from resilient.control.retained import host_totals
from tests._stage import PATIENCE, name
from tests.control._peers import APP, OPERATOR, Peer, until

ANN = Who("ann", "operator", "cli")


class Desk:
    """The directory of a test, and an operator of this very process."""

    def __init__(self, path):
        self.path = path
        self.operations = Operations(Directory(path, create=True))

    def trip(self, target, ttl=600, mode="forced_open", **more):
        return self.operations.place(target, mode, reason="a test", ttl=ttl, who=ANN, allow_unknown=True, **more)

    def release(self, target):
        return self.operations.release(target, who=ANN)

    def command(self, target, command):
        return self.operations.command(target, command, reason="a test", who=ANN)

    def shows(self, downstream):
        return any(downstream in page["downstreams"] for page in self.pages.values())

    @property
    def pages(self):
        return {page.instance: page.data for page in read_pages(self.path) if page.alive}


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path / "control")
    yield desk
    control.stop()
    desk.operations.directory.close()


@pytest.fixture
def app(desk):
    """Return the agent of this process, which has not begun."""
    return control.configure("shop", directory=desk.path, statistics=False)


@pytest.fixture
def threadless(monkeypatch):
    """Let no thread run: the word alone has to do."""
    monkeypatch.setattr(Beat, "start", lambda self: None)


@pytest.fixture
def heard():
    kept = []
    stop = subscribe(kept.append)
    yield kept
    stop()


@pytest.fixture
def peers():
    """Return what starts a process; all of them are gone afterwards."""
    started = []

    def start(*args, **more):
        started.append(Peer(*args, **more))
        return started[-1]

    yield start
    for peer in started:
        peer.kill()


def state(pipeline):
    """Call once, and tell how that went."""
    try:
        pipeline.call(int)
    except BreakerOpen as error:
        return error.reason
    return "passed"


def names_of(heard):
    return [event.name.removeprefix("resilient.") for event in heard]


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "resilient-control"]


# -- the beginning -----------------------------------------------------------------------------


def test_before_the_first_call_there_is_nothing(tmp_path):
    path = tmp_path / "control"
    try:
        control.configure("shop", directory=path)
        pipeline = Pipeline(name(), CircuitBreaker())
        guarded = pipeline(lambda: 1)
        pipeline.snapshot()
        pipeline.explain()
        pipeline.hold("observe", reason="x", expires=5)
        assert not path.exists()
        assert not threads()
        assert not agent.write_page()
        assert guarded() == 1
        assert len(threads()) == 1
        assert (path / "epoch").exists()
        assert agent.write_page()
    finally:
        control.stop()
    assert not threads()


def test_the_environment_names_the_application(peers, tmp_path):
    where = {"RESILIENT_APP": "shop", "RESILIENT_CONTROL_DIR": str(tmp_path / "control")}
    operator = peers(OPERATOR + f"\nat({where['RESILIENT_CONTROL_DIR']!r})")
    before = peers("import sys, threading\nfrom resilient import *\n", **where)
    assert before("'resilient.control' in sys.modules") is False
    before.run("payments = Pipeline('payments')\n@payments\ndef fetch(): return 1")
    operator("trip('payments')")
    before.run("error = None\ntry: fetch()\nexcept BreakerOpen as e: error = e")
    assert before("(error.reason, error.policy, [t.name for t in threading.enumerate()][1:])") == [
        *("forced_open", "hold", ["resilient-control"])
    ]
    operator("release('payments')")
    assert before("payments.snapshot()['gate']['share']") == 0.05
    assert "Error" not in before.end()


def test_a_bad_name_in_the_environment_is_reported_and_calls_go_on(monkeypatch, caplog):
    monkeypatch.setenv("RESILIENT_APP", "no/name")
    pending = Pending()
    _gate.install(pending)
    first, second = Pipeline(name()), Pipeline(name())
    guarded = second(lambda: "passed")
    assert state(first) == state(second) == guarded() == "passed"
    assert _gate.source is None
    assert "app must be 1 to 64 letters" in caplog.text
    assert gate_of(second._assembly.env).seen == 0, "nobody asks for ever"


def test_first_calls_at_once_make_one_agent(monkeypatch, desk):
    desk.trip("payments")
    monkeypatch.setenv("RESILIENT_APP", "shop")
    monkeypatch.setenv("RESILIENT_CONTROL_DIR", str(desk.path))
    made = []
    slow = following.Agent.__init__

    def init(self, *args, **more):
        made.append(self)
        time.sleep(0.05)
        slow(self, *args, **more)

    monkeypatch.setattr(following.Agent, "__init__", init)
    _gate.install(Pending())
    go, states = threading.Barrier(6), []

    def work():
        pipeline = Pipeline("payments")
        go.wait(PATIENCE)
        states.append(state(pipeline))

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
    assert states == ["forced_open"] * 6, "nobody passes while another thread looks for the holds"
    assert len(made) == len(threads()) == 1
    until(lambda: len(desk.pages) == 1, "a page")


def test_another_configuration_is_refused(app, desk):
    assert control.configure("shop", directory=desk.path, statistics=False) is app
    with pytest.raises(ConfigError, match="app must be 'shop' with the same settings"):
        control.configure("other", directory=desk.path, statistics=False)
    with pytest.raises(ConfigError, match="app must be 1 to 64"):
        control.configure("a b")


# -- holds arrive ------------------------------------------------------------------------------


def test_a_hold_of_another_process_counts_from_the_very_next_call(app, desk, peers, threadless):
    operator = peers(OPERATOR + f"\nat({str(desk.path)!r})")
    pipeline, other = Pipeline("payments", CircuitBreaker()), Pipeline("stock")
    assert state(pipeline) == "passed"
    assert not threads()
    for _ in range(3):
        operator("trip('payments')")
        assert state(pipeline) == "forced_open"
        assert state(other) == "passed"
        operator("release('payments')")
        pipeline[CircuitBreaker].reset()
        assert state(pipeline) == "passed"
    operator("trip('payments', mode='no_retries')")
    assert state(pipeline) == "passed"
    assert not gate_of(pipeline._assembly.env).retries


def test_threads_that_hammer_see_each_change_that_was_made_before_they_called(app, desk):
    """Whatever was announced when a call began counts for it."""
    wanted, faults, calls = ["passed"], [], Counter()
    stop = threading.Event()
    pipeline = Pipeline("payments", CircuitBreaker())
    functions = [pipeline(lambda: "passed"), lambda: pipeline.call(lambda: "passed")]

    def work(function):
        while not stop.is_set():
            before = list(wanted)
            try:
                found = function()
            except BreakerOpen as error:
                found = error.reason
            calls[found] += 1
            if before == list(wanted) and found != before[0] and before[0] != "changing":
                faults.append((before, found))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    workers = [threading.Thread(target=work, args=(function,)) for function in functions * 2]
    try:
        for worker in workers:
            worker.start()
        for turn in range(25):
            wanted[:] = ["changing", turn]
            desk.trip("payments")
            wanted[:] = ["forced_open", turn]
            time.sleep(0.005)
            wanted[:] = ["changing", turn]
            # Weaker by a replacement: no slow return.
            desk.trip("payments", mode="forced_closed")
            wanted[:] = ["passed", turn]
            time.sleep(0.005)
    finally:
        stop.set()
        for worker in workers:
            worker.join(PATIENCE)
        sys.setswitchinterval(interval)
    assert faults == []
    assert min(calls["passed"], calls["forced_open"]) > 50


def test_who_waits_in_line_when_the_trip_lands_is_turned_back(app, desk, threadless):
    pipeline = Pipeline("payments", CircuitBreaker(), Bulkhead(1, queue=1, max_wait=PATIENCE))
    inside, go, outcomes = threading.Event(), threading.Event(), []

    def work():
        inside.set()
        assert go.wait(PATIENCE)
        return "finished"

    def call(function):
        try:
            outcomes.append(pipeline.call(function))
        except BreakerOpen as error:
            outcomes.append(error.reason)

    first, second = (threading.Thread(target=call, args=(each,)) for each in (work, lambda: "admitted"))
    first.start()
    assert inside.wait(PATIENCE)
    second.start()
    until(lambda: pipeline[Bulkhead].snapshot()["queued"], "a place in line")
    desk.trip("payments")
    go.set()
    first.join(PATIENCE)
    second.join(PATIENCE)
    assert outcomes == ["finished", "forced_open"], "who is in flight ends as if nothing were"
    assert pipeline[Bulkhead].snapshot()["in_flight"] == 0


def test_a_retry_finds_the_trip_before_its_next_attempt(app, desk, threadless):
    pipeline = Pipeline("payments", Retry(5, backoff=Backoff(base=0)))
    ran = []

    def body():
        ran.append(1)
        desk.trip("payments")
        raise OSError

    with pytest.raises(OSError):
        pipeline.call(body)
    assert ran == [1]


def test_an_idle_process_follows_and_says_so(app, desk):
    pipeline = Pipeline("payments")
    state(pipeline)
    revision = desk.trip("payments").revision
    gate = gate_of(pipeline._assembly.env)
    until(lambda: gate._state.shut, "the thread has taken the hold in")
    done = desk.operations.converge(revision, 5.0)
    assert done.complete
    assert done.waited_s < 0.9, "a change is shown at once, not with the next second"


def test_what_calls_read_first_is_shown_at_once_too(app, desk):
    pipeline = Pipeline("payments")
    state(pipeline)
    until(lambda: desk.pages, "a page")
    app._due = float("inf")  # nothing else is due
    revision = desk.trip("payments").revision
    assert state(pipeline) == "forced_open"
    assert desk.operations.converge(revision, 5.0).complete


def test_every_pipeline_of_a_name_is_held_also_one_made_later(app, desk):
    first = Pipeline("payments", CircuitBreaker())
    state(first)
    desk.trip("payments")
    second = Pipeline("payments", replace=True)
    assert state(first) == state(second) == state(Pipeline("payments")) == "forced_open"


def test_part_disposition_reason_and_actor_arrive(app, desk):
    pipeline = Pipeline("payments")
    desk.trip("payments", percent=25, disposition="reject")
    state(pipeline)
    (hold,) = pipeline.snapshot()["gate"]["holds"]
    shown = {key: hold[key] for key in ("mode", "percent", "disposition", "reason", "actor")}
    assert list(shown.values()) == ["forced_open", 25, "reject", "a test", "ann"]
    assert 590 < hold["expires"] <= 600


def test_a_hold_ends_by_itself_without_the_record(app, desk, threadless, heard):
    pipeline = Pipeline("payments", CircuitBreaker())
    desk.trip("payments", ttl=1)
    assert state(pipeline) == "forced_open"
    shutil.rmtree(desk.path)
    until(lambda: state(pipeline) == "passed", "its end")
    assert names_of(heard)[0] == "override.applied"
    assert "override.expired" in names_of(heard)


def test_a_window_begins_and_ends_by_itself(app, desk, heard):
    pipeline = Pipeline("payments-eu", CircuitBreaker())
    state(pipeline)
    start = time.time() + 0.5
    given = {"starts_at": start, "ends_at": start + 1.5, "reason": "a test", "who": ANN}
    desk.operations.schedule("payments-*", "forced_open", allow_unknown=True, **given)
    assert state(pipeline) == "passed"
    until(lambda: state(pipeline) == "forced_open", "its start", 5)
    assert start <= time.time() < start + 1.4
    until(lambda: state(pipeline) != "forced_open", "its end", 5)
    assert start + 1.5 <= time.time() < start + 2.9
    assert [each for each in names_of(heard) if "override" in each] == ["override.applied", "override.expired"]


def test_people_are_told_before_a_hold_ends(app, desk, heard, monkeypatch, caplog):
    from resilient.control import chores

    caplog.set_level(logging.INFO, "resilient.control")
    monkeypatch.setattr(chores, "_SOON", 30.0)
    desk.trip("payments", ttl=61)
    desk.trip("stock", ttl=59)
    hold = desk.operations.holds("payments")[0]
    state(Pipeline("payments"))
    own = app._chores
    app._beat.stop()
    heard.clear()
    own._warn()
    assert heard == []
    both = [(hold, 29.5), (desk.operations.holds("stock")[0], 29)]
    monkeypatch.setattr(Applying, "expiring", lambda *_: both)
    own._warn()
    own._warn()
    (event,) = [each for each in heard if each.name == "resilient.override.expiring"]
    assert event.downstream == "payments"
    told = {"id": hold.id, "mode": "forced_open", "reason": "a test", "actor": "ann", "expires": 29.5}
    assert dict(event.fields) == told
    assert "resilient.override.expiring payments" in caplog.text


# -- commands ----------------------------------------------------------------------------------


def opened(pipeline):
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            pipeline.call(lambda: 1 / 0)
    assert pipeline[CircuitBreaker].snapshot()["state"] == "open"


def test_a_command_is_carried_out_once(app, desk):
    pipeline = Pipeline("payments", CircuitBreaker())
    breaker = pipeline[CircuitBreaker]
    state(pipeline)
    until(lambda: desk.shows("payments"), "a page that knows the name")
    opened(pipeline)
    desk.command("payments", "reset")
    until(lambda: breaker.snapshot()["state"] == "closed", "the reset", 5)
    opened(pipeline)
    desk.trip("stock")  # another change, read by everybody
    until(lambda: app.applying.intent.revision == 2, "the other change")
    app._beat.stop()
    app.beat()
    app._chores.tick()
    assert breaker.snapshot()["state"] == "open"
    desk.command("payments", "probe")
    app.beat()
    assert breaker.snapshot()["state"] == "half_open"


def test_a_process_that_starts_later_does_not_repeat_commands(desk):
    control.configure("shop", directory=desk.path, statistics=False)
    pipeline = Pipeline("payments", CircuitBreaker())
    state(pipeline)
    until(lambda: desk.shows("payments"), "a page that knows the name")
    desk.command("payments", "reset")
    control.stop()
    opened(pipeline)
    control.configure("shop", directory=desk.path, statistics=False)
    with pytest.raises(BreakerOpen):
        pipeline.call(int)
    until(lambda: desk.pages, "the new page")
    agent.current().beat()
    agent.current()._chores.tick()
    assert pipeline[CircuitBreaker].snapshot()["state"] == "open"
    desk.command("payments", "reset")
    until(lambda: pipeline[CircuitBreaker].snapshot()["state"] == "closed", "the new one", 5)


# -- a record in trouble -----------------------------------------------------------------------


def fail(*_):
    raise ControlUnavailable("nobody answers")


def test_a_reading_that_fails_keeps_what_was_known(app, desk, threadless, monkeypatch, caplog):
    pipeline, other = Pipeline("payments"), Pipeline("stock")
    desk.trip("payments")
    assert state(pipeline) == "forced_open"
    monkeypatch.setattr(Directory, "load", fail)
    desk.trip("stock")
    assert state(pipeline) == "forced_open"
    assert state(other) == "passed"
    assert app.applying.failed == 1
    assert "ControlUnavailable" in caplog.text
    monkeypatch.undo()
    until(lambda: state(other) == "forced_open", "the next reading", 5)


def test_a_locked_record_delays_no_call_for_long(app, desk):
    pipeline = Pipeline("payments")
    desk.trip("payments", ttl=3600)
    assert state(pipeline) == "forced_open"
    with locked_out(desk):
        took = []
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            began = time.monotonic()
            assert state(pipeline) == "forced_open"
            took.append(time.monotonic() - began)
        assert max(took) < 1.0
        assert len([each for each in took if each > 0.2]) <= 2, "one waits, and then the thread alone"
        assert len(took) > 100
        assert app.applying.failed >= 2
    until(app.applying.current, "the record is read again")
    until(lambda: any(page["errors"].get("reload") for page in desk.pages.values()), "its page tells of it")


@contextmanager
def locked_out(desk):
    """Have the word tell of a change that nobody can read."""
    before = Directory.load

    def hang(self):
        time.sleep(0.25)
        raise ControlUnavailable("other processes kept it busy for too long")

    Directory.load = hang
    try:
        with desk.operations.directory.changing():
            desk.operations.directory.announce()
        yield
    finally:
        Directory.load = before


def test_a_damaged_record_keeps_what_was_known(app, desk, caplog):
    pipeline = Pipeline("payments")
    desk.trip("payments", ttl=3600)
    assert state(pipeline) == "forced_open"
    app._beat.stop()
    for suffix in ("", "-wal"):
        file = desk.path / f"control.sqlite3{suffix}"
        file.write_bytes(b"\xff" * file.stat().st_size)
    with desk.operations.directory.changing():
        desk.operations.directory.announce()
    for _ in range(3):
        assert state(pipeline) == "forced_open"
        app.beat()
    assert app.applying.failed
    assert "damaged" in caplog.text


def test_a_fault_of_ours_fails_no_call(app, desk, monkeypatch, caplog):
    pipeline = Pipeline("payments")
    monkeypatch.setattr(Applying, "refresh", lambda *_, **__: 1 / 0)
    assert state(pipeline) == "passed"
    assert "ZeroDivisionError" in caplog.text
    monkeypatch.undo()
    desk.trip("payments")
    assert state(pipeline) == "forced_open"


def test_without_statistics_that_work_holds_are_followed_all_the_same(app, desk, monkeypatch, caplog):
    monkeypatch.setattr(following, "Chores", lambda *_, **__: 1 / 0)
    desk.trip("payments")
    assert state(Pipeline("payments")) == "forced_open"
    assert "ZeroDivisionError" in caplog.text
    assert not agent.write_page()


def test_a_directory_that_cannot_be_used_leaves_the_process_by_itself(tmp_path, heard, caplog):
    path = tmp_path / "control"
    path.mkdir(0o755)
    try:
        control.configure("shop", directory=path, statistics=False)
        pipeline = Pipeline("payments")
        assert state(pipeline) == "passed"
        assert "control.lost" in names_of(heard)
        (record,) = [each for each in caplog.records if each.name == "resilient.control"]
        assert record.levelname == "ERROR"
        assert "is open to others" in record.message
        assert not agent.write_page()
        hold = pipeline.hold("forced_open", reason="here", expires=60)
        assert state(pipeline) == "forced_open"
        hold.release()
        path.chmod(0o700)
        mine = agent.current()
        mine._retry = 0.0
        mine._due = 0.0
        until(lambda: mine.path and mine.applying.directory, "the next attempt")
        until(lambda: "control.restored" in names_of(heard), "people are told")
        desk = Desk(path)
        desk.trip("payments")
        assert state(pipeline) == "forced_open"
        desk.operations.directory.close()
    finally:
        control.stop()


def test_a_removed_directory_is_made_anew_and_holds_stay(app, desk, heard, caplog):
    pipeline = Pipeline("payments")
    desk.trip("payments", ttl=3600)
    desk.trip("stock", ttl=3600)
    assert state(pipeline) == "forced_open"
    until(lambda: desk.pages, "a page")
    shutil.rmtree(desk.path)
    until(lambda: desk.path.exists() and desk.pages, "a new directory with this process in it", 10)
    assert state(pipeline) == "forced_open"
    lost = [each for each in names_of(heard) if each.startswith("control")]
    assert lost == ["control.lost", "control.restored", "control.regressed"]
    regressed = heard[-1] if heard[-1].name.endswith("regressed") else None
    assert regressed is None or regressed.fields["kept"] == 2
    fresh = Desk(desk.path)
    fresh.trip("stock", mode="observe")
    assert state(pipeline) == "forced_open"
    assert state(Pipeline("stock")) == "passed", "who acts on a downstream has the last word"
    fresh.operations.directory.close()


def test_an_older_copy_keeps_the_holds_until_somebody_acts(app, desk, heard):
    pipeline, other = Pipeline("payments"), Pipeline("stock")
    desk.trip("stock", mode="observe")
    desk.operations.directory.close()
    copy = desk.path.with_name("copy")
    shutil.copytree(desk.path, copy)
    copy.chmod(0o700)
    desk.trip("payments", ttl=3600)
    desk.trip("stock", ttl=3600)
    assert state(pipeline) == state(other) == "forced_open"
    shutil.move(desk.path, desk.path.with_name("gone"))
    shutil.move(copy, desk.path)
    until(lambda: "control.regressed" in names_of(heard), "people are told", 10)
    (event,) = [each for each in heard if each.name == "resilient.control.regressed"]
    assert (event.fields["known"], event.fields["revision"]) == (3, 1)
    assert state(pipeline) == "forced_open"
    fresh = Desk(desk.path)
    fresh.trip("payments", mode="forced_closed")
    assert state(pipeline) == "passed"
    fresh.operations.directory.close()


def test_a_reset_lets_go_of_the_holds_that_are_kept_of_an_earlier_record(app, desk, heard):
    pipeline, other = Pipeline("payments"), Pipeline("stock", CircuitBreaker())
    desk.trip("payments", ttl=3600)
    desk.trip("stock", ttl=3600)
    assert state(pipeline) == state(other) == "forced_open"
    until(lambda: desk.pages, "a page")
    shutil.rmtree(desk.path)
    until(lambda: desk.path.exists() and desk.pages, "a new directory with this process in it", 10)
    fresh = Desk(desk.path)

    def kept():
        rows = overview(fresh.operations.directory, now=time.time())["downstreams"]
        return {row["name"]: len(row["kept"]) for row in rows}

    until(lambda: kept() == {"payments": 1, "stock": 1}, "they are shown")
    assert state(pipeline) == state(other) == "forced_open"
    fresh.command("stock", "reset")
    assert state(other) == "passed"
    assert state(pipeline) == "forced_open"
    until(lambda: kept() == {"payments": 1, "stock": 0}, "one is shown")
    fresh.command("payments", "reset")
    until(lambda: kept() == {"payments": 0, "stock": 0}, "none is shown")
    fresh.operations.directory.close()


def test_a_record_that_goes_back_in_place_is_told_too(app, desk, heard):
    pipeline = Pipeline("payments")
    with closing(sqlite3.connect(desk.path / "control.sqlite3")) as db, closing(sqlite3.connect(":memory:")) as copy:
        db.backup(copy)
        desk.trip("payments", ttl=3600)
        assert state(pipeline) == "forced_open"
        copy.backup(db)
    until(lambda: "control.regressed" in names_of(heard), "people are told", 10)
    assert state(pipeline) == "forced_open"


def test_a_replaced_word_is_found_within_a_second(app, desk, peers):
    operator = peers(OPERATOR + f"\nat({str(desk.path)!r})")
    pipeline = Pipeline("payments")
    assert state(pipeline) == "passed"
    (desk.path / "epoch").unlink()
    operator("trip('payments')")
    until(lambda: state(pipeline) == "forced_open", "the new word", 5)


# -- the end, and other processes --------------------------------------------------------------


def test_stopping_lets_go_of_everything(desk, heard):
    control.configure("shop", directory=desk.path)
    pipeline = Pipeline("payments", CircuitBreaker())
    guarded = pipeline(lambda: "passed")
    desk.trip("payments")
    assert state(pipeline) == "forced_open"
    assert "gate" in pipeline.source()
    control.stop()
    control.stop()
    assert names_of(heard)[-1] in {"override.released", "breaker.transition"}
    assert "override.released" in names_of(heard)
    assert not threads()
    assert not desk.pages
    assert "gate" not in pipeline.source()
    assert "meter" not in pipeline.source()
    assert guarded() == "passed"
    assert agent.current() is None


def test_nothing_begins_again_after_the_end(app, desk):
    state(Pipeline("payments"))
    before = set(threading.enumerate())
    app.end()
    assert state(Pipeline("new")) == "passed"
    desk.trip("payments")
    assert state(Pipeline("payments")) == "forced_open", "holds still arrive with calls"
    assert not set(threading.enumerate()) - before
    assert not threads()
    assert not desk.pages


def test_a_killed_process_is_gone_and_its_successor_starts_held(peers, desk):
    code = APP + f"\ncontrol.configure('shop', directory={str(desk.path)!r})"
    first = peers(code)
    assert first("ask()") == "passed"
    until(lambda: len(desk.pages) == 1, "its page")
    desk.trip("payments")
    assert first("ask()") == "forced_open"
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(10)
    until(lambda: not desk.pages, "it is gone")
    second = peers(code)
    assert second("ask()") == "forced_open"
    errors = second.end()
    assert second.process.returncode == 0
    assert "Error" not in errors


FORKING = """
import warnings
warnings.simplefilter("error")

def forked(work):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, repr(work()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as said:
        answer = said.read()
    assert os.waitpid(pid, 0)[1] == 0
    return eval(answer)

def me():
    mine = agent.current()
    names = [thread.name for thread in threading.enumerate()]
    return [names.count("resilient-control"), mine._chores.identity.pid == os.getpid() if mine._chores else None]

def heard_by():
    from resilient import events
    return len(events._listeners)
"""


def test_each_forked_child_has_a_page_and_a_thread_of_its_own(peers, desk):
    peer = peers(APP + FORKING + f"\ncontrol.configure('shop', directory={str(desk.path)!r})")
    assert peer("forked(me)") == [0, None]
    assert peer("me()") == [0, None]
    assert peer("forked(lambda: [ask(), *me()])") == ["passed", 1, True]
    assert peer("[ask(), *me()]") == ["passed", 1, True]
    listeners = peer("heard_by()")
    assert peer("forked(me)") == [0, None], "nothing before its first call"
    desk.trip("payments")
    assert peer("forked(lambda: [ask(), *me(), heard_by()])") == ["forced_open", 1, True, listeners]
    nested = "forked(lambda: [ask(), forked(lambda: [ask(), *me(), heard_by()])])"
    assert peer(nested) == ["forced_open", ["forced_open", 1, True, listeners]]
    assert peer("[ask(), *me()]") == ["forced_open", 1, True]
    stopped = "forked(lambda: [ask(), control.stop(), heard_by(), ask()][2:])"
    assert peer(stopped) == [0, "passed"], "statistics of the parent do not go on"
    desk.release("payments")
    assert peer("[me(), Pipeline('payments').snapshot()['gate']['share']]") == [[1, True], 0.05]
    assert len(desk.pages) == 1
    assert peer.end() == ""


MULTI = """
import multiprocessing, sys, time
from resilient import *
from resilient import control

def work(path, conn):
    control.configure('shop', directory=path)
    for _ in range(7):
        Pipeline('payments').call(int)
    conn.send("done")

def run(path, way):
    context = multiprocessing.get_context(way)
    ours, theirs = context.Pipe()
    child = context.Process(target=work, args=(path, theirs))
    child.start()
    assert ours.recv() == "done"
    child.join(20)
    assert child.exitcode == 0

if __name__ == "__main__":
    path, way, first = sys.argv[1:]
    control.configure('shop', directory=path)
    if first == "yes":
        Pipeline('payments').call(int)
    run(path, way)
    for _ in range(3):
        Pipeline('payments').call(int)
"""


@pytest.mark.parametrize(("way", "first"), [("fork", "no"), ("fork", "yes"), ("spawn", "yes")])
def test_the_last_counts_of_each_process_are_on_its_page(tmp_path, desk, way, first):
    import subprocess

    file = tmp_path / "multi.py"
    file.write_text(MULTI)
    command = [sys.executable, "-W", "error", str(file), str(desk.path), way, first]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    total, pages = host_totals(desk.operations.directory)
    assert not any(page.alive for page in pages)
    assert total.value("resilient_call_duration_seconds", ("payments", "success", ""))[1] == 7 + 3 + (first == "yes")


# -- what runs at any moment -------------------------------------------------------------------


def test_a_listener_may_call_whatever_it_is_told(app, desk):
    pipeline, other = Pipeline("payments"), Pipeline("stock")
    seen = []

    def listen(event):
        if "override" in event.name or "control" in event.name:
            worker = threading.Thread(target=lambda: seen.append(state(other)))
            worker.start()
            worker.join(PATIENCE)
            seen.append(state(pipeline))

    stop = subscribe(listen)
    try:
        desk.trip("payments")
        assert state(pipeline) == "forced_open"
        until(lambda: len(seen) == 2, "the listener heard of it, perhaps on the agent's thread")
        assert seen == ["passed", "forced_open"]
    finally:
        stop()


def test_a_listener_may_call_when_the_directory_is_lost(tmp_path):
    path = tmp_path / "control"
    path.mkdir(0o755)
    seen = []

    def listen(event):
        if event.name == "resilient.control.lost":
            worker = threading.Thread(target=lambda: seen.append(state(Pipeline("payments"))))
            worker.start()
            worker.join(PATIENCE)

    stop = subscribe(listen)
    try:
        control.configure("shop", directory=path, statistics=False)
        assert state(Pipeline("stock")) == "passed"
        assert seen == ["passed"]
    finally:
        stop()
        control.stop()


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("where", ["reach", "load", "take"])
def test_an_exception_from_a_signal_handler_is_made_good_by_the_next_call(app, desk, monkeypatch, where):
    desk.trip("payments")
    pipeline = Pipeline("payments", CircuitBreaker())
    target, attribute = {
        "reach": (following, "Directory"),
        "load": (Directory, "load"),
        "take": (type(gate_of(pipeline._assembly.env)), "take"),
    }[where]

    def interrupt(*args, **more):
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(target, attribute, interrupt)
        patch.setattr(Beat, "start", lambda self: None)
        with pytest.raises(Interrupted):
            pipeline.call(int)
    assert state(pipeline) == "forced_open"
    desk.release("payments")
    assert state(pipeline) == "passed"


def test_a_finaliser_may_call_in_the_middle_of_a_reading(app, desk, monkeypatch):
    pipeline, other = Pipeline("payments"), Pipeline("stock")
    state(pipeline)
    app._beat.stop()
    seen = []

    class Farewell:
        def __init__(self):
            self.me = self

        def __del__(self):
            seen.extend([state(pipeline), state(other), state(Pipeline(name()))])

    load = Directory.load

    def collecting(self):
        if not seen:
            Farewell()
            gc.collect()
        return load(self)

    monkeypatch.setattr(Directory, "load", collecting)
    desk.trip("payments")
    assert state(pipeline) == "forced_open"
    assert len(seen) == 3
    assert state(pipeline) == "forced_open"
    assert state(other) == "passed"


def test_pipelines_made_while_holds_are_taken_in_are_held(app, desk):
    state(Pipeline("payments"))
    stop, faults = threading.Event(), []

    def make():
        while not stop.is_set():
            before = tripped.is_set()
            found = state(Pipeline("payments", replace=True))
            if before and found == "passed":
                faults.append(found)

    tripped = threading.Event()
    workers = [threading.Thread(target=make) for _ in range(3)]
    for worker in workers:
        worker.start()
    try:
        for turn in range(10):
            desk.trip("payments", percent=100, ttl=600 + turn)
            tripped.set()
            time.sleep(0.01)
    finally:
        stop.set()
        for worker in workers:
            worker.join(PATIENCE)
    assert not faults


def test_a_process_forks_while_its_first_calls_begin(peers, desk):
    """Several times, since only chance decides where the fork meets the beginning."""
    desk.trip("payments")
    code = f"""
def race():
    control.configure('shop', directory={str(desk.path)!r})
    begun = [threading.Thread(target=ask) for _ in range(3)]
    for thread in begun: thread.start()
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if ask() == "forced_open" else 3)
        finally:
            os._exit(4)
    for thread in begun: thread.join()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    mine = [thread.name for thread in threading.enumerate()].count("resilient-control")
    said = [code, ask(), mine]
    control.stop()
    return said
"""
    peer = peers(APP + code, "-W", "ignore::DeprecationWarning")
    for _ in range(6):
        assert peer("race()") == [0, "forced_open", 1]


def test_a_thread_that_hangs_does_not_keep_a_fork(monkeypatch):
    from resilient.control import beat

    monkeypatch.setattr(beat, "_PATIENCE", 0.05)
    go, ran = threading.Event(), []

    def work():
        ran.append(threading.current_thread())
        go.wait(PATIENCE)

    slow = Beat(work, 0.01)
    slow.start()
    until(lambda: ran, "it works")
    slow.stop()
    slow.start()
    until(lambda: len(ran) == 2, "another one works")
    go.set()
    ran[0].join(PATIENCE)
    assert not ran[0].is_alive(), "the first one ends all the same"
    slow.stop()
    assert not ran[1].is_alive()


def test_every_gate_of_the_process_is_known(app):
    pipelines = [Pipeline(name()) for _ in range(3)]
    found = {gate.env.downstream for gate in gates()}
    assert {pipeline.name for pipeline in pipelines} <= found
