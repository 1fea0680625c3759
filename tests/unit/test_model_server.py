"""The model server, driven by the real `openai` client: what it accepts, how it streams, and every way in which it fails."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.conftest import wait_until
from tests.fakes import model_replies as replies
from tests.fakes.model_replies import Answer, Chaos, calls, finish, reasoning, shell, text
from tests.fakes.model_request import Request
from tests.fakes.model_server import MODEL, ModelServer

LOOK: dict[str, Any] = {
    "type": "function",
    "name": "look",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
        "additionalProperties": False,
    },
}
ASKED: dict[str, Any] = {
    "model": MODEL,
    "instructions": "Work.",
    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Work on A-1."}]}],
    "include": ["reasoning.encrypted_content"],
    "reasoning": {"effort": "high", "summary": "auto"},
    "tools": [LOOK],
    "store": False,
    "prompt_cache_key": "one",
}


def client_of(server: ModelServer, **options: Any) -> openai.OpenAI:
    given: dict[str, Any] = {"base_url": server.url, "api_key": "key", "max_retries": 0, "timeout": 10}
    return openai.OpenAI(**given | options)


def answered(item: dict[str, Any], output: str = "done") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": item["call_id"], "output": output}


def plain(value: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = value.model_dump(mode="json", exclude_unset=True, warnings=False)
    return {name: inner for name, inner in dumped.items() if inner is not None}


def streamed(client: openai.OpenAI, **changes: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Ask with a stream; give all events and the last one's response."""
    events = [plain(event) for event in client.responses.create(**{**ASKED, **changes, "stream": True})]
    return events, events[-1].get("response", {})


@pytest.fixture
def refusing() -> Iterator[openai.OpenAI]:
    """A client of a server that would answer whatever it accepts."""
    with ModelServer(lambda _: text("Yes.")) as server:
        yield client_of(server)


def test_a_stream_adds_up_to_the_response_that_comes_without_one() -> None:
    said = (
        reasoning("I look first.", "Then I act.")
        + text("Now I look. ✓")
        + calls(("look", {"path": "naïve.py"}), ("look", {"path": "b"}))
    )
    with ModelServer(lambda _: said) as server:
        client = client_of(server)
        events, last = streamed(client)
        whole = plain(client.responses.create(**ASKED))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"] and kinds[-1] == "response.completed"
    for kind in ("reasoning_summary_text", "output_text", "function_call_arguments"):
        deltas = "".join(event["delta"] for event in events if event["type"] == f"response.{kind}.delta")
        done = "".join(
            event.get("text", event.get("arguments", "")) for event in events if event["type"] == f"response.{kind}.done"
        )
        assert deltas == done != ""
    finished = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert finished == last["output"]
    assert [shape(item) for item in last["output"]] == [shape(item) for item in whole["output"]]
    assert last["usage"]["output_tokens_details"]["reasoning_tokens"] > 0
    assert events[0]["response"]["usage"] is None
    ids = [item["id"] for response in (last, whole) for item in response["output"]]
    assert len(set(ids)) == len(ids) == 8


def shape(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in {"id", "call_id", "encrypted_content"}}


def test_a_conversation_is_replayed_verbatim_and_found_in_the_cache() -> None:
    script: list[Answer] = [reasoning("Hm.") + calls(("look", {"path": str(number)})) for number in range(5)]
    with ModelServer([*script, finish()]) as server:
        client = client_of(server)
        items = list(ASKED["input"])
        for _ in range(6):
            output = [
                plain(item)
                for item in client.responses.create(**ASKED | {"input": items, "instructions": "x" * 9000}).output
            ]
            items += output + [answered(item) for item in output if item["type"] == "function_call"]
        assert [request.outcome for request in server.requests] == ["answered"] * 6
        assert server.altered == []
        assert server.cached_share(since=2) > 0.8
        assert (
            server.requests[0].usage is not None and server.requests[0].usage["input_tokens_details"]["cached_tokens"] == 0
        )
        assert server.requests[0].usage["input_tokens_details"]["cache_write_tokens"] >= 2048
        changed = client.responses.create(**ASKED | {"input": "Work on A-2.", "instructions": "y" * 9000, "tools": []})
        assert changed.usage is not None and changed.usage.input_tokens_details.cached_tokens == 0


