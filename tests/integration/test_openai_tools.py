"""What the model is told of its tools, what it may say wrong, and how its work ends."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symphony.agents.openai.tools import Arguments, Desk, Result, Tool, call, for_run, schema
from symphony.agents.protocol import Asked, Finished
from symphony.domain.errors import InvariantViolated, Rejected
from symphony.telemetry.redaction import MASK, remember_secrets
from tests.fakes.tool_seat import TOOLS, Seat

pytest_plugins = ["tests.fakes.repository_fixtures", "tests.fakes.tool_seat_fixtures"]

WALKTHROUGH = {
    "purpose": "p",
    "groups": [{"title": "t", "files": ["a"], "why": "w"}],
    "hunks": [{"file": "a", "start_line": 1, "end_line": 2, "why": "w"}],
    "tests_added": [],
    "risks": ["r"],
    "not_done": [],
}


def test_the_schema_is_strict_and_always_the_same() -> None:
    told = schema(for_run())
    assert json.dumps(told) == json.dumps(schema(for_run()))
    assert [tool["name"] for tool in told] == sorted(TOOLS)

    def look(part: object) -> None:
        if isinstance(part, dict):
            if part.get("type") == "object":
                assert part["additionalProperties"] is False and sorted(part["required"]) == sorted(part["properties"])
            assert "default" not in part
            for inner in part.values():
                look(inner)
        elif isinstance(part, list):
            for inner in part:
                look(inner)

    for tool in told:
        assert tool["strict"] is True and tool["description"]
        look(tool["parameters"])
    assert "title" in json.dumps(TOOLS["finish"].parameters)


def test_which_tools_change_something() -> None:
    assert [name for name, tool in TOOLS.items() if tool.changes] == ["apply_patch", "shell"]


def test_two_tools_of_one_name_are_our_mistake() -> None:
    with pytest.raises(InvariantViolated, match="shell"):
        for_run([TOOLS["shell"]])


class Nothing(Arguments):
    """Takes nothing."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Rejected("no such state"), "odd was refused: no such state"),
        (PermissionError(13, "Permission denied", "/x"), "odd failed: [Errno 13] Permission denied: '/x'"),
        (RecursionError("too deep"), "odd failed: too deep"),
    ],
)
def test_a_tool_of_another_room_that_fails_is_answered(seat: Seat, error: Exception, expected: str) -> None:
    def fail(_arguments: Nothing, _desk: Desk) -> Result:
        raise error

    tools = for_run([Tool("odd", "Fails.", Nothing, fail, changes=False)])
    assert list(tools) == sorted(tools) and "odd" in tools
    assert call(tools, "odd", "{}", seat.desk()).text == expected


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("nope", "{}", "there is no tool 'nope'. There are: apply_patch, ask_human, finish"),
        ("shell", "{", "the arguments of shell are no valid JSON"),
        ("shell", "", "no valid JSON"),
        ("shell", "[" * 100_000, "no valid JSON"),
        ("shell", "1" * 5000, "no valid JSON"),
        ("shell", "[]", "must be a JSON object, not list"),
        ("shell", '"ls"', "must be a JSON object, not str"),
        ("shell", '{"command": 1}', "- command: Input should be a valid string (given: 1)"),
        ("shell", '{"command": "ls", "wait_ms": "5"}', "- wait_ms: Input should be a valid integer (given: '5')"),
        ("shell", '{"command": "ls", "wait_ms": true}', "- wait_ms: Input should be a valid integer"),
        ("shell", '{"cmd": "ls"}', "do not fit shell, which takes command, wait_ms, session, input.\n- cmd: Extra inputs"),
        ("shell", '{"command": "a\\u0000b"}', "must not contain the character NUL"),
        ("shell", '{"command": "\\ud800"}', "must not contain half of a surrogate pair"),
        ("shell", '{"command": "cat", "input": "\\ud800"}', "must not contain half of a surrogate pair"),
        ("shell", "{}", "give a command to start"),
        ("shell", '{"command": "ls", "session": "x"}', "not both"),
        ("shell", '{"session": "x"}', "There is no session 'x'. No command runs."),
        ("read_file", "{}", "- path: Field required"),
        ("read_file", '{"path": " "}', "must not be empty"),
        ("ask_human", '{"question": ""}', "must not be empty"),
        ("finish", '{"outcome": "perhaps", "summary": "x"}', "Input should be 'done', 'no_change' or 'blocked'"),
        (
            "finish",
            '{"outcome": "done", "summary": "x", "walkthrough": {"purpose": 1}}',
            "- walkthrough.purpose: Input should",
        ),
    ],
)
def test_what_is_wrong_with_a_call_is_answered(seat: Seat, tool: str, arguments: str, expected: str) -> None:
    answer = seat.raw(tool, arguments)
    assert expected in answer.text
    assert answer.ending is None


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(TOOLS)), st.dictionaries(st.sampled_from(["command", "session", "path", "patch", "summary", "walkthrough", "x"]), JSON.filter(lambda value: not isinstance(value, str)), max_size=4))  # fmt: skip
def test_no_arguments_raise(tool: str, arguments: dict[str, object]) -> None:
    checked = TOOLS[tool].run(arguments, None) if _is_refused(tool, arguments) else None  # type: ignore[arg-type]
    assert checked is None or checked.ending is None


def _is_refused(tool: str, arguments: dict[str, object]) -> bool:
    try:
        TOOLS[tool].arguments.model_validate(arguments)
    except ValueError:
        return True
    return False


def test_ask_human_and_finish_end_the_work(seat: Seat) -> None:
    assert seat.call("ask_human", question=" Which? ").ending == Asked("Which?")
    assert seat.call("finish", outcome="blocked", summary="No key.", walkthrough=None).ending == Asked("No key.")
    no_change = seat.call("finish", outcome="no_change", summary="It works.", walkthrough=None).ending
    assert no_change == Finished("It works.", outcome="no_change", reason="It works.")
    done = seat.call("finish", outcome="done", summary="Did it.", walkthrough=WALKTHROUGH).ending
    assert done == Finished("Did it.", walkthrough=WALKTHROUGH)


def test_what_is_said_is_redacted_and_fit_for_a_row(seat: Seat) -> None:
    remember_secrets(["correct-horse-battery"])
    assert seat.call("ask_human", question="Is correct-horse-battery right?").ending == Asked(f"Is {MASK} right?")
    walkthrough = {**WALKTHROUGH, "risks": ["correct-horse-battery"]}
    ending = seat.call("finish", outcome="done", summary="correct-horse-battery", walkthrough=walkthrough).ending
    assert ending == Finished(MASK, walkthrough={**WALKTHROUGH, "risks": [MASK]})
    told = seat.text("shell", command=r"echo correct-horse-battery; printf 'a\0b\377'")
    assert MASK in told and "shown as" in told and "correct" not in told
    assert "a\\x00b\ufffd" in told
