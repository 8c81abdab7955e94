"""`resilient.toml`: read, checked as a whole, and refused with every problem in it at once.

A key that nobody knows is an error with a suggestion: a misspelled `token` must not mean "no token".
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from resilient.control import config_reader as reader
from resilient.control.intent import Rule
from resilient.errors import ConfigError

__all__ = ["AdminSettings", "Config", "ControlSettings", "TokenSettings", "find", "load", "parse", "parse_rules"]

FILE = "resilient.toml"
VARIABLE = "RESILIENT_CONFIG"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """Where the control directory is and what goes there: the table `[control]`.

    Attributes:
        app: Name that the processes of an application share; None if it is told elsewhere.
        directory: The directory itself; None for the place that belongs to `app`.
        statistics: Whether the processes count their calls.

    """

    app: str | None = None
    directory: Path | None = None
    statistics: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSettings:
    """One named token of the API: an entry of `[admin.tokens]`, as `resilient token new` prints it.

    Attributes:
        id: The token's public part, its key in the table.
        name: Who it is for; shown as the actor.
        role: "viewer", "operator" or "admin".
        sha256: Digest of the token, in 64 hexadecimal digits; the token itself is nowhere.
        only: Patterns of the downstreams it may change.

    """

    id: str
    name: str
    role: str
    sha256: str
    only: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings:
    """How `resilient admin serve` listens and whom it lets in: the table `[admin]`.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 for a free one.
        hosts: Names in the `Host` header that are answered, beside the loopback ones.
        tokens: Who may come in.
        metrics: Whether `/metrics` is served: True to viewers, "public" to everybody.
        critical: Downstreams that `/readyz` shows.
        unready: States of a critical downstream in which `/readyz` says no.
        tls_cert: Certificate chain, a PEM file.
        tls_key: Its private key, a PEM file.
        behind_proxy: Whether a proxy in front speaks TLS.

    """

    host: str = "127.0.0.1"
    port: int = 8321
    hosts: tuple[str, ...] = ()
    tokens: tuple[TokenSettings, ...] = ()
    metrics: bool | Literal["public"] = False
    critical: tuple[str, ...] = ()
    unready: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_proxy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole `resilient.toml`.

    Attributes:
        control: The table `[control]`.
        admin: The table `[admin]`.
        rules: The entries of `[[rules]]`; None if there are none, which is not the same as an empty list.

    """

    control: ControlSettings = ControlSettings()
    admin: AdminSettings = AdminSettings()
    rules: tuple[Rule, ...] | None = None


def find() -> Path | None:
    """Return the file that `RESILIENT_CONFIG` names, else `resilient.toml` in the working directory, if there."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    here = Path(FILE)
    return here if here.is_file() else None


def load(path: str | os.PathLike[str]) -> Config:
    """Return what a file says.

    Args:
        path: The file. Relative paths in it start from its folder.

    Raises:
        ConfigError: If it cannot be read, is no TOML, or has settings that cannot work; one line for each.

    """
    try:
        with Path(path).open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror or error}"
        raise ConfigError(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{path}: no TOML: {error}"
        raise ConfigError(message) from error
    try:
        return parse(table, Path(path).resolve().parent)
    except ConfigError as error:
        message = "\n".join(f"{path}: {line}" for line in str(error).splitlines())
        raise ConfigError(message) from None


def parse(table: Mapping[str, Any], folder: Path) -> Config:
    """Return what a table says that TOML was read into.

    Args:
        table: The table.
        folder: Where relative paths start.

    Raises:
        ConfigError: If something in it cannot work; one line for each.

    """
    found = reader.Reader(folder)
    top = found.table("", table, _TOP)
    control = found.table("control", top.get("control", {}), _CONTROL)
    admin = found.table("admin", top.get("admin", {}), _ADMIN)
    tokens = [
        found.table(f"admin.tokens.{key}", each, _TOKEN, ("name", "role", "sha256")) | {"id": key}
        for key, each in admin.pop("tokens", {}).items()
    ]
    rules = _rules(found, top)
    found.unique("admin.tokens", tokens, "name")
    if ("tls_cert" in admin) != ("tls_key" in admin):
        found.problems.append("admin.tls_cert and admin.tls_key must be set together")
    found.finish()
    return Config(
        control=ControlSettings(**control),
        admin=AdminSettings(**admin, tokens=tuple(TokenSettings(**each) for each in tokens)),
        rules=tuple(Rule(**each) for each in rules) if "rules" in table else None,
    )


def parse_rules(table: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules of a table that has nothing but `rules`, such as the JSON that `rules show` prints.

    Raises:
        ConfigError: If something in it cannot work; one line for each.

    """
    found = reader.Reader(Path())
    top = found.table("", table, {"rules": reader.tables})
    rules = _rules(found, top)
    found.finish()
    return tuple(Rule(**each) for each in rules)


def _rules(found: reader.Reader, top: Mapping[str, Any]) -> list[dict[str, Any]]:
    rules = [found.rule(f"rules[{n}]", each) for n, each in enumerate(top.get("rules", ()))]
    found.unique("rules", rules, "id")
    return rules


_TOP: dict[str, reader.Check] = {"control": reader.table, "admin": reader.table, "rules": reader.tables}
_CONTROL: dict[str, reader.Check] = {
    "app": reader.identifier,
    "directory": reader.path,
    "statistics": reader.flag,
}
_TOKEN: dict[str, reader.Check] = {
    "name": reader.identifier,
    "role": reader.one_of(*reader.ROLES),
    "sha256": reader.digest,
    "only": reader.some_names,
}
_ADMIN: dict[str, reader.Check] = {
    "host": reader.text(r"[0-9A-Za-z.:_-]+", "an address or a host name"),
    "port": reader.port,
    "hosts": reader.names,
    "tokens": reader.tokens,
    "metrics": reader.metrics,
    "critical": reader.names,
    "unready": reader.states,
    "tls_cert": reader.path,
    "tls_key": reader.path,
    "behind_proxy": reader.flag,
}
