"""What is held at a gate, and every change of it: here, on the breakers of the pipeline, and in events."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from threading import RLock
from typing import TYPE_CHECKING

from resilient import _check
from resilient._guards.breaker import BreakerGuard
from resilient._guards.breaker_news import held
from resilient._machines.gate import OPEN_GATE, Gate
from resilient._machines.holds import ALL_MODES, CONTROL, FORCED_OPEN, GATE, MODES, Entry
from resilient._policy import Env, Guard

if TYPE_CHECKING:
    from resilient.holds import Hold

News = Sequence[tuple[str, Entry]]
"""What happened to a hold ("applied", "released", "expired"), and which."""

_ALL = 100

_JITTER = 0.05
"""Seconds by which the same end differs, computed twice."""

# The collector may run a call of somebody's finaliser while this thread changes a gate.
_lock = RLock()
"""Around every change of a gate. A gate is read without it."""


class HeldGate(Guard):
    """The holds on one downstream in one process.

    Attributes:
        seen: The source's word while everybody passes, None while the gate has to be asked.
        applied: The word's value to which the holds here belong, None before the first look.
        guards: Those of the pipeline; its breakers are held along with it.

    """

    __slots__ = ("_clock", "_state", "applied", "guards", "seen")

    def __init__(self, env: Env) -> None:
        super().__init__(env, "hold")
        self._clock = env.clock
        self._state = OPEN_GATE
        self.seen: int | None = 0
        self.applied: int | None = 0
        self.guards: tuple[Guard, ...] = ()

    @property
    def breakers(self) -> list[BreakerGuard]:
        """The breakers of the pipeline, outermost first."""
        return [guard for guard in self.guards if isinstance(guard, BreakerGuard)]

    def current(self) -> Gate:
        """Return what is in force now."""
        state = self._state
        if state is not OPEN_GATE and (state.ramp is not None or state.next_end <= self._now()):
            state = self.tick()
        return state

    def hold(  # noqa: PLR0913 -- the settings of a hold
        self,
        mode: str,
        *,
        reason: str,
        expires: _check.Duration | None,
        actor: str = "",
        percent: int = 100,
        disposition: str = "fallback",
    ) -> Hold:
        """Place a hold in this process; see `Pipeline.hold`."""
        from resilient.holds import new_entry  # noqa: PLC0415 -- only who holds pays for it

        entry = new_entry(
            mode, reason, actor, expires, self._now(), modes=ALL_MODES, percent=percent, disposition=disposition
        )
        self.publish(self._change([entry], ()))
        return self._handle(entry)

    def holds(self) -> tuple[Hold, ...]:
        """Return the holds that are there, masked ones included."""
        return tuple(self._handle(entry) for entry in self.current().holds)

    def take(self, entries: Iterable[Entry], word: int | None) -> News:
        """Have just these holds in place of those taken before; called by the source, one call at a time.

        Args:
            entries: Holds that other processes placed, or this one for all.
            word: The source's word, read before they were; None if it could not be read yet.

        Returns:
            What the source has to `publish` when it has let go of its locks.

        """
        there = {entry.id: entry for entry in self._state.holds}
        wanted = {entry.id: entry for entry in entries}
        new = [entry for name, entry in wanted.items() if not _same(there.get(name), entry)]
        gone = [name for name, entry in there.items() if entry.origin == CONTROL and name not in wanted]
        news = self._change(new, gone) if new or gone else ()
        self._apply(word)
        return news

    def publish(self, news: News) -> None:
        """Tell what has changed. Never call this while holding a lock."""
        for what, entry in news:
            held(self.env, self.breakers[0].label if self.breakers else self.label, what, entry)
        for breaker in self.breakers:
            breaker.publish()

    def command(self, command: str) -> None:
        """Carry out "reset" (close, and forget) or "probe" (let a few calls pass) on every breaker of the pipeline."""
        if command == "reset":
            with _lock:
                self._set(self._state.unramped())
        for breaker in self.breakers:
            breaker.reset() if command == "reset" else breaker.probe()

    def tick(self) -> Gate:
        """Let happen what time alone brings; return what is in force."""
        if self._state is OPEN_GATE:  # of thousands of gates almost all
            return OPEN_GATE
        now = self._now()
        over = self._state.over(now)
        if over:
            self.publish(self._change((), [entry.id for entry in over]))
        elif self._state.ramp is not None:
            with _lock:
                self._set(self._state.settled(now))
        return self._state

    def _change(self, new: Sequence[Entry], gone: Iterable[str]) -> News:
        """Add holds and take holds away, here and on the breakers; return what is to be told."""
        now, gone = self._now(), set(gone)
        whole = [replace(entry, origin=GATE) for entry in new if _whole(entry)]
        off = gone.union(entry.id for entry in new if not _whole(entry))  # also in the place of one that was whole
        with _lock:
            before = self._state
            after = before.changed(new, gone, now, ramped=not self.breakers)
            # The gate last: what an exception from a signal handler cuts short is then found missing, and done again.
            for breaker in self.breakers:
                breaker.impose(whole, off)
            self._set(after)
        known = {entry.id: entry for entry in before.holds}
        news = [("applied", entry) for entry in new if entry.id not in known]
        ended = [known[name] for name in known if name in gone]
        return [*news, *(("expired" if entry.until <= now else "released", entry) for entry in ended)]

    def _set(self, state: Gate) -> None:
        """Put a state in force; called under the lock."""
        self.seen = None  # whatever comes between these lines, nobody passes unasked
        self._state = state
        self._show()

    def _apply(self, word: int | None) -> None:
        """Say to which value of the word the holds here belong."""
        with _lock:
            self.applied = word
            self._show()

    def _show(self) -> None:
        """Show the fast path whether it must ask; called under the lock, or a hold placed meanwhile were missed."""
        self.seen = self.applied if self._state is OPEN_GATE else None

    def _handle(self, entry: Entry) -> Hold:
        def active(name: str) -> bool:
            return any(each.id == name for each in self.current().holds)

        def release(name: str) -> bool:
            if entry.origin == CONTROL:
                message = "one of this process; others are released by `resilient release` or `control.Operations`"
                _check.refuse("hold", name, message)
            there = active(name)
            if there:
                self.publish(self._change((), [name]))
            return there

        from resilient.holds import Hold  # noqa: PLC0415

        expires = None if entry.until == math.inf else entry.until - self._now()
        return Hold(entry.mode, entry.reason, entry.actor, expires, entry.id, release, active, entry.percent)

    def snapshot(self) -> dict[str, object]:
        """Return what is in force as plain data with relative times; nothing while everybody passes."""
        state = self.current()
        if state is OPEN_GATE:
            return {}
        now = self._now()
        holds = [
            {
                "id": entry.id,
                "mode": entry.mode,
                "reason": entry.reason,
                "actor": entry.actor,
                "percent": entry.percent,
                "disposition": entry.disposition,
                "expires": None if entry.until == math.inf else max(0.0, entry.until - now),
            }
            for entry in state.holds
        ]
        return {"mode": state.mode, "share": state.share(now), "retries": state.retries, "holds": holds}

    def resting(self) -> bool:
        """Tell whether everybody passes."""
        return self.current() is OPEN_GATE

    def follow_clock(self) -> None:
        """Carry the holds over to the clock that is now in force."""
        self._now()

    def _now(self) -> float:
        clock = self.env.clock
        if clock is not self._clock:
            with _lock:
                before, self._clock = self._clock, clock
                self._state = self._state.moved(before.now(), clock.now())
        return clock.now()


def _same(known: Entry | None, entry: Entry) -> bool:
    """Tell whether a hold is there already, as it is wanted."""
    return known is not None and abs(known.until - entry.until) < _JITTER and replace(known, until=entry.until) == entry


def _whole(entry: Entry) -> bool:
    return entry.mode in MODES and not (entry.mode == FORCED_OPEN and entry.percent < _ALL)


def renew() -> None:
    """Replace the lock, in a forked child."""
    global _lock  # noqa: PLW0603 -- the parent's may be held by a thread that is not here
    _lock = RLock()
