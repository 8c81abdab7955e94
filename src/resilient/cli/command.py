"""How a function becomes a command: with the options that all share, and with its errors turned into exit codes."""

from __future__ import annotations

import inspect
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from resilient.cli.exits import REFUSED, UNREACHABLE, USAGE, Stop
from resilient.cli.paper import Output, Paper
from resilient.cli.session import Options, Session
from resilient.cli.words import clean
from resilient.control.errors import ControlUnavailable, Refused
from resilient.errors import ConfigError

__all__ = ["command", "settled", "shared", "with_shared"]

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
            try:
                settled(session.paper, lambda: function(session, **given))
            finally:
                session.close()

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


def settled(paper: Paper, action: Callable[[], None]) -> None:
    """Run what a command does; end with the code of what went wrong.

    Raises:
        Exit: If something did.

    """
    try:
        action()
    except Stop as stop:
        code, lines = stop.code, [stop.message, *stop.hints]
    except Refused as refused:
        code = USAGE if refused.kind == "invalid" else REFUSED
        lines = refusal(refused)
        if not paper.people:
            paper.data({"refused": refused.kind, "message": refused.message, "details": refused.details})
    except ConfigError as error:
        code, lines = USAGE, str(error).splitlines()
    except (ControlUnavailable, OSError, sqlite3.Error) as error:
        if isinstance(error, BrokenPipeError):
            raise
        code, lines = UNREACHABLE, [f"The control directory cannot be used: {error}", "See `resilient doctor`."]
    else:
        return
    paper.note(*(clean(line) for line in lines if line))
    raise typer.Exit(code)


def refusal(refused: Refused) -> list[str]:
    """Return why something was refused: the sentence, every violated rule, and names that come close."""
    violations = refused.details.get("violations", ())
    lines = [f"Refused: {refused.message}"]
    lines += [f"  rule {each.get('rule', '?')}: {each.get('message', each)}" for each in violations]
    close = refused.details.get("close_matches", ())
    if close:
        lines.append(f"  Did you mean {', '.join(close)}?")
    if refused.kind == "unknown":
        lines.append("  --allow-unknown sets it for a name that no process has used yet.")
    if refused.retry_after:
        lines.append(f"  Try again in {refused.retry_after:.0f} s.")
    return lines
