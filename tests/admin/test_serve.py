"""The admin server for real: what it refuses to listen on, what it prints, and how it stops."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
import trustme

from resilient.admin import Tokens, new_token
from resilient.admin.serve import Listening, UnsafeBind, serve
from resilient.errors import ConfigError
from tests.admin._site import MADE, TEXT, bearer

SERVE = """
import sys
from resilient.admin import Tokens
from resilient.admin.serve import Listening, serve
tokens = Tokens.from_text(sys.argv[2]) if sys.argv[2] else None
serve(sys.argv[1], tokens=tokens, listening=Listening(port=0, **eval(sys.argv[3])))
"""
VIEWERS = f"[tokens]\n{MADE['vic'][1]}"


@contextmanager
def served(directory, tokens=TEXT, **listening):
    command = [sys.executable, "-c", SERVE, str(directory.path), tokens, repr(listening)]
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline()
        assert line.startswith("Serving on "), (line, process.poll() is not None and process.stderr.read())
        yield process, line.removeprefix("Serving on ").strip()
    finally:
        process.kill()
        process.communicate()


def get(url, headers=None, context=None, method="GET", body=None):
    request = urllib.request.Request(url, body, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()


def test_without_tokens_a_login_for_viewers_is_printed_once_after_the_hash(directory, pages):
    with served(directory, tokens="") as (process, url):
        place, _, fragment = url.partition("#token=")
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", place)
        assert re.fullmatch("rsl_[0-9a-f]{12}_[0-9a-f]{64}", fragment)
        assert "look and not touch" in process.stdout.readline()
        assert get(f"{place}v1")[0] == 401
        mine = {"Authorization": f"Bearer {fragment}", "Content-Type": "application/json"}
        status, body = get(f"{place}v1", mine)
        assert (status, json.loads(body)["role"]) == (200, "viewer")
        hold = json.dumps({"mode": "forced_open", "reason": "because", "ttl": 60}).encode()
        assert get(f"{place}v1/downstreams/payments/hold", mine, method="PUT", body=hold)[0] == 403
        assert get(f"{place}v1?token={fragment}")[0] == 400
        assert get(place)[1].startswith(b"<!doctype html>")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
        assert fragment not in out + err


def test_the_server_stops_promptly_with_streams_open(directory, pages):
    with served(directory) as (process, url):
        request = urllib.request.Request(f"{url}v1/stream", headers=bearer("vic"))
        with urllib.request.urlopen(request, timeout=10) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            while not stream.readline().startswith(b"data: "):
                pass
            process.send_signal(signal.SIGTERM)
            started = time.monotonic()
            rest = stream.read()
            process.wait(timeout=10)
            assert time.monotonic() - started < 2.5, "sooner than answers under way would be cut off"
            assert b"Traceback" not in rest
        assert "Traceback" not in process.stderr.read()


def test_it_serves_by_tls(directory, pages, tmp_path):
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    both = str(tmp_path / "both.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with served(directory, tls_cert=both, tls_key=both) as (_, url):
        assert url.startswith("https://127.0.0.1:")
        assert get(f"{url}v1", bearer("vic"), context)[0] == 200


def test_a_public_address_with_token_and_proxy_is_served_by_its_own_names_only(directory, pages):
    with served(directory, host="0.0.0.0", behind_proxy=True) as (_, url):
        here = url.replace("0.0.0.0", "127.0.0.1")
        assert get(f"{here}v1", bearer("vic"))[0] == 200
        assert get(f"{here}v1", {**bearer("vic"), "Host": "ops.example.com"})[0] == 403


@pytest.mark.parametrize(
    ("tokens", "listening", "said"),
    [
        (None, {"host": "0.0.0.0", "behind_proxy": True}, "no token of an operator"),
        ("viewers", {"host": "0.0.0.0", "behind_proxy": True}, "no token of an operator"),
        ("viewers", {"host": "::", "behind_proxy": True}, "no token of an operator"),
        ("all", {"host": "0.0.0.0"}, "in the clear"),
        ("all", {"host": "::"}, "in the clear"),
    ],
)
def test_a_public_address_without_token_or_tls_is_refused_before_listening(
    directory, monkeypatch, tokens, listening, said
):
    def never(*args, **named):
        raise AssertionError("it listens")

    monkeypatch.setattr("resilient.admin.serve._listen", never)
    monkeypatch.setattr("resilient.admin.serve.uvicorn.Server", never)
    known = {"viewers": Tokens.from_text(VIEWERS), "all": Tokens.from_text(TEXT)}.get(tokens)
    with pytest.raises(UnsafeBind, match=said) as caught:
        serve(directory, tokens=known, listening=Listening(**listening), say=never)
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"port": 70000}, "port must be"),
        ({"port": -1}, "port must be"),
        ({"host": ""}, "host must be"),
        ({"tls_cert": "x"}, "given together"),
    ],
)
def test_a_place_that_cannot_be_is_refused(values, said):
    with pytest.raises(ConfigError, match=said):
        Listening(**values)


def test_a_certificate_that_is_none_is_refused(directory, tmp_path):
    place = tmp_path / "x.pem"
    place.write_text("nothing")
    for path in (place, tmp_path / "none.pem"):
        with pytest.raises(ConfigError, match="tls_cert and tls_key must be"):
            serve(directory, listening=Listening(port=0, tls_cert=path, tls_key=path))


def test_a_host_that_is_none_is_refused(directory):
    with pytest.raises(ConfigError, match="host must be an address"):
        serve(directory, listening=Listening(host="nowhere.invalid"))


def test_a_port_that_is_taken_is_told(directory):
    with served(directory) as (_, url):
        port = int(url.rsplit(":", 1)[1].strip("/"))
        with pytest.raises(OSError, match="in use"):
            serve(directory, tokens=Tokens.from_text(TEXT), listening=Listening(port=port))


def test_a_token_made_on_the_command_line_is_what_the_server_reads(directory, pages):
    token, line = new_token("alice", "operator")
    with served(directory, tokens=f"[admin.tokens]\n{line}") as (_, url):
        status, body = get(f"{url}v1", {"Authorization": f"Bearer {token}"})
        assert (status, json.loads(body)["name"]) == (200, "alice")
