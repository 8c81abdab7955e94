"""The libraries measured beside this one: one module each, all building the same policies.

Each module has `decorate(case)`, which returns a fresh decorator with the case's settings or
raises `UnavailableError`. Waits are zero, and no event has a listener.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """Another library.

    Attributes:
        name: As it is shown.
        distribution: As it is installed; empty if it belongs to Python.
        builder: The module of this package that builds its policies.
        imports: What a program that uses its breaker or retry imports.

    """

    name: str
    distribution: str
    builder: str
    imports: str


PEERS: tuple[Peer, ...] = (
    Peer("nopanic", "nopanic", "of_nopanic", "nopanic"),
    Peer("interlock-cb", "interlock-cb", "of_interlock", "interlock"),
    Peer("pyresilience", "pyresilience", "of_pyresilience", "pyresilience"),
    Peer("tenacity", "tenacity", "of_tenacity", "tenacity"),
    Peer("stamina", "stamina", "of_stamina", "stamina"),
    Peer("pybreaker", "pybreaker", "of_pybreaker", "pybreaker"),
    Peer("circuitbreaker", "circuitbreaker", "of_circuitbreaker", "circuitbreaker"),
    Peer("hyx", "hyx", "of_hyx", "hyx.circuitbreaker"),
    Peer("aiobreaker", "aiobreaker", "of_aiobreaker", "aiobreaker"),
    Peer("cachetools", "cachetools", "of_cachetools", "cachetools"),
    Peer("functools.lru_cache", "", "of_functools", "functools"),
    Peer("asyncio.timeout", "", "of_asyncio", "asyncio"),
)
