"""Commands for what is laid down: `rules show`, `rules set` and `config check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resilient.cli import receipts
from resilient.cli.command import command
from resilient.cli.exits import USAGE, Stop
from resilient.cli.parameters import DryRun, Perhaps, Wait
from resilient.cli.session import Session
from resilient.cli.words import count
from resilient.control import config
from resilient.control.durations import parse_duration
from resilient.errors import ConfigError

if TYPE_CHECKING:
    from resilient.control.intent import Rule

__all__ = ["register"]

File = Annotated[Path, typer.Argument(metavar="FILE", help="A TOML file, such as resilient.toml.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    rules = typer.Typer(name="rules", help="Interlocks: what nobody may do, however hurried.", no_args_is_help=True)
    command(rules, "show")(show)
    command(rules, "set")(replace)
    app.add_typer(rules)
    settings = typer.Typer(name="config", help="The settings file.", no_args_is_help=True)
    command(settings, "check")(check)
    app.add_typer(settings)


def show(session: Session) -> None:
    """Show the rules in force; `--output json` prints what `rules set` takes."""
    rules = session.operations.rules()
    if not session.paper.people:
        session.paper.data({"rules": [_as_json(each) for each in rules]})
    elif rules:
        session.paper.table(("ID", "KIND", "GROUP", "LIMIT"), [_row(each) for each in rules])
    else:
        session.paper.note("There are no rules.")


def replace(
    session: Session,
    file: File,
    *,
    reason: Perhaps = "",
    dry_run: DryRun = False,
    wait: Wait = "2s",
) -> None:
    """Replace all rules by those of a file: `rules` of a resilient.toml, or the JSON of `rules show`."""
    patience = parse_duration(wait, "--wait", zero=True)
    rules = _read(file)
    receipt = session.operations.set_rules(rules, who=session.who("admin"), reason=reason, dry_run=dry_run)
    code = receipts.answer(session, f"replaced, {len(rules)} now", {"rules": receipt}, patience)
    if code:
        raise Stop(code)


def check(session: Session, file: File) -> None:
    """Check a settings file: every key, every value, all problems at once."""
    try:
        found = config.load(file)
    except ConfigError as error:
        if not session.paper.people:
            session.paper.data({"file": str(file), "valid": False, "problems": str(error).splitlines()})
        raise Stop(USAGE, str(error).splitlines()[0], *str(error).splitlines()[1:]) from None
    if not session.paper.people:
        session.paper.data({"file": str(file), "valid": True, "problems": []})
        return
    rules = "no rules" if found.rules is None else count(len(found.rules), "rule")
    session.paper.say(f"{file}: good; {count(len(found.admin.tokens), 'token')}, {rules}.")


def _read(file: Path) -> tuple[Rule, ...]:
    if file.suffix != ".json":
        rules = config.load(file).rules
        if rules is None:
            raise Stop(USAGE, f"{file}: has no [[rules]]; to remove all rules write `rules = []`.")
        return rules
    try:
        return config.parse_rules(json.loads(file.read_text("utf-8")))
    except OSError as error:
        raise Stop(USAGE, f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # ConfigError is one
        raise Stop(USAGE, *(f"{file}: {line}" for line in str(error).splitlines())) from None


def _as_json(rule: Rule) -> dict[str, Any]:
    found = {"id": rule.id, "kind": rule.kind, "group": list(rule.group)}
    own = {"n": rule.n, "fraction": rule.fraction, "seconds": rule.seconds}
    return found | {key: value for key, value in own.items() if value is not None}


def _row(rule: Rule) -> list[str]:
    entry = _as_json(rule)
    limit = "; ".join(f"{key} {entry[key]}" for key in ("n", "fraction", "seconds") if key in entry)
    return [rule.id, rule.kind, ", ".join(rule.group), limit or "-"]
