"""Which downstreams of this process matter most, when there are more of them than can be shown."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from weakref import WeakKeyDictionary

from resilient import registry
from resilient._guards.breaker import BreakerGuard
from resilient._policy import Guard
from resilient.control.states import row
from resilient.keyed import Keyed
from resilient.pipeline import Pipeline

__all__ = ["Roster"]


class Roster:
    """Finds every pipeline of this process, and remembers of what each one consists."""

    __slots__ = ("_guards",)

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._guards: WeakKeyDictionary[Pipeline, list[Guard]] = WeakKeyDictionary()

    def first(self, most: int) -> tuple[list[Pipeline], int]:
        """Return the pipelines that matter most, and how many there are.

        Args:
            most: Pipelines to return, at most.

        """
        everyone = list(_pipelines())
        chosen = everyone if len(everyone) <= most else list(islice(self._ordered(everyone), most))
        return chosen, len(everyone)

    def guards(self, pipeline: Pipeline) -> list[Guard]:
        """Return the state of each policy of a pipeline, outermost first."""
        parts = self._guards.get(pipeline)
        if parts is None:
            parts = [pipeline[position] for position in range(len(pipeline.policies))]
            self._guards[pipeline] = parts
        return parts

    def _ordered(self, everyone: list[Pipeline]) -> Iterator[Pipeline]:
        """Yield those that are open, held or coming back first; the others as they came."""
        others = []
        for each in everyone:
            if not self._calm(each):
                found = row(each, self.guards(each))
                if found["state"] != "closed" or found["holds"] or found["ramping"]:
                    yield each
                    continue
            others.append(each)
        yield from others

    def _calm(self, pipeline: Pipeline) -> bool:
        """Tell at a glance whether all is well; False may be wrong, True is not."""
        breakers = (part for part in self.guards(pipeline) if isinstance(part, BreakerGuard))
        return all(part.machine.window is not None for part in breakers) and not pipeline.holds()


def _pipelines() -> Iterator[Pipeline]:
    """Yield every pipeline of this process: the named ones, then members of families, those used last first."""
    families: list[Keyed] = []
    for name in registry.names():
        try:
            entry = registry.find(name)
        except KeyError:  # forgotten meanwhile
            continue
        if isinstance(entry, Pipeline):
            yield entry
        elif isinstance(entry, Keyed):
            families.append(entry)
    members: list[tuple[float, Pipeline]] = []
    for each in families:
        family = each._family  # noqa: SLF001 -- when a member was used last is nobody else's business
        with family.lock:
            members += ((member.used, member.pipeline) for member in family.members.values())
            overflow = family.overflow
        if overflow is not None:
            yield overflow
    yield from (pipeline for _, pipeline in sorted(members, key=lambda each: each[0], reverse=True))
