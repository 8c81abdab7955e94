"""A small server that speaks the API as the page knows it, over made-up data: for what a real one shows rarely."""

from __future__ import annotations

import contextlib
import copy
import json
import mimetypes
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.admin.browser import _canned

STATIC = Path(__file__).parents[3] / "src/resilient/admin/static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
TOKENS = {"rsl_see_5ec12e7": "viewer", "rsl_act_5ec12e7": "operator", "rsl_all_5ec12e7": "admin"}


class Stub(ThreadingHTTPServer):
    """The server: `overview` may be changed and told with `push`."""

    daemon_threads = True

    def __init__(self, prefix: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.prefix = prefix
        self.overview = _canned.overview()
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.streams_offered = True
        self.silent = False
        self.requests: list[tuple[str, str, dict[str, Any] | None]] = []
        self.seen_ids: list[str] = []
        self.changed = threading.Condition()
        self.frames: list[tuple[str, Any]] = []
        self.cut = 0

    @property
    def url(self) -> str:
        """Return the page's address."""
        return f"http://127.0.0.1:{self.server_address[1]}{self.prefix}/"

    def push(self, kind: str, data: Any) -> None:
        """Send a frame to every stream."""
        with self.changed:
            self.frames.append((kind, copy.deepcopy(data)))
            self.changed.notify_all()

    def change(self, name: str, **fields: Any) -> None:
        """Change one downstream, and tell it as a delta."""
        each = next(each for each in self.overview["downstreams"] if each["name"] == name)
        each.update(fields)
        self.push("delta", {"at": _canned.iso(), "revision": self.overview["revision"], "downstreams": [each]})

    def cut_streams(self) -> None:
        """End every stream that is open."""
        with self.changed:
            self.cut += 1
            self.changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about a browser that went away."""


class _Handler(BaseHTTPRequestHandler):
    server: Stub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Stay silent."""

    def answer(self, status: int, body: bytes, media: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cache-Control", "no-store")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def json(self, data: Any, status: int = 200) -> None:
        media = "application/json" if status < 400 else "application/problem+json"
        self.answer(status, json.dumps(data).encode(), media)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if not path.startswith(self.server.prefix + "/"):
            self.json({"title": "There is nothing here", "status": 404}, 404)
            return
        path = path[len(self.server.prefix) + 1 :]
        if not path.startswith("v1"):
            self.file(path or "index.html")
        elif self.role() is None:
            self.json({"title": "A valid token is needed", "status": 401, "detail": "No valid token."}, 401)
        elif path == "v1":
            self.json({"version": "0.1.0", "name": "alice", "role": self.role(), "only": ["*"]})
        elif path == "v1/snapshot":
            self.json({**self.server.overview, "at": _canned.iso()})
        elif path == "v1/stream":
            self.stream()
        elif path == "v1/audit":
            self.json({"items": _canned.audit()})
        elif path == "v1/windows":
            self.json({"items": _canned.windows()})
        elif path == "v1/events":
            self.json({"items": []})
        else:
            self.json({"status": 404, "detail": "There is nothing here"}, 404)

    def role(self) -> str | None:
        return TOKENS.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def file(self, name: str) -> None:
        path = STATIC / name
        if "/" in name or not path.is_file():
            self.json({"status": 404}, 404)
            return
        self.answer(200, path.read_bytes(), mimetypes.guess_type(name)[0] or "text/plain")

    def stream(self) -> None:
        server = self.server
        if not server.streams_offered:
            self.json({"status": 503, "detail": "All streams are taken"}, 503)
            return
        server.seen_ids.append(self.headers.get("Last-Event-ID", ""))
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        with server.changed:
            told, cut = len(server.frames), server.cut
        self.frame("snapshot", {**server.overview, "at": _canned.iso()}, f"boot-{told}")
        while True:
            with server.changed:
                server.changed.wait_for(lambda told=told: len(server.frames) > told or server.cut > cut, 1.0)
                if server.cut > cut:
                    return
                fresh = server.frames[told:]
                told = len(server.frames)
            if server.silent:
                continue
            for at, (kind, data) in enumerate(fresh):
                self.frame(kind, data, f"boot-{told - len(fresh) + at + 1}")
            self.wfile.write(b": beat\n\n")

    def frame(self, kind: str, data: Any, name: str) -> None:
        self.wfile.write(f"event: {kind}\nid: {name}\ndata: {json.dumps(data)}\n\n".encode())

    def change(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.requests.append((self.command, parts.path, body))
        name = unquote(parts.path.split("/")[-2])
        if self.command == "DELETE":
            name = unquote(parts.path).rsplit("/", 1)[-1].split("-")[1]
        query = parse_qs(parts.query)
        if self.role() not in {"operator", "admin"}:
            self.json({"status": 403, "detail": "This caller may not do that"}, 403)
        elif self.server.refusal:
            status, problem = self.server.refusal
            self.json({"status": status, **problem}, status)
        elif self.command == "PUT":
            self.put(name, body or {}, "dry_run" in query)
        else:
            self.server.change(name, state="closed", holds=[], states={"closed": 4})
            self.json(
                {"effective": "auto", "convergence": {"required": 4, "applied": 4, "pending": [], "complete": True}}
            )

    do_PUT = change
    do_DELETE = change

    def put(self, name: str, body: dict[str, Any], dry: bool) -> None:
        answer: dict[str, Any] = {
            "status": "active",
            "effective": body["mode"],
            "masked_by": [],
            "impact": {"calls_per_s": 210.0, "in_flight": 3},
        }
        if not dry:
            placed = _canned.hold(name, body["mode"], left=900, reason=body["reason"], actor="me", ticket="")
            self.server.change(name, state=body["mode"], holds=[placed], states={body["mode"]: 4})
            answer["convergence"] = {"required": 4, "applied": 4, "pending": [], "complete": True, "waited_s": 0.1}
        self.json(answer)


@contextlib.contextmanager
def running(prefix: str = "") -> Iterator[Stub]:
    """Run a stub for the time of the block."""
    with Stub(prefix) as stub:
        thread = threading.Thread(target=stub.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield stub
        finally:
            stub.cut_streams()
            stub.shutdown()
            thread.join()
