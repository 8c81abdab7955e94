"""Named bearer tokens, `rsl_<id>_<secret>`: shown once, kept as SHA-256 digests, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from starlette.requests import HTTPConnection

from resilient import _check
from resilient.admin.auth import ROLES, Caller, Role
from resilient.errors import ConfigError

__all__ = ["LEAK", "Tokens", "new_token"]

_TOKEN: Final = re.compile(r"rsl_([0-9a-f]{12})_([0-9a-f]{64})")
LEAK: Final = re.compile(r"rsl_[0-9A-Za-z]{4,}_[0-9A-Za-z]{8,}")
"""What looks like a token, for those who must not show one."""

_DIGEST: Final = re.compile("[0-9a-f]{64}")
_FIELDS: Final = frozenset({"name", "role", "sha256", "only"})
_LONGEST: Final = 512
_NOBODY: Final = hashlib.sha256(b"no token has this digest").digest()


def new_token(name: str, role: Role, *, only: tuple[str, ...] = ("*",)) -> tuple[str, str]:
    """Make a token.

    Args:
        name: What the audit record calls its bearer.
        role: "viewer", "operator" or "admin".
        only: Patterns over names of downstreams that its bearer may change.

    Returns:
        The token, which is shown once and never stored, and its line for the table `[tokens]` of a TOML file.

    Raises:
        ConfigError: If a value is not allowed.

    """
    caller = Caller(name, role, only)
    token_id = secrets.token_hex(6)
    token = f"rsl_{token_id}_{secrets.token_hex(32)}"
    parts = [f"name = {_quoted(caller.name)}", f'role = "{role}"', f'sha256 = "{_digest(token).hex()}"']
    if caller.only != ("*",):
        parts.append(f"only = [{', '.join(map(_quoted, caller.only))}]")
    return token, f"{token_id} = {{ {', '.join(parts)} }}"


class Tokens:
    """Recognises callers by `Authorization: Bearer rsl_...`.

    Args:
        entries: For each token's id a table of `name`, `role`, `sha256` (hexadecimal digest of the whole token) and
            perhaps `only` (patterns over names of downstreams that its bearer may change).

    Raises:
        ConfigError: If an entry is incomplete, has a field too many, or is no digest.

    """

    unguessable = True

    def __init__(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        self._known = {token_id: _entry(token_id, entry) for token_id, entry in entries.items()}

    @classmethod
    def from_text(cls, text: str, source: str = "tokens") -> Tokens:
        """Read a TOML text with a table `tokens` (or `admin.tokens`).

        Raises:
            ConfigError: If it is no TOML, or has no such table.

        """
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            message = f"{source} must be TOML: {error}"
            raise ConfigError(message) from None
        admin = document.get("admin")
        table = document.get("tokens", admin.get("tokens") if isinstance(admin, dict) else None)
        if not isinstance(table, dict):
            message = f"{source} must have a table [tokens], as `resilient token new` writes it"
            raise ConfigError(message)
        return cls(table)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Tokens:
        """Read a TOML file that nobody else may change.

        Raises:
            ConfigError: If it cannot be read, is no such TOML, or others may write to it.

        """
        place = Path(path)
        try:
            with place.open(encoding="utf-8") as file:
                about = os.fstat(file.fileno())
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            message = f"the file of tokens {place} cannot be read: {error}"
            raise ConfigError(message) from None
        _check_owner(place, about)
        return cls.from_text(text, str(place))

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Tokens | None:
        """Read `RESILIENT_ADMIN_TOKENS_FILE` (a path) or `RESILIENT_ADMIN_TOKENS` (the text); None without them.

        Raises:
            ConfigError: If both are set, or what they name is not allowed.

        """
        values = os.environ if environment is None else environment
        path, text = values.get("RESILIENT_ADMIN_TOKENS_FILE"), values.get("RESILIENT_ADMIN_TOKENS")
        if path and text:
            message = "RESILIENT_ADMIN_TOKENS_FILE and RESILIENT_ADMIN_TOKENS are both set; one of them is enough"
            raise ConfigError(message)
        if path:
            return cls.from_file(path)
        return cls.from_text(text, "RESILIENT_ADMIN_TOKENS") if text else None

    def authenticate(self, connection: HTTPConnection) -> Caller | None:
        """Return the bearer of a known token, or None."""
        values = connection.headers.getlist("authorization")
        if len(values) != 1 or len(values[0]) > _LONGEST:
            return None
        scheme, _, text = values[0].partition(" ")
        match = _TOKEN.fullmatch(text.strip())
        if scheme.lower() != "bearer" or match is None:
            return None
        caller, digest = self._known.get(match[1], (None, _NOBODY))
        # Digests have one length, whatever was sent; the comparison tells nothing by the time it takes.
        return caller if hmac.compare_digest(_digest(match[0]), digest) else None

    def roles(self) -> set[Role]:
        """Return the roles that some token has."""
        return {caller.role for caller, _ in self._known.values()}

    def with_token(self, token: str, caller: Caller) -> Tokens:
        """Return the same and one more."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            message = "token must be one that new_token made"
            raise ConfigError(message)
        more = Tokens({})
        more._known = {**self._known, match[1]: (caller, _digest(token))}
        return more

    def __repr__(self) -> str:
        """Show who is known, and no digest."""
        return f"Tokens({', '.join(sorted(caller.name for caller, _ in self._known.values()))})"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("ascii")).digest()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _entry(token_id: str, entry: object) -> tuple[Caller, bytes]:
    where = f"tokens.{token_id}"
    if not isinstance(entry, Mapping) or LEAK.search(token_id) or LEAK.search(repr(entry)):
        message = "tokens must be tables of name, role and sha256, under the token's id; never put a token itself here"
        raise ConfigError(message)
    if unknown := entry.keys() - _FIELDS:
        message = f"{where} must have only {', '.join(sorted(_FIELDS))}, got also {', '.join(sorted(unknown))}"
        raise ConfigError(message)
    digest, only = entry.get("sha256"), entry.get("only", ["*"])
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        message = f"{where}.sha256 must be 64 hexadecimal digits, the SHA-256 of the token"
        raise ConfigError(message)
    if entry.get("role") not in ROLES:
        _check.refuse(f"{where}.role", entry.get("role"), 'one of "viewer", "operator", "admin"')
    if not isinstance(only, (list, tuple)):
        _check.refuse(f"{where}.only", only, "a list of patterns")
    name = cast("str", entry.get("name"))
    try:
        return Caller(name, cast("Role", entry["role"]), tuple(only)), bytes.fromhex(digest)
    except (ConfigError, TypeError) as error:
        message = f"{where}: {error}"
        raise ConfigError(message) from None


def _check_owner(path: Path, about: os.stat_result) -> None:
    if not hasattr(os, "getuid"):
        return
    if about.st_uid not in (os.getuid(), 0) or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        message = f"the file of tokens {path} must belong to you or root, and nobody else may write to it"
        raise ConfigError(message)
