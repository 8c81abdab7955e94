"""Refreshes behind the back of readers: one for each key, so many at once, through what stands inside of the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from resilient._guards.stale_cache_asking import Asking, Start
from resilient._guards.stale_cache_keeping import stand_in
from resilient._guards.stale_cache_settings import Settings
from resilient._guards.stale_cache_turn import Turn
from resilient._machines.staleness import Stored
from resilient._policy import NEVER, Colour, Env
from resilient._runtime.background import Background
from resilient._runtime.flight import Lead
from resilient.errors import Unguardable

if TYPE_CHECKING:
    from resilient._guards.stale_cache_backing import Backing


class Refreshing(Asking):
    """A stale cache's guard, as far as it asks on its own."""

    __slots__ = ("_inside", "background", "backing")

    def __init__(self, env: Env, label: str, policy: Settings) -> None:
        super().__init__(env, label, policy)
        self._inside: Callable[[Colour], Callable[..., Any]] | None = None
        self.background = Background(policy.refreshes)
        self.backing: Backing | None = None
        if policy.store is not None:
            from resilient._guards.stale_cache_backing import Backing  # noqa: PLC0415 -- only who uses a store loads it

            self.backing = Backing(policy.store, policy.codec, env.downstream, label)

    def encloses(self, inside: Callable[[Colour], Callable[..., Any]]) -> None:
        """Hear how to call a function through the policies inside alone."""
        self._inside = inside

    def refresh(self, stored: Stored, turn: Turn, start: Start, args: Any, kwargs: Any) -> None:  # noqa: ANN401
        """Ask for a fresh answer in the background, unless somebody does, or the last one failed just now."""
        now = self.env.now()
        if now < stored.rest or self.flights.busy(turn.key, now):
            return
        lead = self.flights.join(turn.key, now)
        if isinstance(lead, Lead):
            work = Turn(turn.key, turn.call, NEVER, task=turn.task)
            work.lead = lead
            if not start(work, stored, args, kwargs):
                work.taken().lose()

    def _start(self, work: Turn, stored: Stored, args: Any, kwargs: Any) -> bool:  # noqa: ANN401
        return self.background.start(self._work, work, stored, args, kwargs)

    def _astart(self, work: Turn, stored: Stored, args: Any, kwargs: Any) -> bool:  # noqa: ANN401
        return self.background.astart(self._awork, work, stored, args, kwargs)

    def _work(self, work: Turn, stored: Stored, args: Any, kwargs: Any) -> None:  # noqa: ANN401
        assert self._inside is not None  # noqa: S101 -- told before any call
        through = self._inside("sync")
        work.begin(self.env.now())
        try:
            result = through(work.call, *args, **kwargs)
        except BaseException as error:
            if not self._unrefreshed(work, stored, error):
                raise
        else:
            self._refreshed(work, stored, result)
        self.settle(work)

    async def _awork(self, work: Turn, stored: Stored, args: Any, kwargs: Any) -> None:  # noqa: ANN401
        assert self._inside is not None  # noqa: S101
        through = self._inside("async")
        work.begin(self.env.now())
        try:
            result = await through(work.call, *args, **kwargs)
        except BaseException as error:
            if not self._unrefreshed(work, stored, error):
                raise
        else:
            self._refreshed(work, stored, result)
        await self.asettle(work)

    def settle(self, turn: Turn) -> None:
        """Let the store know what a call has come to."""
        backing, made = self.backing, turn.made
        if backing is not None and made is not None and not self._forgotten(turn):
            backing.save(turn.key, made, self.env.now())
        if backing is not None and (turn.taken_back or self._forgotten(turn)):
            backing.drop(turn.key)

    async def asettle(self, turn: Turn) -> None:
        """Do the same without blocking the event loop."""
        backing, made = self.backing, turn.made
        if backing is not None and made is not None and not self._forgotten(turn):
            await backing.asave(turn.key, made, self.env.now())
        if backing is not None and (turn.taken_back or self._forgotten(turn)):
            await backing.adrop(turn.key)

    def _forgotten(self, turn: Turn) -> bool:
        """Tell whether an answer that was stored may have been forgotten since."""
        made = turn.made
        return made is not None and self.flights.forgotten != turn.era and self.shelf.entries.get(turn.key) is not made

    def _refreshed(self, work: Turn, stored: Stored, result: Any) -> None:  # noqa: ANN401
        try:
            self.share(work, result)
        except Unguardable as error:
            self._count_failure(stored, type(error).__name__, None)
            return
        if self.shelf.entries.get(work.key) is not stored:
            self.counts["refreshed"] += 1
            return
        made = None if work.watch is None else stand_in(tuple(work.watch.all))
        cause = type(result).__name__ if made is None else made.reason or made.source
        self._count_failure(stored, cause, None)

    def _unrefreshed(self, work: Turn, stored: Stored, error: BaseException) -> bool:
        """Settle a refresh that failed; False if it was ended from outside."""
        lead = self.unwound(work, error)
        if lead is None or not isinstance(error, Exception):
            return False
        work.taken_back = self.learn(work.key, error)
        lead.fail(error)
        self._count_failure(stored, type(error).__name__, self.env.classifier.of_error(error).retry_after)
        return True

    def _count_failure(self, stored: Stored, cause: str, hint: float | None) -> None:
        stored.failed(self.env.now(), cause, hint)
        self.counts["refresh_failed"] += 1
        self.env.emit("resilient.cache.refresh_failed", policy=self.label, cause=cause)

    def snapshot(self) -> dict[str, object]:
        """Return what there is to tell, and what is asked for now."""
        kept = {} if self.backing is None else {"corrupt": self.backing.corrupt}
        return {**super().snapshot(), "refreshing": self.background.running, **kept}

    def resting(self) -> bool:
        """Tell whether nothing usable is stored and nobody asks."""
        return not self.background.running and super().resting()
