"""One call through a transport: what its answers and errors mean.

The woven pipeline calls `attempt()` and `discard()` of the two classes in `io`, which share what
needs no I/O: it stands here, and in `sending` and `keeping`.
"""

from __future__ import annotations

from typing import Any

from resilient._guards.timeout import AmbientCut, Cut
from resilient._http import hints, quota
from resilient._http.keeping import Keeping
from resilient._http.verdicts import IDEMPOTENT, NEVER_SENT, RETRIED
from resilient._runtime.ledger import ANSWER
from resilient.errors import BulkheadFull, CallTimeout
from resilient.outcome import INCONCLUSIVE, SUCCESS, Certainty, Outcome, Verdict, attach, from_status, thrown_away

_SLACK = 0.002
"""Seconds by which a timer may fire early."""

_SURE = (Certainty.NOT_SENT, Certainty.REFUSED)
_BAD = (Outcome.FAILURE, Outcome.THROTTLED)


class Exchange(Keeping):
    """One call, from the client's request to the end of its answer."""

    def received(self, response: Any) -> Any:  # noqa: ANN401
        """Judge an answer by its status and headers; return it, or None if its body is to be read first."""
        self.response = response
        route = self.route
        status = response.status_code
        if self.attempts > 1:
            self.spare, self.verdict, self.bad, self._hint, self.simple = False, SUCCESS, False, None, False
        if status < 400 and not route.curious:  # noqa: PLR2004 -- HTTP's own number
            self.good = True
        else:
            self._judge(response)
        if self.verdict is SUCCESS and (type(response.stream) is route.memory or response.is_closed):
            self.over = True
            if status < 300 and self.swift and not self.cookies:  # noqa: PLR2004
                self.simple = True  # nothing is left to be done
                self.lease.end(ok=True)
                self.lease = None
            return response
        self.over = False
        if self.swift or not self.options.buffer or self.endless(response):
            return response
        return None

    def _judge(self, response: Any) -> None:  # noqa: ANN401
        route, status = self.route, response.status_code
        hint = hints.read(response.headers, status)
        self._hint = hint.should_retry if status >= 400 else None  # noqa: PLR2004
        verdict = from_status(status, hint.retry_after)
        github = status == 403 and hint.retry_after is not None  # noqa: PLR2004 -- its way to say "too fast"
        envoy = status == 503 and hint.overloaded  # noqa: PLR2004 -- it dropped the request before it went on
        if github or envoy:
            verdict = Verdict(Outcome.THROTTLED, Certainty.REFUSED, hint.retry_after)
        self._worth = status in RETRIED or verdict.outcome is Outcome.THROTTLED
        if route.env.classifier.result is not None:
            response.request = self.request
            judged = route.env.classifier.of_result(response, verdict)
            if judged is not verdict:  # the user's own word
                wait = hint.retry_after if judged.retry_after is None else judged.retry_after
                verdict, self._worth = Verdict(judged.outcome, judged.certainty, wait), judged.outcome in _BAD
        if self._hint and verdict.retry_after is None and hint.retry_after is not None:
            # Such as a 409 that is to be repeated: not sooner than the server says, whatever the status.
            verdict = Verdict(verdict.outcome, verdict.certainty, hint.retry_after)
        self.verdict = verdict
        self.bad = verdict.outcome in _BAD
        self.good = not self.bad and not self._hint
        if route.limiters:
            stated = quota.read(response.headers)
            if stated is not None and stated.pace is not None:
                for limiter in route.limiters:
                    limiter.paced(stated.pace, stated.seconds, stated.remaining)

    def gave_up(self, mark: int) -> None:
        """Leave with the answer that it was given up on, for an outer retry that sees the error made of it."""
        self.response.extensions[ANSWER] = mark

    def failed(self, error: BaseException) -> None:
        """Give back the place in the pool after an attempt that raised.

        Raises:
            CallTimeout: In place of the error, if it was our own deadline.
            BulkheadFull: In place of the error, if there was no place in our own pool.

        """
        raised = self._stands_for(error)
        lease, self.lease = self.lease, None
        if lease is not None:
            if thrown_away(error):
                lease.drop()
            else:
                self._release(lease)
        if raised is not error:
            try:
                raise raised from error
            finally:
                del raised  # see `Core.refused`

    def lost(self) -> None:
        """Give back the place in the pool after an attempt that our own timer cut."""
        lease, self.lease = self.lease, None
        if lease is not None:
            self._release(lease)

    def _release(self, lease: Any) -> None:  # noqa: ANN401 -- of either kind of pool
        raise NotImplementedError

    def _stands_for(self, error: BaseException) -> BaseException:
        """Judge an error of an attempt; return what to raise in its place, or the error itself."""
        core, env = self.route.core, self.route.env
        if not isinstance(error, Exception) or thrown_away(error):
            return error
        if self.upload is not None and self.upload.fault is not None:
            attach(error, INCONCLUSIVE)  # the caller's own body, also where the client has given it another name
            return error
        if isinstance(error, core.late_errors) and env.now() + _SLACK >= self.end:
            late = self.timed_out(self.cut, env.now() - self.began)
            if isinstance(error, core.family.connect_timeout):
                attach(late, NEVER_SENT)
            return late
        if isinstance(error, core.family.pool_timeout) and self.route.pool.owned:
            env.emit("resilient.call.rejected", policy="connection_pool", reason="pool_wait", retry_after=None)
            return BulkheadFull(env.downstream, "connection_pool", None, "pool_wait")
        verdict = core.verdicts.of(error)
        if verdict is not None:
            attach(error, verdict)
        return error

    def _repeatable(self) -> bool:
        """Tell whether the request may be sent again although the server may have acted on it."""
        asked = self.options.repeatable
        if asked is not None:
            return asked
        method = self.request.method
        return method in IDEMPOTENT or self.key is not None or method in self.route.core.repeatable

    def timed_out(self, cut: Cut | None, ran: float) -> CallTimeout:
        """Return the error for an attempt that our own deadline cut."""
        if cut is None:  # a deadline of the caller's, around a stream that no timeout covers
            cut = AmbientCut(ran, ran)
        return CallTimeout(self.route.env.downstream, cut.label, cut.seconds, ran, cut.whole)

    def obstacle(self, verdict: Verdict, error: Exception | None) -> str | None:
        """Return why another attempt is out of the question, or None.

        "given_up" by a transport inside this one; "server" said so; "status" is not worth it; "unsafe"
        to repeat; "body" cannot be sent again.
        """
        if error is None and self.response.extensions.get(ANSWER, 0) > self.mark:
            return "given_up"
        hint = self._hint if error is None else None
        if hint is False:
            return "server"
        if error is None and not (hint or self.good or self._worth):
            return "status"
        sure = verdict.certainty in _SURE or hint
        if not sure and not self._repeatable():
            return "unsafe"
        if self.upload is not None and not self.upload.rewind():
            return "body"
        return None
