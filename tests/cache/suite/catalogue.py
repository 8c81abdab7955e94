"""All areas, in the order of the reports."""

from __future__ import annotations

from tests.cache.suite.areas.age import AGE
from tests.cache.suite.areas.authorization import AUTHORIZATION
from tests.cache.suite.areas.conditionals import CONDITIONAL_DATE, CONDITIONAL_TAG
from tests.cache.suite.areas.directives import DIRECTIVES
from tests.cache.suite.areas.expires import EXPIRES, EXPIRES_PARSING
from tests.cache.suite.areas.freshness import FRESHNESS
from tests.cache.suite.areas.headers import HEADERS, UPDATE_304, UPDATE_HEAD
from tests.cache.suite.areas.heuristics import HEURISTICS
from tests.cache.suite.areas.invalidation import INVALIDATION
from tests.cache.suite.areas.methods import METHODS
from tests.cache.suite.areas.other import INTERIM, OTHER
from tests.cache.suite.areas.parsing import PARSING
from tests.cache.suite.areas.partial import PARTIAL
from tests.cache.suite.areas.requests import PRAGMA, REQUESTS
from tests.cache.suite.areas.stale import STALE
from tests.cache.suite.areas.statuses import STATUSES
from tests.cache.suite.areas.targeted import TARGETED
from tests.cache.suite.areas.vary import VARY, VARY_PARSING
from tests.cache.suite.script import Area, Case

AREAS: tuple[Area, ...] = (
    FRESHNESS,
    PARSING,
    AGE,
    EXPIRES,
    EXPIRES_PARSING,
    DIRECTIVES,
    STALE,
    HEURISTICS,
    METHODS,
    STATUSES,
    REQUESTS,
    PRAGMA,
    VARY,
    VARY_PARSING,
    CONDITIONAL_DATE,
    CONDITIONAL_TAG,
    HEADERS,
    UPDATE_304,
    UPDATE_HEAD,
    INVALIDATION,
    PARTIAL,
    AUTHORIZATION,
    OTHER,
    INTERIM,
    TARGETED,
)

CASES: dict[str, Case] = {case.slug: case for area in AREAS for case in area.cases}
