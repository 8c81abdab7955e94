"""One worker of an application: calls when it is told to, and answers scrapes. Run as a script."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from resilient import CircuitBreaker, Pipeline
from resilient.control.agent import configure
from resilient.control.directory import Directory
from resilient.prometheus import exposition


def down() -> None:
    raise OSError("down")


def say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main(directory: str) -> None:
    configure("shop", directory=directory)
    orders = Pipeline("orders", CircuitBreaker(consecutive=None, min_calls=10**6))
    shown = None
    for line in sys.stdin:
        command, number = line.split()
        if command == "call":
            for _ in range(int(number)):
                orders.call(len, "x")
                with contextlib.suppress(OSError):
                    orders.call(down)
            say("done\n")
        else:
            shown = shown or Directory(Path(directory))
            text, _ = exposition(shown)
            say(f"{len(text.decode().splitlines())}\n{text.decode()}")


if __name__ == "__main__":
    main(sys.argv[1])
