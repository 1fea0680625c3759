"""Every way in which the model server fails, as the real `openai` client meets it."""

import json
import threading
import time
from typing import Any

import openai
import pytest

from tests.conftest import wait_until
from tests.fakes import model_replies as replies
from tests.fakes.model_client import ASKED, client_of, plain, streamed
from tests.fakes.model_replies import Answer, Chaos, text
from tests.fakes.model_request import Request
from tests.fakes.model_server import ModelServer

USER = ASKED["input"][0]


# What the client makes of a failure: an exception's type, or the type of the last event of a stream.
FAILURES: list[tuple[Answer, type[Exception], type[Exception]]] = [
    (replies.rate_limited(2), openai.RateLimitError, openai.RateLimitError),
    (replies.insufficient_quota(), openai.RateLimitError, openai.RateLimitError),
    (replies.server_error(500), openai.InternalServerError, openai.InternalServerError),
    (replies.server_error(502), openai.InternalServerError, openai.InternalServerError),
    (replies.server_error(503), openai.InternalServerError, openai.InternalServerError),
    (replies.html(502), openai.InternalServerError, openai.InternalServerError),
    (replies.reset(), openai.APIConnectionError, openai.APIConnectionError),
    (replies.stale_reasoning(), openai.BadRequestError, openai.BadRequestError),
    (text("half of this").cut(), openai.APIConnectionError, openai.APIConnectionError),
    (text("half of this").malformed(), json.JSONDecodeError, json.JSONDecodeError),
    (text("half of this").silent(), openai.APITimeoutError, openai.APITimeoutError),
]


@pytest.mark.parametrize(("failure", "in_stream", "whole"), FAILURES)
def test_failures_reach_the_client(failure: Answer, in_stream: type[Exception], whole: type[Exception]) -> None:
    with ModelServer([failure, failure, text("Yes.")]) as server:
        client = client_of(server, timeout=0.3)
        with pytest.raises(in_stream):
            streamed(client)
        with pytest.raises(whole):
            client.responses.create(**ASKED)
        assert client.responses.create(**ASKED).output_text == "Yes."
        wait_until(lambda: server.counts["failed"] == 2, what="the end of both failures")
        assert [request.outcome for request in server.requests] == ["failed", "failed", "answered"]


def test_the_events_of_a_broken_stream_come_before_its_failure() -> None:
    with ModelServer([text("a long text that has many pieces in it").cut(after=6)]) as server:
        seen = []
        with pytest.raises(openai.APIConnectionError):
            seen += [event.type for event in client_of(server).responses.create(**ASKED, stream=True)]
        with client_of(server).responses.create(**ASKED | {"input": "Work on A-2."}, stream=True) as stream:
            for event in stream:
                seen.append(event.type)
                if len(seen) == 6:
                    break
    assert seen == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        "response.output_text.delta", "response.output_text.delta",
    ]  # fmt: skip


