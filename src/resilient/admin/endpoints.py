"""What one route is: method, path, role, what it reads and what it answers. Routing and OpenAPI read the same table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from resilient.admin.auth import Caller, Role

if TYPE_CHECKING:
    from resilient.admin.backend import Backend
    from resilient.admin.failures import Denials
    from resilient.admin.streams import Hub, Seats

__all__ = ["Call", "Endpoint", "Handler", "Method", "Site", "Table"]

Method = Literal["GET", "PUT", "POST", "PATCH", "DELETE"]
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Site:
    """What all requests of one app share."""

    backend: Backend
    hub: Hub
    seats: Seats
    few: Seats
    denials: Denials
    critical: tuple[str, ...]
    unready: frozenset[str]
    endpoints: tuple[Endpoint, ...]
    made: dict[str, bytes] = field(default_factory=dict)
    """What takes long to make and never changes."""


@dataclass(slots=True)
class Call:
    """One request, after it was let in and its values were checked."""

    site: Site
    request: Request
    caller: Caller | None
    endpoint: Endpoint
    path: Mapping[str, str]
    request_id: str
    query: BaseModel | None = None
    body: BaseModel | None = None
    admitted: Callable[[], Awaitable[bool]] | None = None

    def queries(self, model: type[M]) -> M:
        """Return the query's values, which are of the endpoint's model."""
        assert isinstance(self.query, model)  # noqa: S101 -- for the type checker; the endpoint says so
        return self.query

    def sent(self, model: type[M]) -> M:
        """Return the body, which is of the endpoint's model."""
        assert isinstance(self.body, model)  # noqa: S101 -- for the type checker; the endpoint says so
        return self.body

    @property
    def known(self) -> Caller:
        """Return the caller of a route that has a role."""
        return cast("Caller", self.caller)


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path.

    Attributes:
        method: In capitals; a GET answers HEAD too.
        path: Such as "/v1/downstreams/{name}".
        role: What the caller needs, or None for everybody.
        handler: Answers it.
        query: Model of the query's parameters; without one there are none.
        body: Model of the body.
        answers: Status and model of each good answer; several where it is one of them, None without a JSON body.
        problems: Statuses of refusals beyond those that every route has.
        headers: Request headers that it reads, with a sentence about each.
        media: Further media types of the good answer.
        summary: One line.

    """

    method: Method
    path: str
    role: Role | None
    handler: Handler
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    answers: Mapping[int, Any] = field(default_factory=dict)
    problems: tuple[int, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    media: tuple[str, ...] = ()
    summary: str = ""

    @property
    def head(self) -> bool:
        """Tell whether HEAD is answered too; a stream has no end, so that is no use there."""
        return self.method == "GET" and "text/event-stream" not in self.media

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """Return what stands for the names in braces, or None for another path."""
        own = self.path.split("/")[1:]
        if len(own) != len(segments):
            return None
        found = {}
        for pattern, segment in zip(own, segments, strict=True):
            if pattern.startswith("{"):
                if not segment:
                    return None
                found[pattern[1:-1]] = segment
            elif pattern != segment:
                return None
        return found


class Table:
    """Endpoints in the order in which they are tried, filled by a decorator."""

    def __init__(self) -> None:
        self.endpoints: list[Endpoint] = []

    def __call__(
        self,
        method: Method,
        path: str,
        role: Role | None = "viewer",
        **more: Any,  # noqa: ANN401 -- the fields of Endpoint
    ) -> Callable[[Handler], Handler]:
        """Return a decorator that enters a handler; the first line of its docstring is the summary."""

        def enter(handler: Handler) -> Handler:
            summary = (handler.__doc__ or "").strip().partition("\n")[0].rstrip(".")
            self.endpoints.append(
                Endpoint(method=method, path=path, role=role, handler=handler, summary=summary, **more)
            )
            return handler

        return enter
