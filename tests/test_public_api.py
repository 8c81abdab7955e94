"""The public names stand here, once; each says what it is, and its examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import resilient

# The one list of what is public. A name is added here, in `resilient.__all__` and in docs/api.md in one
# commit; a name is removed only after a release that warned.
PUBLIC = """
Backoff BreakerOpen BudgetExhausted Bulkhead BulkheadFull CallTimeout Certainty CircuitBreaker Classifier
ConfigError Count DeadlineExceeded Event Fallback Hold Keyed Outcome Permit Pipeline RateLimit RateLimited
Rejected ResilienceError Retry RetryBudget StaleCache ThreadsExhausted Timeout Unguardable Verdict deadline
from_status log_events provenance remaining standard subscribe
""".split()

# The doors: modules that are imported by themselves, and what each of them shows.
CLIENTS = """
AsyncResilientTransport BreakerOpen BudgetExhausted BulkheadFull CallOptions CallTimeout DeadlineExceeded
DeadlineHeader IdempotencyKey RateLimited ResilientTransport ThreadsExhausted async_client client
""".split()
SERVERS = ["DeadlineHeader", "DeadlineMiddleware"]
STORES = ["MemoryStore", "Record", "SqliteStore", "Stats", "Store", "StoreFull"]
IDEMPOTENCY = """
IdempotencyMiddleware KeyBook KeyInDoubt KeyInProgress KeyRefused KeyReused KeyStoreDown RecordedFailure
ResultNotKept current_key derived_key fingerprint idempotency_key inject_key once random_key recorded_response
recorded_result
""".split()
CONTROL = """
ControlUnavailable Directory Operations Refused UnsafeDirectory Who configure stop
""".split()
DOORS = {
    "httpx": CLIENTS,
    "httpx2": CLIENTS,
    "cache": ["HttpCache"],
    "asgi": SERVERS,
    "wsgi": SERVERS,
    "stores": STORES,
    "idempotency": IDEMPOTENCY,
    "admin": ["Authenticator", "Caller", "Insecure", "Tokens", "app", "new_token"],
    "control": CONTROL,
    "otel": ["instrument", "uninstrument"],
    "prometheus": ["Collector", "exposition"],
}
OF_DOORS = [(door, name) for door, names in DOORS.items() for name in names]

# Raised or handed out by the library, never built by its users, or shown by the example of another name.
WITHOUT_EXAMPLE = {
    "Certainty",
    "Event",
    "Hold",
    "Outcome",
    "Permit",
    "Verdict",
    "deadline",
}

MODULES = sorted(
    each.name
    for each in pkgutil.walk_packages(resilient.__path__, "resilient.")
    if not each.name.endswith("testing_plugin")
)


def examples(thing: object) -> list[doctest.Example]:
    finder = doctest.DocTestFinder(recurse=False)
    return [example for test in finder.find(thing, "example") for example in test.examples]


def test_the_public_names_are_these() -> None:
    assert sorted(resilient.__all__) == sorted(PUBLIC)
    assert len(set(resilient.__all__)) == len(resilient.__all__)


def test_nothing_else_looks_public() -> None:
    modules = {name.split(".")[1] for name in MODULES}
    # pytest writes its own names, which begin with "@", into modules that come with a plugin.
    visible = {name for name in vars(resilient) if not name.startswith(("_", "@"))}
    assert visible - modules - set(PUBLIC) == set()


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_says_what_it_is(name: str) -> None:
    thing = getattr(resilient, name)
    first = (inspect.getdoc(thing) or "").partition("\n")[0]
    assert first.endswith((".", ":")), f"the first line of {name} is no sentence: {first!r}"
    assert len(first.split()) > 2
    assert not first.startswith(f"{name}("), "a generated docstring says nothing"


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_tells_where_it_comes_from(name: str) -> None:
    assert getattr(resilient, name).__module__.split(".")[0] == "resilient"


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - WITHOUT_EXAMPLE))
def test_a_public_class_shows_an_example(name: str) -> None:
    thing = getattr(resilient, name)
    if inspect.isclass(thing) and not issubclass(thing, BaseException):
        assert examples(thing), f"{name} has no example"


def test_the_exceptions_from_the_list_are_real() -> None:
    assert set(PUBLIC) >= WITHOUT_EXAMPLE
    superfluous = {name for name in WITHOUT_EXAMPLE if examples(getattr(resilient, name))}
    assert superfluous == set()


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


PAGE = Path(__file__).parents[1] / "docs" / "api.md"


def test_the_reference_page_has_every_public_name() -> None:
    page = PAGE.read_text("utf-8").split()
    assert [name for name in PUBLIC if f"resilient.{name}" not in page] == []


def test_the_reference_page_has_every_door() -> None:
    page = PAGE.read_text("utf-8")
    shown = [f"resilient.{door}.{name}" for door, name in OF_DOORS if door != "httpx" and name != "DeadlineHeader"]
    assert [name for name in shown if name not in page.split()] == []
    assert "`resilient.httpx2` and `resilient.httpx` are twins" in page


@pytest.mark.parametrize("door", DOORS)
def test_the_names_of_a_door_are_these(door: str) -> None:
    module = importlib.import_module(f"resilient.{door}")
    assert sorted(module.__all__) == sorted(DOORS[door])
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize(("door", "name"), OF_DOORS)
def test_a_name_of_a_door_says_what_it_is(door: str, name: str) -> None:
    thing = getattr(importlib.import_module(f"resilient.{door}"), name)
    first = (inspect.getdoc(thing) or "").partition("\n")[0]
    assert first.endswith((".", ":")), f"the first line of {name} is no sentence: {first!r}"
    assert len(first.split()) > 2


@pytest.mark.parametrize(
    "name",
    [
        "DeadlineHeader",
        "DeadlineMiddleware",
        "IdempotencyKey",
        "IdempotencyMiddleware",
        "KeyBook",
        "MemoryStore",
        "ResilientTransport",
        "SqliteStore",
        "client",
        "derived_key",
        "fingerprint",
        "idempotency_key",
        "inject_key",
        "once",
    ],
)
def test_a_name_of_a_door_shows_an_example(name: str) -> None:
    shown = [getattr(importlib.import_module(f"resilient.{door}"), each) for door, each in OF_DOORS if each == name]
    assert all(examples(thing) for thing in shown)


@pytest.mark.parametrize("name", CLIENTS)
def test_the_client_doors_are_twins(name: str) -> None:
    one, other = (getattr(importlib.import_module(f"resilient.{family}"), name) for family in ("httpx", "httpx2"))
    assert (one is other) == (name in {"CallOptions", "DeadlineHeader", "IdempotencyKey"})
    assert (inspect.getdoc(one) or "").replace("httpx2", "httpx") == (inspect.getdoc(other) or "").replace(
        "httpx2", "httpx"
    )
    assert signature(one) == signature(other)
    if inspect.isclass(one):
        assert {each for each in dir(one) if not each.startswith("_")} == {
            each for each in dir(other) if not each.startswith("_")
        }


@pytest.mark.parametrize("family", ["httpx", "httpx2"])
@pytest.mark.parametrize("name", [name for name in CLIENTS if name in PUBLIC])
def test_an_error_of_a_door_belongs_to_both_trees(family: str, name: str) -> None:
    kind = getattr(importlib.import_module(f"resilient.{family}"), name)
    base = "TimeoutException" if name == "CallTimeout" else "TransportError"
    assert issubclass(kind, getattr(resilient, name))
    assert issubclass(kind, getattr(importlib.import_module(family), base))
    assert (kind.__module__, kind.__qualname__) == (f"resilient.{family}", name)


def signature(thing: object) -> str:
    return str(inspect.signature(thing)).replace("httpx2", "httpx")
