"""The command: `python -m examples.outage`; exit status 0 only if every claim holds."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import sys

from examples.common import display
from examples.common.callers import FAMILIES
from examples.outage import summary
from examples.outage.phases import TOTAL
from examples.outage.run import Options, compare

__all__ = ["main"]


def main() -> int:
    """Read the options, run both sides and print what came of it."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.outage",
        description="An outage on real HTTP traffic, with and without a pipeline.",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    parser.add_argument("--family", choices=FAMILIES, default=FAMILIES[0], help="the client library of both sides")
    parser.add_argument("--seconds", type=float, default=TOTAL, help="length, 5 or more")
    parser.add_argument("--rate", type=float, default=100.0, help="calls per second on each side")
    parser.add_argument("--seed", type=int, default=1, help="of arrivals and faults")
    parser.add_argument("--operate", action="store_true", help="tell how to trip the breaker while it runs")
    arguments = parser.parse_args()
    if not 5.0 <= arguments.seconds <= 600.0:  # noqa: PLR2004 -- shorter phases show nothing
        parser.error("--seconds must be from 5 to 600")
    if not 1.0 <= arguments.rate <= 1000.0:  # noqa: PLR2004 -- beyond, one machine cannot keep up
        parser.error("--rate must be from 1 to 1000")
    if importlib.util.find_spec(arguments.family) is None:
        parser.error(f"the clients need {arguments.family}: pip install {arguments.family}")
    options = Options(
        seconds=arguments.seconds,
        rate=arguments.rate,
        seed=arguments.seed,
        family=arguments.family,
        operate=arguments.operate,
    )
    try:
        with display.choose(json=arguments.json) as show:
            result = asyncio.run(compare(options, show))
    except KeyboardInterrupt:
        return 130
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print(*summary.lines(result), sep="\n")
    return 0 if result["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
