"""A pattern for URLs: scheme, host, port, and perhaps where the path begins."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from resilient import _check

_PORTS = {"http": 80, "https": 443}
_ALLOWED = 'an origin such as "https://api.example.com" or a pattern such as "all://*.example.com"'


class Pattern:
    """One pattern, such as "https://*.example.com:8443/v1".

    Raises:
        ConfigError: If it has no scheme, or what no pattern can have: credentials, a query.

    """

    __slots__ = ("_host", "_port", "_scheme", "_wild", "path", "text")

    def __init__(self, text: str) -> None:
        """Take the pattern apart."""
        if not isinstance(text, str):
            _check.refuse_type("pattern", text, _ALLOWED)
        self.text = text
        try:
            parts = urlsplit(text)
            host, self._port = parts.hostname or "", parts.port
        except ValueError:
            _check.refuse("pattern", text, _ALLOWED)
        if parts.scheme not in ("http", "https", "all") or "://" not in text:
            _check.refuse("pattern", text, _ALLOWED)
        if "@" in parts.netloc or parts.query or parts.fragment:
            _check.refuse("pattern", text, "without credentials, query and fragment")
        self._wild = host.startswith("*.") or host in ("", "*")
        self._host = host.removeprefix("*").removeprefix(".")
        if "*" in self._host:
            _check.refuse("pattern", text, "with `*` only in place of the first labels of the host")
        if not host.isascii():
            self._host = host.encode("idna").decode()
        self._scheme = parts.scheme
        if self._port == _PORTS.get(parts.scheme):
            self._port = None
        self.path = parts.path.rstrip("/")

    @property
    def order(self) -> tuple[Any, ...]:
        """Sorts the most particular pattern first."""
        return self._wild, -len(self._host), self._port is None, self._scheme == "all", -len(self.path)

    def fits(self, scheme: str, host: str, port: int | None) -> bool:
        """Tell whether an origin is meant. "*.example.com" means every host below, and not the name itself."""
        if self._scheme not in ("all", scheme):
            return False
        if self._port is not None or not (self._wild or self._scheme == "all"):
            mine = _PORTS.get(scheme) if self._port is None else self._port
            if mine != (_PORTS.get(scheme) if port is None else port):
                return False
        host = host.lower() if host.isascii() else host.encode("idna").decode()
        if not self._wild:
            return host == self._host
        return not self._host or host.endswith("." + self._host)

    def covers(self, path: str) -> bool:
        """Tell whether a path begins as the pattern says, at a border between segments."""
        return not self.path or path == self.path or path.startswith(self.path + "/")
