"""Keys: one name per operation, so that a server can tell a repetition from a new order.

A random key is made before the first attempt and kept with what it is for. A derived key needs
no keeping: it is computed again, by any process, from what the operation is.
"""

from __future__ import annotations

import os
import re
from typing import Literal

from resilient import _check
from resilient.idempotency.fingerprints import fingerprint

__all__ = ["A_HEADER", "LONGEST", "checked_key", "checked_token", "derived_key", "random_key", "written"]

A_HEADER = "the name of a header: letters, digits and !#$%&'*+-.^_`|~"

LONGEST = 255
"""Characters of a bare key; vendors refuse longer ones."""

_VERSION = b"\x01"
"""First byte under a derived key's signature, so that the way it is computed can change one day."""

_LENGTH = 26
"""Characters of a derived key: 130 bits."""

_SHORTEST_SECRET = 16

_ABSENT = object()
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def random_key() -> str:
    """Return a random UUID (version 4).

    Example:
        >>> len(random_key())
        36

    """
    number = bytearray(os.urandom(16))
    number[6] = number[6] & 0x0F | 0x40
    number[8] = number[8] & 0x3F | 0x80
    text = number.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def derived_key(secret: bytes, *, tenant: str, operation: str, intent: str, body: object = _ABSENT) -> str:
    """Return the key of one operation, the same in every process that asks for the same operation.

    Args:
        secret: At least 16 random bytes, the same in all processes and for as long as keys live.
            Without it nobody can guess the key of somebody else's operation.
        tenant: For whom: an account, or "" where there is only one.
        operation: What is done, such as "charge".
        intent: Which one it is, such as the number of an order: never the same for two orders,
            however alike they are.
        body: What is sent: bytes, a string or JSON values, see `fingerprint`. Another body makes
            another key, and so another operation. Left out, the key stays, and a server that
            compares bodies refuses the second one.

    Raises:
        TypeError: If an argument is of a wrong type, or the body cannot be fingerprinted.
        ConfigError: If the secret is too short, or the operation or intent is empty.

    Example:
        >>> derived_key(b"sixteen or more.", tenant="acme", operation="charge", intent="order-4567")
        '6S6Q7X6RABRIATJBEEPPSBFTIQ'

    """
    import hmac  # noqa: PLC0415 -- it loads hashlib, which only few programs need
    from base64 import b32encode  # noqa: PLC0415

    if not isinstance(secret, bytes):
        _check.refuse_type("secret", "(hidden)", "bytes")
    if len(secret) < _SHORTEST_SECRET:
        _check.refuse("secret", f"{len(secret)} bytes", f"at least {_SHORTEST_SECRET} random bytes")
    parts = [_part("tenant", tenant, least=0), _part("operation", operation), _part("intent", intent)]
    parts.append(b"" if body is _ABSENT else fingerprint(body).encode())
    signed = hmac.digest(secret, _VERSION + b"".join(len(part).to_bytes(4) + part for part in parts), "sha256")
    return b32encode(signed).decode()[:_LENGTH]


def _part(name: str, value: object, *, least: int = 1) -> bytes:
    if not isinstance(value, str):
        _check.refuse_type(name, value, "a string")
    try:
        part = value.encode()
    except UnicodeEncodeError:
        _check.refuse(name, value, "text that UTF-8 can express")
    if len(part) < least:
        _check.refuse(name, value, "a string of one or more characters")
    return part


def checked_key(name: str, key: object) -> str:
    """Return a key that a header can carry.

    Raises:
        TypeError: If it is no string.
        ConfigError: If it is empty, has other characters than printable ASCII, or begins or ends
            with a space, which would be lost on the way.

    """
    if not isinstance(key, str):
        _check.refuse_type(name, key, "a string")
    if not key or not key.isascii() or not key.isprintable() or key != key.strip():
        _check.refuse(name, key, "one or more printable ASCII characters, without a space at either end")
    return key


def checked_token(name: str, value: object, allowed: str) -> str:
    """Return the name of a header or method.

    Raises:
        TypeError: If it is no string.
        ConfigError: If it has other characters than such a name.

    """
    if not isinstance(value, str):
        _check.refuse_type(name, value, allowed)
    if not _TOKEN.fullmatch(value):
        _check.refuse(name, value, allowed)
    return value


def written(key: object, style: Literal["raw", "quoted"]) -> str:
    """Return a key as a header carries it: bare, or as a structured field's string.

    Raises:
        TypeError: If it is no string.
        ConfigError: If it has other characters than printable ASCII, or is empty or too long.

    """
    text = checked_key("idempotency key", key)
    if style == "quoted":
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if len(text) > LONGEST:
        _check.refuse("idempotency key", key, f"at most {LONGEST} characters")
    return text
