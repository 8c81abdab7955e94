"""The way of a call that found no fresh answer: wait for who asks already, or ask; then store, share, stand in.

The same steps for plain and async calls, but for the wait itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from resilient._guards.stale_cache_keeping import BAD, Keeping, oldest, stand_in
from resilient._guards.stale_cache_settings import Settings
from resilient._guards.stale_cache_turn import Shared, Turn, leads
from resilient._guards.stale_cache_values import LARGEST, oversized, refuse_spent
from resilient._machines.staleness import State, Stored
from resilient._policy import Env
from resilient._runtime.flight import Lead
from resilient._runtime.flights import Flights
from resilient.errors import ConfigError, DeadlineExceeded, Rejected
from resilient.events import wanted
from resilient.outcome import thrown_away
from resilient.provenance import Provenance, Source, note

if TYPE_CHECKING:
    from resilient._guards.stale_cache_backing import Loaded
    from resilient._runtime.flight import Got

Start = Callable[[Turn, Stored, Any, Any], bool]


class Asking(Keeping):
    """A stale cache's guard, as far as calls are concerned that find no fresh answer."""

    __slots__ = ("flights",)

    def __init__(self, env: Env, label: str, policy: Settings) -> None:
        super().__init__(env, label, policy)
        self.flights: Flights[Shared] = Flights()

    def refresh(self, stored: Stored, turn: Turn, start: Start, args: Any, kwargs: Any) -> None:  # noqa: ANN401
        """Ask for a fresh answer in the background."""
        raise NotImplementedError

    # -- before the function -----------------------------------------------------------------------

    def look(self, turn: Turn, start: Start, args: Any, kwargs: Any) -> None:  # noqa: ANN401
        """Answer from the shelf if that may be, else join the flight of who asks already, or lead one."""
        now = self.env.now()
        stored = self.shelf.entries.get(turn.key)
        state = State.GONE if stored is None else stored.state(now)
        if stored is None or state is State.STALE:
            self._miss(turn, now)
        elif state is State.GONE:
            self.shelf.drop(stored)
            self._miss(turn, now)
        elif state is State.FRESH:
            if now >= stored.until and self.ages.due(stored, now, self.env.clock.random()):
                self.refresh(stored, turn, start, args, kwargs)
            self._serve_fresh(turn, stored)
        else:
            self.refresh(stored, turn, start, args, kwargs)
            self._stand_in(turn, stored, now, stored.cause if now < stored.rest else "revalidating")

    def _miss(self, turn: Turn, now: float) -> None:
        self.counts["misses"] += 1
        if oversized(turn.key):
            if self._policy.key is not None:
                message = f"{self.env.downstream}: key of {self.label} must return at most {LARGEST} characters"
                raise ConfigError(message)
            turn.kept = False
            turn.lead = self.flights.alone(turn.key, now)
            return
        found = self.flights.join(turn.key, now)
        if isinstance(found, Lead):
            self._lead(turn, found, now)
        elif leads(found):  # it would wait for itself
            turn.lead = self.flights.alone(turn.key, now)
        else:
            turn.flight = found

    def _lead(self, turn: Turn, lead: Lead[Shared], now: float) -> None:
        """Take the duty, unless the answer came between the look at the shelf and the joining."""
        stored = self.shelf.entries.get(turn.key)
        if stored is not None and now < stored.fresh:
            lead.land(Shared(stored.value, (self.provenance("fresh", stored.born, None),)))
            self._serve_fresh(turn, stored)
        else:
            turn.lead = lead
            self._refused(turn, now)

    def restored(self, turn: Turn, loaded: Loaded | None, start: Start, args: Any, kwargs: Any) -> None:  # noqa: ANN401
        """Answer with what the store had, if that may be; else the function is called."""
        if loaded is None or turn.lead is None or not turn.lead.valid or self.younger(turn.key, loaded.age):
            return
        stored = self.store(turn.key, loaded.value, loaded.age, loaded.took, loaded.kept)
        if stored is None:
            return
        if not turn.lead.valid:  # forgotten meanwhile
            self.shelf.drop(stored)
            return
        now = self.env.now()
        state = stored.state(now)
        if state is State.FRESH:
            turn.taken().land(Shared(stored.value, (self.provenance("fresh", stored.born, None),)))
            self._serve_fresh(turn, stored)
        elif state is State.REVALIDATE:
            turn.taken().land(Shared(stored.value, (self.provenance("stale", stored.born, "revalidating"),)))
            self.refresh(stored, turn, start, args, kwargs)
            self._stand_in(turn, stored, now, "revalidating")

    def _refused(self, turn: Turn, now: float) -> None:
        """Raise the error that is stored for a key."""
        refusal = self.refusal(turn.key, now)
        if refusal is not None:
            self.counts["negative_served"] += 1
            note(self.provenance("negative", refusal.born, type(refusal.error).__name__))
            error = refusal.fresh()
            if turn.lead is not None:
                turn.taken().fail(error)
            raise error

    def followed(self, turn: Turn, got: Got[Shared]) -> None:
        """Take what a wait has come to."""
        turn.flight = None
        if isinstance(got, Lead):
            self._lead(turn, got, self.env.now())
            return
        try:
            shared = self._late() if got is None else got.answer()
        except Exception as error:
            if not self.stands_in(turn, error):
                raise
            return
        finally:
            del got
        self.counts["shared"] += 1
        if shared.bad is not None and self._instead(turn, shared.bad):
            return
        for each in shared.notes:
            note(each)
        note(Provenance("shared", oldest(shared.notes), None, self.label, self.env.downstream))
        turn.answer(shared.value)

    def _late(self) -> Shared:
        reason = DeadlineExceeded.default_reason
        self.env.emit("resilient.call.rejected", policy=self.label, reason=reason, retry_after=None)
        raise DeadlineExceeded(self.env.downstream, self.label, None)

    # -- after the function ------------------------------------------------------------------------

    def returned(self, turn: Turn, result: Any) -> Any:  # noqa: ANN401
        """Store and share what the function returned; return it, or what stands in for it if it is bad."""
        bad = self.share(turn, result)
        return turn.result if bad is not None and self._instead(turn, bad) else result

    def share(self, turn: Turn, result: Any) -> str | None:  # noqa: ANN401
        """Store what the function returned, and hand it to those who wait; return the name of a bad result."""
        lead, notes = turn.over()
        try:
            bad = self._keep(turn, lead, result, notes)
        except Exception as error:
            lead.fail(error)
            raise
        lead.land(Shared(result, notes, bad))
        return bad

    def _keep(self, turn: Turn, lead: Lead[Shared], result: Any, notes: tuple[Provenance, ...]) -> str | None:  # noqa: ANN401
        """Store an answer if it is one of the downstream; return the name of a bad one."""
        refuse_spent(self.env.downstream, self.label, result)
        if self.env.classifier.result is not None and self.env.classifier.of_result(result).outcome in BAD:
            return type(result).__name__
        if not turn.kept or stand_in(notes) is not None or not lead.valid:
            self.counts["not_kept"] += 1
            return None
        turn.era = self.flights.forgotten
        stored = self.store(turn.key, result, oldest(notes), max(0.0, self.env.now() - turn.began))
        if stored is not None and not lead.valid:  # forgotten meanwhile
            self.shelf.drop(stored)
        else:
            turn.made = stored
        return None

    def failed(self, turn: Turn, error: BaseException) -> bool:
        """Settle a call that raised; tell whether something stands in for its answer."""
        lead = self.unwound(turn, error)
        if lead is None or not isinstance(error, Exception):
            return False
        now = self.env.now()
        if isinstance(error, DeadlineExceeded) or (now >= turn.end and isinstance(error, (Rejected, TimeoutError))):
            # It was this caller's time that was up: who has enough of it left tries again, not all of them.
            lead.lose(max(turn.end, now + (now - turn.began) / 2), error)
        else:
            turn.taken_back = self.learn(turn.key, error)
            lead.fail(error)
        return self.stands_in(turn, error)

    @staticmethod
    def unwound(turn: Turn, error: BaseException) -> Lead[Shared] | None:
        """Watch no longer; return the duty, or None if it was handed over because the call was ended from outside.

        Thrown away, this may be the collector: nothing here takes a lock, and a task's context is another one.
        """
        thrown = thrown_away(error)
        lead = turn.taken() if thrown and turn.task else turn.over()[0]
        if isinstance(error, Exception) and not thrown:
            return lead
        lead.lose()
        return None

    # -- what is served ----------------------------------------------------------------------------

    def stands_in(self, turn: Turn, error: Exception) -> bool:
        """Answer with what is stored, if it may stand in for an answer that ended so."""
        return self.serves(error) and self._instead(turn, type(error).__name__)

    def _instead(self, turn: Turn, cause: str) -> bool:
        now = self.env.now()
        stored = self.shelf.entries.get(turn.key)
        if stored is None or now >= stored.end:
            return False
        self._stand_in(turn, stored, now, cause)
        if wanted():
            age = max(0.0, now - stored.born)
            self.env.emit("resilient.cache.stale_served", policy=self.label, age=age, cause=cause)
        return True

    def _stand_in(self, turn: Turn, stored: Stored, now: float, reason: str | None) -> None:
        stored.hits += 1
        self.counts["stale_served"] += 1
        source: Source = "fresh" if now < stored.fresh else "stale"  # somebody else got a fresh one meanwhile
        note(self.provenance(source, stored.born, reason))
        turn.answer(stored.value)

    def _serve_fresh(self, turn: Turn, stored: Stored) -> None:
        stored.hits += 1
        self.told(stored)
        turn.answer(stored.value)

    def told(self, stored: Stored) -> None:
        """Tell who watches that a fresh stored answer was served."""
        note(self.provenance("fresh", stored.born, None))

    def snapshot(self) -> dict[str, object]:
        """Return what there is to tell, and what is asked for now."""
        return {**super().snapshot(), "asking": len(self.flights)}

    def resting(self) -> bool:
        """Tell whether nothing usable is stored and nobody asks."""
        return not len(self.flights) and super().resting()
