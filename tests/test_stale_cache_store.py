"""Answers of a stale cache in a store: they survive a restart, processes share them, and no store holds up a call."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
import time

import pytest

from resilient import Classifier, ConfigError, Outcome, Pipeline, StaleCache, Unguardable, provenance, registry
from resilient._guards.stale_cache_backing import JsonCodec
from resilient.stores import MemoryStore, Record, SqliteStore
from tests import _scripts
from tests._stage import CANCELLED, VirtualClock, every_colour, every_loop, installed, name


class Down(Exception):
    """What the downstream raises when it fails."""


class Missing(Exception):
    """The downstream says that there is no such thing."""


class Source:
    """A downstream whose functions have names that last."""

    asked = 0
    error: Exception | None = None
    value: object = "value"


async def fetch(key):
    """Ask it."""
    Source.asked += 1
    if Source.error is not None:
        raise Source.error
    return [key, Source.asked]


def plain(key):
    """Ask it, without waiting."""
    Source.asked += 1
    if Source.error is not None:
        raise Source.error
    return Source.value


@pytest.fixture(autouse=True)
def _fresh_source():
    Source.asked, Source.error, Source.value = 0, None, "value"


def processes(store, many=2, *, codec=None, classifier=None, **options):
    """Return pipelines of one name, as several processes, or one after a restart, have them."""
    downstream = name()
    settings = {"fresh": 10, "stale": 50, "while_revalidating": 0, "jitter": 0, **options}
    made = []
    for _ in range(many):
        made.append(
            Pipeline(downstream, StaleCache(key=str, store=store, codec=codec, **settings), classifier=classifier)
        )
        registry.clear()
    return made


class WallClock(VirtualClock):
    """Virtual time whose wall time goes along, but for what it is set back."""

    behind = 0.0

    def wall(self):
        return 1.7e9 + self.now() - self.behind


def play(colour, scenario):
    colour.play(scenario, WallClock())


async def call(stage, pipeline, key="key"):
    if type(stage).__name__ == "Stage":
        return pipeline.call(plain, key)
    return await pipeline.acall(fetch, key)


# -- through a restart -----------------------------------------------------------------------------------


@every_colour
def test_what_one_process_was_answered_another_one_need_not_ask_for(colour):
    async def scenario(stage):
        first, second = processes(MemoryStore())
        answer = await call(stage, first)
        await stage.sleep(3)
        with provenance() as answered:
            assert await call(stage, second) == answer
        assert (answered.source, answered.age) == ("fresh", pytest.approx(3))
        assert Source.asked == 1
        await stage.sleep(6.9)
        assert await call(stage, second) == answer
        await stage.sleep(0.2)
        await call(stage, second)
        assert Source.asked == 2, "its fresh time began in the first process"

    play(colour, scenario)


@every_colour
def test_a_stale_answer_survives_a_restart_and_stands_in(colour):
    async def scenario(stage):
        first, second = processes(MemoryStore())
        answer = await call(stage, first)
        await stage.sleep(20)
        Source.error = Down()
        with provenance() as answered:
            assert await call(stage, second) == answer
        assert (answered.source, answered.reason, answered.age) == ("stale", "Down", pytest.approx(20))
        assert Source.asked == 2
        await stage.sleep(40)
        with pytest.raises(Down):
            await call(stage, second)

    play(colour, scenario)


@every_colour
def test_an_answer_past_its_hard_age_is_not_used_however_it_is_kept(colour):
    async def scenario(stage):
        store = MemoryStore()
        long, short = processes(store, 1, stale=500) + processes(store, 1)
        short._assembly.guards[0].backing._prefix = long._assembly.guards[0].backing._prefix
        await call(stage, long)
        await stage.sleep(70)
        Source.error = Down()
        with pytest.raises(Down):
            await call(stage, short)
        await call(stage, long)

    play(colour, scenario)


@every_colour
def test_an_answer_out_of_the_store_may_be_served_while_it_is_refreshed(colour):
    async def scenario(stage):
        first, second, third = processes(MemoryStore(), 3, while_revalidating=30)
        answer = await call(stage, first)
        await stage.sleep(20)
        with provenance() as answered:
            assert await call(stage, second) == answer
        assert (answered.source, answered.reason) == ("stale", "revalidating")
        await stage.until(lambda: not second[StaleCache].background.running)
        assert Source.asked == 2
        await call(stage, third)
        assert Source.asked == 2, "the refreshed one is in the store"

    play(colour, scenario)


@every_colour
def test_an_answer_that_the_downstream_takes_back_is_gone_from_the_store(colour):
    judge = Classifier(error=lambda error: Outcome.SUCCESS if isinstance(error, Missing) else None)

    async def scenario(stage):
        first, second, third = processes(MemoryStore(), 3, classifier=judge)
        await call(stage, first)
        await stage.sleep(11)
        Source.error = Missing()
        with pytest.raises(Missing):
            await call(stage, second)
        Source.error = Down()
        with pytest.raises(Down):
            await call(stage, third)

    play(colour, scenario)


@every_colour
@pytest.mark.parametrize("how", ["forget", "clear"])
def test_forgetting_reaches_the_store(colour, how):
    async def scenario(stage):
        first, second = processes(MemoryStore())
        await call(stage, first)
        guard = first[StaleCache]
        if type(stage).__name__ == "Stage":
            done = guard.forget(plain, "key") if how == "forget" else guard.clear()
        else:
            done = await (guard.aforget(fetch, "key") if how == "forget" else guard.aclear())
        assert done
        await call(stage, second)
        assert Source.asked == 2

    play(colour, scenario)


def test_clearing_leaves_the_answers_of_other_caches():
    store = MemoryStore()
    (one,), (other,) = processes(store, 1), processes(store, 1)
    assert one.call(plain, "key") == other.call(plain, "key") == "value"
    one[StaleCache].clear()
    assert store.stats().entries == 1


def test_functions_and_pipelines_of_one_store_do_not_share_answers():
    store = MemoryStore()
    (one,), (other,) = processes(store, 1), processes(store, 1)
    for number, (pipeline, function) in enumerate([(one, plain), (other, plain), (one, another)]):
        Source.value = number
        assert pipeline.call(function, "key") == number


def another(key):
    """A function that has the keys of the other one."""
    return Source.value


class Client:
    """Has a method whose key names the client."""

    def method(self, key):
        return Source.value


def test_a_method_of_a_class_has_a_name_that_lasts():
    pipeline = Pipeline(name(), StaleCache(10, stale=50, key=lambda self, key: key, store=MemoryStore()))
    guarded = pipeline(Client.method)
    assert guarded(Client(), "key") == "value"


def local():
    def inner(key):
        return key

    return inner


@pytest.mark.parametrize(
    "function",
    [local(), lambda key: key, Client().method, len, int.from_bytes],
    ids=["local", "lambda", "bound method", "builtin", "builtin method"],
)
def test_a_function_without_a_name_that_lasts_is_refused(function):
    (pipeline,) = processes(MemoryStore(), 1)
    with pytest.raises(Unguardable, match="after a restart"):
        pipeline(function)
    with pytest.raises(Unguardable, match="after a restart"):
        pipeline.call(function, "key")
    assert len(pipeline[StaleCache].flights) == 0


def test_a_key_that_is_no_string_is_refused_at_the_call():
    pipeline = Pipeline(name(), StaleCache(10, stale=50, key=lambda key: key, store=MemoryStore()))
    assert pipeline.call(plain, "key") == "value"
    for key in (1, ("key",), b"key", None):
        with pytest.raises(ConfigError, match="key must return a string"):
            pipeline.call(plain, key)
    assert len(pipeline[StaleCache].flights) == 0


@pytest.mark.parametrize(
    ("options", "error", "parameter"),
    [
        ({"store": MemoryStore()}, ConfigError, "key"),
        ({"store": MemoryStore, "key": str}, TypeError, "store"),
        ({"store": {}, "key": str}, TypeError, "store"),
        ({"codec": JsonCodec()}, ConfigError, "codec"),
        ({"codec": pickle.dumps, "store": MemoryStore(), "key": str}, TypeError, "codec"),
    ],
)
def test_settings_of_a_store_that_cannot_work_are_refused(options, error, parameter):
    with pytest.raises(error, match=rf"^{parameter} must be"):
        StaleCache(10, stale=50, **options)


# -- codecs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "x", [1, [2]], {"a": {"b": [None]}}, "ü", [], {}])
def test_json_keeps_what_comes_back_as_it_was(value):
    first, second = processes(MemoryStore())
    Source.value = value
    assert first.call(plain, "key") == value
    Source.value = "asked again"
    assert second.call(plain, "key") == value
    assert Source.asked == 1


class Number(int):
    """Equal to an int, and none."""


@pytest.mark.parametrize(
    "value",
    [(1, 2), [(1, 2)], {1: 2}, {"a": (1,)}, {1, 2}, object(), float("nan"), Number(1), b"x", [Number(1)]],
    ids=lambda value: type(value).__name__,
)
def test_json_refuses_what_would_come_back_as_something_else(value, caplog):
    first, second = processes(MemoryStore())
    Source.value = value
    assert first.call(plain, "key") is value
    assert first.call(plain, "key") is value, "it is kept in memory"
    assert second.call(plain, "key") is value
    assert Source.asked == 2
    assert len(caplog.records) == 1, "and it is reported once"


class Pickling:
    """A codec of the user's own."""

    encode = staticmethod(pickle.dumps)
    decode = staticmethod(pickle.loads)


