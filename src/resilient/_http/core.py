"""What all routes of one transport share."""

from __future__ import annotations

from typing import Any

from resilient._http.family import Family
from resilient._http.marks import Marks
from resilient._http.refusals import answer
from resilient._http.settings import Settings
from resilient._http.verdicts import ErrorVerdicts
from resilient.errors import Rejected, ResilienceError


class Core:
    """What all routes of one transport share."""

    def __init__(self, family: Family, body: Any, settings: Settings) -> None:  # noqa: ANN401 -- made per family
        """Bind the family to the settings."""
        self.family = family
        self.body = body
        self.settings = settings
        self.marks = Marks(settings)
        self.repeatable = frozenset(settings.repeatable)
        self.verdicts = ErrorVerdicts(family)
        self.late_errors = (family.timeout_exception, TimeoutError)

    def check_fallback(self, value: object) -> None:
        """Refuse a fixed answer that is no response of this family.

        Raises:
            TypeError: Saying what it must be.

        """
        if not callable(value) and not isinstance(value, self.family.response):
            name = self.family.name
            message = f"in a transport a Fallback must answer with an {name}.Response or a function, got {value!r}"
            raise TypeError(message)

    def refused(self, error: ResilienceError, request: Any) -> Any:  # noqa: ANN401 -- of either family
        """Return the response for a refusal, if it is to be answered; else raise it as one of the family's."""
        if self.settings.rejections == "answer" and isinstance(error, Rejected):
            return answer(self.family, error)
        dressed = self.family.dressed(error, request)
        if dressed is error:
            return None
        try:
            raise dressed from error.__cause__
        finally:
            del dressed  # its traceback leads here: with a cycle, each refusal would wait for the collector
