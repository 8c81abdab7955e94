"""What somebody tries on the wire: slow, split, doubled, too many; and where a token could be left behind."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest

from resilient.admin import Caller, app, live
from tests.admin._site import HOLD, TEXT, TOKENS, bearer, problem
from tests.admin.test_serve import get

SERVE = """
import logging, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[3]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
logging.basicConfig(level=1, stream=sys.stderr)  # everything that anybody logs, at any level
from resilient.admin import Tokens, admit, patience, serve
from resilient.admin.serve import Listening
patience.SECONDS = patience.STUCK = admit._SLOWEST_BODY = float(sys.argv[2])
serve.serve(sys.argv[1], tokens=Tokens.from_text(sys.stdin.read()), listening=Listening(port=0), metrics=True)
"""


@contextmanager
def served(directory, patience=1.0, files=1024):
    command = [sys.executable, "-c", SERVE, str(directory.path), str(patience), str(files)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    try:
        process.stdin.write(TEXT)
        process.stdin.close()
        line = process.stdout.readline()
        assert line.startswith("Serving on "), line
        yield process, line.removeprefix("Serving on ").strip()
    finally:
        process.kill()
        process.stdin = None
        process.communicate()


@contextmanager
def connected(url):
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as wire:
        yield wire


def answer(wire):
    """Return all that comes until the other side has nothing more to say."""
    told = b""
    wire.settimeout(10)
    try:
        while more := wire.recv(65536):
            told += more
    except ConnectionResetError:
        pass
    return told


def head(method, path, **headers):
    lines = [f"{method} {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.fixture
def server(directory, pages):
    with served(directory) as (process, url):
        yield process, url


def test_whoever_says_nothing_or_little_at_a_time_is_not_waited_for(server):
    _, url = server
    for first in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "):
        with connected(url) as wire:
            wire.sendall(first)
            began = time.monotonic()
            while time.monotonic() - began < 8:
                time.sleep(0.1)
                try:
                    wire.sendall(b"x" if first else b"")
                    wire.settimeout(0.05)
                    if not wire.recv(1000):
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
            assert 0.5 < time.monotonic() - began < 5


def test_a_body_that_does_not_come_is_not_waited_for(server):
    _, url = server
    with connected(url) as wire:
        sizes = {"Content_Type": "application/json", "Content_Length": 1000}
        wire.sendall(head("PUT", "/v1/downstreams/payments/hold", Host="localhost", **bearer("olga"), **sizes))
        wire.sendall(b'{"mode": ')
        said = answer(wire)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"urn:resilient:problem:slow" in said


def test_a_body_of_somebody_who_is_not_let_in_is_not_waited_for_either(server):
    _, url = server
    with connected(url) as wire:
        sizes = {"Content_Type": "application/json", "Content_Length": 10**12}
        wire.sendall(head("PUT", "/v1/downstreams/payments/hold", Host="localhost", **sizes))
        began = time.monotonic()
        said = answer(wire)
    assert said.startswith(b"HTTP/1.1 401 ")
    assert time.monotonic() - began < 5


def test_many_silent_connections_keep_nobody_out(directory, pages):
    with served(directory, patience=60.0, files=300) as (process, url), ExitStack() as silent:
        with connected(url) as at_work:
            at_work.sendall(head("GET", "/v1/stream", Host="localhost", **bearer("vic")))
            assert b" 200 " in at_work.recv(1000)
            for _ in range(400):  # more than the server has file descriptors
                silent.enter_context(connected(url))
            assert get(f"{url}v1", bearer("vic"))[0] == 200
            hold = json.dumps(dict(HOLD)).encode()
            sent = {**bearer("olga"), "Content-Type": "application/json"}
            assert get(f"{url}v1/downstreams/payments/hold?wait=0", sent, method="PUT", body=hold)[0] in (200, 202)
            at_work.settimeout(10)
            told = b""
            while b"the provider is down" not in told:
                more = at_work.recv(65536)
                assert more, "who is at work is not sent away"
                told += more
        assert process.poll() is None


def test_a_reader_that_takes_nothing_is_not_waited_for(server):
    """Whoever asks for much and reads nothing keeps neither a connection nor memory for long."""
    _, url = server
    with connected(url) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.settimeout(0.2)
        asked, end = head("GET", "/openapi.json", Host="localhost") * 20, time.monotonic() + 15
        while time.monotonic() < end:
            try:
                wire.send(asked)
            except TimeoutError:  # its own buffers are full: it does not read on either
                continue
            except OSError:
                break
        else:
            pytest.fail("it is still connected")
    assert get(f"{url}v1", bearer("vic"))[0] == 200


SPLIT = (
    b"Host: localhost\r\nHost: localhost\r\n",
    b"Host: localhost\r\nHost: evil.example\r\n",
    b"",
    b"Host: evil.example\r\nX-Forwarded-Host: localhost\r\n",
    b"Host: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
    b"Host: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Host: localhost\r\nTransfer-Encoding: chunked, identity\r\n",
    b"Host: localhost\r\nContent-Length: +5\r\n",
    b"Host: localhost\r\nX: a\x00b\r\n",
    b"Host: localhost\r\n X: folded\r\n",
    b"Host: localhost\r\nX : y\r\n",
)
"""Heads that a server behind a proxy could read in another way than the proxy."""


def test_heads_that_two_servers_could_read_differently_change_nothing(server):
    _, url = server
    token = f"Authorization: {bearer('ada')['Authorization']}\r\n".encode()
    smuggled = head("PUT", "/v1/rules", Host="localhost", **bearer("ada"))
    begin = b"PUT /v1/downstreams/payments/hold HTTP/1.1\r\n" + token
    for headers in SPLIT:
        with connected(url) as wire:
            wire.sendall(begin + headers + b"\r\n0\r\n\r\n" + smuggled)
            wire.shutdown(socket.SHUT_WR)
            said = answer(wire)
        assert b"HTTP/1.1 200" not in said, headers
        assert b"HTTP/1.1 202" not in said, headers


def test_an_address_in_absolute_form_is_checked_by_its_host_header(server):
    _, url = server
    for line in (b"GET http://evil.example/v1/snapshot HTTP/1.1\r\n", b"GET evil.example HTTP/1.1\r\n"):
        with connected(url) as wire:
            wire.sendall(line + b"Host: evil.example\r\n\r\n")
            wire.shutdown(socket.SHUT_WR)
            assert b" 403 " in answer(wire).partition(b"\r\n")[0]
        with connected(url) as wire:
            wire.sendall(line + b"Host: localhost\r\n\r\n")
            wire.shutdown(socket.SHUT_WR)
            said = answer(wire)
            assert b" 200 " not in said.partition(b"\r\n")[0]
            assert b"//evil" not in said


def test_no_token_is_left_in_any_output_log_answer_page_file_or_argument(directory, server):
    """Everything that can be captured is: logs of every level, both outputs, answers, streams, files, arguments."""
    process, url = server
    secrets = {name: token.rsplit("_", 1)[1] for name, token in TOKENS.items()}
    wrong = TOKENS["ada"][:-1] + ("0" if TOKENS["ada"][-1] != "0" else "1")
    kept = []

    def ask(path, who=None, method="GET", body=None, **headers):
        sent = {**(bearer(who) if who else {}), "Content-Type": "application/json", **headers}
        data = None if body is None else json.dumps(body).encode()
        status, said = get(f"{url}{path}", sent, method=method, body=data)
        kept.append(said)
        return status

    assert ask("v1", "ada") == 200
    for path in ("", "main.js", "openapi.json", "healthz", "readyz", "v1/snapshot", "v1/processes", "nothing"):
        ask(path, "vic")
    assert ask("metrics", "vic") == 200
    assert ask("v1/downstreams/payments/hold?wait=0", "olga", "PUT", dict(HOLD)) in (200, 202)
    assert ask("v1/downstreams/payments/hold?wait=0", "vic", "PUT", dict(HOLD)) == 403
    assert ask("v1/downstreams/payments/hold?wait=0", "ada", "PUT", {**HOLD, "reason": TOKENS["ada"]}) == 400
    assert ask("v1/snapshot", Authorization=f"Bearer {wrong}") == 401
    assert ask("v1/snapshot", Authorization=f"Basic {TOKENS['ada']}") == 401
    assert ask(f"v1?token={TOKENS['ada']}") == 400
    assert ask(f"v1/downstreams/{TOKENS['ada']}", "ada") == 400
    assert ask(f"{TOKENS['ada']}") == 400
    assert ask("v1", "ada", **{"X-Request-Id": TOKENS["ada"], "Last-Event-ID": TOKENS["ada"]}) == 200
    assert ask("v1/audit", "ada") == 200
    with connected(url) as wire:  # a stream, and an upgrade that names a token
        wire.sendall(head("GET", "/v1/stream", Host="localhost", **bearer("ada")))
        kept.append(wire.recv(65536))
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": 13,
        "Sec_WebSocket_Key": "a" * 22,
    }
    with connected(url) as wire:
        wire.sendall(head("GET", f"/v1?token={TOKENS['ada']}", Host="localhost", **upgrade))
        wire.shutdown(socket.SHUT_WR)
        kept.append(answer(wire))
    kept += [Path(f"/proc/{process.pid}/{file}").read_bytes() for file in ("cmdline", "environ")]
    kept += [each.read_bytes() for each in directory.path.rglob("*") if each.is_file()]
    process.terminate()
    process.stdin = None
    kept += [text.encode() for text in process.communicate(timeout=10)]
    assert b"refused (auth)" in kept[-1], "the log was captured"
    for piece in kept:
        for name, secret in secrets.items():
            assert secret.encode() not in piece, (name, piece[:2000])
            assert secret[:32].encode() not in piece


# -- a stream whose reader may not read any more -----------------------------------------------


@pytest.mark.parametrize("path", ["/v1/stream", "/hystrix.stream"])
def test_a_stream_ends_when_its_reader_would_not_be_let_in_any_more(directory, pages, monkeypatch, path):
    monkeypatch.setattr(live, "_ASKED_EVERY", 0.2)

    class Session:
        valid = True

        def authenticate(self, connection):
            return Caller("pat", "viewer") if self.valid else None

    session = Session()
    application = app(directory, authenticator=session, hosts=["localhost"])
    sent, scope = [], {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "server": ("localhost", 80),
    }  # fmt: skip

    async def main():
        async def receive():
            await anyio.sleep_forever()

        async def send(message):
            sent.append(message)
            if message.get("body", b"").count(b"data:"):
                session.valid = False

        with anyio.fail_after(10):
            await application(scope, receive, send)

    anyio.run(main)
    assert sent[0]["status"] == 200
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


def test_who_is_still_let_in_keeps_the_stream(monkeypatch):
    monkeypatch.setattr(live, "_ASKED_EVERY", 0.0)
    asked = []

    class Asked:
        async def admitted(self):
            asked.append(True)
            return len(asked) < 3

    async def main():
        async def source():
            for each in (b"a", b"b", b"c", b"d"):
                yield each

        return [each async for each in live._while_admitted(Asked(), source())]

    assert anyio.run(main) == [b"a", b"b"]


def test_the_comparison_takes_the_same_time_for_everybody(site, monkeypatch):
    """Also a token whose id nobody has is compared, digest with digest of equal length."""
    from resilient.admin import tokens

    compared = []

    def compare(one, other):
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(tokens.hmac, "compare_digest", compare)
    unknown = f"rsl_000000000000_{'0' * 64}"
    wrong = TOKENS["ada"][:-1] + ("0" if TOKENS["ada"][-1] != "0" else "1")
    for token, status in ((unknown, 401), (wrong, 401), (TOKENS["ada"], 200)):
        assert site.get("v1", who=None, headers={"Authorization": f"Bearer {token}"}).status_code == status
    assert compared == [(32, 32)] * 3


def test_lines_of_the_log_about_strangers_are_bounded(site, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            problem(site.get("v1", headers={"Host": "evil.example"}), 403, "host")
    assert site.app.site.denials.counts["host"] == 100, "all are counted"
    assert len([each for each in caplog.records if each.name == "resilient.admin"]) <= 31


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "no token of an operator"),
        (["--host", "::"], "no token of an operator"),
        (["--host", "0.0.0.0", "--behind-proxy"], "no token of an operator"),
    ],
)
def test_the_command_exits_with_78_before_it_listens_where_others_could_reach_it(directory, words, said):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [sys.executable, "-m", "resilient.cli", "admin", "serve", "--dir", str(directory.path)]
    done = subprocess.run(
        [*command, "--port", str(port), *words], capture_output=True, text=True, timeout=30, check=False, cwd="/"
    )
    assert (done.returncode, done.stdout) == (78, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_with_a_token_of_an_operator_it_still_needs_tls_or_a_proxy(directory, tmp_path):
    settings = tmp_path / "resilient.toml"
    settings.write_text(TEXT.replace("[tokens]", "[admin.tokens]"))
    settings.chmod(0o600)
    command = [sys.executable, "-m", "resilient.cli", "admin", "serve", "--dir", str(directory.path)]
    command += ["--config", str(settings), "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (78, "")
    assert "in the clear" in done.stderr
