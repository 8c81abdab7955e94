"""Where a request goes: patterns, their order, and what becomes of hosts that no pattern fits."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient import Bulkhead, CircuitBreaker, ConfigError, Keyed, Pipeline, Retry, standard
from resilient._http.patterns import Pattern
from resilient.testing import force_open, isolated
from tests.http._world import World, every_family


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with isolated():
        yield


def routed(world: World, patterns: Any, *urls: str, **options: Any) -> list[str]:
    """The names of the pipelines that requests for these URLs pass through."""
    if not isinstance(patterns, (dict, Pipeline)):
        patterns = {pattern: Pipeline(pattern, Bulkhead(1)) for pattern in patterns}
    options.setdefault("default", Pipeline("none fits", Bulkhead(1)))
    transport = world.transport(patterns, transport=world.mock(lambda _: world.family.Response(200)), **options)
    return [transport.routes.find(world.family.URL(url)).pipeline.name for url in urls]


def fits(world: World, pattern: str, *urls: str) -> list[bool]:
    return [name == pattern for name in routed(world, [pattern], *urls)]


# -- which requests a pattern means --------------------------------------------------------------


@every_family
@pytest.mark.parametrize(
    ("pattern", "meant", "not_meant"),
    [
        ("https://a.test", ["https://a.test/", "https://a.test:443/x", "https://A.TEST/"], ["http://a.test/"]),
        ("https://a.test", [], ["https://a.test:8443/", "https://b.a.test/", "https://a.test.evil/"]),
        ("HTTPS://A.Test/", ["https://a.test/"], []),
        ("https://a.test:443", ["https://a.test/"], ["https://a.test:444/"]),
        ("http://a.test:80", ["http://a.test/"], ["https://a.test/"]),
        ("https://a.test:8443", ["https://a.test:8443/"], ["https://a.test/"]),
        ("all://a.test", ["http://a.test/", "https://a.test/", "https://a.test:9/"], ["https://b.test/"]),
        ("all://a.test:443", ["https://a.test/", "http://a.test:443/"], ["http://a.test/"]),
        ("all://", ["http://a.test/", "https://[::1]:9/"], []),
        ("all://*", ["http://a.test/", "https://[::1]:9/"], []),
        ("https://", ["https://a.test/", "https://a.test:9/"], ["http://a.test/"]),
        ("https://*.a.test", ["https://b.a.test/", "https://c.b.a.test/", "https://b.a.test:9/"], []),
        ("https://*.a.test", [], ["https://a.test/", "https://ba.test/", "http://b.a.test/"]),
        ("https://*.a.test:443", ["https://b.a.test/"], ["https://b.a.test:8443/"]),
        ("https://a.test/v1", ["https://a.test/v1", "https://a.test/v1/x", "https://a.test/v1/"], []),
        ("https://a.test/v1/", ["https://a.test/v1"], ["https://a.test/v10", "https://a.test/", "https://a.test/x/v1"]),
        ("https://a.test/v1", ["https://a.test/v1?q=1"], ["https://a.test/v1/../v2"]),
        ("https://a.test/a%20b", ["https://a.test/a b/c", "https://a.test/a%20b"], ["https://a.test/a"]),
        ("https://a.test/caf\u00e9", ["https://a.test/caf%C3%A9", "https://a.test/caf\u00e9"], []),
        ("http://[::1]", ["http://[::1]/", "http://[0:0:0:0:0:0:0:1]/"], ["http://[::2]/", "http://[::1]:9/"]),
        ("http://[0:0:0:0:0:0:0:1]:9", ["http://[::1]:9/"], ["http://[::1]/"]),
        ("http://127.0.0.1", ["http://127.0.0.1/"], ["http://127.0.0.2/"]),
        ("http://a.test", ["http://a.test./"], []),
        ("http://a.test.", ["http://a.test/"], []),
        ("http://under_score.test", ["http://under_score.test/"], []),
        (
            "https://b\u00fccher.test",
            ["https://b\u00fccher.test/", "https://xn--bcher-kva.test/"],
            ["https://bucher.test/"],
        ),
        ("https://xn--bcher-kva.test", ["https://B\u00dcCHER.test/"], []),
        ("https://*.b\u00fccher.test", ["https://www.b\u00fccher.test/", "https://x.xn--bcher-kva.test/"], []),
        ("https://www.b\u00fccher.test", ["https://www.b\u00fccher.test/", "https://www.xn--bcher-kva.test/"], []),
        ("https://fa\u00df.test", ["https://fa\u00df.test/", "https://xn--fa-hia.test/"], ["https://fass.test/"]),
    ],
)
def test_a_pattern_means(world: World, pattern: str, meant: list[str], not_meant: list[str]) -> None:
    assert fits(world, pattern, *meant) == [True] * len(meant)
    assert fits(world, pattern, *not_meant) == [False] * len(not_meant)


@every_family
def test_the_most_particular_pattern_wins_whatever_the_order_of_the_mapping(world: World) -> None:
    patterns = [
        "all://",
        "https://",
        "all://*.test",
        "https://*.test",
        "https://*.a.test",
        "https://*.a.test/v1",
        "https://*.a.test:8443",
        "all://b.a.test",
        "https://b.a.test",
        "all://b.a.test/v1",
        "https://b.a.test/v1",
        "https://b.a.test/v1/x",
        "https://b.a.test:8443",
    ]
    urls = {
        "http://other/": "all://",
        "https://other/": "https://",
        "http://z.test/": "all://*.test",
        "https://z.test/": "https://*.test",
        "https://z.a.test/": "https://*.a.test",
        "https://z.a.test/v1/y": "https://*.a.test/v1",
        "https://z.a.test:8443/v1": "https://*.a.test:8443",
        "http://b.a.test/": "all://b.a.test",
        "http://b.a.test/v1": "all://b.a.test/v1",
        "https://b.a.test/": "https://b.a.test",
        "https://b.a.test/v1/y": "https://b.a.test/v1",
        "https://b.a.test/v1/x/y": "https://b.a.test/v1/x",
        "https://b.a.test:8443/v1/x": "https://b.a.test:8443",
    }
    for order in (patterns, patterns[::-1], sorted(patterns)):
        assert dict(zip(urls, routed(world, order, *urls), strict=True)) == urls


@every_family
def test_a_path_is_more_particular_than_a_scheme(world: World) -> None:
    assert routed(world, ["https://a.test", "all://a.test/v1"], "https://a.test/v1/x", "https://a.test/v2") == [
        "all://a.test/v1",
        "https://a.test",
    ]


@every_family
def test_one_origin_has_a_route_for_each_path_and_the_default_for_the_rest(world: World) -> None:
    urls = ["https://a.test/v1/x", "https://a.test/v2", "https://a.test/", "https://a.test/v1"]
    assert routed(world, ["https://a.test/v1", "https://a.test/v2"], *urls) == [
        "https://a.test/v1",
        "https://a.test/v2",
        "none fits",
        "https://a.test/v1",
    ]


@every_family
def test_one_pipeline_alone_gets_every_request(world: World) -> None:
    assert routed(world, Pipeline("only", Retry()), "http://a.test/", "https://[::1]:9/x") == ["only", "only"]


# -- what is no pattern --------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("a.test", "an origin such as"),
        ("", "an origin such as"),
        ("https:a.test", "an origin such as"),
        ("ftp://a.test", "an origin such as"),
        ("https://a.test:port", "an origin such as"),
        ("https://a.test:70000", "an origin such as"),
        ("https://[::1", "an origin such as"),
        ("https://u:p@a.test", "without credentials"),
        ("https://@a.test", "without credentials"),
        ("https://a.test?q=1", "without credentials, query"),
        ("https://a.test/#top", "query and fragment"),
        ("https://a.*.test", "whole labels"),
        ("https://*a.test", "whole labels"),
        ("https://*.*.test", "whole labels"),
        ("https://*.", "whole labels"),
        ("https://.a.test", "is no host"),
        ("https://*..a.test", "is no host"),
        ("https://a..test", "is no host"),
        ("https://exa mple.test", "is no host"),
        ("https://a,b.test", "is no host"),
        ("https://" + "\u00e9" * 70 + ".test", "is no host"),
        ("https://-\u00fc.test", "is no host"),
        ("https://999.1.1.1", "is no host"),
    ],
)
def test_a_bad_pattern_is_refused_and_named(world: World, pattern: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        world.transport({pattern: Pipeline("never used", Retry())})
    assert repr(pattern) in str(caught.value)


@every_family
@pytest.mark.parametrize(
    ("pipelines", "said"),
    [
        (None, "pipelines must be a Pipeline, or a mapping"),
        ("https://a.test", "pipelines must be a Pipeline, or a mapping"),
        ([("https://a.test", None)], "pipelines must be a Pipeline, or a mapping"),
        ({"https://a.test": "payments"}, r"pipelines\['https://a.test'\] must be a Pipeline, got 'payments'"),
        ({"https://a.test": standard}, r"pipelines\['https://a.test'\] must be a Pipeline"),
        ({b"https://a.test": Pipeline("bytes", Retry())}, "pattern must be an origin such as"),
    ],
)
def test_what_is_no_mapping_of_pipelines_is_a_type_error(world: World, pipelines: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        world.transport(pipelines)


@every_family
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://a.test", "https://A.TEST:443/"),
        ("http://[::1]", "http://[0:0:0:0:0:0:0:1]"),
        ("all://", "all://*"),
        ("https://b\u00fccher.test/v1", "https://xn--bcher-kva.test/v1/"),
    ],
)
def test_two_patterns_that_mean_the_same_are_refused(world: World, one: str, other: str) -> None:
    between = {f"https://{letter}.test": Pipeline(letter, Retry()) for letter in "xyz"}
    pipelines = {one: Pipeline("one", Retry()), **between, other: Pipeline("other one", Retry())}
    with pytest.raises(ConfigError, match="no two mean the same") as caught:
        world.transport(pipelines)
    assert repr(one) in str(caught.value)
    assert repr(other) in str(caught.value)


@every_family
@given(text=st.text(max_size=30) | st.from_regex(r"(https|all)://[*.a:\[\]@0-9%/?-]*", fullmatch=True))
def test_a_pattern_is_taken_or_refused_with_our_own_error(world: World, text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert Pattern(text, world.family.URL).fits("https", "a.test", None) in (True, False)


# -- hosts that no pattern fits ------------------------------------------------------------------


@every_family
def test_a_pipeline_as_default_is_shared_by_all_unknown_hosts(world: World) -> None:
    shared = Pipeline("shared", Bulkhead(3))
    assert routed(world, {}, "http://a.test/", "http://b.test/", default=shared) == ["shared", "shared"]


@every_family
def test_a_family_as_default_has_a_member_for_each_origin(world: World) -> None:
    hosts = Keyed("hosts", CircuitBreaker())
    urls = ["https://a.test/x", "https://a.test/y", "https://a.test:8443/", "http://a.test", "https://[::1]:9/"]
    assert routed(world, {}, *urls, default=hosts) == [
        "hosts[https://a.test]",
        "hosts[https://a.test]",
        "hosts[https://a.test:8443]",
        "hosts[http://a.test]",
        "hosts[https://[::1]:9]",
    ]
    assert len(hosts) == 4


@every_family
def test_a_function_as_default_makes_a_pipeline_for_each_host(world: World) -> None:
    asked: list[str] = []

    def make(name: str) -> Pipeline:
        asked.append(name)
        return standard(name)

    urls = [
        "https://a.test/",
        "https://A.test:443/x",
        "https://a.test./",
        "https://b\u00fccher.test/",
        "http://[::1]:9/",
    ]
    assert routed(world, {}, *urls, default=make) == [
        "https://a.test",
        "https://a.test",
        "https://a.test",
        "https://xn--bcher-kva.test",
        "http://[::1]:9",
    ]
    assert len(set(asked)) == 3


@every_family
def test_after_64_hosts_all_further_ones_share_one_pipeline(world: World) -> None:
    urls = [f"https://h{number}.test/" for number in range(70)]
    names = routed(world, {}, *urls, *urls, default=standard)
    assert names[:64] == [f"https://h{number}.test" for number in range(64)]
    assert names[64:70] == ["other"] * 6
    assert names[70:] == names[:70]


@every_family
def test_hosts_with_a_pattern_take_no_place_of_the_64(world: World) -> None:
    known = {f"https://known{number}.test": Pipeline(f"known{number}", Retry()) for number in range(10)}
    urls = [f"https://{'known' if number < 10 else 'h'}{number}.test/" for number in range(74)]
    assert "other" not in routed(world, known, *urls, default=standard)


@every_family
def test_a_host_too_long_for_a_name_is_among_the_others(world: World) -> None:
    long = ".".join(["a" * 60] * 4)
    assert routed(world, {}, f"https://{long}/", "https://a.test/", default=standard) == ["other", "https://a.test"]


@every_family
def test_a_host_that_only_looks_like_idna_is_routed(world: World) -> None:
    assert routed(world, {}, "http://xn--a/", default=standard) == ["http://xn--a"]
    assert fits(world, "http://xn--a:80", "http://xn--a/") == [True]


@every_family
@pytest.mark.parametrize("default", [None, 3, "standard", [standard]])
def test_what_makes_no_pipeline_is_refused_as_default(world: World, default: Any) -> None:
    with pytest.raises(TypeError, match="default must be a Pipeline, a Keyed, or a function of a name"):
        world.transport({}, default=default)


@every_family
def test_a_function_that_returns_no_pipeline_is_a_type_error_of_the_request(world: World) -> None:
    with pytest.raises(TypeError, match=r"default must be a function that returns a Pipeline, got 'https://a.test'"):
        routed(world, {}, "https://a.test/", default=lambda name: name)


@every_family
def test_threads_that_ask_for_a_new_host_together_share_its_pipeline(world: World) -> None:
    transport = world.transport({}, default=standard, transport=world.mock(lambda _: world.family.Response(200)))
    start = threading.Barrier(8)
    found: list[Any] = []

    def ask() -> None:
        start.wait(5)
        found.extend(transport.routes.find(world.family.URL(f"https://h{number}.test")) for number in range(70))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8 * 70
    assert len({id(route) for route in found}) == 65
    assert sum(route.pipeline.name == "other" for route in found) == 8 * 6


@every_family
def test_C25_the_memory_of_routes_is_bounded(world: World) -> None:
    transport = world.transport(
        {}, default=Keyed("many", CircuitBreaker(), most=20), transport=world.mock(lambda _: world.family.Response(200))
    )
    for number in range(2100):
        transport.routes.find(world.family.URL(f"https://h{number}.test"))
    routes = transport.routes
    assert len(routes._known) <= 1024
    assert len(routes._routes) <= 1024


@every_family
def test_C25_an_open_or_held_breaker_keeps_its_place_whatever_hosts_come(world: World) -> None:
    hosts = Keyed("kept", CircuitBreaker(consecutive=1, open_for=60), most=8)

    def handle(request: Any) -> Any:
        return world.family.Response(500 if request.url.host == "down.test" else 200)

    with world.family.Client(transport=world.transport({}, default=hosts, transport=world.mock(handle))) as client:
        client.get("https://down.test/")
        with force_open(hosts["https://held.test"]):
            for number in range(1500):  # more than what routes remember, and far more than the family
                assert client.get(f"https://h{number}.test/").status_code == 200
            for host in ("down", "held"):
                with pytest.raises(world.door.BreakerOpen) as caught:
                    client.get(f"https://{host}.test/")
                assert caught.value.downstream == f"kept[https://{host}.test]"
    assert len(hosts) == 8


@every_family
def test_C25_an_open_breaker_of_a_host_with_a_pipeline_of_its_own_stays_when_others_come(world: World) -> None:
    def make(name: str) -> Pipeline:
        return Pipeline(name, CircuitBreaker(consecutive=1, open_for=60))

    def handle(request: Any) -> Any:
        return world.family.Response(500 if request.url.host == "down.test" else 200)

    with world.family.Client(transport=world.transport({}, default=make, transport=world.mock(handle))) as client:
        client.get("https://down.test/")
        for number in range(1200):
            client.get(f"https://h{number}.test/")
        with pytest.raises(world.door.BreakerOpen):
            client.get("https://down.test/")
