"""Imports run one way only, decisions stay pure, and no file or function outgrows its reader.

The table below is the architecture. Imports under `TYPE_CHECKING` and inside functions count.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "src" / "resilient"

# Lowest first. A module imports only from lower layers; a package's modules may import each other.
# `_guards` holds the running half of each policy: `_guards/retry.py` belongs to `retry.py`.
LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(layer.split())
    for layer in (
        "errors",
        "faults clock",
        "_check",
        "outcome events deadline _deadline_header _http_times",
        "_machines",
        "_policy _runtime _tenacity",
        "stores provenance",
        "backoff budget holds",
        "_guards",
        "timeout retry breaker bulkhead rate_limit fallback stale_cache",
        "_gate",
        "_weave",
        "explain explain_caches permit registry operated pipeline keyed standard guarded",
        "testing",
        "__init__",
        "cache idempotency",
        "telemetry",
        "control",
        "_http _deadline_reader",
        "httpx httpx2 asgi wsgi",
        "prometheus otel",
        "admin",
        "cli",
    )
)
POLICIES = next(layer for layer in LAYERS if "retry" in layer)
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}

# The face of the library: one job in several files, free to import each other.
TOGETHER = next(layer for layer in LAYERS if "pipeline" in layer) | {"testing", "testing_plugin"}

# Upward imports that are allowed inside a function only, each with its reason.
LATE = {
    ("clock", "_runtime"): "only async code that sleeps pays for it",
    ("_gate", "control"): "only an application that its environment names pays for it",
}

# What the machines may not know: time and randomness are arguments, answers go out.
IMPURE = frozenset({"asyncio", "contextvars", "logging", "random", "time", "trio"})

# Optional packages, and the only modules that import them: inside functions or for types.
OPTIONAL = {
    "anyio": frozenset({"_runtime"}),
    "http_sf": frozenset({"_http", "cache", "idempotency"}),
    "rfc8785": frozenset({"idempotency"}),
    "rich": frozenset({"cli"}),
    "trio": frozenset({"_runtime", "clock", "timeout", "testing"}),
}
# Modules that nobody imports but the tool they are made for; they may import it at once.
DOORS = {
    "testing_plugin": "pytest",
    "httpx": "httpx",
    "httpx2": "httpx2",
    "otel": "opentelemetry",
    "prometheus": "prometheus_client",
    "admin": "anyio pydantic starlette uvicorn",
    "cli": "typer",
}

TYPES_ONLY = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"

LONGEST_MODULE = 250
LONGEST_FUNCTION = 40


@dataclass(frozen=True)
class Import:
    """One imported module, as an absolute dotted name, and whether it is put off or for types only."""

    name: str
    line: int
    late: bool
    types: bool


def modules() -> list[Path]:
    return sorted(SOURCES.rglob("*.py"))


def key(path: Path) -> str:
    """The first part below `resilient`: a module, or a package that counts as one."""
    return path.relative_to(SOURCES).parts[0].removesuffix(".py")


def imports(tree: ast.AST, package: str, *, late: bool = False, types: bool = False) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(each.name, node.lineno, late, types) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            origin = ".".join(filter(None, (base, node.module)))
            if origin == "resilient":
                for each in node.names:
                    yield Import(f"{origin}.{each.name}", node.lineno, late, types)
            else:
                yield Import(origin, node.lineno, late, types)
        else:
            inner = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            only = types or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
            yield from imports(node, package, late=inner, types=only)


def own(name: str) -> str:
    """The module of ours that a dotted name means; a public name of the face means the face."""
    part = [*name.split("."), "__init__"][1]
    return part if part in RANK else "__init__"


def policy_of(part: str) -> str:
    """The policy that a file of guards belongs to: `stale_cache_turn` to `stale_cache`."""
    return next((policy for policy in POLICIES if f"{part}_".startswith(f"{policy}_")), part)


def may_import(module: str, part: str, each: Import) -> bool:
    """Whether a file (`part`, its name) of a module may import this module of ours."""
    other = own(each.name)
    if module == "_guards" == other:
        return all(policy_of(piece) == policy_of(part) for piece in each.name.split(".")[2:3])
    if module == "_guards" and other == part:
        return each.types  # the settings it was made from
    together = module == other or (module in TOGETHER and other in TOGETHER)
    return RANK[other] < RANK[module] or together or (each.late and (module, other) in LATE)


def complaints(module: str, source: str, package: str = "resilient", part: str = "") -> list[str]:
    found = []
    for each in imports(ast.parse(source), package):
        top = each.name.split(".")[0]
        where = f"{module}:{each.line}"
        if top == "resilient":
            if not may_import(module, part, each):
                found.append(f"{where} imports {each.name}, which is not below it")
        elif module == "_machines" and top in IMPURE:
            found.append(f"{where} imports {top}: time and randomness are arguments of a machine")
        elif top not in sys.stdlib_module_names and top not in DOORS.get(module, "").split():
            if module not in OPTIONAL.get(top, ()):
                found.append(f"{where} imports {top}, which the core does not depend on")
            elif not each.late and not each.types:
                found.append(f"{where} imports {top} at once; it is optional, so import it where it is used")
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCES)))
def test_a_module_imports_only_what_lies_below_it(path: Path) -> None:
    module = key(path)
    assert module in RANK, f"{module} has no layer yet: give it one in {Path(__file__).name}"
    package = ".".join(("resilient", *path.relative_to(SOURCES).parts[:-1]))
    assert complaints(module, path.read_text("utf-8"), package, path.stem) == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCES)))
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    text = path.read_text("utf-8")
    length = len(text.splitlines())
    assert length <= LONGEST_MODULE, f"{length} lines: split it by ideas"
    assert ast.get_docstring(ast.parse(text)), "the first sentence of a module says its one idea"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCES)))
def test_a_function_fits_on_a_screen(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    too_long = {node.name: size for node in functions if (size := statement_lines(node)) > LONGEST_FUNCTION}
    assert too_long == {}


def statement_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    docstring = node.body[0] if ast.get_docstring(node) is not None else None
    return lines(node) - (lines(docstring) if docstring else 0)


def lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("errors", "from resilient import clock"),
        ("outcome", "from resilient.events import Event"),
        ("_machines", "import time"),
        ("_machines", "def f():\n    from random import random"),
        ("_machines", TYPES_ONLY + "    from resilient.retry import Retry"),
        ("retry", "from resilient.breaker import CircuitBreaker"),
        ("retry", "from .breaker import CircuitBreaker"),
        ("retry", "from . import breaker"),
        ("retry", "from resilient import Timeout"),
        ("_tenacity", "import tenacity"),
        ("breaker", "def f():\n    import tenacity"),
        ("clock", "from resilient._runtime import awaiting"),
        ("pipeline", "import httpx2"),
        ("_guards", "from resilient._guards.retry import RetryGuard"),
        ("_guards", "from resilient.timeout import Timeout"),
        ("_guards", TYPES_ONLY + "    from resilient.retry import Retry"),
    ],
)
def test_the_table_refuses(module: str, source: str) -> None:
    assert complaints(module, source, part="timeout") != []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("retry", "from resilient import _check, backoff"),
        ("clock", "def f():\n    import trio"),
        ("pipeline", "from resilient.registry import Registry"),
        ("clock", "def f():\n    from resilient._runtime import awaiting"),
        ("_machines", "from resilient._machines.window import Window"),
        ("_guards", TYPES_ONLY + "    from resilient.timeout import Timeout"),
    ],
)
def test_the_table_allows(module: str, source: str) -> None:
    assert complaints(module, source, part="timeout") == []


def test_a_policy_imports_no_other_policy() -> None:
    policies = {"timeout", "retry", "breaker", "bulkhead", "rate_limit", "fallback", "stale_cache"}
    assert policies == POLICIES
    assert not policies & TOGETHER
