"""The command `resilient`: see, trip and release downstreams from a shell, with no server running.

It works on the control directory, so it also works while an application's event loop is blocked.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NoReturn

__all__ = ["main"]

NEEDED = ("typer", "rich")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave with its exit code.

    Args:
        arguments: What stands after the command's name; by default what the process was started with.

    Raises:
        SystemExit: Always; the codes are in `resilient.cli.exits`.

    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    missing = next((name for name in NEEDED if find_spec(name) is None), None)
    if missing is not None:
        sys.stderr.write(
            f"resilient: the command needs {missing}, which is not installed. "
            'Install it with: python3 -m pip install "resilient-client[cli]"\n'
        )
        raise SystemExit(2)
    try:
        from resilient.cli import quick  # noqa: PLC0415 -- nothing of it is needed to say what is missing

        code = quick.run(given)
        if code is None:
            from resilient.cli.root import run  # noqa: PLC0415 -- the dear one

            run(given)
    except KeyboardInterrupt:  # while it was still loading
        code = 1
    raise SystemExit(code)
