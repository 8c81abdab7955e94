"""Commands for the admin server: `admin serve` and `token new`."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from resilient.cli.command import command
from resilient.cli.exits import USAGE, Stop
from resilient.cli.session import Session
from resilient.control import config, private
from resilient.control.config import AdminSettings, Config

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


Settings = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings; resilient.toml here, if there is one.")
]
TokenFile = Annotated[
    Path | None, typer.Option("--tokens", metavar="FILE", help="A TOML file of tokens, instead of the settings'.")
]
Host = Annotated[str | None, typer.Option("--host", metavar="ADDRESS", help="Where to listen; 127.0.0.1 by default.")]
Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65_535, metavar="PORT", help="8321 by default; 0 for a free one.")
]
Names = Annotated[
    list[str] | None, typer.Option("--name", metavar="HOST", help="A name it may be asked by; repeatable.")
]
Certificate = Annotated[Path | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate chain, PEM.")]
Key = Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="Its private key, PEM.")]
BehindProxy = Annotated[bool, typer.Option("--behind-proxy", help="A proxy in front speaks TLS.")]
Metrics = Annotated[bool, typer.Option("--metrics", help="Serve /metrics to viewers.")]


def serve(  # noqa: PLR0913 -- one for each option
    session: Session,
    *,
    settings: Settings = None,
    tokens: TokenFile = None,
    host: Host = None,
    port: Port = None,
    name: Names = None,
    cert: Certificate = None,
    key: Key = None,
    behind_proxy: BehindProxy = False,
    metrics: Metrics = False,
) -> None:
    """Serve the API and the dashboard, on this host only unless told otherwise; the options win over the settings."""
    found = config.find() if settings is None else settings
    read = Config() if found is None else config.load(found)
    admin = replace_given(
        read.admin,
        host=host,
        port=port,
        hosts=tuple(name) if name else None,
        tls_cert=cert,
        tls_key=key,
        behind_proxy=behind_proxy or None,
        metrics=metrics or None,
    )
    path = session.path_to_be(read.control.directory, read.control.app)
    _serve(session, path, admin, tokens, found)


def _serve(session: Session, path: Path, admin: AdminSettings, tokens: Path | None, settings: Path | None) -> None:
    try:
        from resilient.admin import serve as server  # noqa: PLC0415 -- needs the extra `admin`
        from resilient.admin.tokens import Tokens  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    known = Tokens.from_env() if tokens is None else Tokens.from_file(tokens)
    if known is None and settings is not None and admin.tokens:
        known = Tokens.from_file(settings)
    listening = server.Listening(
        host=admin.host,
        port=admin.port,
        tls_cert=admin.tls_cert,
        tls_key=admin.tls_key,
        behind_proxy=admin.behind_proxy,
    )
    more: dict[str, Any] = {
        "hosts": admin.hosts,
        "metrics": admin.metrics,
        "critical": admin.critical,
        "unready": admin.unready,
    }
    _log_audit()
    if not path.exists():
        session.paper.note(f"There is no {path} yet; it is shown as soon as an application makes it.")
    with private.as_owner_of(path) if path.exists() else nullcontext():
        try:
            server.serve(path, tokens=known, listening=listening, **more)
        except OSError as error:
            message = f"Cannot listen on {admin.host}, port {admin.port}: {error.strerror or error}"
            raise Stop(USAGE, message) from None


def _log_audit() -> None:
    """Have the head of the audit's chain leave by the log after every change: only who kept it sees a cut end."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    log = logging.getLogger("resilient.audit")
    log.addHandler(handler)
    log.setLevel(logging.INFO)


def replace_given(admin: AdminSettings, **given: Any) -> AdminSettings:  # noqa: ANN401 -- the settings
    """Return the settings with what was said on the command line in their place."""
    return replace(admin, **{key: value for key, value in given.items() if value is not None})


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
        "This token is shown once. Put its line into the settings of the server, below the one and only:",
        "",
        "[admin.tokens]",
        line,
    )


def _missing(error: ModuleNotFoundError) -> Stop:
    """Return what to say when a package is not there; what is not a package is a fault of ours."""
    if (error.name or "").partition(".")[0] == "resilient":
        raise error
    hint = 'Install it with: python3 -m pip install "resilient-client[admin]"'
    return Stop(USAGE, f"This command needs {error.name}, which is not installed.", hint)
