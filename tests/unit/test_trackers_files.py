"""The folder of issues: which files count, what is refused, what stays as it was, and what a large board costs."""

from __future__ import annotations

import os
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from symphony.domain.errors import ConfigError, Rejected, Transient
from symphony.trackers import Tracker, open_tracker
from symphony.trackers.files import exchange as exchange_module
from symphony.trackers.files import folder as folder_module
from symphony.trackers.files import reader as reader_module
from symphony.trackers.files import writer as writer_module
from symphony.trackers.files.exchange import exchange

ISSUE = "---\ntitle: A title\nstate: Todo\n---\nWhat to do.\n"


def board(folder: Path, **provider: object) -> Tracker:
    return open_tracker(
        "files", {"path": str(folder), **provider}, active_states=None, terminal_states=None, base_dir=folder, environ={}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "issues"
    folder.mkdir()
    return folder


@pytest.fixture
def path(folder: Path) -> Path:
    path = folder / "DEMO-1.md"
    path.write_text(ISSUE)
    return path


def age(path: Path) -> None:
    """Wait until a file counts as left alone."""
    while folder_module.is_fresh(path.stat()):
        time.sleep(0.05)


def listed(folder: Path) -> list[str]:
    return [issue.identifier for issue in board(folder).fetch_issues_by_states(["Todo"]).issues]


def test_names_with_spaces_and_letters_of_any_kind_are_issues(folder: Path) -> None:
    for name in ("Ünï códe ✓", "two words", "a.b", "DEMO-1"):
        (folder / f"{name}.md").write_text(ISSUE)
    assert listed(folder) == ["DEMO-1", "a.b", "two words", "Ünï códe ✓"]
    assert board(folder).move("Ünï códe ✓", "Done", allowed_from=["Todo"]).outcome == "applied"


def test_what_editors_and_tools_leave_is_no_issue(folder: Path) -> None:
    for name in (".#x.md", "x.md~", ".x.md.swp", "4913", ".hidden.md", "#x.md#", "x.txt", "README.md", "x.md.bak", ".md"):
        (folder / name).write_text(ISSUE)
    (folder / "sub.md").mkdir()
    (folder / "sub").mkdir()
    (folder / "sub" / "DEMO-2.md").write_text(ISSUE)
    fetched = board(folder).fetch_issues_by_states(["Todo"])
    assert (fetched.issues, fetched.omitted) == ((), ())


def test_names_that_cannot_be_identifiers_are_told_of(folder: Path) -> None:
    for name in (b"\xff.md", b" .md", b"a\nb.md"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_text(ISSUE)
    fetched = board(folder).fetch_issues_by_states(["Todo"])
    assert fetched.issues == ()
    assert len(fetched.omitted) == 3
    "".join(fetched.omitted).encode()


@pytest.mark.parametrize("issue_id", ["../secret", "a/b", "", ".", "..", "/etc/passwd", "x\0y", ".symphony/lock", "README"])
def test_an_id_never_leads_out_of_the_folder(folder: Path, issue_id: str) -> None:
    (folder.parent / "secret.md").write_text(ISSUE)
    tracker = board(folder)
    assert tracker.fetch_issues_by_ids([issue_id]) == ()
    with pytest.raises(Rejected):
        tracker.move(issue_id, "Done", allowed_from=["Todo"])
    assert (folder.parent / "secret.md").read_text() == ISSUE


def test_links_are_followed_within_the_folder_only(folder: Path, path: Path) -> None:
    (folder.parent / "outside.md").write_text(ISSUE)
    (folder / "sub").mkdir()
    (folder / "sub" / "real.md").write_text(ISSUE)
    for name, target in (("OUT", "../outside.md"), ("ALIAS", "DEMO-1.md"), ("LOST", "nothing.md"), ("IN", "sub/real.md")):
        (folder / f"{name}.md").symlink_to(target)
    (folder / "LOOP.md").symlink_to("LOOP.md")
    tracker = board(folder)
    fetched = tracker.fetch_issues_by_states(["Todo"])
    assert [issue.identifier for issue in fetched.issues] == ["DEMO-1", "IN"]
    assert len(fetched.omitted) == 4
    tracker.move("IN", "Done", allowed_from=["Todo"])
    assert (folder / "IN.md").is_symlink()
    assert (folder / "sub" / "real.md").read_text() == ISSUE.replace("Todo", "Done")
    with pytest.raises(Transient):
        tracker.move("OUT", "Done", allowed_from=["Todo"])


def test_pipes_huge_files_and_garbage_are_left_out(folder: Path, path: Path) -> None:
    os.mkfifo(folder / "PIPE.md")
    (folder / "HUGE.md").write_text(ISSUE + "x" * folder_module.LARGEST)
    (folder / "GARBAGE.md").write_bytes(os.urandom(5000))
    (folder / "EMPTY.md").touch()
    fetched = board(folder).fetch_issues_by_states(["Todo"])
    assert [issue.identifier for issue in fetched.issues] == ["DEMO-1"]
    assert len(fetched.omitted) == 4


@pytest.mark.parametrize(
    "content",
    [
        ISSUE.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + ISSUE.encode(),
        ISSUE.rstrip("\n").encode(),
        ISSUE.encode() + b"\xff\xfe latin \xe9\n",
        b"---\n# a comment\ntitle:   A title   # here\nstate: Todo\n\nother: {deep: [1, 2]}\n...\n\n\n\nbody\n\n\n",
    ],
)
def test_everything_but_state_and_comments_is_kept_byte_for_byte(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    tracker = board(path.parent)
    tracker.move("DEMO-1", "In Progress", allowed_from=["Todo"])
    moved = content.replace(b"Todo", b"In Progress")
    assert path.read_bytes() == moved
    tracker.comment("DEMO-1", key="k", body="ours")
    assert path.read_bytes().startswith(moved)
    (issue,) = tracker.fetch_issues_by_ids(["DEMO-1"])
    issue.as_json()["description"].encode()


def test_mode_and_owner_are_kept(path: Path) -> None:
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 2345)
    before = path.stat()
    board(path.parent).move("DEMO-1", "Done", allowed_from=["Todo"])
    after = path.stat()
    assert (before.st_mode, before.st_uid, before.st_gid) == (after.st_mode, after.st_uid, after.st_gid)
    assert before.st_ino != after.st_ino


def test_a_write_that_changes_nothing_touches_nothing(path: Path) -> None:
    tracker = board(path.parent)
    tracker.comment("DEMO-1", key="k", body="ours")
    before = path.stat()
    tracker.comment("DEMO-1", key="k", body="ours")
    tracker.move("DEMO-1", "todo", allowed_from=[])
    tracker.move("DEMO-1", "Done", allowed_from=["Review"])
    assert folder_module.version(before) == folder_module.version(path.stat())


def test_a_comment_that_would_make_the_file_unreadable_is_rejected(path: Path) -> None:
    with pytest.raises(Rejected, match="larger"):
        board(path.parent).comment("DEMO-1", key="k", body="x" * folder_module.LARGEST)
    assert path.read_text() == ISSUE


@pytest.mark.parametrize("state", ["", "  ", "a\nb", "a\0b", "\ud800"])
def test_what_cannot_be_a_state_is_rejected(path: Path, state: str) -> None:
    with pytest.raises(Rejected):
        board(path.parent).move("DEMO-1", state, allowed_from=["Todo"])
    assert path.read_text() == ISSUE


def test_blockers_that_are_missing_malformed_or_open_hold_an_issue(folder: Path) -> None:
    (folder / "OPEN.md").write_text(ISSUE)
    (folder / "DONE.md").write_text(ISSUE.replace("Todo", "closed"))
    (folder / "BROKEN.md").write_text("---\n")
    for name in ("OPEN", "DONE", "BROKEN", "MISSING", "A-DONE", "../x"):
        (folder / f"A-{name.strip('./')}.md").write_text(ISSUE.replace("---\nW", f"blocked_by: [{name}]\n---\nW"))
    held = board(folder).fetch_issues_by_states(["Todo"]).held
    assert set(held) == {"A-OPEN", "A-BROKEN", "A-MISSING", "A-A-DONE", "A-x"}
    assert "does not exist" in held["A-MISSING"]
    assert "cannot be read" in held["A-BROKEN"]
    assert "in state Todo" in held["A-OPEN"]


SAVES: dict[str, Callable[[Path], None]] = {
    "in place": lambda path: path.open("a").write("their words\n"),  # type: ignore[dict-item,return-value]
    "by rename": lambda path: _rename(path, path.read_text() + "their words\n"),
}


def _rename(path: Path, text: str) -> None:
    path.with_name(".#own").write_text(text)
    path.with_name(".#own").replace(path)


@pytest.mark.parametrize("links", [False, True])
@pytest.mark.parametrize("save", sorted(SAVES))
@pytest.mark.parametrize("moment", ["before", "between", "both"])
def test_an_edit_in_the_very_moment_of_the_exchange_is_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch, save: str, moment: str, links: bool
) -> None:
    calls = []

    def exchange_with_a_person(one: Path, other: Path) -> None:
        calls.append(one)
        if len(calls) == 1 and moment in {"before", "both"}:
            SAVES[save](path)
        exchange(one, other)
        if len(calls) == 1 and moment in {"between", "both"}:
            _rename(path, path.read_text().replace("What to do.", "What to do now."))

    if links:
        monkeypatch.setattr(exchange_module, "_renameat2", None)
    monkeypatch.setattr(writer_module, "exchange", exchange_with_a_person)
    assert board(path.parent).move("DEMO-1", "Done", allowed_from=["Todo"]).outcome in {"applied", "already"}
    words = "their words\n" if moment in {"before", "both"} else ""
    now = " now" if moment in {"between", "both"} else ""
    assert path.read_text() == ISSUE.replace("Todo", "Done").replace(" do.", f" do{now}.") + words
    assert len(calls) == 1 if moment == "between" else len(calls) > 1


def test_a_person_who_moves_the_issue_in_the_moment_of_our_move_wins(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exchange_after_a_person(one: Path, other: Path) -> None:
        if "Backlog" not in path.read_text() + one.read_text():
            _rename(path, ISSUE.replace("Todo", "Backlog"))
        exchange(one, other)

    monkeypatch.setattr(writer_module, "exchange", exchange_after_a_person)
    moved = board(path.parent).move("DEMO-1", "Done", allowed_from=["Todo"])
    assert (moved.outcome, moved.issue.state) == ("overruled", "Backlog")


def test_a_person_who_breaks_the_file_in_that_moment_keeps_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exchange_after_a_person(one: Path, other: Path) -> None:
        if path.read_text() == ISSUE:
            _rename(path, "---\ntitle: [\n---\n")
        exchange(one, other)

    monkeypatch.setattr(writer_module, "exchange", exchange_after_a_person)
    with pytest.raises(Transient, match="not YAML"):
        board(path.parent).move("DEMO-1", "Done", allowed_from=["Todo"])
    assert path.read_text() == "---\ntitle: [\n---\n"


def test_a_comment_to_a_malformed_issue_waits(path: Path) -> None:
    path.write_text("---\ntitle: [\n---\n")
    with pytest.raises(Transient, match="DEMO-1") as fault:
        board(path.parent).comment("DEMO-1", key="0190-a", body="x")
    assert fault.value.category == "tracker_response"
    assert path.read_text() == "---\ntitle: [\n---\n"


def test_a_person_who_deletes_the_issue_in_that_moment_has_it_deleted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exchange_after_a_person(one: Path, other: Path) -> None:
        path.unlink(missing_ok=True)
        exchange(one, other)

    monkeypatch.setattr(writer_module, "exchange", exchange_after_a_person)
    tracker = board(path.parent)
    with pytest.raises(Rejected):
        tracker.move("DEMO-1", "Done", allowed_from=["Todo"])
    assert not path.exists()
    assert tracker.fetch_issues_by_states(["Todo"]).issues == ()


@pytest.mark.parametrize("torn", [None, "", ISSUE[:15]])
def test_an_issue_in_the_middle_of_a_save_is_neither_gone_nor_malformed(
    path: Path, monkeypatch: pytest.MonkeyPatch, torn: str | None
) -> None:
    tracker = board(path.parent)
    tracker.fetch_issues_by_states(["Todo"])

    def saved_later(_: float) -> None:
        path.write_text(ISSUE)

    for call in (
        lambda: tracker.fetch_issues_by_ids(["DEMO-1"]),
        lambda: tracker.fetch_issues_by_states(["Todo"]).issues,
        lambda: board(path.parent).move("DEMO-1", "Done", allowed_from=["Todo"]).outcome,
    ):
        path.unlink()
        if torn is not None:
            path.write_text(torn)
        with monkeypatch.context() as patch:
            patch.setattr(folder_module.time, "sleep", saved_later)
            assert call()


def test_a_removed_folder_of_ours_is_made_again(path: Path) -> None:
    tracker = board(path.parent)
    tracker.move("DEMO-1", "Review", allowed_from=["Todo"])
    assert (path.parent / ".symphony" / ".gitignore").read_text() == "*\n"
    shutil.rmtree(path.parent / ".symphony")
    assert tracker.move("DEMO-1", "Done", allowed_from=["Review"]).outcome == "applied"


def test_what_cannot_be_written_is_an_error_and_not_a_loss(path: Path) -> None:
    (path.parent / ".symphony").write_text("a person's file")
    tracker = board(path.parent)
    assert len(tracker.fetch_issues_by_states(["Todo"]).issues) == 1
    with pytest.raises(Transient) as fault:
        tracker.move("DEMO-1", "Done", allowed_from=["Todo"])
    assert fault.value.category == "tracker_request"
    assert path.read_text() == ISSUE


def test_only_changed_files_are_parsed_again(folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "DEMO-2.md").write_text(ISSUE)
    age(folder / "DEMO-2.md")
    tracker = board(folder)
    tracker.fetch_issues_by_states(["Todo"])
    parsed: list[str] = []
    parse = yaml.parse
    monkeypatch.setattr(yaml, "parse", lambda text, Loader: parsed.append(text) or parse(text, Loader=Loader))  # noqa: N803
    assert len(tracker.fetch_issues_by_states(["Todo"]).issues) == 2
    assert parsed == []
    path.write_text(ISSUE.replace("Todo", "Done"))
    assert [issue.id for issue in tracker.fetch_issues_by_states(["Todo"]).issues] == ["DEMO-2"]
    assert len(parsed) == 1


def test_a_change_of_the_same_length_within_a_tick_of_the_clock_is_seen(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "version", lambda status: status.st_size)
    tracker = board(path.parent)
    for number in range(6):
        state = ("Todo", "Done")[number % 2]
        path.write_text(ISSUE.replace("Todo", state))
        assert [issue.state for issue in tracker.fetch_issues_by_ids(["DEMO-1"])] == [state]
        assert len(tracker.fetch_issues_by_states([state]).issues) == 1
    age(path)
    assert len(tracker.fetch_issues_by_states(["Done"]).issues) == 1


def test_ten_thousand_issues_are_polled_quickly_in_flat_memory(folder: Path) -> None:
    text = ISSUE + "x" * 3000
    (folder / "DEMO-1.md").write_text(text.replace("Todo", "Done"))
    for number in range(2, 10_000):
        (folder / f"DEMO-{number}.md").hardlink_to(folder / "DEMO-1.md")
    for number in range(0, 10_000, 100):
        (folder / f"DEMO-{number}.md").unlink(missing_ok=True)
        (folder / f"DEMO-{number}.md").write_text(text)
    tracker = board(folder)
    assert len(tracker.fetch_issues_by_states(["Todo"]).issues) == 100
    age(folder / "DEMO-9900.md")
    tracker.fetch_issues_by_states(["Todo"])
    started = time.process_time()
    assert len(tracker.fetch_issues_by_states(["Todo"]).issues) == 100
    assert time.process_time() - started < 2
    tracemalloc.start()
    for _ in range(2):
        tracker.fetch_issues_by_states(["Todo"])
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 3_000_000


def test_what_is_left_out_is_logged_once_and_again_when_it_changes(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = path.with_name("BAD.md")
    bad.write_text("---\n")
    tracker = board(path.parent)
    told = []
    for text in ("---\n", "---\n", "no"):
        bad.write_text(text)
        assert len(tracker.fetch_issues_by_states(["Todo"]).omitted) == 1
        told.append("BAD" in "".join(capsys.readouterr()))
    assert told == [True, False, True]


@pytest.mark.parametrize(
    ("provider", "place"),
    [
        ({"path": 3}, "path"),
        ({"path": " "}, "path"),
        ({"path": "$NOWHERE/issues"}, "path"),
        ({"path": "$EMPTY"}, "path"),
        ({"assignee": 3}, "assignee"),
        ({"assignee": ["a", ""]}, "assignee"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_place_and_cure(
    tmp_path: Path, provider: dict[str, object], place: str
) -> None:
    with pytest.raises(ConfigError) as fault:
        open_tracker("files", provider, active_states=None, terminal_states=None, base_dir=tmp_path, environ={"EMPTY": ""})
    assert fault.value.category == "invalid_tracker_config"
    assert fault.value.place == f"tracker.provider.{place}"
    assert fault.value.cure


@pytest.mark.parametrize("value", [None, "issues", "$BOARD", "${HERE}/issues", "~/issues", "./issues"])
def test_the_path_is_relative_to_the_workflow_and_may_name_variables(folder: Path, path: Path, value: str | None) -> None:
    environ = {"BOARD": str(folder), "HERE": str(folder.parent), "HOME": str(folder.parent)}
    tracker = open_tracker(
        "files", {"path": value}, active_states=None, terminal_states=None, base_dir=folder.parent, environ=environ
    )
    assert len(tracker.fetch_issues_by_states(tracker.active_states).issues) == 1
    assert tracker.terminal_states == ("Done", "Closed", "Canceled", "Cancelled", "Duplicate")


def test_check_names_what_will_not_be_picked_up(folder: Path, path: Path) -> None:
    (folder / "TYPO.md").write_text(ISSUE.replace("Todo", "To do"))
    (folder / "WAITS.md").write_text(ISSUE.replace("---\nW", "blocked_by: [GONE]\n---\nW"))
    (folder / "BAD.md").write_text("x")
    (folder / "OURS.md").write_text(ISSUE.replace("Todo", "Human Review"))
    said = {finding.message: finding.cure for finding in board(folder, colour="red").check(named_states=["Human Review"])}
    text = "\n".join(f"{message} {cure}" for message, cure in said.items())
    assert len(said) == 4
    for word in ("'colour'", "'Todo'", "GONE", "BAD.md"):
        assert word in text
    assert path.read_text() == ISSUE
