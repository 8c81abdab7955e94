"""What makes an error of ours one of a client family: its `.request`, and pickling without it."""

from __future__ import annotations

from typing import Any


class InTransport(Exception):
    """First base of our errors in a transport; the second is the error of ours, the third the family's."""

    _request: Any = None

    def __init__(self, *args: Any) -> None:  # noqa: ANN401 -- those of the error of ours
        """Skip the family's constructor, which knows only a message."""
        Exception.__init__(self, *args)

    @property
    def request(self) -> Any:  # noqa: ANN401 -- the family's own Request
        """The request that was refused or cut."""
        if self._request is None:
            message = "the request of this error is not known; it is not pickled with it"
            raise RuntimeError(message)
        return self._request

    @request.setter
    def request(self, request: object) -> None:
        self.__dict__["_request"] = request

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the request, whose headers may hold credentials."""
        state = {name: value for name, value in self.__dict__.items() if name != "_request"}
        return type(self), self.args, state
