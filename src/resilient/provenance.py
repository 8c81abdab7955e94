"""Where an answer came from: the downstream itself, or something that stood in for it.

    with provenance() as answer:
        rate = rates.get("EUR")
    if answer.stale:
        print(f"{answer.age:.0f} s old: {answer.reason}")

Policies leave a note for whoever watches. Nobody pays for that where nobody does: a call that
was answered by its downstream leaves none.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from resilient._runtime import background

__all__ = ["Answer", "Provenance", "provenance"]

Source = Literal["downstream", "fresh", "revalidated", "stale", "shared", "fallback", "negative"]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where one answer came from.

    Attributes:
        source: "downstream": it was asked just now. "fresh": a stored answer that was still good.
            "revalidated": a stored answer that the downstream has just confirmed. "stale": a
            stored answer past its time. "shared": what another caller was just answered.
            "fallback": a value that stood in for an answer. "negative": a stored error.
        age: Seconds since the downstream gave it, as far as is known.
        reason: Why it is not the downstream's fresh answer, in a word: the name of an error such
            as "BreakerOpen", or "revalidating" while a fresh one is on its way. None where there
            is nothing to explain.
        served_by: Label of the policy that served it, such as "stale_cache"; None for the downstream.
        downstream: Name of the pipeline.

    """

    source: Source = "downstream"
    age: float = 0.0
    reason: str | None = None
    served_by: str | None = None
    downstream: str | None = None

    @property
    def stale(self) -> bool:
        """Whether it is a stored answer past its time."""
        return self.source == "stale"


_DOWNSTREAM = Provenance()


class Answer:
    """What a block has learned about the answers it got; reads like the provenance of the last one."""

    __slots__ = ("_outer", "all")

    def __init__(self, outer: Answer | None = None) -> None:
        """Watch on behalf of a block, and of the one around it."""
        self._outer = outer
        self.all: list[Provenance] = []
        """The notes of the block in order, those of inner pipelines before those around them."""

    def add(self, note: Provenance) -> None:
        """Take a note, also for the blocks around this one."""
        self.all.append(note)
        if self._outer is not None:
            self._outer.add(note)

    @property
    def outer(self) -> Answer | None:
        """Who watches around this block."""
        return self._outer

    @property
    def last(self) -> Provenance:
        """The provenance of the last answer; that of a plain call if no policy stood in."""
        return self.all[-1] if self.all else _DOWNSTREAM

    @property
    def source(self) -> Source:
        """Where the last answer came from."""
        return self.last.source

    @property
    def stale(self) -> bool:
        """Whether the last answer is a stored one past its time."""
        return self.last.stale

    @property
    def age(self) -> float:
        """Seconds since the downstream gave the last answer."""
        return self.last.age

    @property
    def reason(self) -> str | None:
        """Why the last answer is not the downstream's fresh one."""
        return self.last.reason

    @property
    def served_by(self) -> str | None:
        """Label of the policy that served the last answer."""
        return self.last.served_by

    def __repr__(self) -> str:
        """Show the last note."""
        return f"<answer: {self.last}>"


_WATCH: ContextVar[Answer | None] = ContextVar("resilient_provenance", default=None)

watching = _WATCH.get
watch = _WATCH.set
background.leaving(lambda: _WATCH.set(None))


def note(made: Provenance) -> None:
    """Tell whoever watches where an answer came from."""
    watch = _WATCH.get()
    if watch is not None:
        watch.add(made)


class provenance:  # noqa: N801 -- reads as a noun in `with provenance() as answer:`
    """Learn where the answers of a block come from: `with provenance() as answer: ...`.

    Works in plain and in async code, also where a plain function runs in a worker thread. Blocks
    may stand in each other. Do not hold one across a `yield` of a generator.

    Example:
        >>> from resilient import Fallback, Pipeline, provenance
        >>> rates = Pipeline("doc-provenance", Fallback({"EUR": 1.0}))
        >>> def fetch():
        ...     raise OSError("unreachable")
        >>> with provenance() as answer:
        ...     rates.call(fetch)
        {'EUR': 1.0}
        >>> answer.source, answer.reason
        ('fallback', 'OSError')

    """

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        """Begin to watch with the block."""
        self._tokens: list[Token[Answer | None]] = []

    def __enter__(self) -> Answer:
        """Return what the block will know."""
        answer = Answer(_WATCH.get())
        self._tokens.append(_WATCH.set(answer))
        return answer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Watch no longer."""
        _WATCH.reset(self._tokens.pop())
