"""Holds against a naive model: whoever does what in whatever order, the record says what a child would say."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilient import clock as clocks
from resilient.control.errors import Refused
from resilient.testing import FakeClock
from tests.control._record import ANN, BOB, ROOT, SHELL, Desk

PEOPLE = {who.actor: who for who in (ANN, BOB, ROOT, SHELL)}
TARGETS = ("payments", "stock")
MODES = ("forced_open", "observe", "forced_closed", "no_retries")

people = st.sampled_from(sorted(PEOPLE))
targets = st.sampled_from(TARGETS)


class Holds(RuleBasedStateMachine):
    """The model: who holds what, how, until when."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(auto=False)
        self.before = clocks.install(self.clock)
        shared = "/dev/shm" if Path("/dev/shm").is_dir() else None  # nothing waits for a disk there
        self.place_ = Path(tempfile.mkdtemp(dir=shared))
        self.desk = Desk(self.place_, TARGETS)
        self.model: dict[tuple[str, str, bool], tuple[str, int, float]] = {}  # mode, percent, end
        self.etags: dict[str, set[str]] = {target: set() for target in TARGETS}
        self.last = dict.fromkeys(TARGETS, "")
        self.touched: set[str] = set(TARGETS)
        self.written: set[str] = set()
        self.rows = 0

    def teardown(self) -> None:
        self.desk.close()
        clocks.install(self.before)
        shutil.rmtree(self.place_)

    # -- what the model knows ----------------------------------------------------------------

    def alive(self) -> dict[tuple[str, str, bool], tuple[str, int, float]]:
        return {key: value for key, value in self.model.items() if value[2] > self.clock.now()}

    def expire(self) -> None:
        """Time is written down with the next change."""
        over = self.model.keys() - self.alive().keys()
        self.rows += len(over)
        self.written |= {key[0] for key in over}
        for key in over:
            del self.model[key]

    def effective(self, target: str) -> str:
        modes = {mode for (name, _, _), (mode, _, _) in self.alive().items() if name == target}
        return next((mode for mode in MODES if mode in modes), "auto")

    # -- what people do ----------------------------------------------------------------------

    @rule(
        who=people,
        name=targets,
        mode=st.sampled_from(MODES),
        ttl=st.integers(1, 100),
        percent=st.integers(1, 100),
        how=st.sampled_from(["", "", "", "", "create", "strict", "dry"]),
    )
    def place(self, who, name, mode, ttl, percent, how) -> None:
        create, strict, dry = (how == each for each in ("create", "strict", "dry"))
        target, percent = name, percent if mode == "forced_open" else 100
        key = target, who, mode == "no_retries"
        mine = key in self.alive()
        ask = {"create_only": create, "strict": strict, "dry_run": dry, "percent": percent}
        try:
            receipt = self.desk.trip(target, PEOPLE[who], mode=mode, ttl=ttl, **ask)
        except Refused as refusal:
            said = refusal.kind
            assert (mine, said) == (True, "stale" if create else "precondition")
            assert create or strict
            self.rows += not dry
            return
        assert not (mine and (create or strict))
        if not dry:
            self.expire()
            self.rows += 1
            self.model[key] = mode, percent, self.clock.now() + ttl
            self.touched.add(target)
            assert receipt.effective == self.effective(target)

    @rule(who=people, name=targets, retries=st.booleans(), of=st.none() | people)
    def release(self, who, name, retries, of) -> None:
        target, owner = name, of or who
        there = (target, owner, retries) in self.alive()
        hold_id = None
        if of is not None:
            found = [
                hold.id
                for hold in self.desk.operations.holds(target)
                if hold.actor == of and (hold.mode == "no_retries") is retries
            ]
            assert len(found) == there
            hold_id = found[0] if found else "h-none"
        allowed = owner == who or who in {"boss", "sue"}
        self.rows += 1
        try:
            receipt = self.desk.operations.release(target, who=PEOPLE[who], hold_id=hold_id, retries=retries)
        except Refused as refusal:
            said = refusal.kind
            assert (allowed and there, said) == (False, "forbidden" if there else "unknown")
            return
        assert there
        assert allowed
        self.expire()
        del self.model[target, owner, retries]
        self.touched.add(target)
        assert receipt.effective == self.effective(target)

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), who=people, ttl=st.integers(1, 100))
    def extend(self, data, who, ttl) -> None:
        key = data.draw(st.sampled_from(sorted(self.alive())))
        target, owner, retries = key
        (hold,) = [
            hold
            for hold in self.desk.operations.holds(target)
            if hold.actor == owner and (hold.mode == "no_retries") is retries
        ]
        self.rows += 1
        try:
            self.desk.operations.extend(hold.id, who=PEOPLE[who], ttl=ttl)
        except Refused as refusal:
            said = refusal.kind
            assert (said, who in {owner, "boss", "sue"}) == ("forbidden", False)
            return
        self.expire()
        self.model[key] = *self.model[key][:2], self.clock.now() + ttl
        self.touched.add(target)

    @rule(seconds=st.integers(1, 60))
    def wait(self, seconds) -> None:
        before = self.alive()
        self.clock.advance(seconds)
        self.touched |= {key[0] for key in before.keys() - self.alive().keys()}

    @rule()
    def sweep(self) -> None:
        swept = self.desk.operations.sweep()
        assert swept == len(self.model) - len(self.alive())
        self.expire()

    # -- what must hold ----------------------------------------------------------------------

    @invariant()
    def the_record_says_what_the_model_says(self) -> None:
        loaded = {
            (hold.target, hold.actor, hold.mode == "no_retries"): (hold.mode, hold.percent)
            for hold in self.desk.directory.load().holds
        }
        assert loaded == {key: value[:2] for key, value in self.alive().items()}
        assert self.desk.actives() == {(key[0], key[1], value[0]) for key, value in self.alive().items()}

    @invariant()
    def an_etag_comes_once_and_stays_while_nothing_changes(self) -> None:
        for target in TARGETS:
            tag = self.desk.operations.etag(target)
            if target in self.touched:
                assert tag not in self.etags[target]
            elif target not in self.written:  # what time did may change it once more when it is written down
                assert tag == self.last[target]
            self.etags[target].add(tag)
            self.last[target] = tag
        self.touched.clear()
        self.written.clear()

    @invariant()
    def each_request_has_its_row(self) -> None:
        check = self.desk.operations.verify_audit()
        assert check.ok
        # A refused request writes nothing of what time did.
        assert check.rows == self.rows


Holds.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
TestHolds = Holds.TestCase
