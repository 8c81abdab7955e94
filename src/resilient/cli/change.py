"""One change, carried out on a downstream or on each that a pattern matches: asked, tried dry, done, proven."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resilient.cli import receipts
from resilient.cli.exits import REFUSED, Stop
from resilient.cli.names import chosen, is_pattern
from resilient.cli.session import Session
from resilient.control.durations import parse_duration

if TYPE_CHECKING:
    from resilient.control.receipts import Receipt

__all__ = ["Change"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be done to downstreams.

    Attributes:
        verb: What it is called in a question, such as "trip".
        done: What has come of it, such as "forced open".
        make: Does it to one downstream, or only tries it.
        dry_run: Whether it is only tried.
        wait: How long to wait for every process, as it was written.
        concerns: Which of the downstreams that a pattern matches are meant; None for all.

    """

    verb: str
    done: str
    make: Callable[[str, bool], Receipt]
    dry_run: bool = False
    wait: str = "2s"
    concerns: Callable[[str], bool] | None = None

    def carry_out(self, session: Session, name: str) -> None:
        """Do it to the downstream of this name, or to those that it is a pattern of.

        Raises:
            Stop: If nothing was to be done, or not every process has it in force yet.
            Refused: If it is not allowed.

        """
        patience = parse_duration(self.wait, "--wait", zero=True)
        names = chosen(session, name)
        pattern = is_pattern(name) and names != [name]
        if pattern and self.concerns is not None:
            names = [each for each in names if self.concerns(each)]
            if not names:
                raise Stop(REFUSED, f"Nothing to {self.verb} matches {name}.")
        if not self.dry_run:
            session.agree(self.verb, names, pattern=pattern)
        found = self._done(session, names)
        code = receipts.answer(session, self.done, found, patience, several=pattern)
        if code:
            raise Stop(code)

    def _done(self, session: Session, names: list[str]) -> dict[str, Receipt]:
        """Return the receipts by name; all were tried dry before the first was changed."""
        if len(names) > 1:
            for each in names:
                self.make(each, True)  # noqa: FBT003 -- dry
        found: dict[str, Receipt] = {}
        try:
            for each in names:
                found[each] = self.make(each, self.dry_run)
        except Exception:
            if found and not self.dry_run:
                session.paper.note(f"Done before that: {', '.join(found)}.")
            raise
        return found
