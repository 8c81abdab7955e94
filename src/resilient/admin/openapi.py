"""The OpenAPI 3.1 document, made from the same table and models that answer requests.

`python -m resilient.admin.openapi [FILE]` writes it; the one of this version is `docs/openapi.json`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from resilient.admin import receipts
from resilient.admin.answers import Open
from resilient.admin.endpoints import Endpoint

__all__ = ["document", "text"]

_REF: Final = "#/components/schemas/{model}"
_MEANINGS: Final[Mapping[int, str]] = {
    200: "Done.",
    201: "Made.",
    202: "Done, and some processes have not applied it yet: see `convergence.pending`.",
    304: "Nothing has changed since the ETag that was sent.",
    400: "The request cannot be read, or its address carries a token.",
    401: "No valid token.",
    403: "Not this role, not this downstream, not this Host, or not this Origin.",
    404: "Unknown; with close matches for names.",
    405: "This method is not offered here.",
    408: "The body did not come in time.",
    409: "Interlock rules forbid it (all of them are listed), or the present state does.",
    412: "It has changed since the ETag that was sent.",
    413: "The body is too large.",
    415: "The body is no JSON.",
    422: "Values that are not allowed, each with its parameter.",
    428: "It must be said what is replaced: send If-Match.",
    429: "Too soon; see Retry-After.",
    503: "Not now; see Retry-After.",
}
_INTRODUCTION: Final = (
    "Trip, hold and release downstreams in every process of a host, and see everything. Every address is relative "
    "to where the application is mounted. Refusals are `application/problem+json`."
)


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the document."""
    listed = list(endpoints)
    schemas = _schemas(listed)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in listed:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    from resilient import __version__  # noqa: PLC0415 -- of the whole library, which the rest here does not need

    return {
        "openapi": "3.1.0",
        "info": {"title": "resilient admin API", "version": __version__, "description": _INTRODUCTION},
        "servers": [{"url": "./"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "rsl_<id>_<secret>"}},
        },
    }


def text() -> str:
    """Return the document of this version, as it is written to a file."""
    from resilient.admin.site import ENDPOINTS  # noqa: PLC0415 -- which serves this document, too

    return json.dumps(document(ENDPOINTS), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _schemas(endpoints: list[Endpoint]) -> dict[str, Any]:
    models: set[type[BaseModel]] = {receipts.ProblemAnswer}
    for endpoint in endpoints:
        models |= {endpoint.body} if endpoint.body is not None else set()
        for status in endpoint.answers:
            models |= set(_models(endpoint, status))
    ordered = sorted(models, key=lambda model: model.__name__)
    _, top = models_json_schema([(model, _mode(model)) for model in ordered], ref_template=_REF)
    found: dict[str, Any] = top["$defs"]
    return found


def _models(endpoint: Endpoint, status: int) -> tuple[type[BaseModel], ...]:
    """Return the models of an answer: none, one, or several of which it is one."""
    model = endpoint.answers[status]
    if isinstance(model, tuple):
        return model
    return () if model is None else (model,)


def _mode(model: type[BaseModel]) -> Any:  # noqa: ANN401 -- a literal of pydantic's
    return "serialization" if issubclass(model, Open) else "validation"


def _operation(endpoint: Endpoint, schemas: Mapping[str, Any]) -> dict[str, Any]:
    lines = (endpoint.handler.__doc__ or "").strip().split("\n", 1)
    operation: dict[str, Any] = {
        "operationId": endpoint.handler.__name__,
        "summary": endpoint.summary,
        "description": " ".join(lines[1].split()) if len(lines) > 1 else "",
        "parameters": [*_path_parameters(endpoint), *_headers(endpoint), *_query_parameters(endpoint)],
        "responses": {str(status): _response(endpoint, status) for status in _statuses(endpoint)},
        "security": [] if endpoint.role is None else [{"token": []}],
    }
    if endpoint.role is not None:
        operation["x-role"] = endpoint.role
    if endpoint.body is not None:
        assert endpoint.body.__name__ in schemas  # noqa: S101 -- pydantic renames models only when names collide
        schema = {"$ref": _REF.format(model=endpoint.body.__name__)}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _statuses(endpoint: Endpoint) -> list[int]:
    usual = {400, 403, 422}
    if endpoint.role is not None:
        usual |= {401, 429, 503}
    if endpoint.body is not None:
        usual |= {408, 413, 415}
    if endpoint.path.count("{"):
        usual.add(404)
    return sorted({*endpoint.answers, *endpoint.problems, *usual})


def _response(endpoint: Endpoint, status: int) -> dict[str, Any]:
    told: dict[str, Any] = {"description": _MEANINGS[status]}
    if status in endpoint.answers:
        refs = [{"$ref": _REF.format(model=model.__name__)} for model in _models(endpoint, status)]
        media = endpoint.media if status < 300 else ()  # noqa: PLR2004 -- 304 has no body
        told["content"] = {kind: {"schema": {"type": "string"}} for kind in media if kind != "application/json"}
        if refs:
            told["content"]["application/json"] = {"schema": refs[0] if len(refs) == 1 else {"anyOf": refs}}
        elif "application/json" in media:
            told["content"]["application/json"] = {"schema": {"type": "object"}}
    if status >= 400:  # noqa: PLR2004 -- refusals; also where a good answer has the same status
        problem = {"schema": {"$ref": _REF.format(model="ProblemAnswer")}}
        told.setdefault("content", {})["application/problem+json"] = problem
    if not told.get("content"):
        told.pop("content", None)
    return told


def _path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"\{(\w+)\}", endpoint.path)
    ]


def _headers(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
        for name, text in endpoint.headers.items()
    ]


def _query_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.query is None:
        return []
    schema = endpoint.query.model_json_schema(ref_template=_REF)
    assert "$defs" not in schema  # noqa: S101 -- parameters are plain values
    parameters = []
    for name, about in schema["properties"].items():
        own = {key: value for key, value in about.items() if key not in ("title", "description")}
        if "anyOf" in own:  # a parameter that is not sent is simply not there; null cannot be sent
            own = next(each for each in own["anyOf"] if each != {"type": "null"})
        parameters.append({"name": name, "in": "query", "description": about.get("description", ""), "schema": own})
    return parameters


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text(), "utf-8")
    else:
        sys.stdout.write(text())
