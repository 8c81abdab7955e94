"""One reader, in its own process: threads and asyncio tasks that ask for rates, on schedule."""

from __future__ import annotations

import argparse

from examples.common.callers import FAMILIES, follow
from examples.common.process import every, play, say, started
from examples.common.traffic import arrivals
from examples.survival.log import ReadingLog
from examples.survival.phases import TOTAL, timeline
from examples.survival.unprotected import Bare

__all__ = ["READERS", "choose"]

READERS = ("bare", "pipeline", "cached", "function")


def choose(name: str, url: str, family: str) -> Bare:
    """Return the reader of that name; a bare one needs nothing of ours."""
    if name == "bare":
        return Bare(url, family)
    from examples.survival.protected import Cached, Function, Piped  # noqa: PLC0415

    return {"pipeline": Piped, "cached": Cached, "function": Function}[name](url, family)


async def _main(arguments: argparse.Namespace) -> None:
    reader = choose(arguments.reader, arguments.url, arguments.family)
    schedule = arrivals(seed=arguments.seed, seconds=arguments.seconds, rate=arguments.rate)
    log = ReadingLog(timeline(arguments.seconds))
    await reader.warm_up()
    say(ready=True)
    await started()
    async with every(0.5, lambda: say(**log.report(), **reader.status())):
        await follow(reader, schedule, log)
    say(**log.report(), **reader.status(), series=log.series(), last=True)
    await reader.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("url")
    parser.add_argument("--family", choices=FAMILIES, default=FAMILIES[0])
    parser.add_argument("--seconds", type=float, default=TOTAL)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=40.0)
    play(_main(parser.parse_args()))
