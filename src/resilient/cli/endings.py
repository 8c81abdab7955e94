"""How a command ends: every error it may meet, turned into a message for people and an exit code for scripts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from resilient.cli.exits import APPLIED, REFUSED, UNREACHABLE, USAGE, Stop
from resilient.cli.session import Session
from resilient.cli.words import clean
from resilient.control.errors import ControlUnavailable, Refused
from resilient.errors import ConfigError

__all__ = ["ended"]


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
        code, lines = USAGE, str(error).splitlines()
    except BrokenPipeError:
        raise
    except (ControlUnavailable, OSError, sqlite3.Error) as error:
        code, lines = UNREACHABLE, [f"The control directory cannot be used: {error}", "See `resilient doctor`."]
    else:
        return APPLIED
    finally:
        session.close()
    paper.note(*(clean(line) for line in lines if line))
    return code


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
