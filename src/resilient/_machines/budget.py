"""The tokens that extra attempts are paid with: one bucket for three well-known rules.

Rules: a share of the calls (ours), gRPC's throttle (proposal A6) and the quota of the AWS SDKs.
Amounts are whole billionths of a token, so nothing drifts, however long a bucket lives.

The path of a success is one atomic step of a counter, `step`; it is read and folded into the
balance, under the lock, only when a failure asks for tokens. As tokens are only added between
two such moments, capping the sum later gives the same balance as capping each deposit at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import count
from threading import Lock

TOKEN = 10**9
"""One token in the unit of all amounts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How tokens come and go. All amounts are in billionths of a token.

    Attributes:
        cap: Most tokens the bucket holds.
        start: Tokens it begins with.
        deposit: Tokens that one step brings.
        deposit_first: A step is the first attempt of a call; else it is a success.
        cost: Price of a retry.
        timeout_cost: Price of a retry after a timeout.
        throttle_cost: Price of a retry after a throttle.
        failure_cost: What every failed attempt takes, whether it is retried or not.
        reserve: Retries are allowed only while the balance is above this.
        gives_back: A retry that succeeds gives its price back.

    """

    cap: int
    start: int
    deposit: int
    deposit_first: bool
    cost: int
    timeout_cost: int
    throttle_cost: int
    failure_cost: int = 0
    reserve: int = -1
    gives_back: bool = False


class Budget:
    """The balance of one downstream, or of all that share a name.

    `step` is what a success, or a first attempt, calls; `unstep` takes a step back whose attempt
    was refused, so that an open breaker's refusals fill no budget. Both stay the same functions
    for life.
    """

    __slots__ = ("__weakref__", "_balance", "_lock", "_read", "_returned", "_unread", "rules", "step", "unstep")

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.step = count().__next__
        self.unstep = count().__next__
        self._read = self._unread = -1
        self._returned: deque[int] = deque()
        self._balance = rules.start
        self._lock = Lock()

    def withdraw(self, *, throttled: bool = False, timeout: bool = False) -> int | None:
        """Pay for one retry; return what was paid (perhaps 0), or None if the retry is refused."""
        rules = self.rules
        price = rules.throttle_cost if throttled else rules.timeout_cost if timeout else rules.cost
        with self._lock:
            self._fold()
            if self._balance < price or self._balance <= rules.reserve:
                return None
            self._balance -= price
        return price

    def failed(self) -> None:
        """Note a failed attempt; only gRPC's rule makes it cost something."""
        if self.rules.failure_cost:
            with self._lock:
                self._fold()
                self._balance = max(0, self._balance - self.rules.failure_cost)

    def refund(self, paid: int) -> None:
        """Give back what was paid for a retry that was never sent. Takes no lock."""
        self._returned.append(paid)

    def returned(self, paid: int) -> None:
        """Note that a retried call has succeeded, and what its last retry had cost. Takes no lock."""
        if self.rules.gives_back:
            self._returned.append(paid)
        elif not self.rules.deposit_first:
            self.step()

    def tokens(self) -> float:
        """Return the balance in tokens."""
        with self._lock:
            self._fold()
            return self._balance / TOKEN

    def ratio(self) -> float:
        """Return the share of the bucket that is left, from 0 to 1."""
        return self.tokens() * TOKEN / self.rules.cap

    def renew(self) -> None:
        """Start afresh in a forked child: a new lock, the starting balance."""
        self._lock = Lock()
        with self._lock:
            self._fold()
            self._balance = self.rules.start

    def _fold(self) -> None:
        """Add what came in since the last reading; reading a counter is a step of its own."""
        # First what was taken back: its step has been counted already, so the sum is not below 0.
        unreading, reading = self.unstep(), self.step()
        steps = reading - self._read - (unreading - self._unread)
        self._read, self._unread = reading, unreading
        added = steps * self.rules.deposit
        while self._returned:
            added += self._returned.popleft()
        self._balance = max(0, min(self.rules.cap, self._balance + added))
