"""Real SDKs over our transports: what the server sees, what sockets are opened, what the SDK's user gets.

Every SDK is handed our client (or transport) the way `docs/sdks.md` says, with its own retries off.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import httpx2
import pytest

import resilient.httpx
import resilient.httpx2
from resilient import Backoff, BreakerOpen, Bulkhead, CircuitBreaker, Event, Pipeline, Retry, Timeout, subscribe
from resilient.testing import isolated
from tests.faults import FaultServer, Step, answer, event_stream, gated, retry_after

anthropic = pytest.importorskip("anthropic")
huggingface_hub = pytest.importorskip("huggingface_hub")
ollama = pytest.importorskip("ollama")
openai = pytest.importorskip("openai")
postgrest = pytest.importorskip("postgrest")
telegram = pytest.importorskip("telegram")
HTTPXRequest = pytest.importorskip("telegram.request").HTTPXRequest

FAST = Retry(attempts=3, backoff=Backoff(base=0.001, throttled_base=0.001), budget=None)
HTTPX, HTTPX2 = resilient.httpx, resilient.httpx2

Call = Callable[[], object]


def guard() -> Pipeline:
    return Pipeline("sdk", Timeout(10), FAST, CircuitBreaker(), Bulkhead(4), Timeout(5))


def in_json(value: object) -> Step:
    return answer(body=json.dumps(value).encode(), headers={"content-type": "application/json"})


MODELS = {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "us"}]}
MORE_MODELS = {
    "data": [{"id": "m", "type": "model", "display_name": "M", "created_at": "2026-01-01T00:00:00Z"}],
    "has_more": False,
    "first_id": "m",
    "last_id": "m",
}


@contextmanager
def loop(close: Callable[[], Coroutine[Any, Any, Any]]) -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """A loop that runs coroutines one after another, so that an async SDK can be called like a plain one."""
    with asyncio.Runner() as runner:
        try:
            yield runner.run
        finally:
            runner.run(close())


@contextmanager
def openai_httpx2(url: str, pipeline: Pipeline, **options: Any) -> Iterator[Call]:
    with HTTPX2.client(pipeline, verify=False, **options) as http:
        sdk = openai.OpenAI(base_url=url, api_key="k", http_client=http, max_retries=0)
        yield lambda: sdk.models.list().data[0].id


@contextmanager
def openai_httpx(url: str, pipeline: Pipeline, **options: Any) -> Iterator[Call]:
    with HTTPX.client(pipeline, verify=False, **options) as http:
        sdk = openai.OpenAI(base_url=url, api_key="k", http_client=http, max_retries=0)
        yield lambda: sdk.models.list().data[0].id


@contextmanager
def openai_async(url: str, pipeline: Pipeline, **options: Any) -> Iterator[Call]:
    http = HTTPX2.async_client(pipeline, verify=False, **options)
    sdk = openai.AsyncOpenAI(base_url=url, api_key="k", http_client=http, max_retries=0)

    async def call() -> object:
        return (await sdk.models.list()).data[0].id

    with loop(sdk.close) as run:
        yield lambda: run(call())


@contextmanager
def anthropic_sync(url: str, pipeline: Pipeline, **options: Any) -> Iterator[Call]:
    with HTTPX2.client(pipeline, verify=False, **options) as http:
        sdk = anthropic.Anthropic(base_url=url, api_key="k", http_client=http, max_retries=0)
        yield lambda: sdk.models.list().data[0].id


@contextmanager
def anthropic_async(url: str, pipeline: Pipeline, **options: Any) -> Iterator[Call]:
    http = HTTPX2.async_client(pipeline, verify=False, **options)
    sdk = anthropic.AsyncAnthropic(base_url=url, api_key="k", http_client=http, max_retries=0)

    async def call() -> object:
        return (await sdk.models.list()).data[0].id

    with loop(sdk.close) as run:
        yield lambda: run(call())


@contextmanager
def ollama_sync(url: str, pipeline: Pipeline, **options: Any) -> Iterator[Call]:
    with ollama.Client(host=url, transport=HTTPX.ResilientTransport(pipeline, verify=False, **options)) as sdk:
        yield lambda: sdk.list().models[0].model


@contextmanager
def ollama_async(url: str, pipeline: Pipeline, **options: Any) -> Iterator[Call]:
    sdk = ollama.AsyncClient(host=url, transport=HTTPX.AsyncResilientTransport(pipeline, verify=False, **options))

    async def call() -> object:
        return (await sdk.list()).models[0].model

    with loop(sdk.close) as run:
        yield lambda: run(call())


@contextmanager
def hugging_face(url: str, pipeline: Pipeline, **options: Any) -> Iterator[Call]:
    elsewhere = Pipeline("elsewhere", CircuitBreaker())  # it asks huggingface.co about other things, too
    elsewhere.hold("forced_open", reason="tests stay on this machine", expires=None)
    transport = HTTPX2.ResilientTransport({url: pipeline}, default=elsewhere, verify=False, **options)
    huggingface_hub.set_client_factory(lambda: httpx2.Client(transport=transport))
    sdk = huggingface_hub.HfApi(endpoint=url, token=False)
    try:
        yield lambda: sdk.model_info("m").id
    finally:
        huggingface_hub.set_client_factory(httpx2.Client)  # which closes the session


@contextmanager
def telegram_bot(url: str, pipeline: Pipeline, **options: Any) -> Iterator[Call]:
    transport = HTTPX.AsyncResilientTransport(pipeline, verify=False, **options)
    request = HTTPXRequest(httpx_kwargs={"transport": transport})
    sdk = telegram.Bot("1:a", base_url=f"{url}/bot", request=request, get_updates_request=request)

    async def call() -> object:
        return (await sdk.get_me()).first_name

    with loop(request.shutdown) as run:
        yield lambda: run(call())


@contextmanager
def supabase_rest(url: str, pipeline: Pipeline, **options: Any) -> Iterator[Call]:
    with HTTPX.client(pipeline, verify=False, base_url=url, **options) as http:
        sdk = postgrest.SyncPostgrestClient(url, http_client=http, retry_enabled=False)
        yield lambda: sdk.from_("models").select("*").execute().data[0]["id"]


USER = {"ok": True, "result": {"id": 1, "is_bot": True, "first_name": "m"}}

# How it is handed over, what the server answers, what its user sees of a refusal.
SDKS = {
    "openai-httpx2": (openai_httpx2, MODELS, openai.APIConnectionError),
    "openai-httpx": (openai_httpx, MODELS, openai.APIConnectionError),
    "openai-async": (openai_async, MODELS, openai.APIConnectionError),
    "anthropic": (anthropic_sync, MORE_MODELS, anthropic.APIConnectionError),
    "anthropic-async": (anthropic_async, MORE_MODELS, anthropic.APIConnectionError),
    "ollama": (ollama_sync, {"models": [{"model": "m"}]}, httpx.TransportError),
    "ollama-async": (ollama_async, {"models": [{"model": "m"}]}, httpx.TransportError),
    "huggingface-hub": (hugging_face, {"id": "m", "tags": []}, httpx2.TransportError),
    "python-telegram-bot": (telegram_bot, USER, telegram.error.NetworkError),
    "postgrest": (supabase_rest, [{"id": "m"}], httpx.TransportError),
}

every_sdk = pytest.mark.parametrize("sdk", SDKS)


def root(error: BaseException | None) -> BreakerOpen:
    """Return the refusal that an SDK's error stands for."""
    while error is not None:
        if isinstance(error, BreakerOpen):
            return error
        error = error.__cause__ or error.__context__
    raise AssertionError("no refusal is behind this error")