def test_a_changed_item_is_noticed() -> None:
    with ModelServer([shell("ls"), finish()]) as server:
        client = client_of(server)
        item = plain(client.responses.create(**ASKED).output[0])
        client.responses.create(**ASKED | {"input": [*ASKED["input"], item | {"arguments": "{}"}, answered(item)]})
    assert [(sent["arguments"] != "{}", came["arguments"]) for sent, came in server.altered] == [(True, "{}")]


def test_a_lost_reply_is_given_again_and_a_failure_is_not() -> None:
    with ModelServer([replies.server_error(503), text("one"), text("two")]) as server:
        client = client_of(server)
        with pytest.raises(openai.InternalServerError):
            client.responses.create(**ASKED)
        assert [client.responses.create(**ASKED).output_text for _ in range(2)] == ["one", "one"]
        assert (
            client.responses.create(
                **ASKED | {"input": [*ASKED["input"], {"role": "user", "content": "Go on."}]}
            ).output_text
            == "two"
        )
        with pytest.raises(openai.BadRequestError, match="only 3 answers"):
            client.responses.create(**ASKED | {"input": [*ASKED["input"], {"role": "user", "content": "And on."}]})


def test_conversations_play_their_own_lists_at_once() -> None:
    script = {f"A-{number}.": [shell(f"echo {number}"), finish()] for number in range(12)}
    with ModelServer(script) as server:
        client, said = client_of(server), {}

        def work(number: int) -> None:
            items: list[dict[str, Any]] = [{"role": "user", "content": f"Work on A-{number}."}]
            for _ in range(2):
                _, last = streamed(client, input=items)
                items += last["output"] + [answered(item) for item in last["output"]]
            said[number] = (
                [item.get("name") for item in items if item.get("type") == "function_call"],
                items[1]["arguments"],
            )

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(said) == 12
    for number, (names, arguments) in said.items():
        assert names == ["shell", "finish"] and f'"echo {number}"' in arguments


CALL = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
USER = ASKED["input"][0]
REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"model": "gpt-0"}, 404, "does not exist"),
    ({"reasoning": {"effort": "none"}}, 400, "not supported with the 'gpt-6.2-sol' model"),
    ({"extra_body": {"temprature": 1}}, 400, "'temprature': Extra inputs are not permitted"),
    ({"max_output_tokens": "12"}, 400, "'max_output_tokens'"),
    ({"input": []}, 400, "Missing required parameter: 'input'"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "a", "colour": 1}]}]},
        400,
        "input.0.content.0.colour",
    ),
    ({"input": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}, 400, "Invalid 'input.0"),
    (
        {"input": [{"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": 1}]}]},
        400,
        "input.0.summary.0.text",
    ),
    ({"input": [USER, {"type": "function_call_output", "call_id": "c", "output": "x"}]}, 400, "No tool call found"),
    ({"input": [USER, CALL]}, 400, "No tool output found for function call c"),
    ({"input": [USER, CALL, answered(CALL), CALL]}, 400, "Duplicate function call"),
    ({"input": [USER, CALL, answered(CALL), answered(CALL)]}, 400, "Duplicate output"),
    ({"input": [USER, *[CALL | {"id": "fc_1"}] * 2]}, 400, "Duplicate item found with id fc_1"),
    (
        {"input": [USER, {"type": "reasoning", "id": "rs_1", "summary": []}, CALL, answered(CALL)]},
        404,
        "Items are not persisted",
    ),
    (
        {
            "input": [
                {"role": "user", "content": [{"type": "input_image", "detail": "auto", "image_url": "http://a/b.png"}]}
            ]
        },
        400,
        "image",
    ),
    (
        {
            "input": [
                {
                    "role": "user",
                    "content": [{"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,§"}],
                }
            ]
        },
        400,
        "base64",
    ),
    ({"tools": [LOOK, LOOK]}, 400, "Duplicate tool name"),
    ({"tools": [LOOK | {"name": "a b"}]}, 400, "pattern"),
    (
        {"tools": [LOOK | {"parameters": {"type": "object", "properties": {}, "required": []}}]},
        400,
        "'additionalProperties' is required",
    ),
    ({"tools": [LOOK | {"parameters": LOOK["parameters"] | {"required": []}}]}, 400, "every key in properties"),
    ({"prompt_cache_key": "k" * 65}, 400, "too long"),
    ({"previous_response_id": "resp_1"}, 400, "previous_response_id"),
    ({"input": "x" * 4_300_000}, 400, "context window"),
]


