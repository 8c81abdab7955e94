"""RetryBudget: how much extra load retries may put on a downstream, as configuration."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Literal
from weakref import WeakKeyDictionary, WeakValueDictionary

from resilient import _check
from resilient._machines.budget import TOKEN, Budget, Rules
from resilient._policy import Env
from resilient._runtime import live
from resilient.errors import ConfigError

__all__ = ["RetryBudget"]

_MOST = 1e12
"""Tokens in a bucket at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """Allow retries as a share of the calls, so that an outage does not multiply the load.

    Each first attempt brings `ratio` tokens, each retry costs `cost`. Without a name every
    pipeline has tokens of its own; budgets of one name share theirs, process-wide, and must be
    configured alike.

    Args:
        ratio: Tokens that a call brings, in (0, 1]; retries per call in the long run, at `cost` 1.
        cost: Tokens that a retry costs.
        cap: Most tokens kept; the longest burst of retries.
        start: Tokens to begin with; None means one call's worth of retries (attempts - 1).
        name: Pipelines whose budgets have the same name share one bucket.

    Raises:
        ConfigError: If a number is out of range, or `cost` or `start` above `cap`.

    Example:
        >>> from resilient import RetryBudget
        >>> RetryBudget(ratio=0.2).describe()
        'retries up to 20 % of calls, bursts of 10'
        >>> RetryBudget.grpc(max_tokens=10).describe()
        'gRPC throttle: 10 tokens, a success brings 0.1'

    """

    ratio: float = 0.1
    cost: float = 1.0
    cap: float = 10.0
    start: float | None = None
    name: str | None = None
    timeout_cost: float | None = None
    throttle_cost: float | None = None
    rule: Literal["share", "grpc", "aws"] = "share"

    def __post_init__(self) -> None:
        """Check and normalise."""
        if self.rule not in ("share", "grpc", "aws"):
            _check.refuse("rule", self.rule, "'share', 'grpc' or 'aws'")
        object.__setattr__(self, "ratio", _check.rate("ratio", self.ratio))
        if _check.positive("cap", self.cap) > _MOST:
            _check.refuse("cap", self.cap, f"at most {_MOST:g}")
        for field in ("cap", "cost", "timeout_cost", "throttle_cost"):
            value = getattr(self, field)
            if value is not None or field in ("cap", "cost"):
                object.__setattr__(self, field, self._price(field, value))
        if self.start is not None:
            start = _check.number("start", self.start)
            if not 0 <= start <= self.cap:
                _check.refuse("start", self.start, f"from 0 to cap, which is {self.cap:g}, or None")
            object.__setattr__(self, "start", start)
        if self.name is not None:
            _check.identifier("name", self.name)

    def _price(self, field: str, value: object) -> float:
        amount = _check.positive(field, value)
        if amount > self.cap:
            _check.refuse(field, value, f"at most cap, which is {self.cap:g}")
        return amount

    @classmethod
    def grpc(cls, max_tokens: float = 10.0, ratio: float = 0.1, *, name: str | None = None) -> RetryBudget:
        """Throttle retries as gRPC does (proposal A6).

        Every failed attempt takes one token, every success brings `ratio`; retries pass only
        while more than half of `max_tokens` is left.

        Args:
            max_tokens: Size of the full bucket, at least 1.
            ratio: Tokens that a success brings, in (0, 1].
            name: Pipelines whose budgets have the same name share one bucket.

        """
        if _check.positive("max_tokens", max_tokens) < 1:
            _check.refuse("max_tokens", max_tokens, "a number of 1 or more")
        return cls(ratio=ratio, cap=max_tokens, start=max_tokens, name=name, rule="grpc")

    @classmethod
    def aws(
        cls,
        *,
        quota: float = 500.0,
        retry_cost: float = 14.0,
        timeout_cost: float | None = None,
        throttle_cost: float = 5.0,
        name: str | None = None,
    ) -> RetryBudget:
        """Spend a quota on retries as the AWS SDKs do: the rules of 2026.

        A call that succeeds at once brings 1, a retry that succeeds gives its price back. The
        classic rules are `RetryBudget.aws(retry_cost=5, timeout_cost=10)`.

        Args:
            quota: Size of the full bucket.
            retry_cost: Price of a retry.
            timeout_cost: Price of a retry after a timeout; None means `retry_cost`.
            throttle_cost: Price of a retry after a throttle.
            name: Pipelines whose budgets have the same name share one bucket.

        """
        return cls(
            ratio=1.0,
            cost=retry_cost,
            cap=_check.positive("quota", quota),
            start=quota,
            name=name,
            timeout_cost=timeout_cost,
            throttle_cost=throttle_cost,
            rule="aws",
        )

    def rules(self, attempts: int) -> Rules:
        """Return the machine's rules, for a policy with so many attempts."""
        start = min(self.cap, attempts - 1) if self.start is None else self.start
        cost = _units(self.cost)
        if self.rule == "grpc":
            return Rules(
                cap=_units(self.cap),
                start=_units(start),
                deposit=_units(self.ratio),
                deposit_first=False,
                cost=0,
                timeout_cost=0,
                throttle_cost=0,
                failure_cost=TOKEN,
                reserve=_units(self.cap) // 2,
            )
        return Rules(
            cap=_units(self.cap),
            start=_units(start),
            deposit=_units(self.ratio),
            deposit_first=self.rule == "share",
            cost=cost,
            timeout_cost=cost if self.timeout_cost is None else _units(self.timeout_cost),
            throttle_cost=cost if self.throttle_cost is None else _units(self.throttle_cost),
            gives_back=self.rule == "aws",
        )

    def bind(self, env: Env, attempts: int = 3) -> Budget:
        """Return the tokens of a pipeline, or of everybody who shares this budget's name.

        Args:
            env: The pipeline's environment; policies of one pipeline with equal budgets share.
            attempts: Attempts of the policy that asks; the first to ask decides about the start.

        Raises:
            ConfigError: If the name is in use with other settings.

        """
        with _lock:
            if self.name is not None:
                return self._shared(self.name, attempts)
            known = _by_env.setdefault(env, {})
            if self not in known:
                known[self] = Budget(self.rules(attempts))
            return known[self]

    def _shared(self, name: str, attempts: int) -> Budget:
        budget = _by_name.get(name)
        if budget is None:
            budget = _by_name[name] = Budget(self.rules(attempts))
            _configs[budget] = self
        elif _configs[budget] != self:
            message = f"a retry budget named {name!r} exists with other settings: {_configs[budget]!r}"
            raise ConfigError(message)
        return budget

    def describe(self) -> str:
        """Say in one line what is configured."""
        shared = "" if self.name is None else f", shared as {self.name!r}"
        if self.rule == "grpc":
            return f"gRPC throttle: {self.cap:g} tokens, a success brings {self.ratio:g}{shared}"
        if self.rule == "aws":
            return f"AWS quota of {self.cap:g}, a retry costs {self.cost:g}{shared}"
        share, burst = 100 * self.ratio / self.cost, self.cap // self.cost
        return f"retries up to {share:g} % of calls, bursts of {burst:g}{shared}"


def _units(tokens: float) -> int:
    return round(tokens * TOKEN)


_lock = Lock()
_by_env: WeakKeyDictionary[Env, dict[RetryBudget, Budget]] = WeakKeyDictionary()
_by_name: WeakValueDictionary[str, Budget] = WeakValueDictionary()
_configs: WeakKeyDictionary[Budget, RetryBudget] = WeakKeyDictionary()


def _renew() -> None:
    global _lock  # noqa: PLW0603 -- the parent's may be held by a thread that is not here
    _lock = Lock()


live.renewing(_renew)
