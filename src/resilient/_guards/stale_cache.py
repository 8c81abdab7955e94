"""A stale cache at work: keys, refreshes behind the back of readers, and what operators may do with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from resilient._guards.stale_cache_keys import Key, Maker, complain, deepened, hashable, maker_of, target_of
from resilient._guards.stale_cache_refreshing import Refreshing
from resilient._guards.stale_cache_settings import Settings
from resilient._guards.stale_cache_turn import Turn
from resilient._policy import Colour, Env
from resilient.errors import ConfigError, Unguardable
from resilient.provenance import watching

_MOST_MAKERS = 1024


class StaleCacheGuard(Refreshing):
    """One stale cache at one position of one pipeline."""

    __slots__ = ("makers",)

    def __init__(self, env: Env, label: str, policy: Settings) -> None:
        super().__init__(env, label, policy)
        self.makers: dict[object, Maker] = {}

    def flags(self, colour: Colour) -> frozenset[str]:  # noqa: ARG002 -- the same in both
        """Return the template's conditional lines to compile in."""
        flags = {"keyed": self._policy.key is not None, "backed": self.backing is not None}
        return frozenset(flag for flag, there in flags.items() if there)

    def names(self, colour: Colour) -> Mapping[str, object]:
        """Return what the template's injected names stand for."""
        return {
            "cache": self,
            "find": self.shelf.entries.get,
            "watching": watching,
            "keyed": self._policy.key,
            "makers": self.makers.get,
            "named": self._named,
            "ask": self.ask if colour == "sync" else self.aask,
            "settle": self.settle if colour == "sync" else self.asettle,
        }

    def names_of(self, function: Callable[..., Any]) -> Mapping[str, object]:
        """Return what makes the key of the one function that is decorated.

        Raises:
            Unguardable: If its answers are to be stored, and nothing tells it apart after a restart.

        """
        if self.backing is not None:
            self.backing.function_name(function)
        return {} if self._policy.key is not None else {"maker": maker_of(function)}

    # -- keys ------------------------------------------------------------------------------------

    def _named(self, function: Callable[..., Any]) -> Maker:
        """Return what makes the keys of a function, and remember it for the next call."""
        if len(self.makers) >= _MOST_MAKERS:
            self.makers.clear()
        return self.makers.setdefault(function, maker_of(function))

    def unhashable(self, error: TypeError, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Say what about a call cannot be part of a key."""
        complain(f"{self.env.downstream}: {self.label}", error, function, args, kwargs)

    def keyless(self, error: Exception, key: Key | None) -> NoReturn:
        """Refuse a call for which the user's function made no key, or none that can be looked up."""
        who = f"{self.env.downstream}: key of {self.label}"
        if key is None:
            message = f"{who} raised {type(error).__name__}; it must return a key for every call"
            raise ConfigError(message) from error
        if hashable(key[1]):
            raise error  # of a comparison
        message = f"{who} must return something that can be hashed, such as a string, got a {type(key[1]).__name__}"
        raise Unguardable(message) from error

    # -- calls that found no fresh answer ----------------------------------------------------------

    def ask(self, key: Key, end: float, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Turn:  # noqa: ANN401
        """Return a turn that is answered, or whose duty it is to call the function."""
        turn = Turn(key if self._policy.key else deepened(key), function, self.env.end(end), task=False)
        self.look(turn, self._start, args, kwargs)
        while turn.flight is not None:
            self.followed(turn, self.flights.follow(turn.flight, self.env.clock, turn.end))
        if self.backing is not None and turn.lead is not None and turn.kept:
            try:
                self.restored(turn, self.backing.load(turn.key), self._start, args, kwargs)
            except BaseException:
                turn.taken().lose()
                raise
        if not turn.answered:
            turn.begin(self.env.now())
        return turn

    async def aask(self, key: Key, end: float, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Turn:  # noqa: ANN401
        """Do the same, waiting without blocking the thread."""
        turn = Turn(key if self._policy.key else deepened(key), function, self.env.end(end), task=True)
        self.look(turn, self._astart, args, kwargs)
        while turn.flight is not None:
            self.followed(turn, await self.flights.afollow(turn.flight, self.env.clock, turn.end))
        if self.backing is not None and turn.lead is not None and turn.kept:
            try:
                self.restored(turn, await self.backing.aload(turn.key), self._astart, args, kwargs)
            except BaseException:
                turn.taken().lose()
                raise
        if not turn.answered:
            turn.begin(self.env.now())
        return turn

    # -- operating -----------------------------------------------------------------------------------

    def forget(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> bool:  # noqa: ANN401
        """Forget the answer of one call, written as the call is; return whether there was one.

        An answer that is being asked for just now is handed to those who wait for it, and not stored.

        Args:
            function: The function, decorated or not.
            args: Arguments of the call.
            kwargs: The same, by name.

        """
        key = self._key(function, args, kwargs)
        found = self._forget(key)
        if self.backing is not None:
            self.backing.drop(key)
        return found

    async def aforget(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> bool:  # noqa: ANN401
        """Do the same, waiting for a store without blocking the event loop."""
        key = self._key(function, args, kwargs)
        found = self._forget(key)
        if self.backing is not None:
            await self.backing.adrop(key)
        return found

    def _forget(self, key: Key) -> bool:
        self.flights.forget(key)
        stored, refusal = self.shelf.entries.get(key), self.refusals.entries.get(key)
        now = self.env.now()
        found = stored is not None and self.shelf.drop(stored) and now < stored.end
        return (refusal is not None and self.refusals.drop(refusal) and now < refusal.end) or found

    def prime(self, value: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Store an answer as if the call had just returned it, for example at the start of a process.

        It is stored in this process, not in a store that processes share.

        Args:
            value: The answer.
            function: The function, decorated or not.
            args: Arguments of the call.
            kwargs: The same, by name.

        """
        key = self._key(function, args, kwargs)
        self.flights.forget(key)
        self.store(key, value, 0.0, 0.0)

    def clear(self) -> int:
        """Forget all answers and errors, in the store as well; return how many there were in this process."""
        count = self._clear()
        if self.backing is not None:
            self.backing.clear()
        return count

    async def aclear(self) -> int:
        """Do the same, waiting for a store without blocking the event loop."""
        count = self._clear()
        if self.backing is not None:
            await self.backing.aclear()
        return count

    def _clear(self) -> int:
        self.flights.clear()
        self.makers.clear()
        return self.shelf.clear() + self.refusals.clear()

    def _key(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Key:
        """Return the key of a call."""
        call, args = target_of(self, function, args)
        made = self._policy.key
        key: Key | None = None
        try:
            key = deepened(maker_of(call)(*args, **kwargs)) if made is None else (call, made(*args, **kwargs))
            hash(key)
        except Exception as error:
            if made is not None:
                self.keyless(error, key)
            if isinstance(error, TypeError):
                self.unhashable(error, call, *args, **kwargs)
            raise
        return key
