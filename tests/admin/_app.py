"""An application as people write them: it calls a downstream, and has the admin API mounted two levels down."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from resilient import BreakerOpen, Pipeline
from resilient.admin import Tokens, app

payments = Pipeline("payments")


async def charge(request: Request) -> JSONResponse:
    async def call() -> str:
        return "passed"

    try:
        said = await payments.acall(call)
    except BreakerOpen:
        said = "refused"
    return JSONResponse({"pid": os.getpid(), "said": said})


async def pid(request: Request) -> JSONResponse:
    return JSONResponse({"pid": os.getpid()})


ops = app(authenticator=Tokens.from_env(), hosts=["127.0.0.1"])
application = Starlette(
    routes=[Route("/charge", charge), Route("/pid", pid), Mount("/internal", Starlette(routes=[Mount("/ops", ops)]))]
)
