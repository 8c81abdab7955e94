"""How a function becomes a command: with the options that all share, and and with its ending as exit code."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from resilient.cli.endings import ended
from resilient.cli.paper import Output
from resilient.cli.session import Options, Session

__all__ = ["command", "shared", "with_shared"]

F = TypeVar("F", bound=Callable[..., None])

PANEL = "Options of every command"


def shared(
    directory: Annotated[
        Path | None,
        typer.Option("--dir", metavar="PATH", help="The control directory.", rich_help_panel=PANEL),
    ] = None,
    app: Annotated[
        str | None,
        typer.Option("--app", metavar="NAME", help="The application, as in RESILIENT_APP.", rich_help_panel=PANEL),
    ] = None,
    output: Annotated[
        Output | None, typer.Option("--output", "-o", help="Form of the results.", rich_help_panel=PANEL)
    ] = None,
    yes: Annotated[
        bool | None, typer.Option("--yes", "-y", help="Do not ask.", rich_help_panel=PANEL, show_default=False)
    ] = None,
    no_color: Annotated[
        bool | None, typer.Option("--no-color", help="No colours.", rich_help_panel=PANEL, show_default=False)
    ] = None,
) -> Options:
    """Take the options that stand before or after the name of any command."""
    return Options(directory, app, output, yes, no_color)


_SHARED = inspect.signature(shared, eval_str=True).parameters


def command(group: typer.Typer, name: str, **settings: Any) -> Callable[[F], F]:  # noqa: ANN401 -- typer's own
    """Make a command of a function that takes a session and its own parameters.

    Args:
        group: Where the command belongs.
        name: What it is called.
        settings: More for typer.

    """

    def register(function: F) -> F:
        def run(context: typer.Context, **given: Any) -> None:  # noqa: ANN401 -- whatever was declared
            options = shared(**{key: given.pop(key) for key in _SHARED})
            session = Session(options.over(context.obj or Options()))
            code = ended(session, lambda: function(session, **given))
            if code:
                raise typer.Exit(code)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        with_shared(run, own)
        group.command(name, help=inspect.getdoc(function), **settings)(run)
        return function

    return register


def with_shared(run: Callable[..., None], own: Sequence[inspect.Parameter] = ()) -> None:
    """Declare a function that takes a context, its own parameters and the shared options, as typer looks for them."""
    first = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    last = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in _SHARED.values()]
    run.__signature__ = inspect.Signature([first, *own, *last])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (first, *own, *last)}
