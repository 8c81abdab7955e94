"""Processes on one SqliteStore, killed at random moments; run as a program, for it forks.

    python -m tests.stores._crash FOLDER --rounds 10 --seed 1

In each round some processes write and read as fast as they can. Each tells its parent over a pipe
what it has written, after `put` has returned. At a moment drawn at random each gets SIGKILL. Then
the parent demands of the file: every write it was told of is there, or the one that was to come
next; nothing else ever was read; no counter lost a step; SQLite finds no fault with it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import sys
import time
import traceback
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random

from resilient.stores import Record, SqliteStore, StoreFull

PROCESSES = 10
KEYS = 15
"""Keys of each process."""

COUNTERS = 3
LIFE = 1e6
SPAN = 0.2
"""Seconds in which all of a round's processes are killed."""

ROOMY: dict[str, int] = {}
TIGHT = {"max_entries": 40, "max_bytes": 100_000, "max_record_bytes": 100_000}
"""Bounds of every fifth round: there, records may be missing."""


@dataclass(frozen=True)
class Step:
    """What a process does next: `size` is None where it deletes."""

    key: str
    number: int
    size: int | None

    def body(self) -> bytes:
        """Return a content that only this step writes."""
        assert self.size is not None
        return content(self.key, self.number, self.size)


def content(key: str, number: int, size: int) -> bytes:
    start = f"{key} {number} {size} ".encode()
    return start + sha256(start).digest() * (size // 32)


def genuine(key: str, body: bytes) -> bool:
    """Tell whether some step on this key has written this."""
    parts = body.split(b" ", 3)
    return len(parts) == 4 and body == content(key, int(parts[1]), int(parts[2]))


def steps(seed: int, turn: int, process: int):
    """Yield what a process does, the same in parent and child."""
    random = Random(f"{seed} {turn} {process}")
    number = turn * 1_000_000
    while True:
        number += 1
        key = f"{process}-{random.randrange(KEYS)}"
        size = random.choice((0, 64, 500, 2_000, 2_000, 9_000, 40_000))
        yield Step(key, number, None if random.random() < 0.1 else size)


# -- a process that is going to die ------------------------------------------------------------


def work(path: Path, seed: int, turn: int, process: int, bounds: dict[str, int], tell: int) -> None:
    store = SqliteStore(path, patience=20, **bounds)
    random = Random(os.urandom(8))
    for index, step in enumerate(steps(seed, turn, process)):
        if step.size is None:
            store.delete(step.key)
        else:
            store.put(step.key, Record("", b"", step.body()), lifetime=LIFE, tags=[f"{process}"])
        os.write(tell, b"step %d\n" % index)
        other = f"{random.randrange(PROCESSES)}-{random.randrange(KEYS)}"
        for found in store.get(other):
            if not genuine(other, found.body):
                raise AssertionError(f"{other} has {found.body[:80]!r}")
        if index % 5 == 0:
            count(store, f"{random.randrange(COUNTERS)}", tell)


def count(store: SqliteStore, counter: str, tell: int) -> None:
    """Raise a counter by one, if nobody else is quicker."""
    found = store.get(f"counter {counter}")
    value = int(found[0].body) + 1 if found else 1
    expected = found[0].version if found else 0
    mine = Record("", b"", b"%d" % value)
    with suppress(StoreFull):
        if store.put(f"counter {counter}", mine, lifetime=LIFE, expected=expected, pinned=True) is not None:
            os.write(tell, f"count {counter} {value}\n".encode())


# -- the one that watches ----------------------------------------------------------------------


@dataclass
class Watch:
    """What is known of the file.

    Attributes:
        sure: By key, what must be there; None for nothing.
        counted: By counter, the values that somebody was told to have written.
        told: How many writes were told of, over all rounds.
        caught: How many were in the file though nobody was told of them.

    """

    path: Path
    seed: int
    sure: dict[str, bytes | None] = field(default_factory=dict)
    counted: dict[str, Counter[int]] = field(default_factory=dict)
    told: int = 0
    caught: int = 0

    def round(self, turn: int) -> None:
        """Let processes live and die once, and look at what they leave."""
        tight = turn % 5 == 4
        random = Random(f"{self.seed} {turn}")
        pipes = self._let_die(turn, TIGHT if tight else ROOMY, random)
        possible: dict[str, list[bytes | None]] = {key: [sure] for key, sure in self.sure.items()}
        put = False
        for process, said in enumerate(pipes):
            put |= self._replay(turn, process, said, possible)
        self._look(possible, tight=tight)
        self._check_file(tight=tight and put)

    def _let_die(self, turn: int, bounds: dict[str, int], random: Random) -> list[str]:
        children, pipes = [], []
        for process in range(PROCESSES):
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                live(self.path, self.seed, turn, process, bounds, writer)
            os.close(writer)
            children.append(pid)
            pipes.append(reader)
        begun = time.perf_counter()
        for moment, pid in sorted((random.random() * SPAN, pid) for pid in children):
            time.sleep(max(0.0, begun + moment - time.perf_counter()))
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)
        said = []
        for reader in pipes:
            with os.fdopen(reader) as pipe:
                said.append(pipe.read())
        return said

    def _replay(self, turn: int, process: int, said: str, possible: dict[str, list[bytes | None]]) -> bool:
        """Find out what this process must, and may, have left; tell whether it has put anything."""
        done, put = 0, False
        for line in said.splitlines():
            kind, *rest = line.split(" ", 2)
            if kind == "step":
                assert int(rest[0]) == done
                done += 1
            elif kind == "count":
                self.counted.setdefault(rest[0], Counter())[int(rest[1])] += 1
            else:
                raise AssertionError(said)
        self.told += done
        for index, step in enumerate(steps(self.seed, turn, process)):
            after = None if step.size is None else step.body()
            if index < done:
                possible[step.key] = [after]
                put |= after is not None
            else:  # it may have been written, and the process killed before it told so
                possible[step.key] = [*possible.get(step.key, [None]), after]
                break
        return put

    def _look(self, possible: dict[str, list[bytes | None]], *, tight: bool) -> None:
        with closing(SqliteStore(self.path, patience=20)) as store:
            for key, candidates in possible.items():
                found = [each.body for each in store.get(key)]
                assert len(found) <= 1
                actual = found[0] if found else None
                if actual is None and tight:
                    pass  # it made room
                else:
                    assert actual in candidates, f"{key} has {actual!r:.99}, not {candidates!r:.999}"
                    self.caught += len(candidates) > 1 and actual == candidates[-1]
                self.sure[key] = actual
            for counter, values in self.counted.items():
                (record,) = store.get(f"counter {counter}")
                assert max(values.values()) == 1, "two were told that they had made the same step"
                assert int(record.body) >= max(values), "a step is lost"
            assert store.stats().corrupt == 0

    def _check_file(self, *, tight: bool) -> None:
        """Demand that SQLite finds no fault with the file, and that a change under tight bounds has kept them."""
        with closing(sqlite3.connect(self.path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            totals = db.execute("SELECT entries, size, pinned_entries FROM totals").fetchone()
            counted = db.execute("SELECT count(*), total(size), total(pinned) FROM records").fetchone()
            assert totals == counted
            assert db.execute("SELECT count(*) FROM bodies").fetchone() == counted[:1]
            assert not tight or totals[0] <= TIGHT["max_entries"]
        assert not [each for each in self.path.parent.iterdir() if ".aside" in each.name]


def live(path: Path, seed: int, turn: int, process: int, bounds: dict[str, int], tell: int) -> None:
    """Work until death; never return."""
    try:
        work(path, seed, turn, process, bounds, tell)
    except BaseException:
        os.write(tell, f"error {traceback.format_exc()}"[-4_000:].encode())
    finally:
        os._exit(1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    watch = Watch(chosen.folder / "store.db", chosen.seed)
    begun = time.perf_counter()
    for turn in range(chosen.rounds):
        watch.round(turn)
        if turn % 100 == 99:
            say(f"{turn + 1} rounds, {watch.told} writes, {time.perf_counter() - begun:.0f} s")
    counted = {counter: len(values) for counter, values in watch.counted.items()}
    say(f"rounds {chosen.rounds} killed {chosen.rounds * PROCESSES} told {watch.told} caught {watch.caught}")
    say(f"counted {counted} seconds {time.perf_counter() - begun:.1f}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
