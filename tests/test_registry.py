"""What the registry promises: one thing for each name, found by it, and refused loudly where names clash."""

from __future__ import annotations

import threading

import pytest

from resilient import Bulkhead, ConfigError, Fallback, Keyed, Pipeline, Retry, Timeout, registry
from tests._stage import name


@pytest.fixture(autouse=True)
def _names_of_its_own():
    before = registry.exchange({})
    yield
    registry.exchange(before)


def test_pipelines_and_families_are_found_by_name():
    payments = Pipeline("payments", Retry())
    hosts = Keyed("hosts", Retry())
    assert registry.find("payments") is payments
    assert registry.find("hosts") is hosts
    assert registry.names() == ["hosts", "payments"]
    assert registry.find("hosts").snapshot() == {}


def test_a_name_that_nobody_has_is_a_key_error_that_lists_the_others():
    with pytest.raises(KeyError, match="no pipeline named 'search'; known: none"):
        registry.find("search")
    Pipeline("payments")
    Pipeline("orders")
    with pytest.raises(KeyError, match="no pipeline named 'search'; known: orders, payments"):
        registry.find("search")


def test_the_first_of_a_name_stays_the_one_that_is_found():
    first = Pipeline("payments", Bulkhead(1))
    second = Pipeline("payments", Bulkhead(1))
    assert registry.find("payments") is first
    assert second[Bulkhead] is first[Bulkhead]


def test_members_and_variants_have_no_name_of_their_own():
    hosts = Keyed("hosts", Timeout(5))
    assert hosts["a"].call(int) == 0
    Pipeline("payments", Timeout(5)).with_options(timeout=1)
    assert registry.names() == ["hosts", "payments"]


CLASHES = {
    "another setting": (
        lambda: Pipeline("payments", Retry(3), Bulkhead(1)),
        lambda: Pipeline("payments", Retry(3), Bulkhead(2)),
        r"Bulkhead\.limit: 2 in place of 1",
    ),
    "another kind": (lambda: Pipeline("payments"), lambda: Keyed("payments"), "keyed"),
    "another order": (
        lambda: Pipeline("payments", Retry(), Bulkhead(1)),
        lambda: Pipeline("payments", Bulkhead(1), Retry()),
        "Bulkhead.* in place of Retry",
    ),
    "one policy more": (lambda: Pipeline("payments"), lambda: Pipeline("payments", Bulkhead(1)), "Bulkhead"),
    "a family of another size": (
        lambda: Keyed("payments", Retry(), most=5),
        lambda: Keyed("payments", Retry(), most=6),
        "6 in place of 5",
    ),
}


@pytest.mark.parametrize(("first", "again", "words"), CLASHES.values(), ids=CLASHES)
def test_a_clash_names_the_name_the_difference_and_the_way_out(first, again, words):
    known = first()
    with pytest.raises(ConfigError, match=r"name must be new.* got 'payments'") as caught:
        again()
    assert caught.match(words)
    assert caught.match("replace=True")
    assert registry.find("payments") is known


def test_replace_puts_the_new_one_in_place():
    first = Pipeline("payments", Bulkhead(1))
    second = Pipeline("payments", Bulkhead(2), replace=True)
    assert registry.find("payments") is second
    third = Keyed("payments", Bulkhead(2), replace=True)
    assert registry.find("payments") is third
    assert first[Bulkhead].line is not second[Bulkhead].line
    fresh = Keyed("payments", Bulkhead(2), replace=True)
    fresh["a"].call(int)
    assert (len(fresh), len(third)) == (1, 0), "replaced, although the configuration is the same"


def test_cleared_names_are_new_again_and_functions_keep_working():
    first = Pipeline("payments", Bulkhead(1))
    guarded = first(lambda: first[Bulkhead].snapshot()["in_flight"])
    registry.clear()
    assert registry.names() == []
    assert Pipeline("payments", Bulkhead(2))[Bulkhead] is not first[Bulkhead]
    assert guarded() == 1


def test_a_refused_pipeline_leaves_no_name_behind():
    with pytest.raises(ConfigError):
        Pipeline("payments", Timeout(1), Timeout(2))
    with pytest.raises(TypeError):
        Pipeline("orders", Bulkhead)
    assert registry.names() == []


def test_threads_that_declare_one_name_get_one_state():
    together = threading.Barrier(16)
    states = []

    def declare():
        together.wait(10)
        states.append(Pipeline("payments", Bulkhead(1))[Bulkhead])

    threads = [threading.Thread(target=declare) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(states) == 16
    assert len(set(map(id, states))) == 1


class Nosy:
    """A value whose comparison and representation declare pipelines."""

    def __eq__(self, other):
        Pipeline(name())
        return isinstance(other, Nosy)

    def __hash__(self):
        return 1

    def __repr__(self):
        Pipeline(name())
        return "Nosy()"


def test_comparing_configurations_holds_no_lock():
    ends = []

    def declare():
        Pipeline("payments", Fallback(Nosy()))
        Pipeline("payments", Fallback(Nosy()))
        with pytest.raises(ConfigError, match="Nosy"):
            Pipeline("payments", Fallback(3))
        ends.append("done")

    thread = threading.Thread(target=declare, daemon=True)
    thread.start()
    thread.join(5)
    assert ends == ["done"], "it waits for itself"
