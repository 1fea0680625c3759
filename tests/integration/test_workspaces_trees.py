"""Taking trees and snapshots: what is in them, what is left out and said so."""

from __future__ import annotations

import os
import socket
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from symphony.domain.errors import Rejected, Transient
from symphony.processes.git import Git
from symphony.processes.guardian import Guardian
from symphony.workspaces.snapshots import snapshot
from symphony.workspaces.trees import SnapshotLimits, take_tree
from tests.fakes.repositories import WHEN, Desk, Repository, git

pytest_plugins = ["tests.fakes.repository_fixtures"]


def listing(store: Git, tree: str) -> dict[str, str]:
    """Give path -> "mode content" of a tree."""
    found = {}
    for line in store.run("ls-tree", "-r", "-z", tree).split("\0"):
        if line:
            described, path = line.split("\t", 1)
            mode, kind, sha = described.split(" ")
            found[path] = f"{mode} {store.run('cat-file', 'blob', sha)}" if kind == "blob" else f"{mode} {sha}"
    return found


@pytest.fixture
def store(desk: Desk) -> Git:
    return desk.workspaces.git("DEMO-1")


def take(store: Git, **options: object) -> tuple[dict[str, str], dict[str, str]]:
    taken = take_tree(store, **options)  # type: ignore[arg-type]
    return listing(store, taken.tree), {left.path: left.reason for left in taken.left_out}


def test_an_untouched_workspace_has_the_tree_of_its_commit(store: Git, repository: Repository) -> None:
    assert take_tree(store).tree == store.tree_of(repository.first)
    assert take_tree(store).left_out == ()


def test_every_kind_of_change_is_taken(desk: Desk, store: Git) -> None:
    (desk.path / "README.md").unlink()
    (desk.path / "src/app.py").write_text("print(2)\n")
    (desk.path / "new dir").mkdir()
    (desk.path / "new dir/ü\n\t'quoted'").write_text("x")
    (desk.path / "link").symlink_to("/etc/passwd")
    (desk.path / "tool").write_text("#!/bin/sh\n")
    (desk.path / "tool").chmod(0o755)
    (desk.path / "build.log").write_text("ignored")
    files, left_out = take(store)
    assert files == {
        ".gitignore": "100644 *.log",
        "src/app.py": "100644 print(2)",
        "new dir/ü\n\t'quoted'": "100644 x",
        "link": "120000 /etc/passwd",
        "tool": "100755 #!/bin/sh",
    }
    assert left_out == {}


def test_a_second_take_sees_what_changed_since(desk: Desk, store: Git) -> None:
    (desk.path / "a").write_text("1")
    assert take(store)[0]["a"] == "100644 1"
    (desk.path / "a").write_text("2")
    assert take(store)[0]["a"] == "100644 2"
    (desk.path / "a").unlink()
    assert "a" not in take(store)[0]


