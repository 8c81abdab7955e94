"""An admin API over a real control directory, asked in-process, with one token for each role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.testclient import TestClient

from resilient.admin import Tokens, app, new_token
from resilient.admin.application import Admin
from resilient.control.directory import Directory

MADE = {
    name: new_token(name, role, only=only)
    for name, role, only in (
        ("vic", "viewer", ("*",)),
        ("olga", "operator", ("*",)),
        ("otto", "operator", ("*",)),
        ("paula", "operator", ("pay*",)),
        ("ada", "admin", ("*",)),
    )
}
TOKENS = {name: token for name, (token, _) in MADE.items()}
TEXT = "[tokens]\n" + "\n".join(line for _, line in MADE.values())

HOLD: Mapping[str, Any] = {"mode": "forced_open", "reason": "the provider is down", "ttl": "45m"}


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[name]}"}


class Site:
    """What tests ask: `site.get("v1", who="vic")`."""

    def __init__(self, directory: Directory, prefix: str = "", **settings: Any) -> None:
        self.directory = directory
        self.app: Admin = app(
            directory, authenticator=Tokens.from_text(TEXT), hosts=settings.pop("hosts", ["localhost"]), **settings
        )
        self.client = TestClient(self.app, base_url="http://localhost", root_path=prefix)

    def ask(self, method: str, path: str, *, who: str | None = "vic", headers=None, **more: Any):
        sent = {**(bearer(who) if who else {}), **(headers or {})}
        return self.client.request(method, f"/{path}", headers=sent, follow_redirects=False, **more)

    def get(self, path: str, **more: Any):
        return self.ask("GET", path, **more)

    def put(self, path: str, body: Any = None, *, who: str | None = "olga", **more: Any):
        return self.ask("PUT", path, who=who, json=HOLD if body is None else body, **more)

    def post(self, path: str, body: Any, *, who: str | None = "olga", **more: Any):
        return self.ask("POST", path, who=who, json=body, **more)

    def delete(self, path: str, *, who: str | None = "olga", **more: Any):
        return self.ask("DELETE", path, who=who, **more)


def problem(response, status: int, kind: str) -> dict[str, Any]:
    """Check that an answer is a refusal of a kind, and return what it says."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    said = response.json()
    assert said["type"] == f"urn:resilient:problem:{kind}", said
    assert said["status"] == status
    assert said["title"]
    assert said["detail"]
    for token in TOKENS.values():
        assert token not in response.text
        assert token.rsplit("_", 1)[1] not in response.text
    return said
