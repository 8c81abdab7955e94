"""Mounted in an application with four workers: whichever of them is asked, all of them obey before it answers."""

from __future__ import annotations

import http.client
import json
import time

import pytest

from tests.admin._site import TEXT, bearer
from tests.servers._stage import Downstream, Server, environment, free_port

WORKERS = 4
OPS = "/internal/ops"


class Client:
    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, body=None, **headers: str):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {**bearer("olga"), "Content-Type": "application/json", "Connection": "close", **headers}
        connection.request(method, OPS + path, json.dumps(body) if body is not None else None, sent)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text else None


@pytest.mark.timeout(90)
def test_a_change_through_any_worker_is_obeyed_by_all_before_it_is_answered(tmp_path):
    port = free_port()
    arguments = ["uvicorn", "tests.admin._app:application", "--port", str(port), "--workers", str(WORKERS)]
    arguments += ["--log-level", "warning", "--no-access-log"]
    with (
        Downstream() as downstream,
        Server(
            arguments,
            port,
            {**environment(tmp_path / "control", downstream), "RESILIENT_ADMIN_TOKENS": TEXT},
            tmp_path / "log",
        ) as server,
    ):
        workers = server.workers(WORKERS)
        seen: set[int] = set()
        while seen != workers:
            seen.add(server.json("/charge")["pid"])
        client = Client(port)

        body = {"mode": "forced_open", "reason": "a test of workers", "ttl": "5m"}
        status, said = client.ask("PUT", "/v1/downstreams/payments/hold?wait=10s", body)
        assert (status, said["convergence"]["applied"]) == (200, WORKERS)
        told: dict[int, set[str]] = {}
        while told.keys() != workers:
            answer = server.json("/charge")
            told.setdefault(answer["pid"], set()).add(answer["said"])
        assert set().union(*told.values()) == {"refused"}

        status, said = client.ask("GET", "/v1/snapshot")
        assert said["reach"] == f"{WORKERS} processes on this host"
        (row,) = said["downstreams"]
        assert (row["state"], row["live"]) == ("forced_open", WORKERS)
        status, said = client.ask("DELETE", "/v1/downstreams/payments/hold?wait=10s&reason=done")
        assert (status, said["status"]) == (200, "released")

        ended_with_streams_open(server, port)


def ended_with_streams_open(server: Server, port: int) -> None:
    """Stop the server while streams are open: uvicorn waits for answers under way, and these end by themselves."""
    connections = []
    for _ in range(6):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", f"{OPS}/v1/stream", headers=bearer("vic"))
        stream = connection.getresponse()
        while not stream.readline().startswith(b"data: "):
            pass
        connections.append((connection, stream))
    server.process.terminate()
    started = time.monotonic()
    for connection, stream in connections:
        stream.read()
        connection.close()
    server.process.wait(15)
    assert time.monotonic() - started < 10
    assert "Traceback" not in server.log.read_text()
