"""Say what a pipeline does, and what about it would surprise its author."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from resilient import _check
from resilient._policy import Guard, Policy
from resilient.breaker import CircuitBreaker
from resilient.bulkhead import Bulkhead
from resilient.errors import ConfigError
from resilient.fallback import Fallback
from resilient.rate_limit import RateLimit
from resilient.retry import Retry
from resilient.timeout import Timeout

__all__ = ["Finding", "explain", "lint"]

P = TypeVar("P")
Q = TypeVar("Q")

Rule = Callable[[Sequence[Policy]], "Iterator[Finding]"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a pipeline that would surprise its author.

    Attributes:
        rule: A stable word, such as "breaker-outside-retry".
        message: What happens, and what to do.

    """

    rule: str
    message: str


def explain(name: str, guards: Sequence[Guard]) -> str:
    """Return what is configured, in what order, and what would surprise you."""
    width = max((len(guard.label) for guard in guards), default=0)
    lines = [f"{name}: {len(guards)} policies, outermost first"]
    lines += [
        f"  {position}. {guard.label:{width}}  {guard.policy.describe()}" for position, guard in enumerate(guards, 1)
    ]
    policies = [guard.policy for guard in guards]
    if any(isinstance(policy, Timeout) and not policy.cooperative for policy in policies):
        lines.append("  A plain function runs in another (daemon) thread, because of the timeout;")
        lines.append("  an async function runs in its own task.")
    lines += [f"  ! {finding.rule}: {finding.message}" for finding in lint(policies)]
    return "\n".join(lines)


def lint(policies: Sequence[Policy]) -> list[Finding]:
    """Return what would surprise the author of a pipeline, as data."""
    return [finding for rule in _RULES for finding in rule(policies)]


def refuse(name: str, policies: Sequence[Policy]) -> None:
    """Refuse what is no policy, and timings that can never work.

    Raises:
        TypeError: If something is no policy.
        ConfigError: If a timeout stands inside another that ends no later.

    """
    for position, policy in enumerate(policies):
        if isinstance(policy, type) or not hasattr(policy, "bind"):
            _check.refuse_type(f"policies[{position}]", policy, "a policy such as Retry()")
    for outer, inner in pairs(policies, Timeout, Timeout):
        if inner.seconds >= outer.seconds:
            message = (
                f"{name}: a Timeout inside another must be shorter than it, got "
                f"{inner.seconds:g} s inside {outer.seconds:g} s, which would never run out"
            )
            raise ConfigError(message)


def placed(policies: Sequence[Policy], kind: type[P]) -> list[tuple[int, P]]:
    return [(position, policy) for position, policy in enumerate(policies) if isinstance(policy, kind)]


def pairs(policies: Sequence[Policy], outer: type[P], inner: type[Q]) -> Iterator[tuple[P, Q]]:
    for first, one in placed(policies, outer):
        for second, other in placed(policies, inner):
            if first < second:
                yield one, other


def outside(outer: type, inner: type, rule: str, message: str) -> Rule:
    """Return a rule against one kind of policy outside another."""

    def check(policies: Sequence[Policy]) -> Iterator[Finding]:
        for _ in pairs(policies, outer, inner):
            yield Finding(rule, message)

    return check


def _missing_budget(policies: Sequence[Policy]) -> Iterator[Finding]:
    for _, retry in placed(policies, Retry):
        if retry.budget is None and retry.most_attempts != 1:
            yield Finding(
                "missing-budget",
                "without a budget every call may be retried, which multiplies the load of a failing downstream",
            )


def _timeout_only_outside(policies: Sequence[Policy]) -> Iterator[Finding]:
    timeouts = [position for position, _ in placed(policies, Timeout)]
    for position, _ in placed(policies, CircuitBreaker):
        if timeouts and max(timeouts) < position:
            yield Finding(
                "timeout-outside-breaker",
                "the only Timeout is outside the breaker, so a hanging attempt counts only if it ran half of it; "
                "add a Timeout for each attempt inside",
            )


