"""One flow of a cache on its way through a transport."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from resilient._runtime.flight import Landing, Lead
from resilient.cache.messages import Flow


class Run:
    """A flow, whose request it is about, and what it has open.

    Args:
        flow: The flow.
        request: The client's request; None for a flow that sends none.
        apart: Whether it runs in the background, apart from the caller of the request.

    Attributes:
        open: The live response that nobody has read or closed yet.
        raised: The error that was thrown into the flow last.
        sends: How many requests it has sent.
        lead: The duty to others who ask the same; `key` is what they ask.
        landing: What another one's request came to, if that was waited for.

    """

    __slots__ = ("apart", "flow", "key", "landing", "lead", "open", "raised", "request", "sends")

    def __init__(self, flow: Flow, request: Any, *, apart: bool = False) -> None:  # noqa: ANN401 -- of either family
        self.flow = flow
        self.request = request
        self.apart = apart
        self.open: Any = None
        self.raised: BaseException | None = None
        self.sends = 0
        self.key: Hashable = None
        self.lead: Lead[None] | None = None
        self.landing: Landing[None] | None = None

    def step(self, value: Any, error: Exception | None) -> Any:  # noqa: ANN401
        """Return the flow's next command."""
        if error is None:
            return self.flow.send(value)
        self.raised = error
        return self.flow.throw(error)

    def share(self) -> None:
        """Raise the error of another one's request, once, in place of sending the same."""
        landing, self.landing = self.landing, None
        if landing is not None:
            landing.answer()

    def lost(self, error: BaseException) -> bool:
        """Tell whether the cache itself failed, and the answer can still be had without it."""
        return isinstance(error, Exception) and error is not self.raised and (self.open is not None or not self.sends)
