"""What is stored, what may stand in for an answer, and what errors are stored."""

from __future__ import annotations

from typing import Any

from resilient import _check, faults
from resilient._guards.stale_cache_settings import Settings, shallow_size
from resilient._machines.sieve import Node, Sieve
from resilient._machines.staleness import Ages, Stored
from resilient._policy import Env, Guard
from resilient.errors import CallTimeout, ConfigError, Rejected, Unguardable
from resilient.outcome import Outcome
from resilient.provenance import Provenance, Source

BAD = (Outcome.FAILURE, Outcome.THROTTLED)

_STAND_INS = frozenset({"fallback", "stale", "negative"})

_COUNTED = ("misses", "shared", "stale_served", "negative_served", "refreshed", "refresh_failed", "not_kept")


class Refusal(Node):
    """A stored error, raised with nothing that its callers have left on it."""

    __slots__ = ("_context", "_notes", "born", "error")

    def __init__(self, key: tuple[Any, ...], error: Exception, born: float, end: float) -> None:
        super().__init__(key, end, 1)
        self.error = error
        self.born = born
        self._context = error.__cause__, error.__context__, error.__suppress_context__
        self._notes = tuple(getattr(error, "__notes__", ()))

    def move(self, seconds: float) -> None:
        """Carry all times over to a clock that is so much ahead."""
        self.born += seconds
        self.end += seconds

    def fresh(self) -> Exception:
        """Return the error as it was, without a traceback."""
        error = self.error
        given = zip(("__cause__", "__context__", "__suppress_context__"), self._context, strict=True)
        for name, value in given:
            BaseException.__setattr__(error, name, value)  # some errors are frozen dataclasses
        if getattr(error, "__notes__", None):
            BaseException.__setattr__(error, "__notes__", list(self._notes))
        return error.with_traceback(None)


class Keeping(Guard):
    """A stale cache's guard, as far as its store is concerned."""

    __slots__ = ("_clock", "_policy", "ages", "counts", "refusals", "shelf")

    def __init__(self, env: Env, label: str, policy: Settings) -> None:
        super().__init__(env, label)
        self._policy = policy
        self._clock = env.clock
        self.ages = Ages(policy.fresh, policy.stale, policy.while_revalidating, policy.jitter, policy.early)
        self.shelf: Sieve[Stored] = Sieve(policy.max_entries, policy.max_bytes)
        self.refusals: Sieve[Refusal] = Sieve(policy.max_entries, None)
        self.counts = dict.fromkeys(_COUNTED, 0)

    @property
    def policy(self) -> Settings:
        """The configuration this guard was made from."""
        return self._policy

    def store(self, key: tuple[Any, ...], value: Any, age: float, took: float, since: float = 0.0) -> Stored | None:  # noqa: ANN401
        """Keep an answer, in place of the error that may be stored; None if it is too old or too large."""
        now = self.env.now()
        draw = self.env.clock.random() if self.ages.jitter else 0.0
        stored = self.ages.stored(key, value, now, age=age, took=took, draw=draw, since=since)
        size = self._size(value)
        if stored is not None and size is not None:
            stored.size = size
            if self.shelf.put(stored, now):
                self._withdraw(key)
                return stored
        self.counts["not_kept"] += 1
        return None

    def younger(self, key: tuple[Any, ...], age: float) -> bool:
        """Tell whether what is kept for a key is no older than that: a store did not get the last answer."""
        stored = self.shelf.entries.get(key)
        return stored is not None and stored.born >= self.env.now() - age

    def _size(self, value: Any) -> int | None:  # noqa: ANN401
        if self._policy.max_bytes is None:
            return 1
        size = self._policy.size or shallow_size
        try:
            return _check.count("size", size(value), least=0)
        except Exception as fault:  # noqa: BLE001 -- a size that cannot be told keeps an answer off the shelf
            faults.report(size, fault)
            return None

    def _withdraw(self, key: tuple[Any, ...]) -> None:
        if self.refusals.entries:
            refusal = self.refusals.entries.get(key)
            if refusal is not None:
                self.refusals.drop(refusal)

    def refusal(self, key: tuple[Any, ...], now: float) -> Refusal | None:
        """Return the error that is stored for a key, if it still counts."""
        if not self.refusals.entries:
            return None
        refusal = self.refusals.entries.get(key)
        if refusal is not None and now >= refusal.end:
            self.refusals.drop(refusal)
            return None
        return refusal

    def learn(self, key: tuple[Any, ...], error: Exception) -> bool:
        """Store an error that is to be stored; tell whether the downstream has just taken an answer back."""
        if isinstance(error, (Rejected, ConfigError, Unguardable)):
            return False
        now = self.env.now()
        stored = self.shelf.entries.get(key)
        if stored is not None and self.serves(error):
            return False
        taken_back = stored is not None and self.env.classifier.of_error(error).outcome is Outcome.SUCCESS
        if stored is not None and taken_back:
            self.shelf.drop(stored)
        negative = self._policy.negative
        if negative is not None and _check.matches(self._policy.negative_on, error):
            lasts = negative * (1.0 - self.ages.jitter * self.env.clock.random())
            self.refusals.put(Refusal(key, error, now, now + lasts), now)
        return taken_back

    def serves(self, error: Exception) -> bool:
        """Tell whether an error is one that a stored answer may stand in for."""
        if isinstance(error, (ConfigError, Unguardable)) or self.env.gate.insists(error):
            return False
        on = self._policy.on
        if on is not None:
            return _check.matches(on, error)
        return isinstance(error, (Rejected, CallTimeout)) or self.env.classifier.of_error(error).outcome in BAD

    def provenance(self, source: Source, born: float, reason: str | None) -> Provenance:
        """Return the note on something stored."""
        return Provenance(source, max(0.0, self.env.now() - born), reason, self.label, self.env.downstream)

    def snapshot(self) -> dict[str, object]:
        """Return how many answers are kept, and how they were used."""
        bytes_kept = {} if self._policy.max_bytes is None else {"bytes": self.shelf.size}
        return {
            "entries": len(self.shelf),
            **bytes_kept,
            "negative_entries": len(self.refusals),
            "hits": self.shelf.hits,
            **self.counts,
            "evicted": self.shelf.evicted,
            "expired": self.shelf.expired,
        }

    def resting(self) -> bool:
        """Tell whether nothing usable is stored."""
        now = self.env.now()
        nodes = [*self.shelf.entries.values(), *self.refusals.entries.values()]
        return all(now >= node.end for node in nodes)

    def follow_clock(self) -> None:
        """Carry the times of everything over to the clock that is now in force."""
        clock = self.env.clock
        if clock is not self._clock:
            before, self._clock = self._clock, clock
            ahead = clock.now() - before.now()
            for stored in list(self.shelf.entries.values()):
                stored.move(ahead)
            for refusal in list(self.refusals.entries.values()):
                refusal.move(ahead)

    def renew(self) -> None:
        """Keep everything, with locks of its own, in a forked child."""
        self.shelf.renew()
        self.refusals.renew()


def oldest(notes: tuple[Provenance, ...]) -> float:
    """Return the age of the oldest part of an answer."""
    return max((note.age for note in notes), default=0.0)


def stand_in(notes: tuple[Provenance, ...]) -> Provenance | None:
    """Return the note on a part of an answer that is none of the downstream: such answers are not stored."""
    return next((note for note in notes if note.source in _STAND_INS), None)