@every_sdk
def test_six_calls_through_every_third_refused_take_nine_sends_on_one_connection(sdk: str) -> None:
    handed, healthy, _ = SDKS[sdk]
    numbers = itertools.count()
    script = lambda _: retry_after(429, 0) if next(numbers) % 3 == 0 else in_json(healthy)  # noqa: E731
    with isolated(), FaultServer(script) as server:
        pipeline = guard()
        with handed(server.url, pipeline) as call:
            assert [call() for _ in range(6)] == ["m"] * 6
        assert (server.requests, server.connections) == (9, 1)
        assert pipeline[Bulkhead].snapshot()["in_flight"] == 0
        assert pipeline[CircuitBreaker].snapshot()["calls"] == 6  # throttled attempts count in no rate


@every_sdk
def test_a_refusal_reaches_the_user_once_and_nothing_is_sent(sdk: str) -> None:
    handed, healthy, seen = SDKS[sdk]
    with isolated(), FaultServer(in_json(healthy)) as server:
        pipeline = guard()
        with handed(server.url, pipeline) as call, refusals() as refused:
            pipeline.hold("forced_open", reason="maintenance", expires=None)
            with pytest.raises(seen) as caught:
                call()
        assert root(caught.value).reason == "forced_open"
        assert (len(refused), server.requests, server.connections) == (1, 0, 0)
        assert pipeline[Bulkhead].snapshot()["in_flight"] == 0


@contextmanager
def refusals() -> Iterator[list[object]]:
    heard: list[object] = []

    def listen(event: Event) -> None:
        if (event.name, event.downstream) == ("resilient.call.rejected", "sdk"):
            heard.append(event)

    stop = subscribe(listen)
    try:
        yield heard
    finally:
        stop()


MAKERS = {
    "openai": (openai.OpenAI, openai.APIConnectionError, openai.InternalServerError),
    "anthropic": (anthropic.Anthropic, anthropic.APIConnectionError, anthropic.InternalServerError),
}


