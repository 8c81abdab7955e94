"""What operators and metrics do with a pipeline: hold it, look into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient import _check
from resilient._gate.gate import gate_of
from resilient._policy import Policy
from resilient._weave.assembly import Assembly
from resilient._weave.gates import weave_gate

if TYPE_CHECKING:
    from resilient.holds import Hold

__all__ = ["Operated"]


class Operated:
    """The operator's side of a `Pipeline`."""

    __slots__ = ()

    name: str
    policies: tuple[Policy, ...]
    _assembly: Assembly

    def __getitem__(self, kind: type[Policy] | int) -> Any:  # noqa: ANN401 -- each policy has its own guard
        """Return the live state of a policy, by its class (the first one) or its position.

        Raises:
            KeyError: If the pipeline has no such policy.

        """
        for position, guard in enumerate(self._assembly.guards):
            if position == kind or (isinstance(kind, type) and isinstance(guard.policy, kind)):
                return guard
        message = f"{self.name!r} has no policy {kind!r}; it has {[each.kind for each in self.policies]}"
        raise KeyError(message)

    def hold(  # noqa: PLR0913 -- the settings of a hold
        self,
        mode: str,
        *,
        reason: str,
        expires: _check.Duration | None,
        actor: str = "",
        percent: int = 100,
        disposition: str = "fallback",
    ) -> Hold:
        """Override by hand what calls to the downstream may do, in this process.

        Several holds can coexist; the most restrictive one wins, and each is released by itself. For a hold in
        every process of an application, see `resilient.control`.

        Args:
            mode: "forced_open" refuses calls; "observe" admits all that a breaker would refuse, and tells;
                "forced_closed" admits all, and no breaker opens; "no_retries" lets nothing be repeated.
            reason: Why; shown to operators.
            expires: Seconds until the hold ends by itself; None leaves it until it is released or the process ends.
            actor: Who asked for it.
            percent: The share of calls that "forced_open" refuses, 1 to 100.
            disposition: "fallback" lets a `Fallback` of the pipeline answer for a refused call, as it does when a
                breaker is open; "reject" has the caller get the refusal.

        Raises:
            ConfigError: If a value is out of range; it says what is allowed.

        """
        weave_gate(self._assembly.env)
        return gate_of(self._assembly.env).hold(
            mode, reason=reason, expires=expires, actor=actor, percent=percent, disposition=disposition
        )

    def holds(self) -> tuple[Hold, ...]:
        """Return the holds on the downstream in this process, masked ones included."""
        return gate_of(self._assembly.env).holds()

    def snapshot(self) -> dict[str, object]:
        """Return the state of every policy as plain data, keyed by its label; and what is held, as "gate"."""
        found: dict[str, object] = {guard.label: guard.snapshot() for guard in self._assembly.guards}
        gate = gate_of(self._assembly.env).snapshot()
        return {"gate": gate, **found} if gate else found

    def resting(self) -> bool:
        """Tell whether a fresh pipeline would behave just the same."""
        return gate_of(self._assembly.env).resting() and all(guard.resting() for guard in self._assembly.guards)
