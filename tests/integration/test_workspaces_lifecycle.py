"""Making, finding, moving and removing workspaces, and the clones that fill them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from symphony.domain.errors import ConfigError, Rejected, Transient
from symphony.forges.git import GitForge
from symphony.processes.guardian import Tree
from symphony.workspaces.clones import Source, clean_checkout
from symphony.workspaces.mirrors import Mirror
from symphony.workspaces.removal import remove_tree
from symphony.workspaces.snapshots import snapshot
from symphony.workspaces.workspace import ASIDE_KEPT, Claim, Workspaces
from tests.fakes.repositories import WHEN, Desk, Repository, git

pytest_plugins = ["tests.fakes.repository_fixtures"]

PLAIN = Claim("payments", "run-1")
SHELL = {"PATH": os.environ["PATH"]}


def fail(_: Path) -> None:
    raise Transient("the hook failed", category="hook_failed")


def test_the_agents_clone_knows_its_branch_and_nothing_of_where_it_came_from(
    desk: Desk, repository: Repository, mirror: Mirror
) -> None:
    assert git(desk.path, "rev-parse", "HEAD", "main") == f"{repository.first}\n{repository.first}"
    assert git(desk.path, "symbolic-ref", "HEAD") == "refs/heads/symphony/DEMO-1"
    assert git(desk.path, "status", "--porcelain") == ""
    assert git(desk.path, "remote") == ""
    config = (desk.path / ".git/config").read_text()
    assert str(mirror.path) not in config
    assert repository.url not in config
    assert not (desk.path / ".git/objects/info/alternates").exists()
    assert not (desk.path / ".git/hooks").exists()


def test_the_agents_clone_shares_no_file_with_the_mirror(desk: Desk, mirror: Mirror) -> None:
    of_mirror = {path.stat().st_ino for path in mirror.path.rglob("*") if path.is_file()}
    of_clone = {path.stat().st_ino for path in desk.path.rglob("*") if path.is_file()}
    assert of_clone
    assert not of_mirror & of_clone


def test_a_run_finds_its_workspace_again_as_it_left_it(desk: Desk) -> None:
    (desk.path / "unsaved").write_text("x")
    again = desk.workspaces.open("DEMO-1", desk.claim, source=desk.source, prepare=fail)
    assert not again.created_now
    assert (again.path / "unsaved").exists()


def test_work_that_went_on_elsewhere_moves_the_stale_workspace_aside(desk: Desk, repository: Repository) -> None:
    (desk.path / "stale").write_text("x")
    store = desk.workspaces.git("DEMO-1")
    (desk.path / "elsewhere").write_text("newer")
    made = snapshot(store, parents=[repository.first], message="on another node", when=WHEN)
    ref = "refs/symphony/wip/run-1/2"
    forge = GitForge(repository.url, "main")
    forge.push_snapshot(store, ref, made.commit)
    fresh = Mirror(store.tree, desk.workspaces.places.root.parent / "other-home", repository.url)
    fresh.update(lambda there: forge.fetch(there, [ref]))
    (desk.path / "elsewhere").write_text("older")
    source = Source(fresh.path, made.commit, "symphony/DEMO-1")
    opened = desk.workspaces.open("DEMO-1", desk.claim, source=source)
    assert opened.created_now
    assert (opened.path / "elsewhere").read_text() == "newer"
    assert (desk.workspaces.places.aside / "DEMO-1@1" / "elsewhere").read_text() == "older"
    assert not snapshot(desk.workspaces.git("DEMO-1"), parents=[made.commit], message="nothing", when=WHEN).changed


def test_a_noted_head_is_what_the_workspace_is_recognised_by(desk: Desk, repository: Repository) -> None:
    (desk.path / "a").write_text("1")
    made = snapshot(desk.workspaces.git("DEMO-1"), parents=[repository.first], message="turn", when=WHEN)
    desk.workspaces.note_head("DEMO-1", made.commit)
    source = Source(desk.source.mirror, made.commit, "symphony/DEMO-1")
    assert not desk.workspaces.open("DEMO-1", desk.claim, source=source).created_now


def test_a_new_run_starts_from_its_own_commit(desk: Desk) -> None:
    (desk.path / "left over").write_text("x")
    opened = desk.workspaces.open("DEMO-1", Claim("payments", "run-2", desk.claim.repository), source=desk.source)
    assert opened.created_now
    assert not (opened.path / "left over").exists()


def test_another_workflows_workspace_is_refused_and_untouched(desk: Desk) -> None:
    (desk.path / "mine").write_text("x")
    for call in (
        lambda: desk.workspaces.open("DEMO-1", Claim("billing", "run-9", desk.claim.repository), source=desk.source),
        lambda: desk.workspaces.remove("DEMO-1", Claim("billing", "run-9")),
    ):
        with pytest.raises(ConfigError, match="belongs to the workflow payments"):
            call()
    assert (desk.path / "mine").exists()


def test_a_directory_that_nobody_marked_is_moved_aside_not_deleted(
    workspaces: Workspaces, mirror: Mirror, repository: Repository
) -> None:
    path = workspaces.places.workspace("DEMO-1")
    path.mkdir()
    (path / "somebody's").write_text("work")
    claim = Claim("payments", "run-1", repository.url)
    assert workspaces.open("DEMO-1", claim, source=Source(mirror.path, repository.first, "b")).created_now
    assert (workspaces.places.aside / "DEMO-1@1" / "somebody's").read_text() == "work"


def test_only_the_newest_few_are_kept_aside(workspaces: Workspaces) -> None:
    for number in range(ASIDE_KEPT + 3):
        workspaces.open("A", PLAIN)
        (workspaces.places.workspace("A") / str(number)).write_text("")
        workspaces.move_aside("A")
    kept = {path.name for aside in workspaces.places.aside.iterdir() for path in aside.iterdir()}
    assert kept == {str(number) for number in range(3, ASIDE_KEPT + 3)}


def test_a_failing_preparation_leaves_nothing_behind(
    workspaces: Workspaces, mirror: Mirror, repository: Repository
) -> None:
    source = Source(mirror.path, repository.first, "b")
    with pytest.raises(Transient):
        workspaces.open("DEMO-1", Claim("payments", "run-1", repository.url), source=source, prepare=fail)
    places = workspaces.places
    for folder in (places.new, places.aside, places.git_dirs, places.markers):
        assert list(folder.iterdir()) == []
    assert not places.workspace("DEMO-1").exists()


def test_a_missing_commit_leaves_nothing_behind_and_says_so(
    workspaces: Workspaces, mirror: Mirror, repository: Repository
) -> None:
    source = Source(mirror.path, "1" * 40, "b")
    with pytest.raises(Rejected) as caught:
        workspaces.open("DEMO-1", Claim("payments", "run-1", repository.url), source=source)
    assert caught.value.category == "ref_missing"
    assert list(workspaces.places.new.iterdir()) == []


def test_a_workspace_whose_preparation_was_killed_is_prepared_again(workspaces: Workspaces) -> None:
    class Killed(BaseException):
        pass

    def die(path: Path) -> None:
        (path / "half").write_text("")
        # What a SIGKILL leaves: no clean-up runs.
        workspaces._discard = lambda _: None  # type: ignore[method-assign]
        raise Killed

    with pytest.raises(Killed):
        workspaces.open("A", PLAIN, prepare=die)
    del workspaces._discard
    assert (workspaces.places.workspace("A") / "half").exists()
    prepared = []
    opened = workspaces.open("A", PLAIN, prepare=prepared.append)
    assert opened.created_now
    assert prepared == [opened.path]
    assert list(opened.path.iterdir()) == []


def test_half_made_workspaces_of_the_killed_are_swept_for_this_key_only(workspaces: Workspaces) -> None:
    (workspaces.places.new / "A@1234").mkdir()
    (workspaces.places.new / "A-1@1234").mkdir()
    workspaces.open("A", PLAIN)
    assert [path.name for path in workspaces.places.new.iterdir()] == ["A-1@1234"]


def test_a_workspace_that_appears_meanwhile_is_not_touched(
    workspaces: Workspaces, mirror: Mirror, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = workspaces.places.workspace("A")
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        path.mkdir()
        (path / "theirs").write_text("x")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    with pytest.raises(OSError, match="not empty"):
        workspaces.open("A", PLAIN)
    assert (path / "theirs").exists()


def test_removal_takes_everything_of_that_workspace_and_nothing_else(desk: Desk) -> None:
    places = desk.workspaces.places
    desk.workspaces.open("DEMO-1", Claim("payments", "run-2", desk.claim.repository), source=desk.source)
    desk.workspaces.open("DEMO-11", desk.claim, source=desk.source)
    seen = []
    assert desk.workspaces.remove("DEMO-1", desk.claim, before=seen.append)
    assert seen == [desk.path]
    assert {path.name for path in places.root.iterdir()} == {".symphony", "DEMO-11"}
    left = [*places.markers.iterdir(), *places.git_dirs.iterdir(), *places.aside.iterdir()]
    assert {path.name for path in left} == {"DEMO-11"}
    assert not desk.workspaces.remove("DEMO-1", desk.claim, before=fail)


def test_removal_follows_no_link_and_is_stopped_by_no_depth(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep/file").write_text("x")
    doomed = tmp_path / "doomed"
    doomed.mkdir()
    (doomed / "out").symlink_to(tmp_path / "keep")
    (doomed / "shut").mkdir()
    (doomed / "shut/inner").write_text("x")
    (doomed / "shut").chmod(0)
    here = os.open(doomed, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        there = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there
    os.close(here)
    try:
        remove_tree(tree, doomed)
        assert not doomed.exists()
    finally:
        # pytest's own clean-up could not remove it either.
        subprocess.run(["rm", "-rf", str(doomed)], check=True)
    assert (tmp_path / "keep/file").exists()


def test_a_clean_checkout_is_exactly_the_commit_and_answers_git(
    tree: Tree, mirror: Mirror, repository: Repository, forge: GitForge, tmp_path: Path
) -> None:
    git(repository.person.clone, "tag", "-a", "v1.2", "-m", "v1.2", repository.first)
    git(repository.person.clone, "push", "-q", "origin", "v1.2")
    second = repository.person.commit({"b": "2"})
    repository.person.push()
    mirror.update(forge.fetch_target)
    clean_checkout(tree, mirror.path, second, tmp_path / "proof")
    checkout = tmp_path / "proof"
    assert git(checkout, "rev-parse", "HEAD") == second
    assert git(checkout, "describe") == f"v1.2-1-g{second[:7]}"
    assert git(checkout, "status", "--porcelain", "--ignored") == ""
    assert git(checkout, "remote") == ""
