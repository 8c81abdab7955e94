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
    try:
        if find_spec("typer") is None:
            raise ModuleNotFoundError(name="typer")  # noqa: TRY301 -- told below
        from resilient.cli import quick  # noqa: PLC0415 -- nothing is needed to say that typer is

        code = quick.run(given)
        if code is not None:
            raise SystemExit(code)
        from resilient.cli.root import run  # noqa: PLC0415 -- the dear one
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in NEEDED:
            raise
        sys.stderr.write(
            f"resilient: the command needs {error.name}, which is not installed. "
            'Install it with: python3 -m pip install "resilient-client[cli]"\n'
        )
        raise SystemExit(2) from None
    run(given)
