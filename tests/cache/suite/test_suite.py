"""Every required and optimal case, played against our client, as a shared cache and as a private one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from resilient.testing import InstantClock, use
from tests.cache.suite import known
from tests.cache.suite.__main__ import table, verdicts
from tests.cache.suite.catalogue import AREAS, CASES
from tests.cache.suite.origin import Origin, serving_cases
from tests.cache.suite.runner import play, subject_of, with_needs
from tests.cache.suite.script import Case

KNOWN = {"shared": known.SHARED, "private": known.PRIVATE}


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with serving_cases() as serving:
        yield serving


def demanded(mode: str) -> list[pytest.param]:
    return [pytest.param(case, id=slug) for slug, case in CASES.items() if case.kind != "check" and case.applies(mode)]


def plays(case: Case, mode: str, origin: Origin) -> None:
    with use(InstantClock()), subject_of("sync", "httpx2", shared=mode == "shared", origin=origin) as subject:
        verdict = play(case, origin, subject)
    reason = KNOWN[mode].get(case.slug)
    if reason is None:
        assert verdict.passed, f"{case.public} (RFC {case.rfc}): {verdict.why}"
    else:
        assert not verdict.passed, f"it passes now: take it out of known.py ({reason})"


@pytest.mark.parametrize("case", demanded("shared"))
def test_shared_cache(case: Case, origin: Origin) -> None:
    plays(case, "shared", origin)


@pytest.mark.parametrize("case", demanded("private"))
def test_private_cache(case: Case, origin: Origin) -> None:
    plays(case, "private", origin)


def counts(mode: str) -> tuple[int, int, int]:
    kinds = Counter(case.kind for case in CASES.values() if case.applies(mode))
    return kinds["required"], kinds["optimal"], kinds["check"]


def test_the_catalogue_has_as_many_cases_as_the_public_suite() -> None:
    kinds = Counter(case.kind for case in CASES.values())
    assert (kinds["required"], kinds["optimal"], kinds["check"]) == (163, 107, 100)
    assert counts("shared") == (150, 98, 93)
    assert counts("private") == (137, 77, 86)
    assert len({case.public for case in CASES.values()}) == len(CASES) == sum(len(area.cases) for area in AREAS)


def test_every_need_and_every_known_failure_names_a_case() -> None:
    assert {need for case in CASES.values() for need in case.needs} <= CASES.keys()
    for mode, listed in KNOWN.items():
        assert listed.keys() <= {slug for slug, case in CASES.items() if case.kind != "check" and case.applies(mode)}


SAMPLE = (
    "max-age-reused max-age-over-not-reused vary-keeps-both-variants stale-while-revalidate stale-tag-is-sent"
    " 304-leaves-what-it-omits post-invalidates part-of-whole if-none-match-answered age-is-told"
).split()


@pytest.mark.parametrize("family", ["httpx", "httpx2"])
@pytest.mark.parametrize("subject", ["sync", "async", "trio", "proxy"])
def test_the_same_behind_every_door(subject: str, family: str) -> None:
    found = verdicts(subject, family, "shared", SAMPLE)
    assert {slug: verdict.why for slug, verdict in found.items() if not verdict.passed} == {}


def test_without_a_cache_only_what_needs_none_passes() -> None:
    found = verdicts("none", "httpx2", "shared")
    passed = [slug for slug, verdict in found.items() if verdict.passed]
    assert not [slug for slug in passed if slug.endswith("-reused") and "not" not in slug]
    assert 80 < sum(CASES[slug].kind == "required" for slug in passed) < 95
    assert sum(CASES[slug].kind == "optimal" for slug in passed) < 3
    blocked = with_needs(found)
    assert sum(verdict.passed for verdict in blocked.values()) < len(passed)
    assert "| All " in table(found)
