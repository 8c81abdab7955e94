"""The whole application, put together from its tables of routes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from resilient import _check
from resilient.admin import auditing, holds, live, metrics, plain, planning, reads
from resilient.admin.application import Admin
from resilient.admin.auth import Authenticator
from resilient.admin.backend import Backend
from resilient.admin.endpoints import Endpoint, Site
from resilient.admin.failures import Denials
from resilient.admin.hosts import Hosts
from resilient.admin.streams import Hub, Seats
from resilient.control import paths
from resilient.control.directory import Directory
from resilient.errors import ConfigError

__all__ = ["ENDPOINTS", "app", "assemble"]

ENDPOINTS: tuple[Endpoint, ...] = tuple(
    endpoint for each in (reads, holds, planning, auditing, live, metrics, plain) for endpoint in each.table.endpoints
)
"""Every route, in the order in which they are tried."""

_STREAMS = 20
_HYSTRIX_STREAMS = 5
_STATES = ("open", "half_open", "forced_open", "forced_closed", "observe")

Metrics = bool | Literal["public"]


def app(  # noqa: PLR0913 -- settings, by name
    directory_or_app: str | os.PathLike[str] | Directory | None = None,
    *,
    authenticator: Authenticator | None = None,
    hosts: Sequence[str] | None = None,
    metrics: Metrics = False,
    critical: Sequence[str] = (),
    unready: Sequence[str] = (),
) -> Admin:
    """Return the admin API and its dashboard as an ASGI application, to be mounted under any prefix.

    It opens the control directory at the first request that needs it, and needs no lifespan events.

    Args:
        directory_or_app: The control directory: opened, as a path, or as the name of an application (a text without
            slash). None: that of `RESILIENT_CONTROL_DIR`, or of the application that `RESILIENT_APP` names.
        authenticator: Tells who calls, such as `Tokens`; `Insecure("why")` takes everybody.
        hosts: The names by which the API may be asked, without port, such as `["ops.example.com"]`; `["*"]` for
            every name, which gives up the protection against DNS rebinding.
        metrics: Whether `/metrics` answers: True to viewers, "public" to everybody.
        critical: Names of downstreams that `/readyz` shows.
        unready: States of a critical downstream in which `/readyz` answers 503, such as `["open"]`; none by default.

    Raises:
        ConfigError: If there is no authenticator or no host, or a value is not allowed.
        TypeError: If a value is of a wrong type.

    """
    if authenticator is None:
        message = (
            'authenticator must be given, such as Tokens.from_file("tokens.toml"); nothing is served without one. '
            'Insecure("why") takes everybody for one caller.'
        )
        raise ConfigError(message)
    if not callable(getattr(authenticator, "authenticate", None)):
        _check.refuse_type("authenticator", authenticator, "an object with a method `authenticate`")
    if hosts is None:
        message = (
            'hosts must be given: the names by which this API is asked, such as ["ops.example.com"], or ["*"] for '
            "every name, which gives up the protection against DNS rebinding"
        )
        raise ConfigError(message)
    for state in unready:
        if state not in _STATES:
            _check.refuse("unready", state, f"states, of {', '.join(_STATES)}")
    backend = Backend(_finder(directory_or_app))
    return assemble(backend, authenticator, Hosts(hosts), metrics=metrics, critical=critical, unready=unready)


def assemble(  # noqa: PLR0913 -- settings, by name
    backend: Backend,
    authenticator: Authenticator,
    hosts: Hosts,
    *,
    metrics: Metrics = False,
    critical: Sequence[str] = (),
    unready: Sequence[str] = (),
) -> Admin:
    """Return the application over a backend; see `app`."""
    if metrics not in (True, False, "public"):
        _check.refuse("metrics", metrics, 'True, False or "public"')
    if isinstance(critical, str) or isinstance(unready, str):
        _check.refuse_type("critical and unready", critical or unready, "sequences of texts")
    site = Site(
        backend,
        Hub(backend.overview, backend.news),
        Seats(_STREAMS),
        Seats(_HYSTRIX_STREAMS),
        Denials(),
        tuple(_check.identifier("critical", name) for name in critical),
        frozenset(unready),
        tuple(_endpoints(metrics)),
    )
    return Admin(site, authenticator, hosts)


def _endpoints(metrics: Metrics) -> list[Endpoint]:
    kept = [each for each in ENDPOINTS if each.path != "/metrics" or metrics]
    return [replace(each, role=None) if each.path == "/metrics" and metrics == "public" else each for each in kept]


def _finder(where: str | os.PathLike[str] | Directory | None) -> Callable[[], Directory]:
    if isinstance(where, Directory):
        return lambda: where if where.intact() else Directory(where.path)
    path = _from_environment() if where is None else paths.named(where)
    return lambda: Directory(path)


def _from_environment() -> Path:
    name = os.environ.get("RESILIENT_APP")
    if not name and not os.environ.get(paths.VARIABLE):
        message = (
            "the control directory must be named: as an argument, by RESILIENT_CONTROL_DIR, or by the application's "
            "name in RESILIENT_APP"
        )
        raise ConfigError(message)
    return paths.location(name or "app")