@pytest.mark.parametrize(("changes", "status", "words"), REFUSED)
def test_what_the_real_one_refuses_is_refused(
    refusing: openai.OpenAI, changes: dict[str, Any], status: int, words: str
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        refusing.responses.create(**ASKED | changes)
    assert refused.value.status_code == status
    assert words in str(refused.value)


def test_everything_that_the_loop_may_send_is_accepted(refusing: openai.OpenAI) -> None:
    picture = {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,aGFsbG8="}
    said = {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "phase": "commentary"}
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}, picture]},
        said | {"content": [{"type": "output_text", "text": "b", "annotations": [], "logprobs": []}]},
        said | {"id": "msg_2", "content": [{"type": "refusal", "refusal": "no"}]},
        CALL | {"id": "fc_1", "status": "completed"},
        answered(CALL) | {"output": [{"type": "input_text", "text": "c"}, picture]},
        {"role": "user", "content": "And?"},
    ]
    assert refusing.responses.create(**ASKED | {"input": items, "parallel_tool_calls": True}).output_text == "Yes."


def test_credentials_and_models() -> None:
    with ModelServer([text("Yes.")], keys=["right"]) as server:
        with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
            client_of(server).responses.create(**ASKED)
        right = client_of(server, api_key="right")
        assert right.responses.create(**ASKED).output_text == "Yes."
        assert [model.id for model in right.models.list()] == [MODEL]
        assert right.models.retrieve(MODEL).id == MODEL
        with pytest.raises(openai.NotFoundError):
            right.models.retrieve("gpt-0")
        with pytest.raises(openai.NotFoundError, match="Invalid URL"):
            right.embeddings.create(input="a", model=MODEL)
        assert server.counts["refused"] == 3


def test_encrypted_reasoning_is_good_for_its_key_model_and_organisation_unaltered() -> None:
    script = {"A-1": [reasoning("Hm.") + calls(("look", {"path": "a"}))] + [finish()] * 9}
    with (
        ModelServer(script, models=(MODEL, "other"), secret=b"one") as server,
        ModelServer(script, secret=b"two") as foreign,
    ):
        client = client_of(server)
        thought, called = (plain(item) for item in client.responses.create(**ASKED).output)
        good = {"input": [USER, thought, called, answered(called)]}
        assert thought["encrypted_content"]
        assert client.responses.create(**ASKED | good).output[0].type == "function_call"
        bad: list[tuple[openai.OpenAI, dict[str, Any]]] = [
            (client_of(server, api_key="another"), good),
            (client_of(foreign), good),
            (client, good | {"model": "other"}),
            (client, {"input": [USER, thought | {"summary": []}, called, answered(called)]}),
            (client, {"input": [USER, thought | {"encrypted_content": "gAAAAAabc"}, called, answered(called)]}),
        ]
        for whom, changes in bad:
            with pytest.raises(openai.BadRequestError) as refused:
                whom.responses.create(**ASKED | changes)
            assert refused.value.code == "invalid_encrypted_content"
        with pytest.raises(openai.BadRequestError, match="without its required following item"):
            client.responses.create(**ASKED | {"input": [USER, thought, USER]})
        without = [USER, called, answered(called)]
        assert client.responses.create(**ASKED | {"input": without}).output[0].type == "function_call"


def test_reasoning_comes_without_content_where_it_was_not_asked_for() -> None:
    with ModelServer([reasoning("Hm.") + finish()]) as server:
        thought = plain(client_of(server).responses.create(**ASKED | {"include": []}).output[0])
    assert thought["type"] == "reasoning" and "encrypted_content" not in thought


def test_a_conversation_is_compacted_and_goes_on() -> None:
    with ModelServer([calls(("look", {"path": "a"})), finish()]) as server:
        client = client_of(server)
        called = plain(client.responses.create(**ASKED).output[0])
        given: dict[str, Any] = {
            "model": MODEL,
            "input": [USER, called, answered(called, "secret")],
            "instructions": "Work.",
        }
        compacted = client.responses.compact(**given)
        output = [plain(item) for item in compacted.output]
        assert [item["type"] for item in output] == ["message", "compaction"]
        assert "secret" not in json.dumps(output) and compacted.usage.input_tokens > 0
        assert client.responses.create(**ASKED | {"input": output}).output[0].type == "function_call"
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(**ASKED | {"input": [output[0], output[1] | {"encrypted_content": "gAAAAAabc"}]})
        assert refused.value.code == "invalid_encrypted_content"
        assert server.counts["compacted"] == 1


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


