"""Which names the API answers to, and whose pages may change something: against rebinding and cross-site requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from resilient import _check
from resilient.admin.problems import Problem

__all__ = ["LOOPBACK", "Hosts", "check_origin"]

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""The names of this host that no other can claim."""

_PORTS = {"http": "80", "https": "443"}
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^][:/@,\s]+)(:[0-9]{1,5})?")
"""What a Host header may be: a name or an IPv6 address in brackets, and perhaps a port."""


class Hosts:
    """The host names that are served; every other one is refused before anything is read.

    Args:
        names: Names without port, such as "ops.example.com" or "[::1]"; "*.example.com" for all below it, "*" for
            every name there is (then nothing protects against DNS rebinding).

    Raises:
        ConfigError: If a name has a scheme, a port or a path, or there is none.
        TypeError: If it is no sequence of strings.

    """

    def __init__(self, names: Sequence[str]) -> None:
        if isinstance(names, str) or not all(isinstance(each, str) for each in names):
            _check.refuse_type("hosts", names, 'a sequence of host names, or ["*"] for every name')
        if not names:
            _check.refuse("hosts", names, 'host names, at least one, or ["*"] for every name')
        for name in names:
            bare = name.strip("[]") if name.startswith("[") else name
            if not name or "/" in name or (":" in name and name == bare) or not name.isascii():
                _check.refuse("hosts", name, "a host name without scheme, port and path; IPv6 in brackets")
        self._all = "*" in names
        self._names = frozenset(name.lower() for name in names)
        self._suffixes = tuple(name[1:].lower() for name in names if name.startswith("*."))

    def check(self, headers: Headers) -> None:
        """Refuse a request for another host than ours.

        Raises:
            Problem: 403, without telling which names are served.

        """
        values = headers.getlist("host")
        if len(values) == 1 and _HOST.fullmatch(values[0].strip()) and (self._all or self._serves(_name(values[0]))):
            return
        detail = "The Host header names a host that is not served here; `hosts` of the admin app lists those that are."
        raise Problem("host", detail, parameter="Host")

    def _serves(self, name: str) -> bool:
        return name in self._names or (bool(self._suffixes) and name.endswith(self._suffixes))


def check_origin(headers: Headers) -> None:
    """Refuse a change that a page of another site sends.

    Raises:
        Problem: 403.

    """
    sites, origins = headers.getlist("sec-fetch-site"), headers.getlist("origin")
    if any(site not in ("same-origin", "none") for site in sites):
        raise Problem("origin", "A page of another site sent this; changes are only taken from this one.")
    if any(not _same(origin, headers.get("host", "")) for origin in origins):
        detail = "The Origin header names another site than Host; changes are only taken from pages of this one."
        raise Problem("origin", detail, parameter="Origin")


def _name(host: str) -> str:
    """Return a Host header's name without its port, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0].removesuffix(".")


def _same(origin: str, host: str) -> bool:
    """Tell whether an origin is the host that was asked; whether by TLS is the proxy's knowledge, not ours."""
    try:
        parts = urlsplit(origin)
        port = str(parts.port or _PORTS.get(parts.scheme, ""))
    except ValueError:
        return False
    if parts.scheme not in _PORTS or not parts.hostname:
        return False
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    asked = _name(host)
    asked_port = host.strip()[len(asked) :].lstrip(".").removeprefix(":") or _PORTS[parts.scheme]
    return name == asked and port == asked_port
