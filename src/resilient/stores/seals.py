"""The seal of a stored record: a checksum over all that must not change unnoticed.

It finds what a disk or a stray write has done, not what somebody does on purpose: whoever may
write to the file can write a seal, too.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

__all__ = ["seal"]

_prefix = Struct("<BqdIII").pack


def seal(  # noqa: PLR0913, PLR0917 -- called for each read, and names would cost more than the checksum
    schema: int, version: int, lifetime: float, key: bytes, variant: bytes, head: bytes, body: bytes
) -> int:
    """Return the checksum (CRC-32) of one record in a file of this layout."""
    # With all lengths in front, so that no byte can move from one part to the next.
    prefix = _prefix(schema, version, lifetime, len(key), len(variant), len(head))
    return crc32(body, crc32(head, crc32(variant, crc32(key, crc32(prefix)))))
