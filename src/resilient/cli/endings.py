"""How a command ends: every error it may meet, turned into a message for people and an exit code for scripts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from resilient.cli.exits import APPLIED, REFUSED, UNREACHABLE, USAGE, Stop
from resilient.cli.session import Session
from resilient.control.errors import ControlUnavailable, Refused
from resilient.errors import ConfigError

__all__ = ["ended"]

FLAGS = {"ttl": "--for", "starts_at": "--from", "ends_at": "--until", "target": "NAME", "selector": "NAME"}
"""What parameters are called on the command line, where that is another word."""


def ended(session: Session, action: Callable[[], None]) -> int:
    """Run what a command does, close the session, and return the exit code; what went wrong is printed."""
    paper = session.paper
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
        # The admin server says by a code of its own that it would not be safe to listen.
        code, lines = getattr(error, "exit_code", USAGE), str(error).splitlines()
    except BrokenPipeError:
        raise
    except (ControlUnavailable, OSError, sqlite3.Error) as error:
        code, lines = UNREACHABLE, [f"The control directory cannot be used: {error}", "See `resilient doctor`."]
    else:
        return APPLIED
    finally:
        session.close()
    paper.note(*filter(None, lines))
    return code


def refusal(refused: Refused) -> list[str]:
    """Return why something was refused: the sentence, every violated rule, and names that come close."""
    if refused.kind == "invalid":
        return _invalid(refused)
    violations = refused.details.get("violations", ())
    lines = [f"Refused: {refused.message.replace('allow_unknown', '--allow-unknown')}"]
    if len(violations) > 1:  # a single one is what the sentence says
        lines += [f"  rule {each.get('rule', '?')}: {each.get('message', each)}" for each in violations]
    if refused.retry_after:
        lines.append(f"  Try again in {refused.retry_after:.0f} s.")
    return lines


def _invalid(refused: Refused) -> list[str]:
    """Return what is wrong with the parameters, by their names on the command line."""
    lines = []
    for each in refused.details.get("errors", ()):
        name = each["parameter"]
        said = FLAGS.get(name, f"--{name.replace('_', '-')}")
        lines.append(each["message"].replace(name, said, 1).replace("after starts_at", f"after {FLAGS['starts_at']}"))
    return lines or [refused.message]