def test_a_change_that_keeps_size_and_time_is_seen(desk: Desk, store: Git) -> None:
    take(store)
    path = desk.path / "src/app.py"
    before = path.stat()
    path.write_text("print(7)\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert take(store)[0]["src/app.py"] == "100644 print(7)"


def test_files_and_directories_may_swap(desk: Desk, store: Git) -> None:
    (desk.path / "README.md").unlink()
    (desk.path / "README.md").mkdir()
    (desk.path / "README.md/part").write_text("p")
    (desk.path / "src/app.py").unlink()
    (desk.path / "src").rmdir()
    (desk.path / "src").write_text("now a file")
    files, left_out = take(store)
    assert files["README.md/part"] == "100644 p"
    assert files["src"] == "100644 now a file"
    assert left_out == {}


def test_a_directory_swapped_for_a_link_outside_is_taken_as_a_link(desk: Desk, store: Git, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "app.py").write_text("secret")
    (desk.path / "src/app.py").unlink()
    (desk.path / "src").rmdir()
    (desk.path / "src").symlink_to(outside)
    files, _ = take(store)
    assert files["src"] == f"120000 {outside}"
    assert not any("secret" in content for content in files.values())


def test_what_an_agent_committed_and_staged_for_itself_changes_nothing(desk: Desk, store: Git) -> None:
    (desk.path / "a").write_text("1")
    git(desk.path, "add", "a")
    git(desk.path, "commit", "-q", "-m", "mine")
    (desk.path / "a").write_text("2")
    git(desk.path, "update-index", "--assume-unchanged", "a")
    assert take(store)[0]["a"] == "100644 2"


def test_special_files_are_left_out_and_named(desk: Desk, store: Git) -> None:
    os.mkfifo(desk.path / "pipe")
    (desk.path / "README.md").unlink()
    os.mkfifo(desk.path / "README.md")
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(desk.path)
        try:
            made.bind("socket")
        finally:
            os.chdir(here)
    files, left_out = take(store)
    assert set(files) == {".gitignore", "src/app.py"}
    assert left_out["README.md"] == "not a regular file"


def test_names_that_mean_git_itself_are_left_out_and_named(desk: Desk, store: Git) -> None:
    for name in (".GIT", "git~1", "a/.git "):
        (desk.path / name).mkdir(parents=True)
        (desk.path / name / "config").write_text("[core]\n")
    (desk.path / "good").write_text("x")
    (desk.path / ".gitmodules").symlink_to("elsewhere")
    files, left_out = take(store)
    assert set(files) == {".gitignore", "README.md", "src/app.py", "good"}
    assert set(left_out) == {".GIT/config", "git~1/config", "a/.git /config", ".gitmodules"}


def test_a_large_file_is_left_out_and_named(desk: Desk, store: Git) -> None:
    (desk.path / "big").write_bytes(b"x" * 2000)
    files, left_out = take(store, limits=SnapshotLimits(file_bytes=1000))
    assert "big" not in files
    assert left_out == {"big": "larger than 1000 bytes"}


@pytest.mark.parametrize("limits", [SnapshotLimits(total_bytes=50), SnapshotLimits(files=5)])
def test_too_large_a_change_is_refused(desk: Desk, store: Git, limits: SnapshotLimits) -> None:
    for number in range(10):
        (desk.path / f"f{number}").write_text("0123456789")
    with pytest.raises(Rejected) as caught:
        take_tree(store, limits=limits)
    assert caught.value.category == "change_too_large"
    assert ".gitignore" in caught.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_files_are_left_out_and_named(desk: Desk, store: Git) -> None:
    (desk.path / "locked").write_text("x")
    (desk.path / "locked").chmod(0)
    for mode in (0o000, 0o400):
        folder = desk.path / f"folder {mode}"
        folder.mkdir()
        (folder / "file").write_text("x")
        folder.chmod(mode)
    left_out = take(store)[1]
    assert left_out == dict.fromkeys(("locked", "folder 0", "folder 256/file"), "not readable")


def test_what_lies_too_deep_for_any_program_is_left_out_and_named(
    desk: Desk, store: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk.path / "new.txt").write_text("x")
    monkeypatch.chdir(desk.path)
    for _ in range(30):
        Path("d" * 200).mkdir()
        os.chdir("d" * 200)
    Path("file").write_text("x")
    monkeypatch.undo()
    files, left_out = take(store)
    assert "new.txt" in files
    assert [(path[:200], reason) for path, reason in left_out.items()] == [("d" * 200, "not readable")]


def test_a_nested_repository_is_left_out_and_named(desk: Desk, store: Git) -> None:
    nested = desk.path / "vendor/lib"
    nested.mkdir(parents=True)
    git(nested, "init", "-q")
    (nested / "code.c").write_text("int x;")
    git(nested, "add", "-A")
    git(nested, "commit", "-q", "-m", "x")
    files, left_out = take(store)
    assert set(files) == {".gitignore", "README.md", "src/app.py"}
    assert left_out == {"vendor/lib": "nested git repository"}


def test_a_repository_made_around_tracked_files_hides_none_of_them(desk: Desk, store: Git) -> None:
    git(desk.path / "src", "init", "-q")
    (desk.path / "src/app.py").write_text("changed\n")
    (desk.path / "src/more.py").write_text("more\n")
    files, left_out = take(store)
    assert files["src/app.py"] == "100644 changed"
    assert files["src/more.py"] == "100644 more"
    assert left_out == {"src/.git": "nested git repository"}


def test_a_pipe_where_git_reads_ends_in_a_clear_refusal(desk: Desk, store: Git) -> None:
    (desk.path / "src/.gitignore").unlink(missing_ok=True)
    os.mkfifo(desk.path / "src/.gitignore")
    (desk.path / "src/new.py").write_text("x")
    with pytest.raises(Rejected) as caught:
        take_tree(store, timeout_s=1)
    assert caught.value.category == "workspace_unusable"
    assert "src/.gitignore" in caught.value.message
    (desk.path / "src/.gitignore").unlink()
    assert "src/new.py" in take(store)[0]


def test_a_lock_left_by_a_killed_git_stops_nobody(desk: Desk, store: Git) -> None:
    (store.git_dir / "index.lock").write_text("")
    (desk.path / "a").write_text("1")
    assert take(store)[0]["a"] == "100644 1"


def test_a_tree_is_taken_while_the_agents_tree_is_frozen(desk: Desk, store: Git, guardian: Guardian) -> None:
    counter = "i=0; while :; do i=$((i+1)); echo $i > count; done"
    with guardian.tree("agent", lock=desk.workspaces.places.lock("DEMO-1")) as agent:
        process = agent.start(["sh", "-c", counter], cwd=desk.path, env={"PATH": os.environ["PATH"]})
        agent.freeze()
        first = take_tree(store).tree
        assert take_tree(store).tree == first
        agent.thaw()
        agent.kill()
        process.close()


def test_a_snapshot_is_symphonys_commit_and_the_same_twice(desk: Desk, store: Git, repository: Repository) -> None:
    (desk.path / "a").write_text("1")
    made = snapshot(store, parents=[repository.first], message="DEMO-1: first turn", when=WHEN)
    again = snapshot(store, parents=[repository.first], message="DEMO-1: first turn", when=WHEN)
    later = snapshot(store, parents=[repository.first], message="DEMO-1: first turn", when=WHEN + timedelta(1))
    assert made.changed
    assert made.commit == again.commit != later.commit
    shown = store.run("show", "-s", "--format=%an <%ae>|%cn|%P|%s|%at", made.commit)
    assert shown == f"Symphony <symphony@localhost>|Symphony|{repository.first}|DEMO-1: first turn|1795176000"


def test_no_change_makes_no_commit(store: Git, repository: Repository) -> None:
    made = snapshot(store, parents=[repository.first], message="nothing", when=WHEN)
    assert not made.changed
    assert made.commit == repository.first


def test_two_parents_are_a_merge_even_without_a_change(desk: Desk, store: Git, repository: Repository) -> None:
    (desk.path / "a").write_text("1")
    side = snapshot(store, parents=[repository.first], message="side", when=WHEN)
    both = snapshot(store, parents=[side.commit, repository.first], message="merged", when=WHEN)
    assert store.run("show", "-s", "--format=%P", both.commit) == f"{side.commit} {repository.first}"


def test_a_commit_needs_a_time_zone(store: Git, repository: Repository) -> None:
    with pytest.raises(ValueError, match="time zone"):
        store.commit(store.tree_of(repository.first), [], message="x", when=WHEN.replace(tzinfo=None))


def test_the_workspace_is_private_and_git_state_lies_outside_it(desk: Desk, store: Git) -> None:
    assert stat.S_IMODE(desk.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(desk.workspaces.places.root.stat().st_mode) == 0o711
    assert stat.S_IMODE(desk.workspaces.places.side.stat().st_mode) == 0o700
    assert not store.git_dir.is_relative_to(desk.path)


def test_a_store_that_lost_its_objects_says_so(desk: Desk, store: Git) -> None:
    (store.git_dir / "objects/info/alternates").unlink()
    with pytest.raises(Transient) as caught:
        take_tree(store)
    assert caught.value.category == "repository_corrupt"
