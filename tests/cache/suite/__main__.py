"""Play the whole suite and print how many cases of each area pass."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from resilient.testing import InstantClock, isolated, use
from tests.cache.suite.catalogue import AREAS, CASES
from tests.cache.suite.origin import serving_cases
from tests.cache.suite.runner import Verdict, play, subject_of, with_needs
from tests.cache.suite.script import Kind
from tests.cache.suite.subjects import SUBJECTS

AT_ONCE = 25

KINDS: tuple[Kind, ...] = ("required", "optimal", "check")


def verdicts(
    subject: str, family: str, mode: str, slugs: Iterable[str] = (), stale: float | None = None
) -> dict[str, Verdict]:
    """Play all cases that apply, each with a cache of its own."""
    chosen = set(slugs)
    found = {}
    with isolated(), serving_cases() as origin:
        for slug, case in CASES.items():
            if case.applies(mode) and (not chosen or slug in chosen):
                with (
                    use(InstantClock()),
                    subject_of(subject, family, shared=mode != "private", origin=origin, stale=stale) as tested,
                ):
                    found[slug] = play(case, origin, tested)
    return found


def rehearsal(subject: str, family: str, mode: str, slugs: Iterable[str], stale: float | None) -> dict[str, Verdict]:
    """Play them in real time, many at once, all against one subject: as the public suite does."""
    chosen = set(slugs)
    cases = {slug: case for slug, case in CASES.items() if case.applies(mode) and (not chosen or slug in chosen)}
    with (
        isolated(),
        serving_cases() as origin,
        subject_of(subject, family, shared=mode != "private", origin=origin, stale=stale) as tested,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        return dict(zip(cases, threads.map(lambda case: play(case, origin, tested), cases.values()), strict=True))


def table(found: dict[str, Verdict]) -> str:
    """Write passed of all, for each area and kind."""
    rows = [("area", *KINDS)]
    for title, cases in [*((area.title, area.cases) for area in AREAS), ("All", tuple(CASES.values()))]:
        row = [title]
        for kind in KINDS:
            those = [case.slug for case in cases if case.kind == kind and case.slug in found]
            row.append(f"{sum(found[slug].passed for slug in those)}/{len(those)}" if those else "")
        if any(row[1:]):
            rows.append(tuple(row))
    rows.insert(1, tuple("---" for _ in rows[0]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cache.suite", description=__doc__)
    parser.add_argument("--family", choices=("httpx", "httpx2"), default="httpx2")
    parser.add_argument("--mode", choices=("shared", "private", "gateway"), default="shared")
    parser.add_argument("--subject", choices=sorted(SUBJECTS), default="sync")
    parser.add_argument(
        "--needs", choices=("count", "ignore"), default="count", help="a case counts if those that it needs pass"
    )
    parser.add_argument("--stale", type=float, help="seconds of stale_if_error that our caches are configured to")
    parser.add_argument("--why", action="store_true", help="tell also what every failure was")
    parser.add_argument("--real", action="store_true", help="in real time, many cases at once against one subject")
    parser.add_argument("slugs", nargs="*", help="only these cases")
    options = parser.parse_args()
    found = (rehearsal if options.real else verdicts)(
        options.subject, options.family, options.mode, options.slugs, options.stale
    )
    if options.needs == "count":
        found = with_needs(found)
    if options.why or options.slugs:
        for slug, verdict in found.items():
            if not verdict.passed or options.slugs:
                sys.stdout.write(
                    f"{CASES[slug].kind} {slug} ({CASES[slug].public}): {verdict.outcome}: {verdict.why}\n"
                )
    sys.stdout.write(table(found) + "\n")


if __name__ == "__main__":
    main()