ENDS: list[tuple[Answer, str, dict[str, Any]]] = [
    (
        replies.failed("server_error"),
        "response.failed",
        {"error": {"code": "server_error", "message": "The model failed to answer."}},
    ),
    (replies.incomplete(), "response.incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}),
    (replies.incomplete("content_filter"), "response.incomplete", {"incomplete_details": {"reason": "content_filter"}}),
    (replies.empty(), "response.completed", {"output": []}),
]


@pytest.mark.parametrize(("reply", "kind", "holds"), ENDS)
def test_replies_end_otherwise_than_well(reply: Answer, kind: str, holds: dict[str, Any]) -> None:
    with ModelServer([reply, reply]) as server:
        client = client_of(server)
        events, last = streamed(client)
        whole = plain(client.responses.create(**ASKED))
    assert events[-1]["type"] == kind
    for response in (last, whole):
        assert {name: response[name] for name in holds} == holds
        assert response["status"] == kind.removeprefix("response.")


def test_what_the_model_says_wrong_arrives_as_it_was_said() -> None:
    with ModelServer(
        [replies.refusal("No."), replies.unknown_tool(), replies.invalid_arguments(), replies.text("x").errored()]
    ) as server:
        client = client_of(server)
        outputs = []
        for number in range(4):
            events, last = streamed(client, input=[*ASKED["input"], *[USER] * number])
            outputs.append(last.get("output", [{}])[0] if last else events[-1])
    assert outputs[0]["content"] == [{"type": "refusal", "refusal": "No."}]
    assert outputs[1]["name"] == "teleport"
    with pytest.raises(json.JSONDecodeError):
        json.loads(outputs[2]["arguments"])
    assert outputs[3]["type"] == "error" and outputs[3]["code"] == "server_error"


def test_headers_of_a_limit() -> None:
    with ModelServer([replies.rate_limited(1.5), replies.rate_limited("Wed, 21 Oct 2026 07:28:00 GMT")]) as server:
        client = client_of(server)
        with pytest.raises(openai.RateLimitError) as limited:
            client.responses.create(**ASKED)
        assert limited.value.response.headers["retry-after-ms"] == "1500"
        assert limited.value.response.headers["x-ratelimit-remaining-requests"] == "0"
        assert limited.value.code == "rate_limit_exceeded"
        with pytest.raises(openai.RateLimitError) as limited:
            client.responses.create(**ASKED)
        assert limited.value.response.headers["retry-after"].endswith("GMT")


def test_the_pace_is_shared_by_all_clients() -> None:
    with ModelServer(lambda _: text("Yes."), per_second=5) as server:
        clients = [client_of(server, api_key=f"key-{number}") for number in range(3)]
        refused: list[float] = []

        def ask(client: openai.OpenAI) -> None:
            for _ in range(4):
                try:
                    client.responses.create(**ASKED)
                except openai.RateLimitError as error:
                    refused.append(float(error.response.headers["retry-after-ms"]))

        threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if time.monotonic() - began < 1:  # else some of the twelve had a second of their own
            assert server.counts["answered"] == 5 and server.most_in_a_second() == 12
        assert server.counts["limited"] == len(refused) == 12 - server.counts["answered"]
        assert all(0 < wait <= 1000 for wait in refused)
        time.sleep(max(refused) / 1000)
        assert clients[0].responses.create(**ASKED).output_text == "Yes."


def test_chaos_is_the_same_under_the_same_seed_and_every_request_comes_through_at_last() -> None:
    def outcomes(seed: int) -> list[str]:
        with ModelServer(lambda _: text("Yes."), chaos=Chaos(seed=seed, rate=0.5)) as server:
            client = client_of(server)
            for number in range(25):
                try:
                    streamed(client, input=f"Work on A-{number % 5}.")
                except (openai.OpenAIError, json.JSONDecodeError):
                    continue
            return [request.outcome for request in server.requests]

    first = outcomes(7)
    assert first == outcomes(7) != outcomes(8)
    assert {"answered", "failed"} == set(first)


def test_a_script_that_raises_fails_the_test() -> None:
    def script(request: Request) -> Answer:
        raise LookupError(request.seen.prompt)

    with pytest.raises(LookupError, match="A-1"), ModelServer(script) as server, pytest.raises(openai.BadRequestError):
        client_of(server).responses.create(**ASKED)


def test_closing_ends_what_is_silent() -> None:
    ended = threading.Event()

    def ask(client: openai.OpenAI) -> None:
        with pytest.raises(openai.APIConnectionError):
            streamed(client)
        ended.set()

    with ModelServer([text("half").silent(after=3, seconds=60)]) as server:
        thread = threading.Thread(target=ask, args=(client_of(server, timeout=60),))
        thread.start()
        wait_until(lambda: server.requests, what="the request")
        wait_until(lambda: server.requests[0].usage is not None, what="the reply's beginning")
    thread.join(10)
    assert ended.is_set()
