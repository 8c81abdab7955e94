"""What operators can do: each request is checked, recorded with who and why, and then seen by every process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from resilient.control import changes
from resilient.control.changes import Planning
from resilient.control.holding import Holding, request
from resilient.control.intent import Rule
from resilient.control.receipts import Receipt, Who

__all__ = ["Operations"]


class Operations(Holding):
    """Requests of operators to a control directory.

    Every one of them, refused ones included, leaves a row in the audit, in the same transaction as
    the change: what cannot be recorded is not done. With `dry_run` all is checked, the receipt is the
    same, and nothing is stored. All raise Refused with the reason, or ControlUnavailable if the record
    cannot be changed now.

    Args:
        directory: The control directory.

    """

    __slots__ = ()

    def command(  # noqa: PLR0913 -- all but the first are named at the call
        self,
        target: str,
        command: str,
        *,
        reason: str,
        who: Who,
        key: str | None = None,
        allow_unknown: bool = False,
        dry_run: bool = False,
    ) -> Receipt:
        """Have every process that lives do something once; who starts later does not.

        Args:
            target: Name of the downstream.
            command: "reset" or "probe".
            reason: Why, 3 to 200 characters.
            who: Who asks.
            key: The same request with the same key gets the same receipt for a day, and does nothing.
            allow_unknown: Whether the name may be one that no process has used yet.
            dry_run: Whether only to try.

        """
        given = {"command": command, "reason": reason}
        return self._ledger.carry_out(
            request("command", target, who, given, dry_run=dry_run),
            lambda change: changes.command(
                change, target, command, reason=reason, key=key, allow_unknown=allow_unknown
            ),
            key,
        )

    def schedule(  # noqa: PLR0913 -- all but the first are named at the call
        self,
        selector: str,
        mode: str,
        *,
        starts_at: float,
        ends_at: float,
        reason: str,
        who: Who,
        percent: int = 100,
        disposition: str = "fallback",
        ticket: str = "",
        allow_unknown: bool = False,
        dry_run: bool = False,
        break_glass: Iterable[str] = (),
    ) -> Receipt:
        """Plan a window of maintenance, of 31 days at most.

        Args:
            selector: Pattern over names of downstreams.
            mode: As of a hold.
            starts_at: Seconds since 1970.
            ends_at: Seconds since 1970.
            reason: Why, 3 to 200 characters.
            who: Who asks.
            percent: As of a hold.
            disposition: As of a hold.
            ticket: Where more is written.
            allow_unknown: Whether the pattern may match no name that is known.
            dry_run: Whether only to try.
            break_glass: Ids of rules to override; for admins, with a reason of 20 characters or more.

        """
        asked = Planning(
            selector=selector,
            mode=mode,
            starts_at=starts_at,
            ends_at=ends_at,
            reason=reason,
            percent=percent,
            disposition=disposition,
            ticket=ticket,
            allow_unknown=allow_unknown,
            break_glass=tuple(break_glass),
        )
        given = {name: getattr(asked, name) for name in Planning.__slots__ if name != "selector"}
        asks = request("schedule", selector, who, given, dry_run=dry_run)
        return self._ledger.carry_out(asks, lambda change: changes.schedule(change, asked))

    def end_window(self, window_id: str, *, who: Who, reason: str, dry_run: bool = False) -> Receipt:
        """End a window before its time, or before it began; it stays in the record.

        Args:
            window_id: Which window.
            who: Who asks.
            reason: Why, 3 to 200 characters.
            dry_run: Whether only to try.

        """
        asks = request("end_window", window_id, who, {"reason": reason}, dry_run=dry_run)
        return self._ledger.carry_out(asks, lambda change: changes.end_window(change, window_id, reason))

    def set_rules(
        self,
        rules: Iterable[Rule | Mapping[str, Any]],
        *,
        who: Who,
        reason: str = "",
        expect: str | None = None,
        dry_run: bool = False,
    ) -> Receipt:
        """Put interlocks in the place of those that are; for admins.

        Args:
            rules: All of them, as records or as mappings with the same names.
            who: Who asks.
            reason: Why.
            expect: The `rules_etag` that they must still have.
            dry_run: Whether only to try.

        """
        several = [asdict(rule) if isinstance(rule, Rule) else rule for rule in rules]
        given = {"rules": several, "reason": reason, "expect": expect}
        asks = request("set_rules", "rules", who, given, dry_run=dry_run)
        return self._ledger.carry_out(asks, lambda change: changes.set_rules(change, several, reason, expect))

    def denied(self, said: Mapping[str, object]) -> None:
        """Write into the audit what was refused before it became a request, such as a login.

        Args:
            said: `actor`, `role`, `via`, `action`, `target`, `request` and `reason` of the row.

        """
        self._ledger.denied(said)

    def sweep(self) -> int:
        """Write down what time has done since: holds that expired, windows that began or ended; return how many."""
        return self._ledger.sweep()
