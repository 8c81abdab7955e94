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
Rejected ResilienceError Retry RetryBudget ThreadsExhausted Timeout Unguardable Verdict deadline from_status
log_events remaining standard subscribe
""".split()

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


def test_the_reference_page_has_every_public_name() -> None:
    page = (Path(__file__).parents[1] / "docs" / "api.md").read_text("utf-8").split()
    assert [name for name in PUBLIC if f"resilient.{name}" not in page] == []
