"""A workflow file under watch, changed in the ways that editors, checkouts and people change files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from symphony.workflow.findings import InvalidWorkflow
from symphony.workflow.loader import load
from symphony.workflow.watch import Broken, Reloaded, WatchedFile


def text(interval: object = 30_000, prompt: str = "Do it.") -> str:
    return f"---\ntracker: {{kind: files}}\npolling: {{interval_ms: {interval}}}\n---\n{prompt}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "WORKFLOW.md"
    path.write_text(text())
    return path


def test_an_unchanged_file_says_nothing(path: Path) -> None:
    watched = WatchedFile(path)
    os.utime(path, (1, 1))
    assert [watched.poll() for _ in range(3)] == [None] * 3


def test_a_change_of_the_same_size_and_time_is_noticed(path: Path) -> None:
    watched = WatchedFile(path)
    before = path.stat()
    path.write_text(text(40_000))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    change = watched.poll()
    assert isinstance(change, Reloaded)
    assert change.workflow.workflow.polling.interval_ms == 40_000
    assert watched.current is change.workflow
    assert watched.poll() is None


def test_a_renamed_file_in_its_place_is_noticed(path: Path, tmp_path: Path) -> None:
    watched = WatchedFile(path)
    (tmp_path / "new").write_text(text(prompt="Other."))
    (tmp_path / "new").rename(path)
    assert isinstance(watched.poll(), Reloaded)
    assert watched.current.prompt_template == "Other."


@pytest.mark.parametrize("content", [b"---\na: [\n---\n", b"", b"\xff", b"---\n- a\n---\n", b"x" * 2_000_000])
def test_a_broken_file_is_told_once_and_the_last_good_version_stays(path: Path, content: bytes) -> None:
    watched = WatchedFile(path)
    good = watched.current
    path.write_bytes(content)
    change = watched.poll()
    assert isinstance(change, Broken)
    assert watched.error is change.error
    assert watched.poll() is None
    assert watched.current is good
    path.write_text(text())
    assert isinstance(watched.poll(), Reloaded)
    assert watched.error is None
    assert watched.current.sha256 == good.sha256


def test_a_second_fault_is_told_again(path: Path) -> None:
    watched = WatchedFile(path)
    path.write_text(text("soon"))
    assert isinstance(watched.poll(), Broken)
    path.write_text(text("soon") + "more")
    assert isinstance(watched.poll(), Broken)


def test_a_file_that_goes_and_comes_back_the_same(path: Path) -> None:
    watched = WatchedFile(path)
    good = watched.current
    path.unlink()
    change = watched.poll()
    assert isinstance(change, Broken)
    assert change.error.category == "missing_workflow_file"
    assert watched.poll() is None
    assert watched.current is good
    path.mkdir()
    assert isinstance(watched.poll(), Broken)
    path.rmdir()
    path.write_text(text())
    assert isinstance(watched.poll(), Reloaded)
    assert watched.error is None


def test_there_must_be_a_good_version_to_begin_with(path: Path) -> None:
    path.write_text(text("soon"))
    with pytest.raises(InvalidWorkflow):
        WatchedFile(path)


def test_a_writer_that_never_stops_does_not_hold_the_poll(path: Path) -> None:
    watched = WatchedFile(path)
    script = (
        "import itertools, sys\n"
        "for n in itertools.count(1):\n"
        "    open(sys.argv[1], 'w').write(f'---\\ntracker: {{kind: files}}\\n---\\n{n}\\n')\n"
        "    n == 1 and print('writing', flush=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline()
        for _ in range(5):
            watched.poll()
            assert watched.current.workflow.tracker.kind == "files"
    finally:
        writer.kill()
        writer.communicate()
    path.write_text(text(prompt="final"))
    assert isinstance(watched.poll(), Reloaded)
    assert watched.current.prompt_template == "final"


def test_a_checkout_changes_the_version(path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=path.parent, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "one")
    git("checkout", "-qb", "other")
    path.write_text(text(prompt="other"))
    git("commit", "-qam", "two")
    watched = WatchedFile(path)
    git("checkout", "-q", "main")
    assert isinstance(watched.poll(), Reloaded)
    assert watched.current.prompt_template == "Do it."


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "loop", "below a file", "nul"])
def test_what_cannot_be_read_is_missing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "WORKFLOW.md"
    match kind:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "loop":
            path.symlink_to(path)
        case "below a file":
            path.write_text("x")
            path = path / "WORKFLOW.md"
        case "nul":
            path = tmp_path / "a\0b"
    with pytest.raises(InvalidWorkflow) as caught:
        load(path)
    assert caught.value.category == "missing_workflow_file"
    assert str(path) in str(caught.value)


def test_a_file_without_permission_is_missing(path: Path) -> None:
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads every file")
    with pytest.raises(InvalidWorkflow) as caught:
        load(path)
    assert caught.value.category == "missing_workflow_file"


def test_the_reference_is_written_by_its_command(tmp_path: Path) -> None:
    page = tmp_path / "workflow.md"
    subprocess.run([sys.executable, "-m", "symphony.workflow.reference", str(page)], check=True)
    assert page.read_text().startswith("# WORKFLOW.md")


def test_the_folder_names_the_workflow(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "My Payments"
    folder.mkdir()
    shutil.copy(path, folder)
    assert load(folder / "WORKFLOW.md").workflow.name == "My-Payments"
