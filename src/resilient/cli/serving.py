"""Commands for the admin server: `admin serve` and `token new`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from resilient.cli.command import command
from resilient.cli.exits import USAGE, Stop
from resilient.cli.session import Session

__all__ = ["register"]


class Role(StrEnum):
    """What the bearer of a token may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    admin = typer.Typer(name="admin", help="The API and the dashboard.", no_args_is_help=True)
    command(admin, "serve")(serve)
    app.add_typer(admin)
    tokens = typer.Typer(name="token", help="Tokens of the API.", no_args_is_help=True)
    command(tokens, "new")(new)
    app.add_typer(tokens)


def serve(session: Session) -> None:
    """Serve the API and the dashboard."""


def new(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who it is for; the audit shows it.")],
    *,
    role: Annotated[Role, typer.Option("--role", help="What its bearer may do.")],
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="PATTERN", help="Downstreams it may change; repeatable.")
    ] = None,
) -> None:
    """Make a token: it is shown once, on stdout; the settings get its digest, shown beside it."""
    try:
        from resilient.admin.tokens import new_token  # noqa: PLC0415 -- needs the extra `admin`
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    token, line = new_token(name, role.value, only=tuple(only) if only else ("*",))
    if not session.paper.people:
        session.paper.data({"token": token, "settings": line})
        return
    session.paper.say(token)
    session.paper.note(
        "This token is shown once. Put this into the settings of the server:", "", "[admin.tokens]", line
    )


def _missing(error: ModuleNotFoundError) -> Stop:
    """Return what to say when a package is not there; what is not a package is a fault of ours."""
    if (error.name or "").partition(".")[0] == "resilient":
        raise error
    hint = 'Install it with: python3 -m pip install "resilient-client[admin]"'
    return Stop(USAGE, f"This command needs {error.name}, which is not installed.", hint)
