"""`symphony init` on real small repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from symphony.engine import preflight
from symphony.workflow.findings import NOT_IN_THIS_BUILD
from symphony.workflow.loader import load
from tests.fakes.command import Command
from tests.fakes.repositories import git

PASSES = "import unittest\n\n\nclass T(unittest.TestCase):\n    def test_a(self):\n        assert True\n"


def repository(folder: Path, files: dict[str, str]) -> Path:
    """Make a repository with one commit."""
    folder.mkdir()
    git(folder, "init", "-q", "-b", "trunk", ".")
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


@pytest.fixture
def symphony(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    monkeypatch.setenv("SYMPHONY_HOME", str(tmp_path / "home"))
    return Command(capsys)


def test_a_python_repository_gets_a_file_that_check_accepts(symphony: Command, tmp_path: Path) -> None:
    top = repository(tmp_path / "acme", {"a.py": "", "test_a.py": PASSES})
    (top / "test_b.py").write_text("this is not committed and would fail(")
    said = symphony("init", str(top))
    assert said.code == 0, said
    assert "tests: `python3 -m unittest discover` passed in" in said.out and f"wrote {top / 'WORKFLOW.md'}" in said.out
    loaded = load(top / "WORKFLOW.md")
    assert loaded.workflow.name == "acme" and loaded.workflow.repository is not None
    assert loaded.workflow.repository.branch == "trunk"
    found = preflight.findings(loaded, environ={}, base_dir=top, home=tmp_path / "home")
    assert [f for f in found if f.severity == "error" and f.category != NOT_IN_THIS_BUILD] == []
    assert git(top, "status", "--porcelain").splitlines() == ["?? WORKFLOW.md", "?? test_b.py"]


def test_an_existing_file_stays_as_it_is(symphony: Command, tmp_path: Path) -> None:
    top = repository(tmp_path / "acme", {"a.py": ""})
    (top / "WORKFLOW.md").symlink_to("nowhere")
    said = symphony("init", str(top))
    assert (said.code, said.out) == (2, "") and "stays as it is" in said.err and said.err.count("\n") == 1
    assert not (top / "nowhere").exists()


def test_a_failing_test_is_told_with_its_last_words(symphony: Command, tmp_path: Path) -> None:
    top = repository(tmp_path / "acme", {"Makefile": "test:\n\t@echo oh no; exit 3\n"})
    said = symphony("init", str(top))
    assert said.code == 0 and "failed with exit code 2" in said.out and "mend it before agents start" in said.out
    assert "run: make test" in (top / "WORKFLOW.md").read_text()


def test_a_test_that_does_not_end_is_ended(symphony: Command, tmp_path: Path) -> None:
    top = repository(tmp_path / "acme", {"Makefile": "test:\n\t@sleep 1000\n"})
    assert "did not end within 1 s" in symphony("init", str(top), "--timeout", "1").out


def test_the_remote_of_the_repository_is_used(symphony: Command, tmp_path: Path) -> None:
    top = repository(tmp_path / "acme", {"README.md": "x"})
    git(top, "remote", "add", "origin", "https://me:secret@git.example.org/acme.git")
    said = symphony("init", str(top), "--no-run")
    written = (top / "WORKFLOW.md").read_text()
    assert 'url: "https://git.example.org/acme.git"' in written and "secret" not in written + said.out
    assert "nothing lands" in said.out


@pytest.mark.parametrize("what", ["no repository", "no commit", "below the top", "nothing"])
def test_what_is_no_repository_is_a_sentence(symphony: Command, tmp_path: Path, what: str) -> None:
    place = tmp_path / "place"
    if what == "below the top":
        place = repository(place, {"sub/a": ""}) / "sub"
    elif what != "nothing":
        place.mkdir()
        if what == "no commit":
            git(place, "init", "-q", ".")
    said = symphony("init", str(place))
    assert (said.code, said.out) == (2, "") and said.err.count("\n") == 1, said


@pytest.mark.parametrize(
    ("word", "slug"),
    [
        ("shop-0c79b11b75ea", "shop-0c79b11b75ea"),
        ("https://linear.app/acme/project/shop-0c79b11b75ea/overview", "shop-0c79b11b75ea"),
        ("0c79b11b75ea", "0c79b11b75ea"),
    ],
)
def test_a_linear_project_becomes_the_tracker(symphony: Command, tmp_path: Path, word: str, slug: str) -> None:
    top = repository(tmp_path / "acme", {"a.py": ""})
    said = symphony("init", str(top), "--no-run", "--linear", word)
    assert said.code == 0 and "--create-states" in said.out, said
    loaded = load(top / "WORKFLOW.md")
    assert (loaded.workflow.tracker.kind, loaded.workflow.tracker.provider["project_slug"]) == ("linear", slug)
    found = preflight.findings(loaded, environ={"LINEAR_API_KEY": "k"}, base_dir=top, home=tmp_path / "home")
    assert [f for f in found if f.severity == "error"] == []


def test_what_is_no_project_of_linear_is_a_sentence(symphony: Command, tmp_path: Path) -> None:
    top = repository(tmp_path / "acme", {"a.py": ""})
    said = symphony("init", str(top), "--no-run", "--linear", "https://example.org/shop")
    assert said.code == 2 and "--linear" in said.err and not (top / "WORKFLOW.md").exists()