def test_another_codec_keeps_other_answers():
    first, second = processes(MemoryStore(), codec=Pickling())
    Source.value = (1, {2: {3}})
    assert first.call(plain, "key") == second.call(plain, "key") == (1, {2: {3}})
    assert Source.asked == 1


# -- records that cannot be read ----------------------------------------------------------------------------


def head(**changes):
    import zlib

    now = time.time()
    return json.dumps(
        {"v": 1, "born": now, "kept": now, "took": 0.1, "crc": zlib.crc32(b'"stored"'), **changes}
    ).encode()


BROKEN = {
    "no head": Record("", b"", b'"stored"'),
    "a head that is no JSON": Record("", b"{", b'"stored"'),
    "a head that is no object": Record("", b"[]", b'"stored"'),
    "another version": Record("", head(v=2), b'"stored"'),
    "another body": Record("", head(), b'"changed"'),
    "a body that is no JSON": Record("", head(crc=0), b""),
    "no time": Record("", head(born="yesterday"), b'"stored"'),
    "no number": Record("", head(born=float("nan")), b'"stored"'),
    "from the future": Record("", head(born=time.time() + 1000, kept=time.time() + 1000), b'"stored"'),
    "stored before it was born": Record("", head(kept=time.time() - 5), b'"stored"'),
    "that took negative time": Record("", head(took=-1), b'"stored"'),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_record_that_cannot_be_read_is_a_miss_and_removed_and_counted(case, colour):
    store = MemoryStore()
    (pipeline,) = processes(store, 1)
    guard = pipeline[StaleCache]
    function = plain if colour == "sync" else fetch
    where = guard.backing.name((function, "key"))
    store.put(where, BROKEN[case], lifetime=100)
    Source.error = Down()
    with pytest.raises(Down):
        pipeline.call(plain, "key") if colour == "sync" else asyncio.run(pipeline.acall(fetch, "key"))
    assert not store.get(where)
    assert guard.snapshot()["corrupt"] == 1


def test_the_record_that_is_whole_is_read():
    store = MemoryStore()
    (pipeline,) = processes(store, 1)
    store.put(pipeline[StaleCache].backing.name((plain, "key")), Record("", head(), b'"stored"'), lifetime=100)
    assert pipeline.call(plain, "key") == "stored"


def test_an_operators_never_ends_all_the_same():
    """An answer that claims to have been born a moment ago for ever is still bounded by what is configured here."""
    clock = WallClock()
    with installed(clock):
        store = MemoryStore()
        (pipeline,) = processes(store, 1)
        pipeline.call(plain, "key")
        Source.error = Down()
        clock.time += 59
        pipeline[StaleCache]._clear()
        assert pipeline.call(plain, "key") == "value"
        clock.time += 2
        with pytest.raises(Down):
            pipeline.call(plain, "key")


def test_a_wall_clock_that_was_set_back_makes_nothing_younger_than_its_storing():
    clock = WallClock()
    with installed(clock):
        first, second = processes(MemoryStore())
        first.call(plain, "key")
        clock.behind = 3600.0
        Source.value = "asked"
        assert second.call(plain, "key") == "asked", "from the future, and not believed"


# -- stores that fail -----------------------------------------------------------------------------------------


class Broken(MemoryStore):
    """Fails in all it does."""

    def get(self, key):
        raise OSError("disk")

    put = delete = purge = get


class Stalled(MemoryStore):
    """Blocks for as long as it is told."""

    blocking = True

    def __init__(self, gate):
        super().__init__()
        self.gate = gate

    def get(self, key):
        assert self.gate.wait(20)
        return super().get(key)


@every_colour
def test_a_store_that_fails_is_left_alone_and_no_call_fails_or_asks_twice(colour, caplog):
    async def scenario(stage):
        (pipeline,) = processes(Broken(), 1)
        first = await call(stage, pipeline)
        assert await call(stage, pipeline) == first
        assert Source.asked == 1
        pipeline[StaleCache].clear()
        await call(stage, pipeline)
        assert pipeline[StaleCache].backing.front.failed >= 1

    play(colour, scenario)


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_store_that_stalls_delays_a_call_no_longer_than_its_patience(colour):
    gate = threading.Event()
    (pipeline,) = processes(Stalled(gate), 1)
    began = time.monotonic()
    try:
        if colour == "sync":
            pipeline.call(plain, "key")
        else:
            asyncio.run(pipeline.acall(fetch, "key"))
        assert time.monotonic() - began < 5
    finally:
        gate.set()
    assert Source.asked == 1


@every_loop
def test_a_caller_cancelled_while_it_looks_into_the_store_hands_over(colour):
    async def scenario(stage):
        gate = threading.Event()
        (pipeline,) = processes(Stalled(gate), 1)
        guard = pipeline[StaleCache]
        guard.backing.front.patience = 1e6
        first = stage.start(lambda: call(stage, pipeline))
        await stage.until(lambda: len(guard.flights))
        second = stage.start(lambda: call(stage, pipeline))
        await stage.until(lambda: any(flight.waiting for flight in guard.flights._air.values()))
        first.cancel()
        assert await first.join() == CANCELLED
        gate.set()
        assert await second.join() == ["key", 1]
        assert len(guard.flights) == 0

    colour.play(scenario)


class Open(MemoryStore):
    """Its methods can be exchanged."""


@every_colour
def test_what_was_forgotten_while_it_was_being_stored_is_not_in_the_store(colour):
    async def scenario(stage):
        store = Open()
        first, second = processes(store)
        put = store.put

        def forgetting(*args, **kwargs):
            first[StaleCache].clear()
            return put(*args, **kwargs)

        store.put = forgetting
        await call(stage, first)
        store.put = put
        assert store.stats().entries == 0
        await call(stage, second)
        assert Source.asked == 2

    play(colour, scenario)


def test_what_is_forgotten_beside_it_keeps_an_answer_in_the_store():
    store = Open()
    first, second = processes(store)
    put = store.put

    def forgetting(*args, **kwargs):
        first[StaleCache].flights.forget("another")
        return put(*args, **kwargs)

    store.put = forgetting
    first.call(plain, "key")
    second.call(plain, "key")
    assert Source.asked == 1


@every_colour
def test_what_was_forgotten_while_the_store_was_asked_is_not_taken_from_it(colour):
    async def scenario(stage):
        store = Open()
        first, second = processes(store)
        await call(stage, first)
        guard = second[StaleCache]
        get = store.get

        def forgetting(key):
            found = get(key)
            guard.clear()
            return found

        store.get = forgetting
        await call(stage, second)
        assert Source.asked == 2

    play(colour, scenario)


# -- processes -------------------------------------------------------------------------------------------------

SCRIPT = """
from resilient import Pipeline, StaleCache, provenance
from resilient.stores import SqliteStore

where, mode = {where!r}, {mode!r}
pipeline = Pipeline("rates", StaleCache(60, stale=600, key=str, store=SqliteStore(where, patience=20)))
pipeline[StaleCache].backing.front.patience = 20.0  # of a busy machine

@pipeline
def rate(currency):
    if mode == "down":
        raise OSError("unreachable")
    return [currency, 1.08]

with provenance() as answer:
    print(rate("EUR"), answer.source)
"""


def test_a_process_that_comes_later_answers_out_of_the_file(tmp_path):
    where = str(tmp_path / "answers.sqlite")
    said = [_scripts.run(SCRIPT.format(where=where, mode=mode)) for mode in ("up", "down")]
    assert [line.strip() for line in said] == ["['EUR', 1.08] downstream", "['EUR', 1.08] fresh"]


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_sqlite_store_works_in_both_colours(tmp_path, colour):
    store = SqliteStore(tmp_path / "answers.sqlite", patience=20)
    first, second = processes(store)
    for pipeline in (first, second):
        pipeline[StaleCache].backing.front.patience = 20.0  # of a busy machine
    try:
        if colour == "sync":
            assert first.call(plain, "key") == second.call(plain, "key") == "value"
        else:
            assert asyncio.run(first.acall(fetch, "key")) == asyncio.run(second.acall(fetch, "key")) == ["key", 1]
    finally:
        store.close()
    assert Source.asked == 1
    assert (tmp_path / "answers.sqlite").stat().st_size > 0
