"""The first part of a key: the address of an answer, so that one prefix reaches all answers of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from urllib.parse import quote, urljoin

from resilient import _check

__all__ = ["PREFIX", "address", "authority", "beside", "elsewhere", "normal", "prefix"]

PREFIX = "http "
"""What all keys of HTTP answers begin with."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(?:[^/?#]*@)?([^/?#]*)([^#]*)", re.DOTALL)
_DEFAULT_PORT = {"http": ":80", "https": ":443"}
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_PLAIN = re.compile(r"[!-~]*")
_LONGEST = 1024
_READABLE = 512


def normal(url: str) -> str:
    """Return a URL without fragment and user, with scheme and host in lower case, without a default port.

    Nothing is decoded: two spellings of one path are two addresses, never one for two.
    """
    parts = _URL.match(url)
    if parts is None:
        return _plain(url.partition("#")[0])
    scheme, host, rest = parts[1].lower(), parts[2].lower(), parts[3]
    host = host.removesuffix(_DEFAULT_PORT.get(scheme, ":")).removesuffix(":")
    if not rest.startswith("/"):
        rest = "/" + rest
    return _plain(f"{scheme}://{host}{rest}")


def authority(url: str) -> bytes:
    """Return the host of a URL and its port, as `Host` names them."""
    return normal(url).partition("://")[2].partition("/")[0].encode()


def elsewhere(url: str, fields: Sequence[tuple[bytes, bytes]]) -> str:
    """Return what tells the host that a request names in `Host` from that of its URL; nothing if they are one.

    Programs that ask a server by its number, or past a balancer, name the host that they mean so.
    """
    hosts = {value.strip(b" \t").lower() for name, value in fields if name.lower() == b"host"}
    if not hosts:
        return ""
    scheme, own = url.partition(":")[0], authority(url)
    foreign = [host for host in hosts if host != own and authority(f"{scheme}://{host.decode('latin-1')}") != own]
    if not foreign:
        return ""
    digest = blake2b(digest_size=12)
    for host in sorted(hosts):
        digest.update(b"%d\n%b" % (len(host), host))
    return "@" + digest.hexdigest()


def _plain(url: str) -> str:
    """Return a text of printable ASCII without spaces, so that the end of a URL in a key is plain."""
    return url if _PLAIN.fullmatch(url) else quote(url, _PRINTABLE, errors="surrogatepass")


def address(url: str) -> str:
    """Return what the keys of all answers of a URL begin with, and those of no other.

    A long URL is cut, and a digest of the whole stands for the rest.
    """
    url = normal(url)
    if len(url) > _LONGEST:
        url = f"{url[:_READABLE]}#{blake2b(url.encode(), digest_size=16).hexdigest()}"
    return f"{PREFIX}{url} "


def prefix(url: str) -> str:
    """Return what the keys of all answers below a URL begin with.

    Raises:
        ConfigError: If so much of a URL is not kept in keys.

    """
    parts = _URL.match(url)
    url = normal(url) if parts is not None and parts[2] else url
    if len(url) > _READABLE:
        _check.refuse("prefix", url, f"a text of at most {_READABLE} characters")
    return PREFIX + url


def beside(target: str, reference: bytes) -> str | None:
    """Return the URL that a `Location` of an answer means, if it is of the same origin as the target."""
    try:
        url = urljoin(target, reference.decode("latin-1").strip(" \t"))
    except ValueError:
        return None
    return url if _origin(url) == _origin(target) else None


def _origin(url: str) -> str:
    scheme, _, rest = normal(url).partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
