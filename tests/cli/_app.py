"""A real application: its event loop is blocked until a line arrives, then it calls `payments` and tells the outcome.

Which calls are admitted is decided as anywhere else; nothing in here knows of control.
"""

from __future__ import annotations

import asyncio
import sys

from resilient import CircuitBreaker, Pipeline, Rejected, Retry

payments = Pipeline("payments", Retry(attempts=3), CircuitBreaker())


@payments
async def pay() -> str:
    return "paid"


async def main() -> None:
    while True:
        try:
            said = await pay()
        except Rejected as refusal:
            said = f"{type(refusal).__name__} {getattr(refusal, 'reason', '')}"
        sys.stdout.write(f"{said}\n")
        sys.stdout.flush()
        if not sys.stdin.readline():  # blocks the loop, on purpose
            return


asyncio.run(main())
