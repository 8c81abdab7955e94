"""The two-step form: ask for admission now, tell how it went later, from any thread.

For what no decorator can wrap: streams, callbacks, work that another thread finishes. Only
the policies that admit or refuse take part (breaker, bulkhead, rate limit).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import count
from types import TracebackType
from typing import cast

from resilient._policy import NEVER, Admission, Env, Guard
from resilient.outcome import INCONCLUSIVE, SUCCESS, Verdict

__all__ = ["Permit", "PermitRequest"]


class Permit:
    """One admitted attempt. It is settled exactly once; later settlements change nothing."""

    __slots__ = ("_env", "_first", "_held")

    def __init__(self, env: Env, held: list[tuple[Admission, object]] | None = None) -> None:
        """Start with what has been admitted, which is nothing yet if not given."""
        self._env = env
        self._first: Callable[[], int] = count().__next__
        self._held = [] if held is None else held

    def succeeded(self) -> None:
        """Say that the attempt succeeded."""
        self._settle(SUCCESS)

    def failed(self, error: BaseException) -> None:
        """Say that the attempt raised; the pipeline's classifier decides what that means."""
        self._settle(self._env.classifier.of_error(error))

    def settle(self, verdict: Verdict) -> None:
        """Say how the attempt ended in the classifier's own words."""
        self._settle(verdict)

    def dropped(self) -> None:
        """Say that the attempt tells nothing about the downstream (cancelled, never sent)."""
        self._settle(INCONCLUSIVE)

    def _settle(self, verdict: Verdict) -> None:
        if self._first():
            return
        while self._held:
            guard, ticket = self._held.pop()
            guard.leave(ticket, verdict)

    def _abandon(self) -> None:
        """Settle without taking a lock: the collector may be the caller."""
        if self._first():
            return
        while self._held:
            guard, ticket = self._held.pop()
            guard.drop(ticket)

    def __del__(self) -> None:
        """Give back what nobody settled, and say so."""
        if getattr(self, "_held", None):
            self._abandon()
            warnings.warn(f"a permit of {self._env.downstream!r} was never settled", ResourceWarning, stacklevel=2)


class PermitRequest:
    """What `Pipeline.permit()` returns: enter it with `with`, or with `async with` to wait as a task.

    Leaving the block cleanly is a success, unless the permit was settled inside it; leaving it
    by an exception is what the classifier makes of that.
    """

    __slots__ = ("_env", "_guards", "_permits")

    def __init__(self, env: Env, guards: Sequence[tuple[Guard, float]]) -> None:
        """Remember who has to admit, and after how many seconds each wait must be over."""
        self._env = env
        self._guards = guards
        self._permits: list[Permit] = []

    def __enter__(self) -> Permit:
        """Ask every admitting policy, outermost first."""
        permit = Permit(self._env)
        try:
            for guard, end in self._ends():
                permit._held.append((guard, guard.enter(end)))  # noqa: SLF001 -- its builder
        except BaseException:
            permit.dropped()
            raise
        self._permits.append(permit)
        return permit

    async def __aenter__(self) -> Permit:
        """Ask every admitting policy, waiting without blocking the thread."""
        permit = Permit(self._env)
        try:
            for guard, end in self._ends():
                permit._held.append((guard, await guard.aenter(end)))  # noqa: SLF001
        except GeneratorExit:
            permit._abandon()  # noqa: SLF001
            raise
        except BaseException:
            permit.dropped()
            raise
        self._permits.append(permit)
        return permit

    def _ends(self) -> list[tuple[Admission, float]]:
        now = self._env.now()
        return [(cast("Admission", guard), now + limit if limit < NEVER else NEVER) for guard, limit in self._guards]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Settle by how the block was left."""
        permit = self._permits.pop()
        if error is None:
            permit.succeeded()
        elif isinstance(error, GeneratorExit):
            permit._abandon()  # noqa: SLF001
        else:
            permit.failed(error)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Settle by how the block was left."""
        self.__exit__(kind, error, traceback)
