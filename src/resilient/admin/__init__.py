r"""The admin API and its dashboard: an ASGI application, tokens, and a server for them.

Example:
    >>> from resilient.admin import Tokens, app, new_token
    >>> token, line = new_token("alice", "operator")
    >>> ops = app("checkout", authenticator=Tokens.from_text(f"[tokens]\n{line}"), hosts=["ops.example.com"])

"""

from __future__ import annotations

from resilient.admin.auth import Authenticator, Caller, Insecure
from resilient.admin.site import app
from resilient.admin.tokens import Tokens, new_token

__all__ = ["Authenticator", "Caller", "Insecure", "Tokens", "app", "new_token"]
