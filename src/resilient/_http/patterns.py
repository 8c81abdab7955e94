"""A pattern for URLs: scheme, host, port, and perhaps where the path begins."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from resilient import _check

_PORTS = {"http": 80, "https": 443}
_ALLOWED = 'an origin such as "https://api.example.com" or a pattern such as "all://*.example.com"'
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


class Pattern:
    """One pattern, such as "https://*.example.com:8443/v1".

    Without a port, "https://api.example.com" means the scheme's own port; "all://..." and wildcards
    mean every port.

    Args:
        text: The pattern.
        url: The family's URL class, by whose rules a host is turned into ASCII.

    Raises:
        TypeError: If it is no text.
        ConfigError: If it has no scheme or no possible host, or what no pattern can have:
            credentials, a query.

    """

    __slots__ = ("_host", "_port", "_scheme", "_wild", "path", "text")

    def __init__(self, text: str, url: Callable[..., Any]) -> None:
        """Take the pattern apart."""
        if not isinstance(text, str):
            _check.refuse_type("pattern", text, _ALLOWED)
        self.text = text
        parts, host, port = _split(text)
        if "@" in parts.netloc or "?" in text or "#" in text:
            _check.refuse("pattern", text, "without credentials, query and fragment")
        self._wild = host in ("", "*") or host.startswith("*.")
        if "*" in host[2:] or host == "*." or (not self._wild and "*" in host):
            _check.refuse("pattern", text, 'with `*` only in place of whole labels at the front, as in "*.example.com"')
        host = host[2:] if self._wild else host
        self._host = _ascii(text, host, url) if host else ""
        self._scheme = parts.scheme
        self._port = None if not self._wild and port == _PORTS.get(parts.scheme) else port
        self.path = unquote(parts.path).rstrip("/")

    @property
    def meaning(self) -> tuple[Any, ...]:
        """Equal for two patterns that mean the same."""
        return self._wild, self._host, self._port, self._scheme, self.path

    @property
    def order(self) -> tuple[Any, ...]:
        """Sorts the most particular pattern first: by host, then port, path and scheme."""
        return self._wild, -len(self._host), self._port is None, -len(self.path), self._scheme == "all"

    def fits(self, scheme: str, host: str, port: int | None) -> bool:
        """Tell whether an origin is meant. "*.example.com" means every host below, and not the name itself.

        Args:
            scheme: Of the URL.
            host: Of the URL, in ASCII and lower case.
            port: Of the URL; None stands for the scheme's own.

        """
        if self._scheme not in ("all", scheme):
            return False
        if self._port is not None or not (self._wild or self._scheme == "all"):
            mine = _PORTS.get(scheme) if self._port is None else self._port
            if mine != (_PORTS.get(scheme) if port is None else port):
                return False
        host = plain(host)
        if not self._wild:
            return host == self._host
        return not self._host or host.endswith("." + self._host)

    def covers(self, path: str) -> bool:
        """Tell whether a path begins as the pattern says, at a border between segments."""
        return not self.path or path == self.path or path.startswith(self.path + "/")


def _split(text: str) -> tuple[SplitResult, str, int | None]:
    """Return the parts of a pattern, its host and its port."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # such as a port that is no number
        _check.refuse("pattern", text, _ALLOWED)
    if parts.scheme not in ("http", "https", "all") or "://" not in text:
        _check.refuse("pattern", text, _ALLOWED)
    return parts, host, port


def _ascii(text: str, host: str, url: Callable[..., Any]) -> str:
    """Return a host as requests have it, refusing what is none."""
    try:
        name = plain(url(scheme="https", host=host).raw_host.decode())
    except Exception:  # noqa: BLE001 -- of either family, or of its IDNA codec
        name = ""
    if not (":" in name or _NAME.fullmatch(name)):
        _check.refuse("pattern", text, f"{_ALLOWED}; {host!r} is no host")
    return name


def plain(host: str) -> str:
    """Return the one spelling of a host that has several."""
    if ":" in host:
        try:
            return str(IPv6Address(host))
        except ValueError:  # with a zone that only this machine knows
            return host
    return host.removesuffix(".")
