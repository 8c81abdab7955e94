"""One request that a cache may answer: what it finds, asks, serves and stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from resilient.cache.completing import complete, incomplete
from resilient.cache.fields import index
from resilient.cache.keeping import Place, forget, keep_whole
from resilient.cache.looking import Found, Held
from resilient.cache.messages import Answering, Close, Flow, Got, Now, Reply, Send
from resilient.cache.placing import filling, passed, tags_of
from resilient.cache.ranges import condition_holds, cut
from resilient.cache.refreshing import behind, update
from resilient.cache.replying import not_held, reply
from resilient.cache.reuse import Judgement, Use, judge, stands_in
from resilient.cache.status import forwarded, hit
from resilient.cache.validating import agrees, conditions, confirmed, same_tag
from resilient.cache.variants import nominated, vary
from resilient.cache.wanted import Wanted
from resilient.errors import Rejected

if TYPE_CHECKING:
    from resilient.cache.config import HttpCache

__all__ = ["Case"]

_OK = 200
_NOT_MODIFIED = 304
_OF_RESOURCE = frozenset({*range(200, 300), 404, 410})
"""Statuses that say what there is now: what was stored before is no more."""


@dataclass(slots=True)
class Case:
    """A request on its way.

    Attributes:
        cache: The cache.
        want: The request.
        found: What the store holds for it.
        now: The wall clock.
        fails: Which errors a stale answer may stand in for.

    """

    cache: HttpCache
    want: Wanted
    found: Found
    now: Now
    fails: Callable[[Exception], bool]

    def answer(self) -> Answering:
        """Serve what is stored, or ask for it."""
        held = self._candidate()
        judgement = None
        if held is not None:
            now = self.now()
            judgement = judge(self.cache, held.entry, self.want.limits, now)
            if judgement.use in (Use.FRESH, Use.STALE) or (
                judgement.use is Use.BEHIND
                and not self.want.head
                and (yield from behind(self.cache, self.want, self.found, held, now))
            ):
                served = self._served(held, judgement.use)
                if served is not None:
                    return served
        if self.want.limits.only_if_cached:
            return not_held()
        if self.want.head:
            return (yield from self._head(judgement))
        if held is None and (part := incomplete(self.cache, self.want, self.found)) is not None:
            completed = yield from complete(self.cache, self.want, self.found, part, self.now)
            return completed if isinstance(completed, Reply) else (yield from self._took(completed, "partial"))
        return (yield from self._ask(held, judgement))

    def _candidate(self) -> Held | None:
        """Return the stored answer that the request may get: the whole, or a part that holds its range."""
        fit, want = self.found.fit, self.want
        if fit is not None:
            return fit
        if want.range is not None:
            for held in self.found.parts:
                if condition_holds(want.if_range, held.entry) and cut(held.entry, held.body, want.range):
                    return held
        return None

    def _served(self, held: Held, use: Use) -> Reply | None:
        now = self.now()
        ttl = held.entry.lifetime - held.entry.age(now)
        if use is Use.FRESH:
            return self._counted("hits", reply(held, self.want, now, "fresh", hit(ttl)))
        reason = "max-stale" if use is Use.STALE else "revalidating"
        return self._counted("stale", reply(held, self.want, now, "stale", hit(ttl, reason), reason=reason))

    def _counted(self, what: str, made: Reply | None) -> Reply | None:
        if made is not None:
            self.cache.counts[what] += 1
        return made

    def _why(self, judgement: Judgement | None) -> str:
        """Say why the request is sent on, in the words of RFC 9211."""
        if judgement is not None:
            return "request" if judgement.asked else "stale"
        if self.found.fit is not None or self.found.parts:
            return "partial"
        return "vary-miss" if self.found.others else "uri-miss"

    def _ask(self, held: Held | None, judgement: Judgement | None) -> Answering:
        """Ask whether what is stored is still right, or for a new answer where nothing is."""
        unfit = judgement is None  # it holds nothing for the request, or not the range
        stored = [held] if held is not None else self.found.others if self.found.fit is None else []
        fields, named = conditions(self.want, stored) if stored else (None, ())
        got = yield from self._sent(fields, None if unfit else held)
        if isinstance(got, Reply):
            return got
        if got.status == _NOT_MODIFIED and named and not got.replaced:
            verdict = confirmed(named, got, held)
            if verdict.use is not None:
                return (yield from self._confirmed(verdict.update, verdict.use, got, self._why(judgement)))
            if not self._theirs(got):  # about something that nobody has: ask anew
                yield Close(got)
                got = yield from self._sent(None, None if unfit else held)
                if isinstance(got, Reply):
                    return got
        return (yield from self._took(got, self._why(judgement)))

    def _sent(self, fields: list[tuple[bytes, bytes]] | None, spare: Held | None) -> Flow:
        """Send the request; return what came, or the stored answer that stands in for it."""
        try:
            got: Got = yield Send(fields, whole=spare is not None and self._may_stand_in(spare, unreachable=True))
        except Exception as error:
            made = self._instead(spare, error) if self.fails(error) else None
            if made is None:
                raise
            return made
        if got.status in self.cache.stale_statuses:
            made = self._instead(spare, got.status)
            if made is not None:
                yield Close(got)
                return made
        return got

    def _may_stand_in(self, spare: Held, *, unreachable: bool) -> bool:
        return stands_in(self.cache, spare.entry, self.want.limits, self.now(), unreachable=unreachable)

    def _instead(self, spare: Held | None, cause: Exception | int) -> Reply | None:
        """Return a stored answer in place of one that cannot be had, if that is allowed (RFC 5861, 4)."""
        if spare is None or not self._may_stand_in(spare, unreachable=not isinstance(cause, int)):
            return None
        now = self.now()
        ttl = spare.entry.lifetime - spare.entry.age(now)
        if isinstance(cause, int):
            reason, told = str(cause), forwarded("stale", cause, ttl=ttl)
        else:
            reason = type(cause).__name__
            told = hit(ttl, reason) if isinstance(cause, Rejected) else forwarded("stale", ttl=ttl, detail=reason)
        return self._counted("stale", reply(spare, self.want, now, "stale", told, reason=reason))

    def _theirs(self, got: Got) -> bool:
        """Tell whether a 304 is about the client's own copy."""
        tags = index(got.fields).get(b"etag")
        if self.want.tags is None:
            return False
        return tags is not None and any(same_tag(tags[0], tag) for tag in self.want.tags)

    def _confirmed(self, updates: Sequence[Held], use: Held, got: Got, why: str) -> Answering:
        """Serve a stored answer that is still right, with the news of it."""
        yield Close(got)
        served, stored = use, False
        for held in updates:
            fresh, kept = yield from update(self.cache, self.want, self.found, held, got)
            if held is use:
                served, stored = fresh, kept
        if stored and use is not self.found.fit and use.entry.span is None:
            yield from self._also(served, got)
        now = self.now()
        self.cache.counts["revalidated"] += 1
        ttl = served.entry.lifetime - served.entry.age(now)
        told = forwarded(why, got.status, ttl=ttl, stored=stored)
        made = reply(served, self.want, now, "revalidated", told)
        if made is not None:
            return made
        return (yield from self._took((yield Send()), why))  # another range than it holds

    def _also(self, held: Held, got: Got) -> Flow:
        """Store an answer that was given to another request for this one, too: its origin said that it fits."""
        names = nominated(index(held.entry.fields))
        tags = tags_of(self.cache, self.want, got)
        if not names or tags is None:
            return
        entry = replace(held.entry, vary=vary(names, self.want.found, self.cache.secret))
        place = Place(
            self.found.address, held.key, tags, variants=self.found.variants.get(held.key, []), mark=self.want.mark
        )
        yield from keep_whole(self.cache, place, entry, held.body)

    def _took(self, got: Got, why: str) -> Answering:
        """Hand an answer out, and store it if it may be."""
        self.cache.counts["misses"] += 1
        kept = filling(self.cache, self.want, self.found, got)
        fit = self.found.fit
        if kept is None and fit is not None and got.status in _OF_RESOURCE and not got.replaced:
            yield from forget(fit)
        return passed(got, why, kept)

    def _head(self, judgement: Judgement | None) -> Answering:
        """Send a request for the header alone, and compare what comes with what is stored."""
        fit = self.found.fit
        got = yield from self._sent(None, fit)
        if isinstance(got, Reply):
            return got
        self.cache.counts["misses"] += 1
        if got.status == _OK and not got.replaced and fit is not None:
            same = agrees(fit, got)
            if same is not None:
                yield from (update(self.cache, self.want, self.found, fit, got) if same else forget(fit))
        return passed(got, self._why(judgement))
