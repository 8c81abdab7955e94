"""Plays a case against a subject and judges what came of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from resilient.clock import SYSTEM, current
from tests.cache.suite.catalogue import CASES
from tests.cache.suite.origin import BODILESS, MARK, Origin, Play, Seen
from tests.cache.suite.script import ANY, DATE, ETAG, ORIGIN, STORE, UNCHECKED, Case, Step, field, filled
from tests.cache.suite.subjects import SUBJECTS, Answer, Pairs, Subject

PATIENCE = 1.0
"""Real seconds that a refresh in the background may take to reach the origin."""

Outcome = Literal["passed", "failed", "unready", "blocked"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a case.

    "unready": a precondition failed, so that it says nothing. "blocked": a case that it needs did
    not pass. Neither counts as passed.
    """

    outcome: Outcome
    why: str = ""

    @property
    def passed(self) -> bool:
        return self.outcome == "passed"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that did not come as a step demands."""

    what: str
    given: bool


@dataclass(frozen=True, slots=True)
class Played:
    """A step, its number from 1, and what came of it."""

    step: Step
    number: int
    answer: Answer
    path: str

    def faults(self, play: Play) -> Iterator[Fault]:
        """Compare with what the client must see."""
        steps = self.answer.fields.get("origin-steps", "").split()
        if len(steps) != len(set(steps)):
            yield Fault(f"something repeated a request: the origin saw the steps {steps}", given=True)
        yield from self._source()
        yield from self._status()
        yield from self._fields()
        yield from self._early()
        yield from self._body(play)

    def _source(self) -> Iterator[Fault]:
        told = self.answer.fields.get("origin-count")
        given = self.step.grants("source")
        # A 304 of the cache itself need not tell.
        stored = self.answer.status == 304 if told is None else int(told) < self.number
        if self.step.source == STORE and not stored:
            yield Fault(f"it does not come from the store: {self._shown()}", given)
        if self.step.source == ORIGIN and (told is None or int(told) != self.number):
            yield Fault(f"it is not the origin's own answer: {self._shown()}", given)

    def _shown(self) -> str:
        return f"{self.answer.status} {self.answer.fields}"

    def _status(self) -> Iterator[Fault]:
        status, step = self.answer.status, self.step
        if step.answers is not None:
            if step.answers not in (ANY, status):
                yield Fault(f"status {status}, not {step.answers}", step.grants("answers"))
        elif status == UNCHECKED:
            yield Fault("the origin was not asked by a condition that it could confirm", step.grants("source"))
        elif status != step.status:
            yield Fault(f"status {status}, not {step.status}", given=True)

    def _fields(self) -> Iterator[Fault]:
        fields, step = self.answer.fields, self.step
        wall = float(fields.get("origin-time", "0"))
        for line in step.shows:
            if more := re.fullmatch(r"([\w-]+) > (\d+)", line):
                value = fields.get(more[1].lower(), "")
                good = value.isdigit() and int(value) > int(more[2])
            elif ":" in line:
                wanted = field(line)
                good = fields.get(wanted.name.lower()) == filled(wanted.value, wall, self.path)
            else:
                good = line.lower() in fields
            if not good:
                yield Fault(f"it does not show {line!r}: {fields}", step.grants("shows"))
        for line in step.hides:
            unwanted = field(line)
            value = fields.get(unwanted.name.lower())
            if value is not None and unwanted.value in value:
                yield Fault(f"it shows {unwanted.name}: {value}", step.grants("hides"))

    def _early(self) -> Iterator[Fault]:
        if self.step.hears is None:
            return
        heard = self.answer.early
        wanted = [(status, {field(line).name.lower() for line in lines}) for status, lines in self.step.hears]
        good = len(heard) == len(wanted) and all(
            status == told[0] and names <= told[1].keys() for (status, names), told in zip(wanted, heard, strict=True)
        )
        if not good:
            yield Fault(f"interim answers {heard}, not {self.step.hears}", self.step.grants("hears"))

    def _body(self, play: Play) -> Iterator[Fault]:
        step, body = self.step, self.answer.body.decode("latin-1")
        if step.says:
            if body != step.says:
                yield Fault(f"it says {body!r}, not {step.says!r}", step.grants("says"))
        elif step.says is not None and self.answer.status not in BODILESS and step.method != "HEAD":
            wanted = play.text if step.text is None else step.text
            if body != wanted:
                yield Fault(f"it says {body!r}, not {wanted!r}", given=True)

    def faults_at_origin(self, seen: Seen | None) -> Iterator[Fault]:
        """Compare with what the origin must have seen of this step."""
        step = self.step
        if step.source == STORE:
            return
        if seen is None:
            if step.source in (ORIGIN, ETAG, DATE):
                yield Fault("the origin never saw it", step.grants("source"))
            if step.sees or step.sees_method:
                yield Fault("the origin never saw it", step.grants("sees"))
            return
        condition = {ETAG: "if-none-match", DATE: "if-modified-since"}.get(step.source or ORIGIN)
        if condition and condition not in seen.fields:
            yield Fault(f"the origin saw no {condition}", step.grants("source"))
        for line in step.sees:
            wanted = field(line)
            if seen.fields.get(wanted.name.lower()) != wanted.value:
                yield Fault(f"the origin did not see {line!r}: {seen.fields}", step.grants("sees"))
        for name, value in seen.demanded.items():
            if name != "date" and self.answer.fields.get(name) != value:
                yield Fault(f"the origin gave {name}: {value}, it shows {self.answer.fields.get(name)}", given=True)
        if step.sees_method and seen.method != step.sees_method:
            yield Fault(f"the origin saw {seen.method}", step.grants("sees"))


def play(case: Case, origin: Origin, subject: Subject) -> Verdict:
    """Play a case, with the clock in force; a wait of a step puts it ahead."""
    begun = origin.play(case)
    played: list[Played] = []
    for number, step in enumerate(case.steps, 1):
        if step.wait:
            current().sleep(step.wait)
        before = played[-1].answer if played else None
        answer = subject.ask(*_request(step, number, begun, before, origin.url))
        played.append(Played(step, number, answer, begun.path))
        if step.refreshes:
            _wait_for(begun, number, subject)
    return _judged(begun, played)


def _request(
    step: Step, number: int, begun: Play, before: Answer | None, url: str
) -> tuple[str, str, Pairs, bytes | None]:
    wall = float((before.fields if before else {}).get("origin-time", "0"))
    pairs = [
        (each.name.encode(), filled(each.value, wall, begun.path).encode("latin-1")) for each in map(field, step.sends)
    ]
    pairs.append((MARK.encode(), str(number).encode()))
    return step.method, f"{url}{begun.path}{step.at}", pairs, None if step.body is None else step.body.encode()


def _wait_for(begun: Play, number: int, subject: Subject) -> None:
    latest = SYSTEM.now() + PATIENCE
    while not any(seen.step == number for seen in begun.seen) and SYSTEM.now() < latest:
        subject.idle()
    subject.idle()


def _judged(begun: Play, played: list[Played]) -> Verdict:
    faults = [(each, fault) for each in played for fault in each.faults(begun)]
    if not faults:  # what the origin saw is looked at when the answers are right
        last = {seen.step: seen for seen in begun.seen}
        faults = [(each, fault) for each in played for fault in each.faults_at_origin(last.get(each.number))]
    for each, fault in faults:
        return Verdict("unready" if fault.given else "failed", f"step {each.number}: {fault.what}")
    return Verdict("passed")


def subject_of(
    name: str, family: str, *, shared: bool, origin: Origin, stale: float | None = None
) -> AbstractContextManager[Any]:
    """Make a subject, with an empty cache."""
    make = SUBJECTS[name]
    if name == "proxy":
        make = partial(make, origin=origin.url)
    return make(family, shared=shared, stale=stale)


def with_needs(verdicts: dict[str, Verdict]) -> dict[str, Verdict]:
    """Block the cases that need one that did not pass."""

    def settled(slug: str) -> Verdict:
        for need in CASES[slug].needs:
            if need in verdicts and not settled(need).passed:
                return Verdict("blocked", f"needs {need}")
        return verdicts[slug]

    return {slug: settled(slug) for slug in verdicts}
