"""Meters: what is woven around every call and every attempt while statistics are on.

On success they read the clock twice and append a number. Nothing there takes a lock, and nothing on the way
of a coroutine that is thrown away does; whoever reads adds the numbers up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

from resilient._policy import Colour, Env, Guard, Policy
from resilient._runtime.ledger import repeating
from resilient._weave.inlays import Place
from resilient.errors import Rejected
from resilient.outcome import SUCCESS, Verdict, thrown_away
from resilient.provenance import Answer, Provenance, watch, watching
from resilient.telemetry import outcomes
from resilient.telemetry.meter_templates import ATTEMPT, CALL
from resilient.telemetry.traffic import Traffic

__all__ = ["AttemptMeter", "CallMeter"]

Last = float | bool | None
"""What `until_00` says of the last attempt."""


class Watch(Answer):
    """Hears whether a fallback of one pipeline answered, and tells on what it hears."""

    __slots__ = ("_name", "rescued")

    def __init__(self, around: Answer | None, name: str) -> None:
        super().__init__(around)
        self._name = name
        self.rescued = False

    def add(self, note: Provenance) -> None:
        """Take a note; keep none, for a long call may hear many."""
        if note.source == "fallback" and note.downstream == self._name:
            self.rescued = True
        if self.outer is not None:
            self.outer.add(note)


class _Measuring:
    """What the meter of a call is to the weaver, in place of a policy."""

    kind: ClassVar[str] = "meter"
    template: ClassVar[str] = CALL

    def bind(self, env: Env, label: str) -> Guard:
        """Do nothing: the inlay makes the meter of a pipeline."""
        raise NotImplementedError(label)

    def describe(self) -> str:
        """Say in one line what it is."""
        return "statistics"


class _MeasuringAttempts(_Measuring):
    template: ClassVar[str] = ATTEMPT


_CALLS, _ATTEMPTS = _Measuring(), _MeasuringAttempts()


class _CallGuard(Guard):
    """The meter around the calls of one pipeline."""

    __slots__ = ("_traffic",)

    def __init__(self, env: Env, traffic: Traffic) -> None:
        super().__init__(env, "meter")
        self._traffic = traffic

    @property
    def policy(self) -> Policy:
        return _CALLS

    def names(self, colour: Colour) -> Mapping[str, object]:  # noqa: ARG002 -- the same in both
        traffic = self._traffic
        return {
            "meter": self,
            "enter": traffic.active.add,
            "leave": traffic.active.discard,
            "done": traffic.ended.append,
            "ended": traffic.ended,
            "tidy": traffic.tidy,
            "watching": watching,
            "look": watch,
            "watcher": Watch,
            "name": self.env.downstream,
        }

    def failed(self, error: BaseException, seconds: float, tries: int) -> bool:
        """Record a call that raised; tell whether this is still the call's own context."""
        traffic = self._traffic
        gone = thrown_away(error)
        outcome, name = outcomes.of_error(self.env, error, gone=gone)
        traffic.odd.append((outcome, name, seconds, tries))
        if gone:
            return False
        traffic.tidy_if_long()
        return True

    def ended(
        self,
        seconds: float,
        tries: int,
        last: Last,
        rescued: bool = False,  # noqa: FBT001, FBT002
        verdict: Verdict = SUCCESS,
    ) -> None:
        """Record a call that returned after other than one good attempt."""
        if rescued:
            outcome = outcomes.FALLBACK
        elif tries and last is not False:
            outcome = outcomes.of_verdict(verdict)
        else:  # nobody was asked, or nobody answered
            outcome = outcomes.CACHED
        self._traffic.odd.append((outcome, "", seconds, tries))

    def returned(
        self,
        result: object,
        seconds: float,
        tries: int,
        last: Last,
        rescued: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Record a call whose result means something."""
        self.ended(seconds, tries, last, rescued, self.env.classifier.of_result(result))


class _AttemptGuard(Guard):
    """The meter around the attempts of one pipeline."""

    __slots__ = ("_traffic",)

    def __init__(self, env: Env, traffic: Traffic) -> None:
        super().__init__(env, "attempt_meter")
        self._traffic = traffic

    @property
    def policy(self) -> Policy:
        return _ATTEMPTS

    def names(self, colour: Colour) -> Mapping[str, object]:  # noqa: ARG002 -- the same in both
        return {"attempt": self, "spent": self._traffic.spent.append}

    def failed(self, error: BaseException, seconds: float, tries: int | None = None) -> None:
        """Record an attempt that raised; one for which there was no time or thread left is none."""
        if isinstance(error, Rejected) and error.downstream == self.env.downstream:
            return
        outcome, name = outcomes.of_error(self.env, error, gone=thrown_away(error))
        self._traffic.odd_spent.append((_kind(tries), outcome, name, seconds))

    def ended(self, seconds: float, tries: int | None = None, verdict: Verdict = SUCCESS) -> None:
        """Record an attempt that returned."""
        self._traffic.odd_spent.append((_kind(tries), outcomes.of_verdict(verdict), "", seconds))

    def returned(self, result: object, seconds: float, tries: int | None = None) -> None:
        """Record an attempt whose result means something."""
        self.ended(seconds, tries, self.env.classifier.of_result(result))


def _kind(tries: int | None) -> str:
    """Return "first" or "retry"; where nobody counts, inside of a policy that calls by itself, retries tell."""
    if tries is None:
        return "retry" if repeating() else "first"
    return "first" if tries == 1 else "retry"


class Traffics(Protocol):
    """Who keeps what is measured."""

    def traffic(self, env: Env) -> Traffic:
        """Return where the calls of a pipeline are counted."""


class CallMeter:
    """The inlay around every call."""

    place: Place = "call"

    def __init__(self, traffics: Traffics) -> None:
        """Measure for `traffics`."""
        self._traffics = traffics

    def bind(self, env: Env) -> Guard:
        """Return the meter of one pipeline."""
        return _CallGuard(env, self._traffics.traffic(env))


class AttemptMeter:
    """The inlay around every attempt."""

    place: Place = "attempt"

    def __init__(self, traffics: Traffics) -> None:
        """Measure for `traffics`."""
        self._traffics = traffics

    def bind(self, env: Env) -> Guard:
        """Return the meter of one pipeline."""
        return _AttemptGuard(env, self._traffics.traffic(env))
