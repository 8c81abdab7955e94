"""Break connections as networks do."""

from __future__ import annotations

import asyncio
import socket
import struct

__all__ = ["reset"]


def reset(transport: asyncio.BaseTransport) -> None:
    """Break a connection the rude way: the client sees a reset, not an end."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
