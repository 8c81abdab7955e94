"""Let an operator in: the protected side gets a control directory, a dashboard stands in front of it."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from examples.common.process import Child

__all__ = ["APP", "operated"]

APP = "outage-demo"


@contextlib.asynccontextmanager
async def operated() -> AsyncIterator[list[str]]:
    """Name the application for the processes started in the block; yield what to tell the operator."""
    from resilient.control import paths  # noqa: PLC0415 -- only who operates needs it

    directory = paths.location(APP)
    os.environ["RESILIENT_APP"] = APP
    os.environ[paths.VARIABLE] = str(directory)
    async with Child.running("examples.outage.console", APP, directory) as console:
        url = str((await console.message())["url"])
        yield [f"dashboard  {url}", *_commands(directory)]


def _commands(directory: Path) -> list[str]:
    command = f"{shlex.quote(sys.executable)} -m resilient.cli --dir {shlex.quote(str(directory))}"
    return [
        f'trip       {command} trip rates --reason "a look at the demo" --for 20s',
        f"release    {command} release rates",
    ]
