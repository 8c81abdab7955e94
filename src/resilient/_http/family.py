"""A family: the classes of `httpx` or of `httpx2` that the core works with.

The core imports neither. A door imports its own and binds what has to be a subclass of one of
its classes: errors, body streams, transports.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, cast

from resilient import errors
from resilient._http.errors import InTransport

_OTHER = {"httpx": "httpx2", "httpx2": "httpx"}

_DRESSED: tuple[type[errors.Rejected], ...] = (
    errors.BreakerOpen,
    errors.BulkheadFull,
    errors.RateLimited,
    errors.BudgetExhausted,
    errors.ThreadsExhausted,
    errors.DeadlineExceeded,
)


class Family:
    """One client library, by its module, and our errors as its own."""

    def __init__(self, module: ModuleType, door: str) -> None:
        """Bind what differs between the families.

        Args:
            module: `httpx` or `httpx2`.
            door: Full name of the module of ours in which the bound classes are found.

        """
        self.module: Any = module
        self.name = module.__name__
        self.door = door
        kinds = module.__dict__
        self.request: Any = kinds["Request"]
        self.response: Any = kinds["Response"]
        self.headers: Any = kinds["Headers"]
        self.byte_stream: Any = kinds["ByteStream"]
        self.transport_error: type[Exception] = kinds["TransportError"]
        self.timeout_exception: type[Exception] = kinds["TimeoutException"]
        self.connect_timeout: type[Exception] = kinds["ConnectTimeout"]
        self.pool_timeout: type[Exception] = kinds["PoolTimeout"]
        self._dressed: dict[type, type[errors.ResilienceError]] = {
            kind: self._bound(kind, self.transport_error) for kind in _DRESSED
        }
        self._dressed[errors.CallTimeout] = self._bound(errors.CallTimeout, self.timeout_exception)

    def _bound(self, kind: type[errors.ResilienceError], base: type[Exception]) -> type[errors.ResilienceError]:
        namespace = {"__module__": self.door, "__qualname__": kind.__name__, "__doc__": kind.__doc__}
        return cast("type[errors.ResilienceError]", type(kind.__name__, (InTransport, kind, base), namespace))

    def error(self, kind: type[errors.ResilienceError]) -> type[Any]:
        """Return the class of ours that is also an error of this family."""
        return self._dressed[kind]

    def dressed(self, error: errors.ResilienceError, request: object) -> errors.ResilienceError:
        """Return a refusal or timeout of ours as an error of this family, with its request.

        Every other error of ours (a mistake in the configuration) is returned as it is.
        """
        kind = self._dressed.get(type(error))
        if kind is None:
            return error
        dressed = kind(*error.args)
        dressed.__dict__.update(error.__dict__)
        dressed.__dict__["_request"] = request
        dressed.__cause__ = error.__cause__
        dressed.__suppress_context__ = True
        return dressed.with_traceback(error.__traceback__)

    def refuse_other(self, value: object, *names: str) -> None:
        """Refuse a transport of another family, or what is no transport at all.

        Raises:
            TypeError: Saying which door is the right one.

        """
        if isinstance(value, tuple(getattr(self.module, name) for name in names)):
            return
        wanted = f"{self.name}.{names[0]}"
        other = _OTHER[self.name]
        module: Any = sys.modules.get(other)  # not by the class's name: openai takes the classes of httpx2 for its own
        if module is not None and isinstance(value, (module.BaseTransport, module.AsyncBaseTransport)):
            message = (
                f"transport must be an {wanted}, got {value!r} of {other}: the two families do not mix; "
                f"use resilient.{other} with an {other} client, or give this one a transport of {self.name}"
            )
        else:
            message = f"transport must be an {wanted}, got {value!r}"
            if isinstance(value, (self.module.BaseTransport, self.module.AsyncBaseTransport)):
                door = "AsyncResilientTransport" if names[0] == "BaseTransport" else "ResilientTransport"
                message += f"; use {door} for it"
        raise TypeError(message)

    def refuse_client(self, url: object) -> None:
        """Refuse the request of a client of another family, by its URL.

        Raises:
            TypeError: Saying which door is the right one.

        """
        if not isinstance(url, self.module.URL):
            other = _OTHER[self.name]
            message = (
                f"a transport of resilient.{self.name} got the request of another client, for {url!r}: "
                f"the two families do not mix; use resilient.{other} with an {other} client"
            )
            raise TypeError(message)
