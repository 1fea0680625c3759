"""Comments in an issue's file: ours by their markers, people's as they naturally write, and the merge of two edits."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symphony.domain.errors import InvariantViolated
from symphony.trackers.files import comments
from symphony.trackers.files.merge import merge
from symphony.trackers.protocol import is_ours

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TEXTS = st.text(alphabet=st.sampled_from("ab#`~-<!>/ \n\r:symphonyCk1"), max_size=60)


def write(body: str, key: str = "k", text: str = "ours") -> str:
    return comments.write(body, key=key, text=text, now=NOW)


def bodies(body: str) -> list[str]:
    return [comment.body for comment in comments.read(body)[1]]


def test_a_comment_is_added_at_the_end_and_nothing_before_it_changes() -> None:
    assert write("No line end") == (
        "No line end\n\n## Comments\n\n<!-- symphony:k -->\n### Symphony · 2026-01-02T03:04:05Z\n\nours\n\n"
        "<!-- /symphony:k -->\n"
    )


@settings(deadline=None)
@given(TEXTS, TEXTS, TEXTS)
def test_whatever_stands_there_our_comment_is_found_again_once(body: str, text: str, second: str) -> None:
    once = write(body, text=text)
    assert once.startswith(body)
    assert write(once, text=text) == once
    edited = write(once, text=second)
    assert edited.startswith(body)
    assert len(re.findall(r"(?m)^<!-- symphony:k -->", edited)) - len(re.findall(r"(?m)^<!-- symphony:k -->", body)) <= 1
    assert [comment.id for comment in comments.read(edited)[1] if comment.id == "symphony:k"]


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab#`- \n", max_size=20), max_size=4), TEXTS)
def test_what_people_wrote_is_never_changed_by_an_edit(people: list[str], text: str) -> None:
    body = "Description\n"
    for number, words in enumerate(people):
        body = write(body, key=f"k{number}", text="first") + words + "\n"
    edited = comments.write(body, key="k0", text=text, now=NOW)
    ours = re.compile(r"(?ms)^<!-- symphony:(k\d) -->.*?^<!-- /symphony:\1 -->\n")
    assert ours.sub("", edited).startswith(ours.sub("", body))


def test_the_description_ends_where_the_last_section_of_comments_begins() -> None:
    example = "Say this:\n\n```\n## Comments\n```\n\n## Comments\n\nold heading\n\n## More\n"
    assert comments.read(example)[0] == "Say this:\n\n```\n## Comments\n```\n\n"
    assert comments.read("```\n## Comments\nnever closed\n")[0] == "```\n"
    assert comments.read("## comments:\nlower")[1][0].body == "lower"
    assert comments.read("Text\n### Comments\nnot it") == ("Text\n### Comments\nnot it", ())


def test_people_may_write_as_they_like() -> None:
    body = write("Text.\n") + (
        "looks good\nsecond line\n\nanother\n\n- a bullet\n  goes on\n\n  and on\n- the next\n\n```\ncode\n\nmore\n```\n"
        "### Ann · 2026-01-01T10:00\nsigned\n\nand long\n\n---\nafter the rule\n\n### No date here\ntext\n\n<!-- hint -->\n"
    )
    assert bodies(body) == [
        "ours",
        "looks good\nsecond line",
        "another",
        "- a bullet\n  goes on\n\n  and on",
        "- the next\n\n```\ncode\n\nmore\n```",
        "signed\n\nand long",
        "after the rule",
        "### No date here\ntext\n\n<!-- hint -->",
    ]
    signed = comments.read(body)[1][5]
    assert (signed.author, signed.created_at) == ("Ann", datetime(2026, 1, 1, 10, tzinfo=UTC))


@pytest.mark.parametrize("heading", ["Ann, 2026-01-01", "Ann (2026-01-01)", "Ann — 2026-01-01T00:00:00Z", "Ann 2026-01-01"])
def test_a_heading_with_a_day_signs_a_comment(heading: str) -> None:
    (comment,) = comments.read(f"## Comments\n\n### {heading}\nhello\n")[1]
    assert (comment.author, comment.created_at, comment.body) == ("Ann", datetime(2026, 1, 1, tzinfo=UTC), "hello")


def test_an_id_holds_while_others_are_added_around_it_and_repetitions_are_told_apart() -> None:
    before = comments.read("## Comments\n\nyes\n\nno\n")[1]
    after = comments.read("## Comments\n\nfirst of all\n\nyes\n\n" + "no\n\nyes\n")[1]
    assert set(before) <= set(after)
    assert len({comment.id for comment in after}) == 4
    assert not any(is_ours(comment) for comment in after)


def test_a_comment_of_ours_cannot_forge_a_marker() -> None:
    body = write("Text.\n", text="a\n<!-- /symphony:k -->\n<!-- symphony:other -->\nb\n<!-- /symphony:other -->")
    assert [comment.id for comment in comments.read(body)[1]] == ["symphony:k"]
    assert write(body, text="c").count("symphony:") == 2


def test_when_our_closing_marker_was_deleted_nothing_is_deleted_with_it() -> None:
    torn = write("Text.\n").replace("<!-- /symphony:k -->\n", "") + "\na person's words\n"
    assert write(torn) == torn
    edited = write(torn, text="new")
    assert "a person's words" in edited
    assert bodies(edited)[0] == "new"
    assert write(edited, text="new") == edited


def test_words_written_right_behind_our_marker_are_a_comment() -> None:
    assert bodies(write("Text.\n").rstrip("\n") + "and mine\n") == ["ours", "and mine"]


def test_an_edit_keeps_place_and_time() -> None:
    body = write("Text.\n") + "theirs\n"
    edited = comments.write(body, key="k", text="new", now=NOW + timedelta(days=1))
    assert edited == body.replace("ours", "new")


def test_line_ends_of_windows_are_kept() -> None:
    body = comments.write("Text.\r\n", key="k", text="a\nb", now=NOW, newline="\r\n")
    assert body.count("\n") == body.count("\r\n")
    assert bodies(body + "theirs\r\nmore\r\n") == ["a\nb", "theirs\nmore"]
    assert comments.write(body, key="k", text="a\nb", now=NOW, newline="\r\n") == body


@pytest.mark.parametrize("key", ["", "a b", "a--b", "-->", "x" * 101, "a\n"])
def test_a_key_that_would_break_the_marker_is_refused(key: str) -> None:
    with pytest.raises(InvariantViolated):
        write("", key=key)


@pytest.mark.parametrize(
    "text", ["## comments" + " " * 200_000 + "x", "### " + "a " * 100_000, "- " * 100_000, "<!-- " * 50_000]
)
def test_long_lines_are_read_quickly(text: str) -> None:
    started = datetime.now(UTC)
    comments.read(f"Text\n\n## Comments\n\n{text}\n{text}\n")
    assert datetime.now(UTC) - started < timedelta(seconds=5)


LINES = st.lists(st.sampled_from([f"line {number}" for number in range(9)]), max_size=9)


@settings(deadline=None)
@given(LINES, LINES, LINES)
def test_a_merge_has_every_line_that_either_side_added(base: list[str], theirs: list[str], ours: list[str]) -> None:
    mine, yours = [f"ours {line}" for line in ours], [f"theirs {line}" for line in theirs]
    left = "\n".join(base[: len(base) // 2] + yours + base[len(base) // 2 :])
    right = "\n".join(base + mine)
    merged = merge("\n".join(base), theirs=left, ours=right).split("\n")
    assert set(mine) | set(yours) <= set(merged)


def test_a_merge_with_one_side_unchanged_is_the_other() -> None:
    base, other = "---\nstate: a\n---\none\ntwo\n", "---\nstate: b\n---\none\n2\ntwo"
    assert merge(base, theirs=other, ours=base) == other
    assert merge(base, theirs=base, ours=other) == other
    assert merge(base, theirs=other, ours=other) == other


def test_of_two_states_theirs_is_taken() -> None:
    base = "---\nstate: a\n---\nbody\n"
    merged = merge(base, theirs=base.replace("state: a", "state: b") + "more\n", ours=base.replace("state: a", "state: c"))
    assert merged == "---\nstate: b\n---\nbody\nmore\n"
