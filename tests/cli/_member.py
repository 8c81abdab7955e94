"""A small process that lives in a control directory: it shows a page and, unless told otherwise, applies every change.

    python _member.py DIRECTORY [--stuck] [--app NAME] [--version VERSION] [--uid N]
                      [--stops lock|write] NAME[=STATE]...

It says "ready" when its page stands, and leaves when its standard input ends.
"""

from __future__ import annotations

import argparse
import encodings.ascii
import encodings.idna
import fcntl
import json
import os
import signal
import sys
import threading
import time
import zlib
from dataclasses import asdict
from fnmatch import fnmatchcase

from resilient.control.directory import Directory
from resilient.control.host import Identity
from resilient.control.page import OwnPage
from resilient.telemetry.totals import Totals

# Imported before `--uid`: afterwards the interpreter's own folders may be out of reach.
BEFORE = (fcntl, fnmatchcase, encodings.ascii, encodings.idna, zlib)


def row(state: str, applied_retries: str = "on") -> dict:
    return {
        "state": state,
        "since": time.time() - 7501,
        "cause": "5 failures in a row" if state == "open" else None,
        "ramping": False,
        "share": 0.0 if state == "open" else 1.0,
        "retries": applied_retries,
        "holds": [],
        "breakers": {"breaker": {"state": state, "failure_rate": 0.62, "threshold": 0.5, "calls": 40, "min_calls": 20}},
        "bulkheads": {"bulkhead": {"limit": 20, "active": 9, "queued": 0}},
        "rate_limits": {},
        "budget": 0.8,
        "live": {
            "in_flight": 9,
            "rate": 118.4,
            "error_share": 0.021,
            "rejected_rate": 0.0,
            "p50": 0.012,
            "p90": 0.05,
            "p99": 1.3,
            "history": [1] * 60,
            "errors": [0] * 60,
        },
    }


def counted(names: list[str]) -> dict:
    """Return what a process has counted that had errors and refusals."""
    totals = Totals()
    for name in names:
        totals.add("resilient_call_rejections_total", (name, "bulkhead", "bulkhead_full"), 3)
        for each in ("ConnectError", "ConnectError", "ReadTimeout"):
            totals.observe("resilient_attempt_duration_seconds", (name, "first", "failure", each), 0.1)
        totals.observe("resilient_attempt_duration_seconds", (name, "first", "success", ""), 0.1)
        totals.observe("resilient_call_duration_seconds", (name, "failure", "ConnectError"), 0.3)
        totals.observe("resilient_call_duration_seconds", (name, "timeout", "CallTimeout"), 0.3)
        totals.observe("resilient_call_duration_seconds", (name, "rejected", "bulkhead_full"), 0.0)
    return totals.encode()


def stop(directory: Directory, where: str) -> None:
    """Stop in the middle of a change."""
    if where == "lock":
        with directory.changing():
            os.kill(os.getpid(), signal.SIGSTOP)
    else:
        directory.database.write(lambda _: os.kill(os.getpid(), signal.SIGSTOP))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--stuck", action="store_true")
    parser.add_argument("--app", default="checkout")
    parser.add_argument("--version")
    parser.add_argument("--uid", type=int)
    parser.add_argument("--stops", choices=["lock", "write"])
    given = parser.parse_args()
    if given.uid is not None:
        os.setgroups([])
        os.setgid(given.uid)
        os.setuid(given.uid)
    directory = Directory(given.directory, create=True, app=given.app)
    identity = asdict(Identity.own(given.app))
    if given.version:
        identity["version"] = given.version
    page = OwnPage(directory.path, identity["instance"])
    rows = {name: row(state or "closed") for name, _, state in (each.partition("=") for each in given.names)}
    over = threading.Event()

    def listen() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=listen, daemon=True).start()
    first = True
    while not over.is_set():
        text = {
            "v": 1,
            **identity,
            "heartbeat": time.time(),
            "beat": time.monotonic(),
            "applied": 0 if given.stuck else directory.revision(),
            "errors": {},
            "statistics": True,
            "downstreams": rows,
            "totals": counted([*rows]),
        }
        page.write(json.dumps(text).encode())
        if first:
            sys.stdout.write(identity["instance"] + "\n")
            sys.stdout.flush()
            first = False
            if given.stops:
                stop(directory, given.stops)
        over.wait(0.02)


if __name__ == "__main__":
    main()
