"""Random requests, answers, writes, outages and time against plain statements of what must never happen.

The origin marks each answer with an id. What the client sees is judged by what the origin remembers
of that id: to whom it was given, for which `Foo`, when it was given or confirmed last, and what it
said. Nothing here knows how the cache decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from resilient.testing import use
from tests.cache._world import Answer, Seen, Sent, Unreachable, World, joined
from tests.cache.conftest import wall_clock

URLS = ("https://api.example/a", "https://api.example/b")
LENGTH = 12

policies = st.fixed_dictionaries(
    {
        "max-age": st.sampled_from([None, 0, 5, 20]),
        "stale-if-error": st.sampled_from([None, 10]),
        "stale-while-revalidate": st.sampled_from([None, 10]),
        "flags": st.sets(st.sampled_from(["no-cache", "must-revalidate", "private", "public", "no-store"]), max_size=2),
        "vary": st.booleans(),
        "tag": st.sampled_from([None, "strong", "weak"]),
    }
)
directives = st.sampled_from(
    ["", "", "", "no-cache", "max-age=3", "min-fresh=3", "max-stale=8", "stale-if-error=8", "no-store"]
)
ranges = st.sampled_from(["", "", "bytes=0-3", "bytes=4-", "bytes=-4", "bytes=2-9"])


@dataclass
class Given:
    """What the origin remembers of one answer."""

    url: str
    user: str | None
    foo: str | None
    policy: dict[str, Any]
    tag: str | None
    at: float
    content: bytes


class Model(RuleBasedStateMachine):
    shared = False

    def __init__(self) -> None:
        super().__init__()
        self.using = use(wall_clock())
        self.using.__enter__()
        self.world = World(
            shared=self.shared, stale_if_error=6, stale_if_unreachable=9, longest_stale=15, max_variants=4
        )
        self.given: dict[str, Given] = {}
        self.confirmed: dict[str, float] = {}
        self.versions = dict.fromkeys(URLS, 0)
        self.written = dict.fromkeys(URLS, 0.0)
        self.policy: dict[str, Any] = {}
        self.down: Any = None

    def teardown(self) -> None:
        self.using.__exit__(None, None, None)

    @initialize(policy=policies)
    def begin(self, policy: dict[str, Any]) -> None:
        self.policy = policy
        self.world.does(self.origin)

    # -- the origin

    def origin(self, sent: Sent) -> Answer | Exception:
        if self.down is not None:
            return Unreachable("down") if self.down == "network" else Answer(self.down, [], b"sorry")
        if sent.method not in ("GET", "HEAD"):
            self.versions[sent.url] += 1
            self.written[sent.url] = self.world.now()
            return Answer(204)
        policy, user, foo = self.policy, sent["cookie"], sent["foo"]
        about = f"{sent.url[-1]}{self.versions[sent.url]}-{user}-{foo if policy['vary'] else 'any'}"
        tag = {None: None, "strong": f'"{about}"', "weak": f'W/"{about}"'}[policy["tag"]]
        headers = self.headers(policy, tag, user)
        if tag and tag in (sent["if-none-match"] or "").split(", "):
            for name, given in self.given.items():
                if given.tag == tag:
                    self.confirmed[name] = self.world.now()
                    given.policy = policy
            return Answer(304, headers)
        name = str(len(self.given))
        content = f"{crc32(about.encode()):0{LENGTH}d}".encode()
        self.given[name] = Given(sent.url, user, foo, policy, tag, self.world.now(), content)
        self.confirmed[name] = self.world.now()
        headers.append(("X-Id", name))
        return self.ranged(sent, headers, content, tag)

    def ranged(self, sent: Sent, headers: list[tuple[str, str]], body: bytes, tag: str | None) -> Answer:
        from resilient.cache.ranges import wish

        wanted = wish((sent["range"] or "").encode())
        if wanted is None or (sent["if-range"] is not None and sent["if-range"] != tag):
            return Answer(200, headers, body)
        first, last = wanted.within(len(body)) or (0, 0)
        return Answer(206, [*headers, ("Content-Range", f"bytes {first}-{last}/{len(body)}")], body[first : last + 1])

    def headers(self, policy: dict[str, Any], tag: str | None, user: str | None) -> list[tuple[str, str]]:
        stated = [
            f"{key}={policy[key]}"
            for key in ("max-age", "stale-if-error", "stale-while-revalidate")
            if policy[key] is not None
        ]
        made = [("Cache-Control", ", ".join([*stated, *sorted(policy["flags"])]))]
        if policy["vary"]:
            made.append(("Vary", "Foo"))
        if tag:
            made.append(("ETag", tag))
        return [*made, ("X-For", str(user))]

    # -- what happens

    @rule(policy=policies)
    def the_origin_says_something_else(self, policy: dict[str, Any]) -> None:
        self.policy = policy

    @rule(url=st.sampled_from(URLS))
    def the_thing_changes(self, url: str) -> None:
        self.versions[url] += 1

    @rule(seconds=st.sampled_from([1, 2, 4, 5, 6, 10, 20]))
    def time_passes(self, seconds: float) -> None:
        self.world.sleep(seconds)

    @rule(how=st.sampled_from([None, None, "network", 503, 404]))
    def the_origin_goes_down_or_comes_back(self, how: Any) -> None:
        self.down = how

    @rule()
    def what_waits_in_the_background_runs(self) -> None:
        self.world.settle()

    @rule(url=st.sampled_from(URLS), method=st.sampled_from(["POST", "DELETE"]))
    def somebody_writes(self, url: str, method: str) -> None:
        try:
            self.world.ask(url, method=method)
        except Unreachable:
            assert self.down == "network"

    @rule(user=st.sampled_from([None, "alice"]), directive=directives)
    def somebody_asks_again(self, user: str | None, directive: str) -> None:
        self.somebody_asks(URLS[0], user, None, directive, "", "whole", "GET")

    @rule(user=st.sampled_from([None, "alice"]), span=ranges, method=st.sampled_from(["GET", "HEAD"]))
    def somebody_asks_for_a_part(self, user: str | None, span: str, method: str) -> None:
        self.somebody_asks(URLS[0], user, None, "", span, "whole", method)

    @rule(
        url=st.sampled_from(URLS),
        user=st.sampled_from([None, "alice", "bob"]),
        foo=st.sampled_from([None, "1", "2"]),
        directive=directives,
        span=ranges,
        read=st.sampled_from(["whole", "whole", "broken", "unread"]),
        method=st.sampled_from(["GET", "GET", "GET", "HEAD"]),
    )
    def somebody_asks(
        self, url: str, user: str | None, foo: str | None, directive: str, span: str, read: str, method: str
    ) -> None:
        fields = {"Cookie": user, "Foo": foo, "Cache-Control": directive, "Range": span}
        headers = {name: value for name, value in fields.items() if value}
        try:
            seen = self.world.ask(url, headers, method, read=read)
        except Unreachable:
            assert self.down == "network"
            return
        if seen.stored and seen["x-id"] is not None:
            self.judge(seen, url, user, foo, directive, method)

    # -- what must hold

    def judge(self, seen: Seen, url: str, user: str | None, foo: str | None, directive: str, method: str) -> None:
        name = seen["x-id"] or ""
        given, now = self.given[name], self.world.now()
        policy, age = given.policy, now - self.confirmed[name]
        assert given.url == url
        assert "no-store" not in policy["flags"] or seen.source == "revalidated"
        assert directive != "no-store"
        self.whose(given, user)
        assert seen["x-for"] in self.addressees(seen, user)
        assert given.foo == foo or not policy["vary"] or seen.source == "revalidated"
        assert given.at >= self.written[url], "older than a write"
        self.bytes_are_right(seen, name, method)
        if seen.source == "revalidated":
            assert age == 0
            assert directive in ("", "no-cache", "max-age=3", "min-fresh=3", "max-stale=8", "stale-if-error=8")
            return
        assert seen["age"] == str(int(age))
        assert "no-cache" not in policy["flags"]
        assert not directive.startswith("no-cache")
        past = age - (policy["max-age"] or 0)
        if seen.source == "fresh":
            assert past < 0
            assert directive != "max-age=3" or age <= 3
            assert directive != "min-fresh=3" or -past >= 3
        else:
            self.may_be_stale(seen, policy, directive, past)

    def whose(self, given: Given, user: str | None) -> None:
        if self.shared and (given.user is None or "public" in given.policy["flags"]):
            return
        assert given.user == user
        assert not (self.shared and "private" in given.policy["flags"])

    def addressees(self, seen: Seen, user: str | None) -> set[str | None]:
        """Whom the fields may be meant for: also those of a 304, which is about the answer of somebody else."""
        if not self.shared:
            return {str(user)}
        return {str(user), "None", seen["x-for"] if "public" in (seen["cache-control"] or "") else None}

    def bytes_are_right(self, seen: Seen, name: str, method: str) -> None:
        body = self.given[name].content
        if method == "HEAD" or seen.status == 304:
            assert seen.body == b""
        elif seen.status == 206:
            first, last = map(int, (joined(seen.fields, "content-range") or "").split()[1].split("/")[0].split("-"))
            assert seen.body == body[first : last + 1]
        else:
            assert seen.body == body

    def may_be_stale(self, seen: Seen, policy: dict[str, Any], directive: str, past: float) -> None:
        assert past >= 0
        assert past <= 15
        assert "must-revalidate" not in policy["flags"]
        assert directive not in ("max-age=3", "min-fresh=3")
        if seen.reason == "max-stale":
            assert (directive, past <= 8) == ("max-stale=8", True)
        elif seen.reason == "revalidating":
            assert past <= (policy["stale-while-revalidate"] or -1)
        else:
            asked = 8 if directive == "stale-if-error=8" else 0
            alone = 9 if self.down == "network" and not asked else 0
            assert past <= max(policy["stale-if-error"] or 0, asked, 6, alone)
            assert seen.reason == {"network": "Unreachable", 503: "503"}[self.down]

    @invariant()
    def variants_are_bounded(self) -> None:
        # Four variants and four parts for each of two addresses and four identities.
        assert self.world.store.stats().entries <= 2 * 4 * 8


class SharedModel(Model):
    shared = True


@pytest.mark.parametrize("model", [Model, SharedModel], ids=["private", "shared"])
def test_nothing_is_served_that_must_not_be(model: type[Model]) -> None:
    run_state_machine_as_test(model, settings=settings(stateful_step_count=30))
