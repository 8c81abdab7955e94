"""Vary: which request fields an answer depends on, and whether two requests agree in them (RFC 9111, 4.1)."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from resilient.cache.fields import Index, joined, listed, named
from resilient.cache.messages import Fields

__all__ = ["Nominated", "Vary", "matches", "matches_fields", "name", "nominated", "vary"]

Nominated = tuple[bytes, ...]
"""Names of the request fields that an answer depends on, in lower case and in order."""

Vary = tuple[tuple[bytes, bytes | None], ...]
"""The same with what stands for the values that the request had; None where a field was absent."""

MOST_FIELDS = 64
"""An answer that depends on more fields is not stored."""


def nominated(answer: Index) -> Nominated | None:
    """Return what an answer depends on; None for `*`, which nothing ever matches."""
    names = named(joined(answer, b"vary"))
    if any(b"*" in each for each in names) or len(names) > MOST_FIELDS:
        return None
    return tuple(sorted(names))


def vary(names: Nominated, request: Index, secret: bytes | None) -> Vary:
    """Return what a request had in the fields that count.

    Args:
        names: The fields.
        request: The request.
        secret: What digests are keyed with.

    """
    return tuple((each, normal(each, request, secret)) for each in names)


def matches(stored: Vary, request: Index, secret: bytes | None) -> bool:
    """Tell whether a request agrees with the one that an answer was given to."""
    return all(value == normal(each, request, secret) for each, value in stored)


def matches_fields(stored: Vary, request: Fields, secret: bytes | None) -> bool:
    """Do the same with a request's fields as they are, their names in lower case."""
    for each, value in stored:
        whole: bytes | None = None
        for name, part in request:
            if name == each:
                whole = part if whole is None else b"%b, %b" % (whole, part)
        if whole is None or value is None:
            if whole is not value:
                return False
        elif _normal(each, whole, secret) != value:
            return False
    return True


def name(stored: Vary) -> str:
    """Return the variant of a record: the same for all requests that agree."""
    if not stored:
        return ""
    digest = blake2b(digest_size=12)
    for each, value in stored:
        digest.update(b"%b\n%d\n" % (each, -1 if value is None else len(value)))
        digest.update(value or b"")
    return digest.hexdigest()


def normal(field: bytes, request: Index, secret: bytes | None) -> bytes | None:
    """Return a field's value so that values of one meaning are one; None if it is absent.

    Lines are combined, and space around commas goes. Where the order of a list or the case of
    its letters means nothing, it is sorted and in lower case. Of a field that we do not know, whose
    value may be a secret, there is only a digest.
    """
    value = joined(request, field)
    return None if value is None else _normal(field, value, secret)


def _normal(field: bytes, value: bytes, secret: bytes | None) -> bytes:
    known = _KNOWN.get((field, value))
    if known is not None:
        return known
    made = b",".join(_NORMAL.get(field, listed)(value))
    if field not in _NO_SECRETS:
        return blake2b(made, key=secret or b"", digest_size=16).digest()
    if field in _NORMAL and len(value) <= _LONGEST_KNOWN:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[field, value] = made
    return made


def _words(value: bytes) -> list[bytes]:
    return sorted(_tight(value.lower()))


def _ranges(value: bytes) -> list[bytes]:
    return sorted(_tight(value))  # parameters of a media type may have letters whose case counts


def _tight(value: bytes) -> list[bytes]:
    return [b";".join(part.strip(b" \t") for part in member.split(b";")) for member in listed(value)]


def _whole(value: bytes) -> list[bytes]:
    return [value.strip(b" \t")]


_NORMAL: dict[bytes, Callable[[bytes], list[bytes]]] = {
    b"accept": _ranges,
    b"accept-charset": _words,
    b"accept-encoding": _words,
    b"accept-language": _words,
    b"authorization": _whole,
    b"cookie": _whole,
    b"user-agent": _whole,
}
"""How the lists of fields that we know are put in order; those of others keep theirs."""

_NO_SECRETS = frozenset({*_NORMAL, b"content-type", b"host", b"origin", b"prefer", b"x-requested-with"}) - {
    b"authorization",
    b"cookie",
}

_KNOWN: dict[tuple[bytes, bytes], bytes] = {}
"""Values that were put in order lately: a program sends few."""

_MOST_KNOWN = 256
_LONGEST_KNOWN = 512
