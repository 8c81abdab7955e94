"""The operator's dashboard over the protected side, in its own process: it says its address first."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from examples.common.process import say
from resilient.admin.auth import Caller
from resilient.admin.serve import Listening, serve
from resilient.admin.tokens import Tokens, new_token
from resilient.control.directory import Directory


def main() -> None:
    """Serve until the other side closes its end, for an operator who has the address."""
    parser = argparse.ArgumentParser()
    parser.add_argument("app")
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    directory = Directory(arguments.directory, create=True, app=arguments.app)
    token, _ = new_token("demo", "operator")

    def tell(line: str) -> None:
        if line.startswith("Serving on "):
            say(url=f"{line.removeprefix('Serving on ')}#token={token}")

    def wait() -> None:
        sys.stdin.read()
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()
    tokens = Tokens({}).with_token(token, Caller("demo", "operator"))
    serve(directory, tokens=tokens, listening=Listening(port=0), say=tell)


if __name__ == "__main__":
    main()
