"""The callers of one side, in their own process."""

from __future__ import annotations

import argparse
from typing import Any, Protocol

from examples.common.callers import FAMILIES, Caller, follow
from examples.common.process import every, play, say, started
from examples.common.traffic import Arrival, arrivals
from examples.outage.phases import TOTAL, Timeline
from examples.outage.tally import Tally

__all__ = ["FAMILIES", "Side", "choose"]


class Side(Caller[str], Protocol):
    """How one side calls the service; what it gets is `FRESH` or `FALLBACK`."""

    async def close(self) -> None:
        """Close all connections."""

    def status(self) -> dict[str, Any]:
        """Return what an operator of the callers sees."""


class _ByPhase:
    """Tells a tally in which phase of the outage a call was made."""

    def __init__(self, tally: Tally, timeline: Timeline) -> None:
        self._tally, self._timeline = tally, timeline

    def begin(self) -> None:
        self._tally.begin()

    def end(self, arrival: Arrival, result: str | Exception, waited: float) -> None:
        name = result if isinstance(result, str) else type(result).__name__
        self._tally.end(self._timeline.at(arrival.at).phase.name, name, waited)


def choose(name: str, url: str, family: str) -> Side:
    """Return the side of that name; the other one's needs are not imported."""
    if name == "protected":
        from examples.outage.protected import Protected  # noqa: PLC0415

        return Protected(url, family)
    from examples.outage.unprotected import Unprotected  # noqa: PLC0415

    return Unprotected(url, family)


async def _main(arguments: argparse.Namespace) -> None:
    timeline = Timeline(arguments.seconds)
    side = choose(arguments.side, arguments.url, arguments.family)
    schedule = arrivals(seed=arguments.seed, seconds=arguments.seconds, rate=arguments.rate)
    tally = Tally()
    say(ready=True)
    await started()
    async with every(0.5, lambda: say(**tally.report(), **side.status())):
        await follow(side, schedule, _ByPhase(tally, timeline))
    say(**tally.total(), **side.status(), last=True)
    await side.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("side", choices=("protected", "unprotected"))
    parser.add_argument("url")
    parser.add_argument("--family", choices=FAMILIES, default=FAMILIES[0])
    parser.add_argument("--seconds", type=float, default=TOTAL)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=100.0)
    play(_main(parser.parse_args()))
