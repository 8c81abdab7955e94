"""A gateway on the loopback around a client: whatever caches there can be asked over HTTP/1.1.

    python -m tests.cache.transport.proxy --listen 8001 --origin http://127.0.0.1:8000

Requests may name their target whole (as to a forward proxy), or by its path at the one origin.
"""

from __future__ import annotations

import argparse
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import h11

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authentication-info proxy-authorization proxy-connection"
    b" te trailer transfer-encoding upgrade".split()
)
BODILESS = (204, 304)
VIA = (b"Via", b"1.1 suite")

Pairs = list[tuple[bytes, bytes]]


class Proxy:
    """Answers the requests of a connection by a client's answers.

    Args:
        client: A client for threads, of either family.
        origin: Where requests go that name no host of their own, without a slash at its end.

    """

    def __init__(self, client: Any, origin: str) -> None:
        self.client, self.origin = client, origin

    def serve(self, connection: socket.socket, number: int) -> None:
        """Answer one request after another, until the connection ends."""
        wire = h11.Connection(h11.SERVER)
        while True:
            request, body = None, b""
            while not isinstance(event := wire.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    if wire.they_are_waiting_for_100_continue:
                        connection.sendall(wire.send(h11.InformationalResponse(status_code=100, headers=[])))
                    wire.receive_data(connection.recv(65_536))
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    return
            assert request is not None
            for part in self._parts(request, body):
                connection.sendall(wire.send(part))
            if wire.our_state is not h11.DONE or wire.their_state is not h11.DONE:
                return
            wire.start_next_cycle()

    def _parts(self, request: h11.Request, body: bytes) -> tuple[h11.Response, h11.Data, h11.EndOfMessage]:
        method, target = request.method.decode("ascii"), request.target.decode("ascii")
        status, fields, content = self._forward(method, target, list(request.headers), body)
        if method == "HEAD" or status in BODILESS:
            content = b""
        else:
            fields = [(name, value) for name, value in fields if name.lower() != b"content-length"]
            fields.append((b"Content-Length", str(len(content)).encode()))
        return h11.Response(status_code=status, headers=fields), h11.Data(data=content), h11.EndOfMessage()

    def _forward(self, method: str, target: str, fields: Pairs, body: bytes) -> tuple[int, Pairs, bytes]:
        url = target if target.startswith("http") else self.origin + target
        framed = any(name.lower() in {b"content-length", b"transfer-encoding"} for name, _ in fields)
        kept = [(name, value) for name, value in end_to_end(fields) if name.lower() not in {b"host", b"content-length"}]
        self.client.cookies.clear()
        try:
            request = self.client.build_request(method, url, headers=[*kept, VIA], content=body if framed else None)
            for name in {"accept", "accept-encoding", "user-agent"} - {name.decode().lower() for name, _ in kept}:
                del request.headers[name]  # the client's own; a gateway adds none of them
            response = self.client.send(request, stream=True)
            try:
                content = b"".join(response.iter_raw())
            finally:
                response.close()
        except Exception as error:
            status = 504 if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__ else 502
            return status, [(b"Content-Type", b"text/plain")], repr(error).encode()
        return response.status_code, [*end_to_end(response.headers.raw), VIA], content


def end_to_end(fields: Iterable[tuple[bytes, bytes]]) -> Pairs:
    """Leave out the fields that are about one connection only."""
    pairs = list(fields)
    named = {
        word.strip().lower() for name, value in pairs if name.lower() == b"connection" for word in value.split(b",")
    }
    return [(name, value) for name, value in pairs if name.lower() not in HOP_BY_HOP | named]


def main() -> None:
    """Serve with a cache of ours until interrupted."""
    import httpx2

    from resilient import Pipeline, Timeout
    from resilient.cache import HttpCache
    from resilient.httpx2 import ResilientTransport

    parser = argparse.ArgumentParser(prog="python -m tests.cache.transport.proxy", description=__doc__)
    parser.add_argument("--listen", type=int, default=8001)
    parser.add_argument("--origin", default="http://127.0.0.1:8000")
    parser.add_argument("--private", action="store_true", help="a private cache; otherwise a shared one")
    options = parser.parse_args()
    transport = ResilientTransport(Pipeline("origin", Timeout(30)), cache=HttpCache(shared=not options.private))
    with httpx2.Client(transport=transport) as client, socket.create_server(("127.0.0.1", options.listen)) as listener:
        proxy = Proxy(client, options.origin.rstrip("/"))
        with suppress(KeyboardInterrupt):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=_serve, args=(proxy, connection), daemon=True).start()


def _serve(proxy: Proxy, connection: socket.socket) -> None:
    with connection, suppress(OSError, h11.RemoteProtocolError):
        proxy.serve(connection, 0)


if __name__ == "__main__":
    main()
