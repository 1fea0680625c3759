"""The outer shape of WORKFLOW.md: whatever the bytes are, a value or one clear sentence with its line."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symphony.workflow.findings import InvalidWorkflow
from symphony.workflow.front_matter import decode, take_apart
from symphony.workflow.loader import LoadedWorkflow, parse


def refusal(text: str) -> InvalidWorkflow:
    with pytest.raises(InvalidWorkflow) as caught:
        parse(text, place="WORKFLOW.md")
    return caught.value


def config(yaml: str) -> dict[str, object]:
    return take_apart(f"---\n{yaml}\n---\n", place="WORKFLOW.md").config


def test_without_front_matter_the_whole_file_is_the_prompt() -> None:
    document = take_apart("\n\n# Do it\n\ntext\n", place="WORKFLOW.md")
    assert (document.config, document.prompt, document.prompt_line) == ({}, "# Do it\n\ntext", 3)


def test_front_matter_ends_at_the_next_fence_and_later_rules_stay_in_the_prompt() -> None:
    document = take_apart("---\na: 1\n---\n\n\none\n---\ntwo\n", place="WORKFLOW.md")
    assert (document.config, document.prompt, document.prompt_line) == ({"a": 1}, "one\n---\ntwo", 6)


def test_an_indented_fence_in_a_script_does_not_end_the_front_matter() -> None:
    document = take_apart("---\nhooks:\n  before_run: |\n    cat <<X\n    ---\n    X\n---\np", place="WORKFLOW.md")
    assert document.config["hooks"]["before_run"] == "cat <<X\n---\nX\n"
    assert document.prompt == "p"


@pytest.mark.parametrize("newline", ["\r\n", "\r", "\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_mark_do_not_matter(newline: str, mark: str) -> None:
    text = mark + newline.join(["---", "tracker: {kind: files}", "---", "a", "b", ""])
    loaded = parse(text, place="WORKFLOW.md")
    assert loaded.prompt_template == "a\nb"
    assert loaded.workflow.tracker.kind == "files"


@pytest.mark.parametrize("text", ["---\n---\nbody", "---\n\n# only a comment\n---\nbody", "---\n---"])
def test_empty_front_matter_is_an_empty_map(text: str) -> None:
    assert take_apart(text, place="WORKFLOW.md").config == {}


@pytest.mark.parametrize("text", ["", "\n", "prompt only"])
def test_a_file_without_a_tracker_is_refused_for_that(text: str) -> None:
    error = refusal(text)
    assert error.category == "unsupported_tracker_kind"
    assert "tracker.kind is required" in str(error)


def test_front_matter_that_is_never_closed_loads_with_a_warning() -> None:
    loaded = parse("---\ntracker: {kind: files}\n", place="WORKFLOW.md")
    assert loaded.prompt_template == ""
    assert [note.category for note in loaded.warnings] == ["front_matter_not_closed"]


def test_prose_below_unclosed_front_matter_names_the_cure() -> None:
    error = refusal("---\ntracker:\n  kind: files\n\nDo: the: thing\n")
    assert error.category == "workflow_parse_error"
    assert "three dashes" in str(error)


@pytest.mark.parametrize("yaml", ["- a\n- b", "word", "42", "null"])
def test_front_matter_that_is_no_map(yaml: str) -> None:
    error = refusal(f"---\n{yaml}\n---\n")
    assert error.category == "workflow_front_matter_not_a_map"
    assert error.place == "WORKFLOW.md:2"


def test_broken_yaml_names_line_and_column() -> None:
    error = refusal("---\ntracker:\n  kind: [files\n---\nbody")
    assert error.category == "workflow_parse_error"
    assert error.place in ("WORKFLOW.md:3", "WORKFLOW.md:4")
    assert "column" in error.message


def test_a_tab_names_the_cure() -> None:
    error = refusal("---\ntracker:\n\tkind: files\n---\n")
    assert error.place == "WORKFLOW.md:3"
    assert "spaces" in str(error)


def test_every_duplicate_key_is_told_with_both_lines() -> None:
    error = refusal("---\ntracker: {kind: files}\nagent:\n  max_turns: 1\n  max_turns: 2\nagent: {}\n---\n")
    assert error.category == "workflow_parse_error"
    assert [finding.line for finding in error.findings] == [5, 6]
    assert "first on line 4" in error.findings[0].message


@pytest.mark.parametrize(
    "yaml",
    [
        "a: !!python/object/apply:os.system ['true']",
        "a: !!binary aGk=",
        "a: !secret x",
        "? [a, b]\n: c",
        'a: "\\0"',
        'a: "\\ud800"',
        "a: *nowhere",
        "a: &a [*a]",
        "<<: 5",
    ],
)
def test_yaml_that_is_more_than_plain_data_is_refused(yaml: str) -> None:
    assert refusal(f"---\ntracker: {{kind: files}}\n{yaml}\n---\n").category == "workflow_parse_error"


def test_nul_and_control_characters_name_their_line() -> None:
    assert refusal("---\ntracker: {kind: files}\n---\nab\0c").place == "WORKFLOW.md:4"
    error = refusal("---\ntracker: {kind: files}\nx: \x07\n---\n")
    assert (error.place, error.category) == ("WORKFLOW.md:3", "workflow_parse_error")


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(InvalidWorkflow, match=r"WORKFLOW.md:2: .*UTF-8"):
        decode(b"---\n\xff\xfe\n", place="WORKFLOW.md")


def test_a_large_file_is_refused_at_once() -> None:
    with pytest.raises(InvalidWorkflow, match="larger than 1 MiB"):
        decode(b"x" * 10_000_000, place="WORKFLOW.md")


def bombs() -> dict[str, str]:
    laughs = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    laughs += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    merges = ["a0: &a0 {k: v}"] + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)]
    return {
        "aliases": "\n".join(laughs),
        "merges": "\n".join(merges),
        "long text": f"a: &a {'x' * 50_000}\nb: [{', '.join(['*a'] * 1000)}]",
        "nesting": "a: " + "[" * 20_000,
        "nested maps": "a: " + "{a: " * 5_000 + "}" * 5_000,
        "length": "a: " + "x" * 200_000,
    }


@pytest.mark.parametrize("kind", bombs())
def test_bombs_are_refused_quickly(kind: str) -> None:
    began = time.monotonic()
    error = refusal(f"---\ntracker: {{kind: files}}\n{bombs()[kind]}\n---\n")
    assert error.category == "workflow_parse_error"
    assert time.monotonic() - began < 20


def test_words_follow_yaml_1_2() -> None:
    read = config("a: off\nb: yes\nc: 2024-01-31\nd: 1:30\ne: 010\nf: 0x1F\ng: ~\nh: True\ni: 1.50\nj: .inf\nk: 1e999")
    assert read == {
        "a": "off", "b": "yes", "c": "2024-01-31", "d": "1:30", "e": 10, "f": 31, "g": None, "h": True, "i": 1.5,
        "j": ".inf", "k": "1e999",
    }  # fmt: skip


def test_keys_are_text_as_written() -> None:
    assert config("1: a\non: b\nnull: c\n010: d") == {"1": "a", "on": "b", "null": "c", "010": "d"}


def test_anchors_and_merges_work() -> None:
    read = config("base: &b {x: 1, y: 2}\nmore: &m {x: 9, z: 3}\nown: {y: 5, <<: [*b, *m]}")
    assert read["own"] == {"x": 1, "y": 5, "z": 3}


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_any_front_matter_gives_json_safe_data_or_a_refusal(yaml: str) -> None:
    try:
        loaded = parse(f"---\ntracker: {{kind: files}}\n{yaml}\n---\nprompt", place="WORKFLOW.md")
    except InvalidWorkflow as error:
        assert error.findings
        assert "\n" not in str(error)
        return
    assert json.loads(json.dumps(loaded.config, allow_nan=False)) == loaded.config


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="-:[]{}&*!|>'\"%@`,? \n\tab1~<", max_size=80))
def test_yaml_like_noise_gives_a_value_or_a_refusal(noise: str) -> None:
    try:
        assert isinstance(parse(f"---\n{noise}", place="WORKFLOW.md"), LoadedWorkflow)
    except InvalidWorkflow as error:
        assert "\n" not in str(error)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_text_or_a_refusal(data: bytes) -> None:
    try:
        take_apart(decode(data, place="WORKFLOW.md"), place="WORKFLOW.md")
    except InvalidWorkflow as error:
        assert error.category in ("workflow_parse_error", "workflow_front_matter_not_a_map")
