"""The command: `python -m examples.survival`; exit status 0 only if every claim holds."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import sys
from pathlib import Path

from examples.common import display
from examples.common.callers import FAMILIES
from examples.survival import summary
from examples.survival.phases import TOTAL
from examples.survival.run import Options, survive

__all__ = ["main"]

NEEDED = ("uvicorn", "http_sf")


def main() -> int:
    """Read the options, run the demo and print what came of it."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.survival",
        description="A service is killed: reads are answered by caches, and writes happen once.",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    parser.add_argument("--family", choices=FAMILIES, default=FAMILIES[0], help="the client library")
    parser.add_argument("--seconds", type=float, default=TOTAL, help="length, 6 or more")
    parser.add_argument("--rate", type=float, default=40.0, help="calls per second of each reader")
    parser.add_argument("--orders", type=float, default=8.0, help="new orders per second of each writer")
    parser.add_argument("--seed", type=int, default=1, help="of arrivals, faults and crashes")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the outage; needs matplotlib")
    arguments = parser.parse_args()
    if not 6.0 <= arguments.seconds <= 600.0:  # noqa: PLR2004 -- shorter phases show nothing
        parser.error("--seconds must be from 6 to 600")
    for name in ("rate", "orders"):
        if not 1.0 <= getattr(arguments, name) <= 500.0:  # noqa: PLR2004 -- beyond, one machine cannot keep up
            parser.error(f"--{name} must be from 1 to 500")
    needed = (arguments.family, *NEEDED, *(("matplotlib",) if arguments.picture else ()))
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(f"this needs {', '.join(missing)}: pip install {' '.join(missing).replace('_', '-')}")
    options = Options(
        seconds=arguments.seconds,
        rate=arguments.rate,
        orders=arguments.orders,
        seed=arguments.seed,
        family=arguments.family,
    )
    try:
        with display.choose(json=arguments.json) as show:
            result = asyncio.run(survive(options, show))
    except KeyboardInterrupt:
        return 130
    if arguments.picture:
        from examples.survival.picture import draw  # noqa: PLC0415 -- the chart library, only here

        draw(result, arguments.picture)
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print(*summary.lines(result), sep="\n")
    return 0 if result["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
