"""Build the clients that are measured: bare, with the whole standard pipeline, and with peers.

No peer has all of the pipeline's policies: httpx-retries retries, interlock-cb has a breaker per
host, and both in one client come closest. A fresh hit of a cache sends nothing; its peer is hishel.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import http_server, subjects
from benchmarks.cases import UnavailableError
from resilient import standard, stores
from resilient.cache import HttpCache

GROUP = "http"
BARE = "bare client"
BY_ORIGIN = "resilient, by origin"
"""With a mapping of origins to pipelines in place of the one pipeline."""
RETRIES = "httpx-retries"
INTERLOCK = "interlock-cb"
BOTH_PEERS = "httpx-retries over interlock-cb"
ASYNCIO = "asyncio.timeout"
CACHED = "resilient, fresh hit in memory"
CACHED_SQLITE = "resilient, fresh hit in SQLite"
HISHEL = "hishel, fresh hit in SQLite"

SECONDS = 3.0
"""The limit of `asyncio.timeout` alone: that of an attempt in the standard pipeline."""
MOCK_URL = "http://api.example.com/"
OVER = {"mock": "a mock transport", "loopback": "loopback"}
FRESH = {"Cache-Control": "max-age=86400", "Content-Type": "application/json"}
DISTRIBUTIONS = ("httpx", "httpx2", RETRIES, "hishel")
"""What is measured here and nowhere else."""


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the results: a client family, a colour, and what is under the client."""

    family: str
    colour: str
    over: str

    @property
    def group(self) -> str:
        """The table the line belongs to."""
        return GROUP

    @property
    def policy(self) -> str:
        """What is missing where a client is missing."""
        return self.title

    @property
    def title(self) -> str:
        """What the line measures, for people."""
        return f"{self.family}, {self.colour}, over {OVER[self.over]}"

    @property
    def module(self) -> Any:
        """The client family."""
        return importlib.import_module(self.family)

    def named(self, name: str) -> str:
        """Return the name of a class in this colour, such as `AsyncClient`."""
        return name if self.colour == "sync" else f"Async{name}"

    def base(self, headers: Mapping[str, str] | None = None) -> Any:
        """Return a new transport as the bare client has it."""
        if self.over == "loopback":
            return getattr(self.module, self.named("HTTPTransport"))()
        response, body = self.module.Response, http_server.BODY
        return self.module.MockTransport(lambda _: response(200, headers=headers, content=body))


CASES = tuple(
    Case(family, colour, over) for over in OVER for family in ("httpx", "httpx2") for colour in ("sync", "async")
)


def versions() -> dict[str, str]:
    """Return the versions of what is measured here."""
    found = {}
    for name in DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def build(case: Case, url: str, finish: subjects.Finish) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a client per subject, each of which has answered once, and why others are missing."""
    clients: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name, wrap in WRAPS.items():
        try:
            client = getattr(case.module, case.named("Client"))(transport=wrap(case, url))
            answer = finish(client.get(url))
        except UnavailableError:
            continue
        except Exception as error:  # a peer that cannot is shown, never a failure
            if name in {BARE, subjects.OURS, BY_ORIGIN, CACHED, CACHED_SQLITE}:
                raise
            missing[name] = f"{type(error).__name__}: {error}"
            continue
        if (answer.status_code, answer.content) != (200, http_server.BODY):
            missing[name] = f"answered {answer!r}"
            continue
        clients[name] = client
    return clients, missing


def _ours(case: Case, pipelines: Any) -> Any:
    door = importlib.import_module(f"resilient.{case.family}")
    inner = {} if case.over == "loopback" else {"transport": case.base()}  # over loopback with pools of its own
    return getattr(door, case.named("ResilientTransport"))(pipelines, **inner)


def _interlock(case: Case, _url: str) -> Any:
    door = importlib.import_module(f"interlock.integrations.{case.family}")
    return getattr(door, case.named("CircuitBreakerTransport"))(case.base())


def _retries(case: Case, inner: Callable[[], Any]) -> Any:
    if case.family != "httpx":
        raise UnavailableError
    return importlib.import_module("httpx_retries").RetryTransport(transport=inner())


def _asyncio(case: Case, _url: str) -> Any:
    if case.colour == "sync":
        raise UnavailableError
    inner = case.base()

    class Limited(case.module.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any:
            async with asyncio.timeout(SECONDS):
                return await inner.handle_async_request(request)

        async def aclose(self) -> None:
            await inner.aclose()

    return Limited()


def _cached(case: Case, store: stores.Store | None = None) -> Any:
    if case.over == "loopback":  # a hit sends nothing
        raise UnavailableError
    door = importlib.import_module(f"resilient.{case.family}")
    pipeline = standard(f"benchmark {case.title}, {'in memory' if store is None else 'in SQLite'}")
    kind = getattr(door, case.named("ResilientTransport"))
    return kind(pipeline, transport=case.base(FRESH), cache=HttpCache(store))


def _hishel(case: Case, _url: str) -> Any:
    if case.over == "loopback":
        raise UnavailableError
    hishel, door = importlib.import_module("hishel"), importlib.import_module(f"hishel.{case.family}")
    storage = getattr(hishel, case.named("SqliteStorage"))(database_path=_file("hishel"))
    return getattr(door, case.named("CacheTransport"))(case.base(FRESH), storage=storage, rfc=True)


def _file(name: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"benchmark-{name}-")) / "cache.db"


WRAPS: dict[str, Callable[[Case, str], Any]] = {
    BARE: lambda case, _: case.base(),
    subjects.OURS: lambda case, _: _ours(case, standard(f"benchmark {case.title}")),
    BY_ORIGIN: lambda case, url: _ours(case, {url.rstrip("/"): standard(f"benchmark {case.title}, by origin")}),
    RETRIES: lambda case, _: _retries(case, case.base),
    INTERLOCK: _interlock,
    BOTH_PEERS: lambda case, url: _retries(case, lambda: _interlock(case, url)),
    ASYNCIO: _asyncio,
    CACHED: lambda case, _: _cached(case),
    CACHED_SQLITE: lambda case, _: _cached(case, stores.SqliteStore(_file("resilient"))),
    HISHEL: _hishel,
}
"""Per subject what makes its transport, given the case and the URL that will be asked."""
