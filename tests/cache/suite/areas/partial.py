"""Parts of bodies: stored, reused, and cut out of whole ones.

The origin's Content-Range speaks of one byte more than it sends, in the public cases as here.
"""

from __future__ import annotations

from typing import Any

from tests.cache.suite.script import STORE, Area, Case, Step, first, optimal, required, soon

NEEDS = ("max-age-reused",)
END = "bytes=-5"


def part(content_range: str = "bytes 4-9/10", **more: Any) -> Step:
    return first(
        "Cache-Control: max-age=3600",
        f"Content-Range: {content_range}",
        status=206,
        text="01234",
        sends=(f"Range: {END}",),
        **more,
    )


def asked(ranges: str, text: str, **more: Any) -> Step:
    return soon(STORE, sends=(f"Range: {ranges}",), answers=206, says=text, **more)


def out_of_whole(slug: str, public: str, ranges: str, text: str, whole: str = "01234567890") -> Case:
    return optimal(
        slug,
        public,
        first("Cache-Control: max-age=3600", text=whole),
        asked(ranges, text),
        needs=NEEDS,
        rfc="9110 14.2",
    )


def out_of_part(slug: str, public: str, ranges: str, text: str) -> Case:
    return optimal(slug, public, part(), asked(ranges, text), needs=NEEDS)


GRANTED = frozenset({"source", "answers", "says"})

PARTIAL = Area(
    "partial",
    "Partial content",
    "9111 3.4",
    (
        optimal(
            "same-part-reused",
            "partial-store-partial-reuse-partial",
            part(sees=(f"Range: {END}",)),
            asked(END, "01234"),
            needs=NEEDS,
        ),
        out_of_whole("part-of-whole", "partial-store-complete-reuse-partial", "bytes=0-1", "01"),
        out_of_whole("end-of-whole", "partial-store-complete-reuse-partial-no-last", "bytes=1-", "1234567890"),
        out_of_whole(
            "last-byte-of-whole", "partial-store-complete-reuse-partial-suffix", "bytes=-1", "A", whole="0123456789A"
        ),
        out_of_part("part-of-part", "partial-store-partial-reuse-partial-byterange", "bytes=6-8", "234"),
        out_of_part("end-of-part", "partial-store-partial-reuse-partial-absent", "bytes=6-", "234"),
        out_of_part("last-byte-of-part", "partial-store-partial-reuse-partial-suffix", "bytes=-1", "4"),
        optimal(
            "part-is-completed",
            "partial-store-partial-complete",
            part("bytes 0-4/10"),
            soon(sees=("Range: bytes=5-",)),
            needs=NEEDS,
        ),
        required(
            "part-shows-no-newer-field",
            "partial-use-headers",
            first("Cache-Control: max-age=3600", "A: 1", text="01234567890"),
            asked("bytes=0-1", "01", gives=("A: 2",), granted=GRANTED),
            needs=("part-of-whole",),
        ),
        required(
            "part-shows-stored-field",
            "partial-use-stored-headers",
            first("Cache-Control: max-age=3600", "A: 1", text="01234567890"),
            asked("bytes=0-1", "01", shows=("A: 1",), granted=GRANTED),
            needs=("part-of-whole",),
        ),
    ),
)
