"""Front matter as people write it: what is read from it, and that nothing but the state changes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symphony.trackers.files.document import Document, Malformed

PLAIN = "---\ntitle: A title\nstate: Todo\n---\nBody.\n"


def document(front: str, *, newline: str = "\n") -> Document:
    return Document.parse(f"---\n{front}\n---\nBody.\n".replace("\n", newline))


@pytest.mark.parametrize(
    ("front", "changed"),
    [
        ("title: é✓😀\nstate: Todo   # why\nx: 1", "title: é✓😀\nstate: In Progress   # why\nx: 1"),
        ("state: 'Todo'\ntitle: x", "state: 'In Progress'\ntitle: x"),
        ('"state" : "Todo"\ntitle: x', '"state" : "In Progress"\ntitle: x'),
        ("{title: a, state: Todo}", "{title: a, state: In Progress}"),
        ("title: a\nstate: >-\n  Todo\nx: 1", "title: a\nstate: In Progress\nx: 1"),
        ("title: a\nstate: # why\n  Todo", "title: a\nstate: # why\n  In Progress"),
        ("title: a\nother: &s Todo\nstate: *s", "title: a\nother: &s Todo\nstate: In Progress"),
        ("title: a\nstate: !!str Todo", "title: a\nstate: !!str In Progress"),
        ("title: a\nnested:\n  state: Todo\nstate: Todo", "title: a\nnested:\n  state: Todo\nstate: In Progress"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_only_the_state_changes_however_it_is_written(front: str, changed: str, newline: str) -> None:
    before = document(front, newline=newline)
    assert before.header.state == "Todo"
    assert before.with_state("In Progress") == f"---\n{changed}\n---\nBody.\n".replace("\n", newline)


@pytest.mark.parametrize(
    "state", ["no", "null", "1", "a: b", "a #b", "x, y", "'quoted'", '"', "Fertig ✓", "[x]", "- x", "~"]
)
@pytest.mark.parametrize("front", ["title: a\nstate: Todo", "{title: a, state: Todo}", "title: a\nstate: 'Todo'"])
def test_any_name_of_a_state_can_be_written(state: str, front: str) -> None:
    assert Document.parse(document(front).with_state(state)).header.state == state


def test_a_state_that_other_values_hang_on_is_not_changed() -> None:
    with pytest.raises(Malformed, match="cannot be changed alone"):
        document("title: a\nstate: &s Todo\nassignee: *s").with_state("Done")


@settings(deadline=None)
@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"])), st.sampled_from(["", "\ufeff"]))
def test_every_other_byte_is_kept(body: str, mark: str) -> None:
    text = mark + PLAIN + body
    assert Document.parse(text).with_state("Done") == text.replace("state: Todo", "state: Done", 1)


@settings(deadline=None)
@given(st.binary())
def test_bytes_that_are_no_text_are_kept_in_the_body(body: bytes) -> None:
    text = (PLAIN.encode() + body).decode(errors="surrogateescape")
    changed = Document.parse(text).with_state("Done").encode(errors="surrogateescape")
    assert changed == PLAIN.replace("Todo", "Done").encode() + body


@settings(deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: f"---\n{text}\n---\n".encode(errors="replace")))
def test_garbage_is_malformed_or_an_issue_and_nothing_else(content: bytes) -> None:
    try:
        header = Document.parse(content.decode(errors="surrogateescape")).header
    except Malformed as fault:
        assert fault.category == "tracker_response"
    else:
        assert header.title
        assert header.state


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no front matter"),
        ("# A title\n", "no front matter"),
        ("---\ntitle: a\nstate: Todo\n", "no closing"),
        ("---\n---\n", "no mapping"),
        ("---\n- a\n---\n", "no mapping"),
        ("---\ntitle: a\n---\n", "no `state`"),
        ("---\nstate: Todo\ntitle: '  '\n---\n", "no `title`"),
        ("---\ntitle: a\nstate: null\n---\n", "no `state`"),
        ("---\ntitle: a\nstate: [Todo]\n---\n", "no `state`"),
        ("---\ntitle: a\nstate: Todo\nstate: Done\n---\n", "`state` twice"),
        ("---\ntitle: a\n  state: Todo\n---\n", "line 3"),
        ('---\ntitle: "a\\0b"\nstate: Todo\n---\n', "control characters"),
        ("---\ntitle: \udcff\nstate: Todo\n---\n", "not UTF-8"),
        ("---\ntitle: a\nstate: " + "[" * 60_000 + "\n---\n", "too deeply"),
        ("---\ntitle: a\nstate: Todo\nx: " + "y" * 70_000 + "\n---\n", "larger than"),
    ],
)
def test_what_is_no_issue_says_why(text: str, fault: str) -> None:
    with pytest.raises(Malformed, match=fault):
        Document.parse(text)


def test_values_are_read_as_people_mean_them() -> None:
    header = document(
        "title: 2026-01-01\nstate: No\npriority: '2'\nlabels: UI, bug\nblocked_by: DEMO-7\n"
        "assignee: ~\nurl: null\ncreated: 2026-01-02T03:04:05+02:00"
    ).header
    assert (header.title, header.state, header.priority) == ("2026-01-01", "No", 2)
    assert (header.labels, header.blocked_by) == (("ui", "bug"), ("DEMO-7",))
    assert (header.assignee, header.url) == (None, None)
    assert header.created_at == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
    assert document("title: a\nstate: b\ncreated_at: 2026-01-02").header.created_at == datetime(2026, 1, 2, tzinfo=UTC)
