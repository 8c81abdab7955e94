"""Which fields are stored, and which a 304 or the answer to a HEAD replaces."""

from __future__ import annotations

from dataclasses import dataclass

from tests.cache.suite.script import DATE, ETAG, STORE, Area, Case, brief, check, first, fresh, later, required, soon


@dataclass(frozen=True, slots=True)
class Known:
    """A field, two values of it, and what must become of it."""

    name: str
    old: str = "old-value"
    new: str = "new-value"
    stored: bool = True
    replaced: bool | None = None  # by a 304; None: as the cache likes
    framing: bool = False  # it says where the body ends

    @property
    def slug(self) -> str:
        return self.name.lower()


FIELDS = (
    Known("Test-Header", replaced=True),
    Known("X-Test-Header", replaced=True),
    Known("Content-Foo", replaced=True),
    Known("X-Content-Foo", replaced=True),
    Known("Cache-Control", "max-age=1", "max-age=3600", replaced=True),
    Known("Connection", stored=False),
    Known("Content-Encoding"),
    Known("Content-Length", "5", "10", replaced=False, framing=True),
    Known("Content-Location", "/foo", "/bar"),
    Known("Content-MD5", "rL0Y20zC+Fzt72VPzMSk2A==", "N7UdGUp1E+RbVvZSTy1R8g=="),
    Known("Content-Range"),
    Known("Content-Security-Policy", "default-src 'self'", "default-src 'self' cdn.example.com"),
    Known("Content-Type", "text/plain", "text/plain;charset=utf-8"),
    Known("Clear-Site-Data", "cache", "cookies"),
    Known("ETag", '"abcdef"', '"ghijkl"'),
    Known("Expires", "Fri, 01 Jan 2038 01:01:01 GMT", "Mon, 11 Jan 2038 11:11:11 GMT"),
    Known("Keep-Alive", stored=False),
    Known("Proxy-Authenticate", stored=False),
    Known("Proxy-Authentication-Info", stored=False),
    Known("Proxy-Authorization", stored=False),
    Known("Proxy-Connection", stored=False),
    Known("Public-Key-Pins"),
    Known("Set-Cookie", "a=b", "a=c"),
    Known("Set-Cookie2", "a=b", "a=c"),
    Known("TE", stored=False),
    Known("Transfer-Encoding", stored=False),
    Known("Upgrade", stored=False),
    Known("X-Frame-Options", "deny", "sameorigin"),
    Known("X-XSS-Protection", "1", "1; mode=block"),
)


def gives(known: Known, value: str, *more: str, demanded: bool = True, seconds: int = 3600) -> tuple[str, ...]:
    lasting = () if known.name == "Cache-Control" else (f"Cache-Control: max-age={seconds}",)
    return ("Date: {0}", f"{'' if demanded else '~'}{known.name}: {value}", *lasting, *more)


def storing(known: Known) -> Case:
    says = None if known.framing else ""
    line = f"{known.name}: {known.new}"
    return required(
        f"{'stores' if known.stored else 'drops'}-{known.slug}",
        f"headers-store-{known.name}",
        first(*gives(known, known.new, demanded=known.stored), says=says),
        later(
            STORE,
            shows=(line,) if known.stored else (),
            hides=() if known.stored else (line,),
            says=says,
            granted=frozenset({"source"}),
        ),
        needs=("max-age-reused",),
    )


HEADERS = Area(
    "headers",
    "Stored fields",
    "9111 3.1",
    (
        required(
            "drops-what-connection-names",
            "headers-omit-headers-listed-in-Connection",
            fresh("~Connection: a, b", "~a: 1", "~b: 2", "~c: 3"),
            later(STORE, shows=("c: 3",), hides=("a", "b"), granted=frozenset({"source", "shows"})),
            needs=("max-age-reused",),
        ),
        *(storing(known) for known in FIELDS),
    ),
)

SINCE_2020 = "Last-Modified: Wed, 01 Jan 2020 00:00:00 GMT"


def replacing(known: Known) -> Case:
    """Validate a stale answer; the 304 has another value of one field."""
    kind = check if known.replaced is None else required
    kept = known.old if known.replaced is False else known.new
    says = None if known.framing else ""
    tag = () if known.name == "ETag" else (f'ETag: "{known.slug}-tag"',)
    demanded = known.replaced is not False
    granted = frozenset({"source"})
    shows = (f"{known.name}: {kept}",)
    return kind(
        f"304-{'keeps' if known.replaced is False else 'replaces'}-{known.slug}",
        f"304-etag-update-response-{known.name}",
        first(*gives(known, known.old, *tag, demanded=demanded, seconds=2), says=says),
        later(
            ETAG,
            gives=gives(known, known.new, *tag, demanded=demanded, seconds=2),
            shows=shows,
            says=says,
            granted=granted,
        ),
        soon(STORE, gives=gives(known, kept, demanded=demanded, seconds=2), shows=shows, says=says, granted=granted),
        needs=("304-leaves-what-it-omits",),
    )


UPDATE_304 = Area(
    "update-304",
    "Updates by 304",
    "9111 4.3.4",
    (
        required(
            "304-leaves-what-it-omits",
            "304-lm-use-stored-Test-Header",
            first("Cache-Control: max-age=2", SINCE_2020, "Date: {0}", "Test-Header: kept"),
            later(
                DATE,
                gives=(SINCE_2020, "Date: {0}"),
                shows=("Test-Header: kept",),
                granted=frozenset({"source"}),
            ),
        ),
        *(replacing(known) for known in FIELDS if known.stored),
    ),
)

WRITTEN = ("head-goes-through",)
LENGTHENED = ("head-200-lengthens",)


def head(*gives: str, **more: object) -> object:
    return later(method="HEAD", sees_method="HEAD", gives=gives, **more)


UPDATE_HEAD = Area(
    "update-head",
    "Updates by HEAD",
    "9111 4.3.5",
    (
        check("head-goes-through", "head-writethrough", brief(), head(), needs=("max-age-over-not-reused",)),
        check("head-200-keeps-fields", "head-200-retain", brief(), head(shows=("Mark: 1",)), needs=WRITTEN),
        check(
            "head-200-lengthens",
            "head-200-freshness-update",
            brief(),
            head("Cache-Control: max-age=1000"),
            soon(STORE),
            needs=WRITTEN,
        ),
        check(
            "head-200-replaces-fields",
            "head-200-update",
            brief(),
            head("Mark: 2", "Cache-Control: max-age=1000"),
            soon(STORE, shows=("Mark: 2",), granted=frozenset({"source"})),
            needs=LENGTHENED,
        ),
        check(
            "head-410-replaces-fields",
            "head-410-update",
            brief(),
            head("Mark: 2", "Cache-Control: max-age=1000", status=410),
            soon(STORE, shows=("Mark: 2",), granted=frozenset({"source"})),
            needs=LENGTHENED,
        ),
    ),
)
