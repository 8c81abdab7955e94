"""Serve a script from a process of its own.

It prints its URLs as one line of JSON, and its counts for each line of its input, and ends with its input.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from tests import faults

REMEMBERED = 1_000


def say(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--ports", type=int, default=1)
    parser.add_argument("--script", default="answer()", help="an expression in the names of tests.faults")
    parser.add_argument("--early", action="store_true")
    given = parser.parse_args()
    script = eval(given.script, vars(faults))
    with faults.FaultServer(script, ports=given.ports, early=given.early, remember=REMEMBERED) as server:
        say({"urls": server.urls})
        for _ in sys.stdin:
            say(server.counts())


if __name__ == "__main__":
    main()
