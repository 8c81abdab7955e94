"""Prometheus text, exact for the whole host; off unless it is asked for."""

from __future__ import annotations

from starlette.responses import Response

from resilient.admin.backend import in_thread
from resilient.admin.endpoints import Call, Table

__all__ = ["table"]

table = Table()


@table("GET", "/metrics", answers={200: None}, media=("text/plain",))
async def show_metrics(call: Call) -> Response:
    """Show the metrics of all processes on this host, as Prometheus reads them."""
    from resilient.prometheus import exposition  # noqa: PLC0415 -- prometheus_client is another extra

    content, kind = await in_thread(exposition, call.site.backend.directory)
    return Response(content, 200, None, kind)
