"""What a hostile reading of the cache found: each of these was wrong once."""

from __future__ import annotations

import pytest

from resilient.cache.messages import Asked
from tests.cache._world import URL, Answer, World

FRESH = {"Cache-Control": "max-age=60"}


def echo(world: World, field: str, headers: dict[str, str] | None = None) -> World:
    return world.does(lambda sent: Answer(200, list((headers or FRESH).items()), (sent[field] or "-").encode()))


# -- whose answer it is ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
def test_hosts_behind_one_address_never_share_an_answer(clock: object, shared: bool) -> None:
    world = echo(World(shared=shared), "host")
    url = "http://10.0.0.1/thing"
    for _ in range(2):
        for host in ("a.example", "b.example", "10.0.0.1", "10.0.0.1:8080"):
            assert world.ask(url, {"Host": host}).body == host.encode()
    assert world.ask(url, {"Host": "a.example"}).source == "fresh"
    assert world.ask(url, {"Host": "A.example"}).source == "fresh"


@pytest.mark.parametrize("user", [{}, {"Authorization": "x"}, {"Cookie": "x"}])
def test_a_host_that_is_that_of_the_address_changes_nothing(clock: object, user: dict[str, str]) -> None:
    world = World().gives(FRESH)
    world.ask("http://api.example/thing", user)
    for host in ("api.example", "API.example", "api.example:80", "api.example:"):
        assert world.ask("http://u:p@api.example:80/thing", {"Host": host, **user}).source == "fresh"


def test_a_write_reaches_the_answers_of_all_hosts(clock: object) -> None:
    world = World().gives(FRESH)
    world.ask(headers={"Host": "other.example"})
    world.ask(method="POST")
    assert world.ask(headers={"Host": "other.example"}).source == "origin"


def test_users_are_told_apart_by_their_credentials_where_partition_does_not_say_who_they_are(clock: object) -> None:
    world = echo(World(partition=lambda asked: None), "authorization")
    for _ in range(2):
        for user in ("alice", "bob"):
            assert world.ask(headers={"Authorization": user}).body == user.encode()


def test_a_request_that_its_driver_wants_past_the_cache_goes_there(clock: object) -> None:
    from resilient.cache.flow import answer, quick

    world = World().gives(FRESH)
    world.ask()
    asked = Asked("GET", URL, [], past="target")
    assert quick(world.cache, asked, world.now) is None
    passed = world.drive(answer(world.cache, asked, world.now), asked)
    assert passed.fields[-1] == (b"Cache-Status", b"resilient; fwd=bypass; detail=target")
    assert passed.filling is None
