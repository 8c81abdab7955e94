"""The live stream: a snapshot, then what changes; resumed where it broke off; never more than there is room for."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest

from resilient.admin.hystrix import commands
from resilient.admin.streams import Hub, Seats, frame, stable
from resilient.control.errors import ControlUnavailable
from tests.admin._site import HOLD, bearer
from tests.control._rows import row


def parse(data: bytes) -> list[dict[str, Any]]:
    """Return the frames of a stream: id, event and data; comments and `retry` left out."""
    frames = []
    for block in data.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and line[0] != ":")
        if "data" in fields:
            frames.append({**fields, "data": json.loads(fields["data"])})
    return frames


class Reader:
    """One connection to a stream, at the level of ASGI."""

    def __init__(self, app, path="/v1/stream", **headers: str) -> None:
        self.app = app
        all_headers = {"host": "localhost", **{k.lower(): v for k, v in bearer("vic").items()}, **headers}
        self.scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "server": ("localhost", 80),
            "client": ("127.0.0.1", 1),
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in all_headers.items()],
        }
        self.status = 0
        self.headers: dict[str, str] = {}
        self.data = b""
        self.ended = False
        self.paused = anyio.Event()
        self.paused.set()
        self.left = anyio.Event()

    async def receive(self):
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            self.data += message["body"]
            self.ended = not message.get("more_body", False)
            await self.paused.wait()

    async def run(self):
        await self.app(self.scope, self.receive, self.send)
        self.ended = True

    async def until(self, true, seconds=8.0):
        with anyio.fail_after(seconds):
            while not true(self.frames):
                await anyio.sleep(0.01)
        return self.frames

    @property
    def frames(self):
        return parse(self.data)


@asynccontextmanager
async def reading(app, *paths, **headers):
    readers = [Reader(app, path, **headers) for path in paths or ("/v1/stream",)]
    async with anyio.create_task_group() as group:
        for each in readers:
            group.start_soon(each.run)
        yield readers[0] if len(readers) == 1 else readers
        for each in readers:
            each.left.set()
            each.paused.set()


def kinds(frames):
    return [each["event"] for each in frames]


@pytest.mark.anyio
async def test_a_stream_begins_with_a_snapshot_and_tells_what_changes(site, pages, directory):
    async with reading(site.app) as reader:
        first = (await reader.until(lambda frames: frames))[0]
        assert reader.status == 200
        assert reader.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert reader.headers["cache-control"] == "no-store"
        assert reader.headers["x-accel-buffering"] == "no"
        assert "content-length" not in reader.headers
        assert first["event"] == "snapshot"
        assert {each["name"] for each in first["data"]["downstreams"]} == {"payments", "search"}
        pages[0].show(payments=row("open"), search=row())
        await reader.until(lambda frames: "delta" in kinds(frames))
        delta = reader.frames[-1]
        assert [each["name"] for each in delta["data"]["downstreams"]] == ["payments"], "only what has changed"
        assert delta["data"]["verdict"].startswith("1 of 2 downstreams open")
        assert delta["data"]["gone"] == []
        directory.database.write(
            lambda db: db.execute(
                "INSERT INTO events (at, instance, name, downstream, fields) VALUES (1, 'a', 'x', 'payments', '{}')"
            )
        )
        await reader.until(lambda frames: "event" in kinds(frames))
        assert reader.frames[-1]["data"]["downstream"] == "payments"
        boot, _, seq = reader.frames[-1]["id"].partition("-")
        assert first["id"] == f"{boot}-0"
        assert int(seq) == len(reader.frames) - 1
        assert b"retry: " in reader.data


@pytest.mark.anyio
async def test_a_reader_that_comes_back_gets_what_it_missed_or_a_snapshot(site, pages):
    async with reading(site.app) as reader:
        await reader.until(lambda frames: frames)
        pages[0].show(payments=row("open"), search=row())
        await reader.until(lambda frames: "delta" in kinds(frames))
        first, second = reader.frames[0]["id"], reader.frames[1]["id"]
    async with reading(site.app, last_event_id=first) as back:
        await back.until(lambda frames: frames)
        assert back.frames[0]["id"] == second
        assert back.frames[0]["event"] == "delta"
    for unknown in ("", "other-0", f"{second}9", f"{second.partition('-')[0]}-x", "-", "\u00b2-1"):
        async with reading(site.app, last_event_id=unknown) as other:
            await other.until(lambda frames: frames)
            assert other.frames[0]["event"] == "snapshot", unknown


@pytest.mark.anyio
async def test_a_hold_shows_up_in_the_stream(site, anyio_backend):
    async with reading(site.app) as reader:
        await reader.until(lambda frames: frames)
        await anyio.to_thread.run_sync(lambda: site.put("v1/downstreams/payments/hold?wait=0"))
        await reader.until(lambda frames: "delta" in kinds(frames))
        (changed,) = reader.frames[-1]["data"]["downstreams"]
        assert changed["state"] == "forced_open"
        assert changed["holds"][0]["reason"] == HOLD["reason"]


@pytest.mark.anyio
async def test_there_is_room_for_twenty_streams_and_five_for_hystrix(site):
    async with reading(site.app, *["/v1/stream"] * 20, *["/hystrix.stream"] * 5) as readers:
        for each in readers:
            await each.until(lambda frames, each=each: each.data)
        for path in ("/v1/stream", "/hystrix.stream"):
            refused = Reader(site.app, path)
            await refused.run()
            assert refused.status == 503
            assert refused.headers["retry-after"] == "5"
            assert json.loads(refused.data)["type"] == "urn:resilient:problem:streams"
            assert refused.headers["x-content-type-options"] == "nosniff"
    assert (site.app.site.seats.taken, site.app.site.few.taken) == (0, 0)
    async with reading(site.app) as again:
        await again.until(lambda frames: frames)


@pytest.mark.anyio
async def test_a_slow_reader_loses_deltas_and_holds_up_nobody(site, pages):
    async with reading(site.app, "/v1/stream", "/v1/stream") as (slow, quick):
        await slow.until(lambda frames: frames)
        await quick.until(lambda frames: frames)
        slow.paused = anyio.Event()
        hub = site.app.site.hub
        for number in range(40):
            pages[0].show(payments=row("open" if number % 2 == 0 else "closed"), search=row())
            hub._due = 0.0
            await anyio.to_thread.run_sync(hub.refresh)
        await quick.until(lambda frames: len(frames) > 1)
        slow.paused.set()
        await slow.until(lambda frames: kinds(frames).count("snapshot") > 1)
        assert kinds(slow.frames).count("delta") < 20


@pytest.mark.anyio
async def test_a_reader_that_takes_nothing_is_given_up(site, monkeypatch):
    monkeypatch.setattr("resilient.admin.sse._STUCK", 0.2)
    async with reading(site.app) as reader:
        reader.paused = anyio.Event()
        with anyio.fail_after(8):
            while not reader.ended:
                await anyio.sleep(0.02)
    assert site.app.site.seats.taken == 0


@pytest.mark.anyio
async def test_silence_is_broken_by_comments(site, monkeypatch):
    monkeypatch.setattr("resilient.admin.sse._HEARTBEAT", 0.3)
    async with reading(site.app) as reader:
        await reader.until(lambda frames: reader.data.count(b": still here\n\n") >= 2)
        assert kinds(reader.frames) == ["snapshot"]


@pytest.mark.anyio
async def test_streams_end_when_the_application_is_told_to_stop(site):
    async with reading(site.app) as reader:
        await reader.until(lambda frames: frames)
        events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        told = []

        async def receive():
            return events.pop(0)

        async def send(message):
            told.append(message["type"])

        await site.app({"type": "lifespan"}, receive, send)
        assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        await reader.until(lambda frames: reader.ended)


@pytest.mark.anyio
async def test_trouble_with_the_directory_is_told_in_the_stream_which_goes_on_after_it(site, pages, monkeypatch):
    hub = site.app.site.hub
    look = hub._overview
    async with reading(site.app) as reader:
        await reader.until(lambda frames: frames)

        def broken():
            raise ControlUnavailable("the disk is gone")

        monkeypatch.setattr(hub, "_overview", broken)
        await reader.until(lambda frames: "problem" in kinds(frames))
        assert reader.frames[-1]["data"]["detail"] == "the disk is gone"
        assert "id" not in reader.frames[-1]
        monkeypatch.setattr(hub, "_overview", look)
        pages[0].show(payments=row("open"), search=row())
        await reader.until(lambda frames: "delta" in kinds(frames))
        monkeypatch.setattr(hub, "_overview", broken)
        hub._due = 0.0
        refused = Reader(site.app)
        await refused.run()
        assert refused.status == 503


@pytest.mark.anyio
async def test_dashboards_made_for_hystrix_are_told_each_downstream(site, pages):
    live = {"rate": 10.0, "error_share": 0.25, "rejected_rate": 2.0, "in_flight": 3, "p50": 0.05, "p99": 0.3}
    pages[0].show(payments=row("open", live=live), search=row())
    async with reading(site.app, "/hystrix.stream") as reader:
        await reader.until(lambda _: reader.data.count(b"data: ") >= 4, 5)
    assert b"id:" not in reader.data
    told = [json.loads(each[6:]) for each in reader.data.decode().split("\n\n") if each.startswith("data: ")]
    command = next(each for each in told if each["name"] == "payments")
    assert command["type"] == "HystrixCommand"
    assert command["group"] == "shop"
    assert command["isCircuitBreakerOpen"] is True
    assert (command["requestCount"], command["errorCount"], command["errorPercentage"]) == (100, 25, 25)
    assert command["rollingCountShortCircuited"] == 20
    assert command["latencyExecute"]["50"] == 50
    assert command["latencyExecute"]["99"] == 300
    assert command["reportingHosts"] == 2
    # What the page of hystrix-dashboard divides and adds up must be there as numbers.
    for name, value in command.items():
        assert name in ("type", "name", "group", "latencyExecute", "latencyTotal") or isinstance(value, (int, str))


@pytest.mark.anyio
async def test_it_answers_while_all_threads_of_the_application_wait(site):
    """Its sync endpoints may all hang on a dead downstream: that is when operators come."""
    limiter = anyio.to_thread.current_default_thread_limiter()
    tokens = [object() for _ in range(int(limiter.total_tokens))]
    for token in tokens:
        await limiter.acquire_on_behalf_of(token)
    try:
        async with reading(site.app) as reader:
            await reader.until(lambda frames: frames)
        snapshot = Reader(site.app, "/v1/snapshot")
        with anyio.fail_after(8):
            await snapshot.run()
        assert snapshot.status == 200
    finally:
        for token in tokens:
            limiter.release_on_behalf_of(token)


def test_a_command_of_a_downstream_without_statistics_is_told():
    bare = {"name": "x", "state": "closed", "rate": None, "error_share": None, "in_flight": None, "live": 0}
    (told,) = commands({"downstreams": [bare]})
    assert json.loads(told[6:])["requestCount"] == 0


# -- the hub ---------------------------------------------------------------------------------


class World:
    def __init__(self):
        self.rows = {"a": {"name": "a", "state": "closed"}}
        self.extra = {"at": 0, "revision": 1, "processes": [{"instance": "p", "heartbeat_age": 0.1}]}
        self.events: list[dict] = []
        self.hub = Hub(self.overview, self.news)

    def overview(self):
        return json.loads(json.dumps({**self.extra, "downstreams": list(self.rows.values())}))

    def news(self, cursor):
        return self.events[cursor or 0 :] if cursor is not None else [], len(self.events)

    def look(self):
        self.hub._due = 0.0
        self.hub.refresh()


def test_the_mere_passing_of_time_is_no_change():
    world = World()
    world.look()
    world.extra["at"] = 5
    world.extra["processes"][0]["heartbeat_age"] = 0.9
    world.rows["a"]["holds"] = []
    world.look()
    _, position = world.hub.start("")
    world.rows["a"]["holds"] = [{"id": "h", "remaining": 5}]
    world.look()
    frames, position = world.hub.after(position)
    assert len(frames) == 1
    world.rows["a"]["holds"] = [{"id": "h", "remaining": 4}]
    world.look()
    assert world.hub.after(position) == ([], position)
    assert stable({"remaining": 1, "a": [{"heartbeat_age": 2}]}) == stable({"remaining": 2, "a": [{}]})


def test_no_more_than_two_looks_are_taken_in_a_second():
    world = World()
    looks = []
    world.hub._overview = lambda: looks.append(1) or world.overview()
    for _ in range(100):
        world.hub.refresh()
    assert len(looks) == 1


def test_what_has_gone_is_told():
    world = World()
    world.look()
    _, position = world.hub.start("")
    world.rows = {"b": {"name": "b", "state": "open"}}
    world.look()
    (delta,), _ = world.hub.after(position)
    (told,) = parse(delta)
    assert told["data"]["gone"] == ["a"]
    assert [each["name"] for each in told["data"]["downstreams"]] == ["b"]


def test_the_ring_keeps_1024_frames_and_8_mib():
    world = World()
    world.look()
    for number in range(1100):
        world.events.append({"n": number})
    world.look()
    assert len(world.hub._ring) == 1024
    big = "x" * (1 << 20)
    for number in range(12):
        world.events.append({"n": big, "number": number})
        world.look()
    assert sum(len(data) for *_, data in world.hub._ring) == world.hub._size <= 8 << 20


def test_who_is_far_behind_gets_a_snapshot_in_place_of_what_it_missed():
    world = World()
    world.look()
    _, position = world.hub.start("")
    world.events += [{"n": number} for number in range(50)]
    for number in range(9):
        world.rows["a"]["number"] = number
        world.look()
    frames, now = world.hub.after(position)
    told = parse(b"".join(frames))
    assert kinds(told) == ["event"] * 50 + ["snapshot"], "events are told; of deltas the last state is enough"
    assert told[-1]["data"]["downstreams"] == [{"name": "a", "state": "closed", "number": 8}]
    assert told[-1]["id"].endswith(f"-{now}")
    assert world.hub.after(now) == ([], now)
    assert kinds(parse(b"".join(world.hub.after(now - 8)[0]))) == ["delta"] * 8
    assert kinds(parse(b"".join(world.hub.after(now + 1)[0]))) == ["snapshot"]


def test_a_seat_is_free_again_after_an_error():
    seats = Seats(1)
    with pytest.raises(ZeroDivisionError), seats.seat() as taken:
        assert taken
        with seats.seat() as second:
            assert not second
        raise ZeroDivisionError
    assert seats.taken == 0


def test_a_frame_is_one_whatever_stands_in_it():
    made = frame("event", {"reason": "a\n\ndata: x\r\u2028\ud800"}, "b-1")
    assert made.count(b"\n\n") == 1
    assert made.endswith(b"\n\n")
    assert parse(made)[0]["data"]["reason"].startswith("a\n\ndata: x\r")
