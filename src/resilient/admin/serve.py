"""The admin API as a server of its own, `resilient admin serve`; where that is not safe, it does not even listen."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvicorn

from resilient import _check
from resilient.admin.auth import Caller
from resilient.admin.hosts import LOOPBACK
from resilient.admin.patience import Impatient
from resilient.admin.site import Metrics, app
from resilient.admin.tokens import Tokens, new_token
from resilient.errors import ConfigError

if TYPE_CHECKING:
    from resilient.control.directory import Directory

__all__ = ["PORT", "Listening", "UnsafeBind", "serve"]

PORT: Final = 8321
_BACKLOG: Final = 32
"""Connections that the event loop takes at once: few, so that it also comes to closing some (see `patience`)."""

_GRACE: Final = 3
"""Seconds that answers under way get when the server is told to stop; streams end at once."""


class UnsafeBind(ConfigError):
    """The server would listen where others can reach it, without what keeps them out."""

    exit_code = 78


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where the server listens, and what is in front of it.

    Args:
        host: Address; one that is not of the loopback needs an operator's token, and TLS or a proxy.
        port: Port; 0 for a free one.
        tls_cert: Certificate chain, a PEM file.
        tls_key: Its private key, a PEM file.
        behind_proxy: Whether a proxy in front speaks TLS. Its `X-Forwarded-For` is believed where uvicorn is told so
            (`FORWARDED_ALLOW_IPS`, by default from 127.0.0.1 only).

    Raises:
        ConfigError: If only one of certificate and key is given, or the port is none.

    """

    host: str = "127.0.0.1"
    port: int = PORT
    tls_cert: str | os.PathLike[str] | None = None
    tls_key: str | os.PathLike[str] | None = None
    behind_proxy: bool = False

    def __post_init__(self) -> None:
        """Check every value."""
        _check.identifier("host", self.host)
        if not 0 <= _check.count("port", self.port, least=0) <= 65_535:  # noqa: PLR2004 -- what ports are
            _check.refuse("port", self.port, "a number from 0 to 65535")
        if (self.tls_cert is None) != (self.tls_key is None):
            message = "tls_cert and tls_key must be given together"
            raise ConfigError(message)

    @property
    def scheme(self) -> str:
        """Return "http" or "https"."""
        return "http" if self.tls_cert is None else "https"


def serve(  # noqa: PLR0913 -- settings, by name
    directory: str | os.PathLike[str] | Directory | None = None,
    *,
    tokens: Tokens | None = None,
    listening: Listening | None = None,
    hosts: Sequence[str] = (),
    metrics: Metrics = False,
    critical: Sequence[str] = (),
    unready: Sequence[str] = (),
    say: Callable[[str], object] | None = None,
) -> None:
    """Serve the admin API until the process is told to stop.

    Without tokens there is one for viewers that lives as long as the server, and stands in an address that is told
    once, on stdout: after its `#`, which no browser sends to any server and no log shows.

    Args:
        directory: As of `app`.
        tokens: Who may come in.
        listening: Where; 127.0.0.1, port 8321, by default.
        hosts: Names by which it may be asked, beside those of the loopback and its own address.
        metrics: As of `app`.
        critical: As of `app`.
        unready: As of `app`.
        say: Tells a line to the operator; by default on stdout.

    Raises:
        UnsafeBind: If others could reach it and there is no operator's token, or neither TLS nor a proxy.
        ConfigError: If a value is not allowed.
        OSError: If the address is taken, or is none of this host.

    """
    place, tell = listening or Listening(), say or _print
    loopback = _loopback(place.host)
    if not loopback:
        _check_public(place, tokens)
    login = ""
    if tokens is None or not tokens.roles():
        token, _ = new_token("login", "viewer")
        tokens, login = Tokens({}).with_token(token, Caller("login", "viewer")), f"#token={token}"
    own = () if place.host in ("0.0.0.0", "::") else (_bracketed(place.host),)  # noqa: S104 -- compared
    application = app(
        directory,
        authenticator=tokens,
        hosts=[*LOOPBACK, *own, *hosts],
        metrics=metrics,
        critical=critical,
        unready=unready,
    )
    server = uvicorn.Server(_config(application, place))
    with _listen(place) as listener:
        port = listener.getsockname()[1]
        tell(f"Serving on {place.scheme}://{_bracketed(place.host)}:{port}/{login}")
        if login:
            tell("No tokens are configured: this address may look and not touch, as long as this server runs.")
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def _check_public(place: Listening, tokens: Tokens | None) -> None:
    if tokens is None or not tokens.roles() & {"operator", "admin"}:
        message = (
            f"{place.host} can be reached from elsewhere, and no token of an operator is configured; make one with "
            "`resilient token new NAME --role operator`, or listen on 127.0.0.1"
        )
        raise UnsafeBind(message)
    if place.tls_cert is None and not place.behind_proxy:
        message = (
            f"{place.host} can be reached from elsewhere, and tokens would cross the network in the clear; give a "
            "certificate and its key, say that a proxy in front speaks TLS (behind_proxy), or listen on 127.0.0.1"
        )
        raise UnsafeBind(message)


def _loopback(host: str) -> bool:
    """Tell whether every address of a name is one that only this host reaches."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as fault:
        message = f"host must be an address or a name of this host, got {host!r}: {fault.strerror}"
        raise ConfigError(message) from None
    return all(ipaddress.ip_address(str(address[4][0]).partition("%")[0]).is_loopback for address in found)


def _listen(place: Listening) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)  # before anybody is told: who comes early waits and is not refused
    except OSError:
        listener.close()
        raise
    return listener


def _config(application: object, place: Listening) -> uvicorn.Config:
    config = uvicorn.Config(
        application,  # type: ignore[arg-type]  # an ASGI application, as uvicorn's own types describe it otherwise
        http=Impatient,
        backlog=_BACKLOG,
        ws="none",  # there are none, and a library for them would write their addresses into the log
        log_config=None,
        log_level="info",  # below it, uvicorn would write what stands in addresses
        access_log=False,  # it would write addresses, and whatever somebody put into them
        server_header=False,
        proxy_headers=place.behind_proxy,
        ssl_certfile=None if place.tls_cert is None else str(Path(place.tls_cert)),
        ssl_keyfile=None if place.tls_key is None else str(Path(place.tls_key)),
        timeout_graceful_shutdown=_GRACE,
    )
    try:
        config.load()
    except OSError as fault:
        message = f"tls_cert and tls_key must be PEM files that belong together: {fault}"
        raise ConfigError(message) from None
    return config


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
