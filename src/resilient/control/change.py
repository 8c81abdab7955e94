"""One request of an operator inside its transaction: what it may see, and what it leaves for the audit."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, NoReturn

from resilient.control import rows, standing
from resilient.control.checks import BREAK_GLASS_REASON, Checks
from resilient.control.errors import Refusal, Refused
from resilient.control.intent import Hold, Intent, Rule, Window
from resilient.control.moment import Moment
from resilient.control.receipts import Who
from resilient.control.rules import Proposal, violations
from resilient.control.views import Views

__all__ = ["Change", "Request", "close_matches", "new_id", "refuse"]

_COMPARED = 200
"""Names of each kind with which an unknown one is compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody asks for.

    Attributes:
        action: What for, as the audit names it.
        target: Downstream, selector or id, as it was given.
        who: Who asks.
        given: The parameters.
        dry_run: Whether it is only tried.

    """

    action: str
    target: str
    who: Who
    given: dict[str, Any] = field(default_factory=dict)
    dry_run: bool = False


@dataclass
class Change:
    """A request in its transaction.

    Attributes:
        db: The connection.
        request: What is asked.
        moment: When.
        views: The pages of live processes.
        before: What was there, for the audit.
        after: What is there then.
        reason: Why, in the words of who asks.
        overridden: Ids of the rules that were broken on purpose.

    """

    db: sqlite3.Connection
    request: Request
    moment: Moment
    views: Views
    before: object = None
    after: object = None
    reason: str = ""
    overridden: list[str] = field(default_factory=list)

    @property
    def who(self) -> Who:
        """Who asks."""
        return self.request.who

    @cached_property
    def revision(self) -> int:
        """The record's next revision, taken by whoever asks for it first."""
        revision = rows.number(self.db, "revision") + 1
        rows.set_meta(self.db, "revision", revision)
        return revision

    @cached_property
    def names(self) -> set[str]:
        """All downstreams that there are, or ever were."""
        return self.views.names(self.db)

    def intent(self) -> Intent:
        """Return what operators want as of now."""
        return rows.load(self.db, self.moment.wall, self.moment.now, self.moment.boot)

    def active(self, target: str) -> list[Hold]:
        """Return the holds of a downstream."""
        return [hold for hold in self.intent().holds if hold.target == target]

    def put(self, record: Hold | Window, before: Hold | Window | None = None) -> None:
        """Write a hold or window, and what was there before, for the audit too."""
        rows.put(self.db, record)
        self.before, self.after = before and asdict(before), asdict(record)

    def operator(self) -> None:
        """Refuse who may only look.

        Raises:
            Refused: If the role does not allow changes.

        """
        if self.who.role == "viewer":
            refuse(
                "forbidden", f"{self.who.actor} may look, not change: that needs the role operator", needs="operator"
            )

    def admin(self, what: str) -> None:
        """Refuse who is no admin.

        Raises:
            Refused: If the role is another one.

        """
        if self.who.role != "admin":
            refuse("forbidden", f"{what} needs the role admin; {self.who.actor} is {self.who.role}", needs="admin")

    def owns(self, hold: Hold) -> None:
        """Refuse who may not touch somebody else's hold; whoever has a shell as this user may do everything.

        Raises:
            Refused: If it is another actor's, and this one is no admin.

        """
        if self.who.actor != hold.actor and self.who.role != "admin" and self.who.via != "cli":
            refuse("forbidden", f"hold {hold.id} is {hold.actor}'s; another's needs the role admin", needs="admin")

    def known(self, target: str) -> None:
        """Refuse a name that no process has ever used.

        Raises:
            Refused: With the names that are close.

        """
        if target in self.names:
            return
        close = close_matches(target, self.names)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        message = f"no process has ever used a downstream named {target}{hint} (allow_unknown holds it in advance)"
        refuse("unknown", message, close_matches=close)

    def proposal(
        self,
        targets: Iterable[str],
        mode: str,
        percent: int,
        span: tuple[float, float],
        *,
        without: str = "",
        **more: float | None,
    ) -> Proposal:
        """Return what rules are asked about.

        Args:
            targets: The downstreams that it is about.
            mode: The mode they are to get.
            percent: Share of calls that is refused.
            span: From when until when, in seconds since 1970.
            without: Id of a hold that is replaced.
            more: As of a `Proposal`.

        """
        return Proposal(
            targets=frozenset(targets),
            mode=mode,
            percent=percent,
            known=frozenset(self.names),
            forced_open=standing.forced_open(self.intent(), self.names, self.moment, span, without),
            **more,
        )

    def since(self, target: str) -> float | None:
        """Return the seconds since the holds of a downstream were changed by somebody."""
        # The newest one, from its end: there may be very many of them, and the clock may have been set.
        last = self.db.execute(
            "SELECT at FROM audit WHERE target = ? AND outcome != 'refused' AND action IN ('place', 'release')"
            " ORDER BY seq DESC LIMIT 1",
            (target,),
        ).fetchone()
        return None if last is None else self.moment.wall - float(last[0])

    def obey(self, proposal: Proposal, break_glass: Iterable[str] = ()) -> None:
        """Refuse what breaks rules, all of them at once, but for those that an admin overrides by name.

        Raises:
            Refused: If one is broken, or nobody may override it like this.

        """
        wanted, rules = list(break_glass), rows.rules(self.db)
        if wanted:
            self._break_glass(wanted, rules)
        broken = violations(rules, proposal)
        self.overridden = [each["rule"] for each in broken if each["rule"] in wanted]
        if left := [each for each in broken if each["rule"] not in wanted]:
            waits = [each["retry_after"] for each in left if each["kind"] == "wait_period"]
            message = "; ".join(f"rule {each['rule']}: {each['message']}" for each in left)
            only = len(waits) == len(left)
            raise Refused("wait" if only else "rules", message, {"violations": left}, max(waits) if only else None)

    def _break_glass(self, wanted: list[str], rules: list[Rule]) -> None:
        self.admin("overriding rules")
        checks = Checks()
        for each in wanted:
            checks.name("break_glass", each)
        checks.done()
        if len(self.reason) < BREAK_GLASS_REASON:
            message = f"overriding rules needs a reason of at least {BREAK_GLASS_REASON} characters"
            refuse("invalid", message, parameter="reason")
        if unknown := sorted(set(wanted) - {rule.id for rule in rules}):
            refuse("invalid", f"there is no rule {', '.join(unknown)} to override", parameter="break_glass")


def close_matches(name: str, names: Iterable[str]) -> list[str]:
    """Return the names that are meant by a slip of the pen, the closest first."""
    from difflib import get_close_matches  # noqa: PLC0415 -- only then

    # Comparing is slow, and writers wait meanwhile: only those that begin alike, or are as long.
    alike = sorted(sorted(names), key=lambda each: -len(os.path.commonprefix([name, each])))  # noqa: RUF071 -- characters are meant
    as_long = sorted(alike, key=lambda each: abs(len(each) - len(name)))
    return get_close_matches(name, dict.fromkeys(alike[:_COMPARED] + as_long[:_COMPARED]), n=5, cutoff=0.5)


def refuse(kind: Refusal, message: str, **details: Any) -> NoReturn:  # noqa: ANN401 -- what machines are told
    """Refuse a request.

    Raises:
        Refused: Always.

    """
    raise Refused(kind, message, details)


def new_id(prefix: str) -> str:
    """Return a name that nothing else has."""
    return f"{prefix}-{os.urandom(6).hex()}"
