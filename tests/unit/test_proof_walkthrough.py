"""The walkthrough says nothing of a change that is not so, and leaves no file of it out, whatever the agent tells."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.processes.git import Git
from symphony.processes.guardian import Tree
from symphony.proof.account import Account, Group, Spot, account_of
from symphony.proof.changes import Change, change_between, originals
from symphony.proof.diff import FileDiff, parse_diff
from symphony.proof.walkthrough import BUDGET, NOT_MENTIONED, walkthrough
from tests.fakes.repositories import Repository

pytest_plugins = ["tests.fakes.repository_fixtures"]

ODD = 'docs/o"d\td näme.md'


@pytest.fixture
def change(tree: Tree, repository: Repository) -> Change:
    """A change of every kind."""
    person = repository.person
    numbers = "".join(f"line {n}\n" for n in range(1, 41))
    (person.clone / "gone.txt").write_text("--- a/README.md\n+++ b/README.md\n@@ -1 +1 @@\n-x\n+y\n")
    base = person.commit({"src/app.py": numbers, "run.sh": "echo\n", "a b/spaced name.txt": "one\n"})
    (person.clone / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    os.chmod(person.clone / "run.sh", 0o755)  # noqa: PTH101 - beside the rest
    head = person.commit(
        {
            "src/app.py": numbers.replace("line 3\n", "line three\n").replace("line 30\n", "line thirty\nmore\n"),
            "gone.txt": None,
            "tests/test_app.py": "def test_three():\n    assert True\n",
            ODD: "odd\r\n",
            "a b/spaced name.txt": "two",
            "empty.txt": "",
        }
    )
    return change_between(Git(tree, person.clone / ".git"), base, head)


def test_a_change_is_read_as_git_tells_it(change: Change, repository: Repository) -> None:
    files = {file.path: file for file in change.files}
    assert {path: (file.status, file.added, file.deleted) for path, file in files.items()} == {
        "a b/spaced name.txt": ("modified", 1, 1),
        ODD: ("added", 1, 0),
        "empty.txt": ("added", 0, 0),
        "gone.txt": ("deleted", 0, 5),
        "logo.png": ("added", 0, 0),
        "run.sh": ("modified", 0, 0),
        "src/app.py": ("modified", 3, 2),
        "tests/test_app.py": ("added", 2, 0),
    }
    assert files["logo.png"].is_binary and not files["run.sh"].is_binary
    assert [(hunk.start, hunk.count) for hunk in files["src/app.py"].hunks] == [(1, 6), (27, 8)]
    assert change.base["run.sh"] == change.candidate["run.sh"] == b"echo\n"
    assert "gone.txt" not in change.candidate and change.candidate[ODD] == b"odd\r\n"


def test_originals_are_unchanged_files_of_the_same_languages(tree: Tree, repository: Repository) -> None:
    head = repository.person.commit({"src/b.py": "b\n", "lib/c.py": "c\n", "lib/d.go": "d\n", "src/new.py": "n\n"})
    git = Git(tree, repository.person.clone / ".git")
    found = originals(git, head, ["src/new.py"])
    assert list(found) == ["src/app.py", "src/b.py", "lib/c.py"]
    assert list(originals(git, head, ["src/new.py"], most_bytes=11)) == ["src/app.py", "src/b.py"]


def test_the_account_is_ordered_checked_and_completed(change: Change) -> None:
    account = account_of(
        {
            "purpose": "Say numbers in words.",
            "groups": [
                {"title": "The words", "files": ["./src/app.py", "src/nothing.py"], "why": "asked for"},
                {"title": "Again", "files": ["src/app.py"], "why": ""},
            ],
            "hunks": [
                {"file": "src/app.py", "start_line": 1, "end_line": 4, "why": "the third"},
                {"file": "src/app.py", "start_line": 15, "end_line": 20, "why": "nothing there"},
                {"file": "src/app.py", "start_line": 31, "end_line": 9_999, "why": "the rest"},
                {"file": "gone.txt", "start_line": 1, "end_line": 2, "why": "no longer"},
            ],
            "tests_added": ["tests/test_app.py::test_three", "test_four"],
            "risks": ["few"],
            "not_done": ["hundreds"],
        }
    )
    told = walkthrough(change.files, account, tests_added=["tests/test_app.py: test_three"])
    assert told.by == "agent" and told.purpose == "Say numbers in words."
    assert [(group.title, [file.path for file in group.files]) for group in told.groups] == [
        ("The words", ["src/app.py"]),
        (NOT_MENTIONED, ["a b/spaced name.txt", ODD, "empty.txt", "gone.txt", "logo.png", "run.sh", "tests/test_app.py"]),
    ]
    assert [(quote.path, quote.line, quote.end_line) for quote in told.quotes] == [
        ("src/app.py", 1, 4),
        ("src/app.py", 31, 34),
        ("gone.txt", 1, 2),
    ]
    assert told.quotes[0].text == " line 1\n line 2\n-line 3\n+line three\n line 4"
    assert told.quotes[2].text == "---- a/README.md\n-+++ b/README.md"
    assert told.tests_added == ("tests/test_app.py::test_three",)
    assert [note.partition(" ")[0] for note in told.notes] == ["src/nothing.py", "lines", "test_four"], told.notes
    assert told.as_json()["risks"] == ("few",)


def test_without_an_account_the_change_tells_itself(change: Change) -> None:
    told = walkthrough(change.files, None, tests_added=["tests/test_app.py: test_three"])
    assert told.by == "change"
    named = [file.path for group in told.groups for file in group.files]
    assert sorted(named) == sorted(file.path for file in change.files)
    assert {group.title for group in told.groups} >= {"Tests", "Documents", "Files in src"}
    assert told.quotes[0].path in {"src/app.py", "gone.txt"} and told.tests_added
    assert told.risks == ("deleted: gone.txt", "binary, not to be read here: logo.png")


def test_quotes_keep_the_budget_and_secrets_stay_out() -> None:
    lines = "".join(f"+{'x' * 300} {n}\n" for n in range(2000))
    diff = f"diff --git a/a.py b/a.py\nnew file mode 100644\n--- /dev/null\n+++ b/a.py\n@@ -0,0 +1,2000 @@\n{lines}"
    files = parse_diff(diff.encode())
    account = Account(hunks=tuple(Spot("a.py", n, n + 40, "ghp_0123456789abcdefghij") for n in range(1, 2000, 20)))
    told = walkthrough(files, account)
    assert 0 < sum(len(quote.text) for quote in told.quotes) <= BUDGET
    assert "ghp_" not in json.dumps(told.as_json())


@pytest.mark.parametrize(
    "value", [None, "", "{", "[]", 7, [], {}, {"purpose": 3}, {"groups": "all", "hunks": [1, {"file": 2}]}, "[" * 100_000]
)
def test_what_is_no_account_is_none(value: object) -> None:
    assert account_of(value) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["purpose", "groups", "hunks", "tests_added", "risks", "not_done", "file", "files", "title", "why",
                             "start_line", "end_line"]), inner, max_size=6,
        ),
    )
)  # fmt: skip
def test_no_account_raises_or_hides_a_file(value: object) -> None:
    files = [FileDiff("a.py", added=1), FileDiff("b.py", "deleted")]
    told = walkthrough(files, account_of(value))
    assert sorted(file.path for group in told.groups for file in group.files) == ["a.py", "b.py"]


def test_a_group_names_files_once_and_only_those_of_the_change() -> None:
    account = Account(groups=(Group("one", ("a.py", "a.py", "z.py")), Group("two", ("a.py",))))
    told = walkthrough([FileDiff("a.py")], account)
    assert [group.title for group in told.groups] == ["one"] and len(told.groups[0].files) == 1


@given(st.binary(max_size=400) | st.text(alphabet='diff -git ab/+@,1\n\\"', max_size=300).map(str.encode))
def test_no_diff_raises(text: bytes) -> None:
    parse_diff(b"diff --git a/x b/x\n" + text)
    parse_diff(text)


def test_the_reader_takes_what_plain_git_writes(tmp_path: Path) -> None:
    for name, text in (("a", "one\ntwo\n"), ("b", "one\n2\nthree")):
        (tmp_path / name).write_text(text)
    said = subprocess.run(["git", "diff", "--no-index", "a", "b"], cwd=tmp_path, capture_output=True, check=False).stdout
    (file,) = parse_diff(said)
    assert (file.path, file.added, file.deleted) == ("b", 2, 1)
    assert file.hunks[0].lines == (" one", "-two", "+2", "+three")
