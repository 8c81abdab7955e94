"""How the documentation is built: MyST pages, and the reference from the docstrings."""

from __future__ import annotations

from importlib.metadata import version as installed

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import resilient

project = "resilient-client"
copyright = "the resilient-client authors"
release = version = installed(project)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"resilient {release}"

# Every reference must lead somewhere; exceptions are listed, each with its reason.
nitpicky = True
nitpick_ignore_regex = [
    # The standard library and type variables: no inventory is fetched, so that the build needs no network.
    (
        "py:.*",
        r"(typing|collections|contextlib|datetime|types|enum|asyncio|trio|abc|math|functools|os|pathlib|sqlite3)(\..*)?",
    ),
    ("py:.*", r"(opentelemetry|prometheus_client|starlette)\..*"),
    (
        "py:.*",
        r"timedelta|Path",
    ),
    ("py:.*", r"Callable|Awaitable|Coroutine|Iterator|AsyncIterator|Mapping|Sequence|Hashable|Any|TracebackType"),
    ("py:.*", r"bool|int|float|str|object|bytes|dict|list|tuple|set|frozenset|type|None|optional|BaseException"),
    ("py:.*", r"Exception|ValueError|TypeError|KeyError|RuntimeError|TimeoutError|ExceptionGroup|Enum"),
    ("py:.*", r"(.*\.)?[PTRK](\.args|\.kwargs)?|_[A-Z].*"),
    # The client libraries, likewise.
    ("py:.*", r"(httpx2?|ssl|wsgiref)\..*|tuple\[str"),
    # Names that are not public show in annotations but have no page.
    ("py:.*", r"(resilient\.)?(httpx2?\.)?_\w+(\..*)?"),
    ("py:.*", r"resilient\.[a-z_]+\..*"),
    # Where an import for types alone keeps a module light, annotations stay text, and names lose their module.
    ("py:.*", r"Codec|CollectorRegistry|Default|Directory|Env|Hold|HttpCache|On|PoolOptions|StaleCacheGuard"),
]
suppress_warnings: list[str] = []

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def find_public(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element) -> Element | None:
    """Lead a reference to `resilient.retry.Retry` to where users import it from: `resilient.Retry`."""
    name = node.get("reftarget", "").rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in resilient.__all__:
        return None
    domain = env.domains.python_domain
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", f"resilient.{name}", node, content)


def setup(app: Sphinx) -> None:
    """Register the look-up of public names."""
    app.connect("missing-reference", find_public)
