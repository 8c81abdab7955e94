"""What operators do with holds: each request is checked, recorded with who and why, and then seen by every process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from resilient.control import changes_holds
from resilient.control.change import Request
from resilient.control.changes_holds import Placing
from resilient.control.checks import plain
from resilient.control.directory import Directory
from resilient.control.ledger import Ledger
from resilient.control.reading import Reading
from resilient.control.receipts import Receipt, Who

__all__ = ["Holding", "request"]


class Holding(Reading):
    """The part of `Operations` that is about holds.

    Args:
        directory: The control directory.

    """

    __slots__ = ("_ledger",)

    def __init__(self, directory: Directory) -> None:
        super().__init__(directory)
        self._ledger = Ledger(directory)

    def place(  # noqa: PLR0913 -- all but the first are named at the call
        self,
        target: str,
        mode: str,
        *,
        reason: str,
        ttl: float,
        who: Who,
        percent: int = 100,
        disposition: str = "fallback",
        ticket: str = "",
        expect: str | None = None,
        create_only: bool = False,
        strict: bool = False,
        allow_unknown: bool = False,
        dry_run: bool = False,
        break_glass: Iterable[str] = (),
    ) -> Receipt:
        """Place a hold on a downstream, or put it in the place of the actor's own one.

        An actor has at most one hold on a downstream's calls and one on its retries; those of others stay.

        Args:
            target: Name of the downstream.
            mode: "forced_open", "observe", "forced_closed" or "no_retries".
            reason: Why, 3 to 200 characters.
            ttl: Seconds after which it ends by itself, 1 to 86400.
            who: Who asks.
            percent: Share of the calls that "forced_open" refuses.
            disposition: "fallback" lets the pipeline's own fallbacks answer, "reject" does not.
            ticket: Where more is written.
            expect: The `etag` that the target must still have.
            create_only: Whether to refuse if the actor has a hold there.
            strict: Whether to refuse to replace the actor's own hold without `expect`.
            allow_unknown: Whether a name that no process has used yet may be held.
            dry_run: Whether only to try.
            break_glass: Ids of rules to override; for admins, with a reason of 20 characters or more.

        """
        asked = Placing(
            target=target,
            mode=mode,
            reason=reason,
            ttl=ttl,
            percent=percent,
            disposition=disposition,
            ticket=ticket,
            expect=expect,
            create_only=create_only,
            strict=strict,
            allow_unknown=allow_unknown,
            break_glass=tuple(break_glass),
        )
        given = {name: getattr(asked, name) for name in Placing.__slots__ if name != "target"}
        asks = request("place", target, who, given, dry_run=dry_run)
        return self._ledger.carry_out(asks, lambda change: changes_holds.place(change, asked))

    def release(  # noqa: PLR0913 -- all but the first are named at the call
        self,
        target: str,
        *,
        who: Who,
        hold_id: str | None = None,
        reason: str = "",
        retries: bool = False,
        expect: str | None = None,
        dry_run: bool = False,
    ) -> Receipt:
        """End a hold before its time; those of others stay.

        Args:
            target: Name of the downstream.
            who: Who asks.
            hold_id: Which hold; the actor's own one if left out. Another's needs an admin, or a shell.
            reason: Why it is over.
            retries: Whether the own hold on retries is meant, and not that on calls.
            expect: The `etag` that the target must still have.
            dry_run: Whether only to try.

        """
        given = {"hold_id": hold_id, "reason": reason, "retries": retries, "expect": expect}
        return self._ledger.carry_out(
            request("release", target, who, given, dry_run=dry_run),
            lambda change: changes_holds.release(
                change, target, hold_id=hold_id, reason=reason, expect=expect, retries=retries
            ),
        )

    def extend(  # noqa: PLR0913 -- all but the first are named at the call
        self,
        hold_id: str,
        *,
        who: Who,
        ttl: float | None = None,
        ticket: str | None = None,
        note: str | None = None,
        expect: str | None = None,
        dry_run: bool = False,
    ) -> Receipt:
        """Give a hold another end, another ticket, or one more note.

        Args:
            hold_id: Which hold.
            who: Who asks.
            ttl: Seconds from now on after which it ends.
            ticket: Where more is written.
            note: What is to be added.
            expect: The `etag` that the target must still have.
            dry_run: Whether only to try.

        """
        given = {"ttl": ttl, "ticket": ticket, "note": note, "expect": expect}
        return self._ledger.carry_out(
            request("extend", hold_id, who, given, dry_run=dry_run),
            lambda change: changes_holds.extend(change, hold_id, ttl=ttl, ticket=ticket, note=note, expect=expect),
        )


def request(action: str, target: str, who: Who, given: dict[str, Any], *, dry_run: bool) -> Request:
    """Return a request as it is recorded: what was left at nothing is left out."""
    said = {name: value for name, value in plain(given).items() if value not in (None, "", False, [])}
    return Request(action=action, target=str(plain(target)), who=who, given=said, dry_run=dry_run)
