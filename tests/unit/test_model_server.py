"""The model server, driven by the real `openai` client: what it accepts and refuses, and how it streams."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.fakes import model_replies as replies
from tests.fakes.model_client import ASKED, LOOK, answered, client_of, plain, streamed
from tests.fakes.model_replies import Answer, calls, finish, reasoning, shell, text
from tests.fakes.model_server import MODEL, ModelServer


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