def _no_timeout(policies: Sequence[Policy]) -> Iterator[Finding]:
    if not placed(policies, Timeout) and placed(policies, Bulkhead):
        yield Finding("no-timeout", "a hanging call holds its permit for ever; add a Timeout inside the bulkhead")


def _retry_never_fits(policies: Sequence[Policy]) -> Iterator[Finding]:
    for first, retry in placed(policies, Retry):
        outside = [timeout.seconds for position, timeout in placed(policies, Timeout) if position < first]
        inside = [timeout.seconds for position, timeout in placed(policies, Timeout) if position > first]
        attempts = retry.most_attempts
        if not outside or not inside or attempts is None:
            continue
        if min(inside) * attempts > min(outside):
            yield Finding(
                "attempts-exceed-total",
                f"{attempts} attempts of {min(inside):g} s do not fit the whole call's {min(outside):g} s; "
                "later attempts are cut short",
            )


def _window_below_slow_call(policies: Sequence[Policy]) -> Iterator[Finding]:
    for position, breaker in placed(policies, CircuitBreaker):
        slow, window = breaker.settings.slow_call, breaker.settings.window
        if slow is None:
            continue
        if isinstance(window, float) and window < slow:
            yield Finding(
                "window-below-slow-call",
                f"the window of {window:g} s is shorter than a slow call of {slow:g} s: "
                "slow calls are forgotten as they end",
            )
        inside = [timeout.seconds for place, timeout in placed(policies, Timeout) if place > position]
        if inside and min(inside) <= slow:
            yield Finding(
                "slow-call-above-timeout",
                f"attempts are cut after {min(inside):g} s, so none is ever slower than {slow:g} s",
            )


def _fallback_inside(policies: Sequence[Policy]) -> Iterator[Finding]:
    for first, policy in enumerate(policies):
        for second, _ in placed(policies, Fallback):
            if first < second and isinstance(policy, (Retry, CircuitBreaker)):
                yield Finding(
                    "fallback-inside",
                    f"{policy.kind} sees the fallback's answer as a success; put Fallback outermost",
                )


def _caches(policies: Sequence[Policy]) -> Iterator[Finding]:
    """Look at stale caches; what they are is loaded only where there is one."""
    if any(policy.kind == "stale_cache" for policy in policies):
        from resilient.explain_caches import caches  # noqa: PLC0415

        yield from caches(policies)


def _queue_without_end(policies: Sequence[Policy]) -> Iterator[Finding]:
    for position, bulkhead in placed(policies, Bulkhead):
        enclosed = any(place < position for place, _ in placed(policies, Timeout))
        if bulkhead.queue and bulkhead.max_wait is None and not enclosed:
            yield Finding(
                "queue-without-end",
                "nothing bounds the wait in line: calls that find it full are refused with a ConfigError "
                "unless the caller sets a deadline; set max_wait or put a Timeout outside",
            )


def _cooperative_in_part(policies: Sequence[Policy]) -> Iterator[Finding]:
    if len({timeout.cooperative for _, timeout in placed(policies, Timeout)}) > 1:
        yield Finding(
            "cooperative-in-part",
            "one timeout is not cooperative, so a plain function hops to a thread and all of them are enforced; "
            "make all of them cooperative, or none",
        )


_RULES: tuple[Rule, ...] = (
    outside(
        CircuitBreaker,
        Retry,
        "breaker-outside-retry",
        "the breaker sees one outcome for all attempts of a call; put Retry outside CircuitBreaker",
    ),
    outside(
        Bulkhead,
        Retry,
        "retry-inside-bulkhead",
        "a call keeps its permit while it waits to retry; put Retry outside Bulkhead",
    ),
    outside(
        RateLimit,
        Retry,
        "rate-limit-outside-retry",
        "retries do not pay the rate limit; put Retry outside RateLimit",
    ),
    _missing_budget,
    _timeout_only_outside,
    _no_timeout,
    _retry_never_fits,
    _window_below_slow_call,
    _fallback_inside,
    _caches,
    _queue_without_end,
    _cooperative_in_part,
)
