"""The command itself: what stands before a command's name, and which commands there are."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib import metadata
from inspect import Parameter
from typing import Annotated, Any, NoReturn

import typer

from resilient.cli import changing, checking, command, planning, reading, ruling, serving, watching

__all__ = ["application", "run"]

HELP = """See, trip and release downstreams, in every process of this host.

It works on the control directory: with no server running, and while the application's event loop is blocked.
"""

EPILOG = (
    "Exit codes: 0 in force in every live process; 1 a check found something; 2 usage; 3 refused; "
    "4 not yet acknowledged by all; 5 no usable control directory; 78 unsafe to listen there."
)


def application() -> typer.Typer:
    """Return the command with all its commands."""
    app = typer.Typer(
        name="resilient",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=HELP)(_callback)
    for each in (watching, changing, planning, reading, ruling, checking, serving):
        each.register(app)
    return app


def run(given: Sequence[str]) -> NoReturn:
    """Run the command and leave with its exit code."""
    if "--no-color" in given:  # the texts of help and of usage errors are printed before any option is known
        import os  # noqa: PLC0415

        os.environ["NO_COLOR"] = "1"
    # A command answers with a receipt; without a handler Python would print some records beside it.
    logging.getLogger("resilient.audit").addHandler(logging.NullHandler())
    application()(args=list(given), prog_name="resilient")
    raise SystemExit(0)


def _version(wanted: bool) -> None:  # noqa: FBT001 -- typer calls it so
    if wanted:
        sys.stdout.write(f"resilient {metadata.version('resilient-client')}\n")
        raise typer.Exit


def _callback(context: typer.Context, *, version: bool = False, **given: Any) -> None:  # noqa: ANN401 -- the shared
    del version
    context.obj = command.shared(**given)


VERSION = Annotated[bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)]
command.with_shared(_callback, [Parameter("version", Parameter.KEYWORD_ONLY, default=False, annotation=VERSION)])