@pytest.mark.parametrize("sdk", MAKERS)
def test_an_sdk_with_retries_of_its_own_repeats_a_raised_refusal_and_not_an_answered_one(sdk, monkeypatch) -> None:
    make, raised, answered = MAKERS[sdk]
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with isolated():
        pipeline = guard()
        pipeline.hold("forced_open", reason="maintenance", expires=None)
        for rejections, error, times in (("raise", raised, 3), ("answer", answered, 1)):
            with HTTPX2.client(pipeline, verify=False, rejections=rejections) as http, refusals() as refused:
                client = make(base_url="http://nowhere.invalid", api_key="k", http_client=http)  # two retries
                with pytest.raises(error) as caught:
                    client.models.list()
                assert len(refused) == times
        assert caught.value.status_code == 503
        assert caught.value.response.extensions["resilient"] == {"rejected": "forced_open"}


@pytest.mark.parametrize("sdk", MAKERS)
def test_an_unsafe_request_is_sent_once_or_with_one_key(sdk) -> None:
    make, _, failed = MAKERS[sdk]

    def create(client: Any) -> None:
        chat = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        if sdk == "openai":
            client.chat.completions.create(**chat)
        else:
            client.messages.create(max_tokens=1, **chat)

    for key, sends in ((None, 1), (HTTPX2.IdempotencyKey(), 3)):
        with isolated(), FaultServer(answer(500)) as server:
            with HTTPX2.client(guard(), verify=False, idempotency=key) as http, pytest.raises(failed):
                create(make(base_url=server.url, api_key="k", http_client=http, max_retries=0))
            keys = {received.headers.get("idempotency-key") for received in server.received}
            assert (server.requests, len(keys)) == (sends, 1)
            assert (keys == {None}) == (key is None)


def test_openai_streams_without_a_place_in_the_bulkhead() -> None:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    events = [
        json.dumps({**chunk, "choices": [{"index": 0, "delta": {"content": letter}, "finish_reason": None}]})
        for letter in "word"
    ]
    with isolated(), FaultServer(event_stream([*events, "[DONE]"])) as server, ExitStack() as stack:
        pipeline = Pipeline("sdk", FAST, CircuitBreaker(), Bulkhead(1), Timeout(5))
        http = stack.enter_context(HTTPX2.client(pipeline, verify=False))
        client = openai.OpenAI(base_url=server.url, api_key="k", http_client=http, max_retries=0)
        streams = [client.chat.completions.create(model="m", messages=[], stream=True) for _ in range(2)]
        assert pipeline[Bulkhead].snapshot()["in_flight"] == 0
        assert ["".join(part.choices[0].delta.content for part in stream) for stream in streams] == ["word"] * 2
        assert pipeline[CircuitBreaker].snapshot()["calls"] == 2


def test_ollama_streams_hold_a_place_unless_the_request_says_that_they_are_streams() -> None:
    gate = threading.Event()
    lines = b"".join(json.dumps({"model": "m", "response": letter}).encode() + b"\n" for letter in "word")

    def mark(request: httpx.Request) -> None:
        request.extensions["resilient"] = {"stream": True}

    for hooks, held in (([], 1), ([mark], 0)):
        gate.clear()
        step = answer(body=lines, headers={"content-type": "application/x-ndjson"}, chunked=True)
        with isolated(), FaultServer({"/api/generate": [step, gated(gate, step)]}) as server:
            pipeline = guard()
            transport = HTTPX.ResilientTransport(pipeline, verify=False)
            with ollama.Client(host=server.url, transport=transport, event_hooks={"request": hooks}) as client:
                words = client.generate("m", "hi", stream=True)
                first = next(words)
                assert pipeline[Bulkhead].snapshot()["in_flight"] == held
                assert first.response + "".join(part.response for part in words) == "word"
            assert pipeline[Bulkhead].snapshot()["in_flight"] == 0


def test_C22_python_telegram_bot_goes_on_with_the_transport_after_shutdown() -> None:
    with isolated(), FaultServer(in_json(USER)) as server:
        pipeline = guard()
        seen = SimpleNamespace(closed=None)

        async def scenario() -> None:
            transport = HTTPX.AsyncResilientTransport(pipeline, verify=False)
            request = HTTPXRequest(httpx_kwargs={"transport": transport})
            bot = telegram.Bot("1:a", base_url=f"{server.url}/bot", request=request, get_updates_request=request)
            assert (await bot.get_me()).first_name == "m"
            await request.shutdown()
            await server.until(lambda: server.open == 0)
            seen.closed = server.connections
            await request.initialize()
            assert (await bot.get_me()).first_name == "m"
            await request.shutdown()
            await server.until(lambda: server.open == 0)

        asyncio.run(scenario())
        assert (seen.closed, server.connections) == (1, 2)
