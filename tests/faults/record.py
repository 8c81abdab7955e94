"""What the server saw: requests and connections, written by its thread and read by any other."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field


class Headers(Mapping[str, str]):
    """Header fields by name in any case; a repeated one is joined by commas, and `pairs` has all as sent."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.pairs = list(pairs)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key.lower() == name.lower()]

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key.lower() for key, _ in self.pairs))

    def __len__(self) -> int:
        return len({key.lower() for key, _ in self.pairs})

    def __repr__(self) -> str:
        return f"Headers({self.pairs!r})"


@dataclass(slots=True, kw_only=True)
class Received:
    """A request as it came over the wire."""

    method: str
    target: str
    """Path and query."""
    headers: Headers
    connection: int
    """The number of the connection it came by; the first is 1."""
    port: int
    """Which of the server's ports it came to; the first is 0."""
    version: str
    """"1.1" or "2"."""
    stream: int = 0
    """The HTTP/2 stream."""
    time: float = field(default_factory=time.monotonic)
    complete: bool = False
    """Whether its whole body came."""
    parts: bytearray = field(default_factory=bytearray, repr=False)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def body(self) -> bytes:
        return bytes(self.parts)


class Record:
    """Counts and requests, all under one lock that is never held for long."""

    def __init__(self, remember: int | None) -> None:
        self._lock = threading.Lock()
        self._received: deque[Received] = deque(maxlen=remember)
        self._broken_off: deque[Received] = deque(maxlen=remember)
        self._faults: list[BaseException] = []
        self._counts = dict.fromkeys(
            ("requests", "connections", "open", "most_open", "in_flight", "most_in_flight", "disappointed"), 0
        )

    def connected(self) -> int:
        with self._lock:
            counts = self._counts
            counts["connections"] += 1
            counts["open"] += 1
            counts["most_open"] = max(counts["most_open"], counts["open"])
            return counts["connections"]

    def disconnected(self) -> None:
        with self._lock:
            self._counts["open"] -= 1

    def began(self, received: Received) -> None:
        with self._lock:
            self._received.append(received)
            counts = self._counts
            counts["requests"] += 1
            counts["in_flight"] += 1
            counts["most_in_flight"] = max(counts["most_in_flight"], counts["in_flight"])

    def ended(self) -> None:
        with self._lock:
            self._counts["in_flight"] -= 1

    def broke_off(self, received: Received) -> None:
        with self._lock:
            self._broken_off.append(received)

    def disappointed(self) -> None:
        with self._lock:
            self._counts["disappointed"] += 1

    def failed(self, fault: BaseException) -> None:
        with self._lock:
            self._faults.append(fault)

    def count(self, what: str) -> int:
        with self._lock:
            return self._counts[what]

    def counts(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

    def received(self) -> list[Received]:
        with self._lock:
            return list(self._received)

    def broken_off(self) -> list[Received]:
        with self._lock:
            return list(self._broken_off)

    def faults(self) -> list[BaseException]:
        with self._lock:
            return list(self._faults)
