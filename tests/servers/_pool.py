"""A parent with several children (or threads) that call without a pause; a child that dies gets a successor.

On its stdout it says, a line each, how bursts ended. Each line on its stdin is a wish: `metrics`, or an empty one
to end.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from tests.servers import _app


def say(**told: Any) -> None:
    os.write(1, (json.dumps(told) + "\n").encode())


def work(over: Callable[[], bool]) -> None:
    """Call until it is over."""
    while not over():
        began = time.monotonic()
        say(began=began, **_app.burst("payments", 10))
        time.sleep(0.002)


def child(wish: Connection) -> None:
    """Call until the parent sends a word. No event is shared: one that is killed within it would lock out all."""
    work(wish.poll)


def threads(number: int) -> None:
    over, together = threading.Event(), threading.Barrier(number)

    def begin() -> None:
        together.wait()
        work(over.is_set)

    team = [threading.Thread(target=begin) for _ in range(number)]
    for each in team:
        each.start()
    serve()
    over.set()
    for each in team:
        each.join()
    serve()


def children(method: str, number: int) -> None:
    context = multiprocessing.get_context(method)
    gone = threading.Event()
    # The parent has called before it forks: its thread and its page are there, and are not the children's.
    say(began=time.monotonic(), **_app.burst("payments", 1))

    def start() -> tuple[BaseProcess, Connection]:
        theirs, ours = context.Pipe(duplex=False)
        process = context.Process(target=child, args=(theirs,))
        process.start()
        theirs.close()
        return process, ours

    team = [start() for _ in range(number)]

    def replace() -> None:
        while not gone.wait(0.05):
            for place, (process, _) in enumerate(team):
                if not process.is_alive():
                    team[place] = start()

    keeper = threading.Thread(target=replace)
    keeper.start()
    serve()
    gone.set()
    keeper.join()
    for process, wish in team:
        wish.send("over")
        process.join(10)
    serve()


def serve() -> None:
    """Do what is wished, until an empty line comes."""
    # Not from `sys.stdin`: its lock would be held while another thread forks, for ever in the child.
    while line := os.read(0, 100):
        if line.strip() == b"metrics":
            say(metrics=_app.metrics())
        else:
            return


if __name__ == "__main__":
    way, size = sys.argv[1], int(sys.argv[2])
    if way == "threads":
        threads(size)
    else:
        children(way, size)