CHAT: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "system", "content": "Work."}, {"role": "user", "content": "Work on A-1."}],
    "tools": [{"type": "function", "function": {name: LOOK[name] for name in ("name", "parameters", "strict")}}],
}


def chat(client: openai.OpenAI, **changes: Any) -> tuple[dict[str, Any], Any]:
    """Ask by Chat Completions with a stream; give what its chunks add up to, and the usage."""
    told: dict[str, Any] = {"content": "", "refusal": "", "calls": {}, "reason": None}
    usage = None
    for chunk in client.chat.completions.create(**CHAT | changes, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            told["reason"] = choice.finish_reason or told["reason"]
            told["content"] += choice.delta.content or ""
            told["refusal"] += choice.delta.refusal or ""
            for piece in choice.delta.tool_calls or ():
                named = told["calls"].setdefault(piece.index, ["", "", ""])
                given = (piece.id, piece.function and piece.function.name, piece.function and piece.function.arguments)
                told["calls"][piece.index] = [before + (new or "") for before, new in zip(named, given, strict=True)]
    return told, usage


def test_chat_completions_stream_the_same_reply() -> None:
    said = reasoning("Hm.") + text("I look.") + calls(("look", {"path": "a" * 60}), ("look", {"path": "b"}))
    with ModelServer(lambda request: finish() if request.seen.calls else said) as server:
        client = client_of(server)
        told, usage = chat(client)
        whole = client.chat.completions.create(**CHAT).choices[0]
        assert (told["content"], told["reason"], whole.message.content) == ("I look.", "tool_calls", "I look.")
        assert [json.loads(arguments)["path"][0] for _, _, arguments in told["calls"].values()] == ["a", "b"]
        assert usage.prompt_tokens > 0 < usage.completion_tokens_details.reasoning_tokens
        made = [
            {"id": name, "type": "function", "function": {"name": tool, "arguments": given}}
            for name, tool, given in told["calls"].values()
        ]
        messages = [*CHAT["messages"], {"role": "assistant", "content": "I look.", "tool_calls": made}]
        results = [{"role": "tool", "tool_call_id": one["id"], "content": "x"} for one in made]
        assert chat(client, messages=[*messages, *results])[0]["calls"][0][1] == "finish"
        for broken, words in (
            (messages, "did not have response messages"),
            ([*messages, results[0], {"role": "user", "content": "?"}], "did not have response messages"),
            ([*CHAT["messages"], results[0]], "must be a response to a preceding message"),
            ([{"role": "user", "content": "a", "name_": "b"}], "name_"),
        ):
            with pytest.raises(openai.BadRequestError, match=words):
                chat(client, messages=broken)
        with pytest.raises(openai.BadRequestError, match="not supported"):
            chat(client, reasoning_effort="none")


@pytest.mark.parametrize(
    ("reply", "holds"),
    [
        (replies.refusal("No."), {"refusal": "No.", "reason": "stop"}),
        (replies.incomplete(), {"reason": "length"}),
        (replies.incomplete("content_filter"), {"reason": "content_filter"}),
        (replies.empty(), {"content": "", "reason": "stop", "calls": {}}),
    ],
)
def test_chat_completions_end_otherwise_than_well(reply: Answer, holds: dict[str, Any]) -> None:
    with ModelServer([reply]) as server:
        told, _ = chat(client_of(server))
    assert {name: told[name] for name in holds} == holds


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (replies.rate_limited(), openai.RateLimitError),
        (replies.html(), openai.InternalServerError),
        (replies.reset(), openai.APIConnectionError),
        (text("half of this").cut(after=2), openai.APIConnectionError),
        (text("half of this").malformed(after=2), json.JSONDecodeError),
        (text("half of this").silent(after=2), openai.APITimeoutError),
        (text("half of this").errored(after=2), openai.APIError),
        (replies.failed(), openai.APIError),
    ],
)
def test_chat_completions_fail(failure: Answer, raised: type[Exception]) -> None:
    with ModelServer([failure]) as server, pytest.raises(raised):
        chat(client_of(server, timeout=0.3))
