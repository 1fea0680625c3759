"""A workspace whose agent wants Symphony's git to run something: nothing of it runs, and nothing outside is read.

Each trap touches a canary file when it is sprung. `test_the_traps_are_armed` shows with an unguarded git that they would
be: a trap that cannot be sprung proves nothing.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from symphony.forges import snapshot_ref
from symphony.forges.git import GitForge
from symphony.processes.guardian import Tree
from symphony.workspaces.clones import clean_checkout
from symphony.workspaces.snapshots import Snapshot, snapshot
from symphony.workspaces.trees import take_tree
from tests.fakes.repositories import WHEN, Desk, Repository, git

pytest_plugins = ["tests.fakes.repository_fixtures"]

Trap = Callable[[Path, Path], None]

HOOKS = ("pre-commit", "post-checkout", "post-index-change", "reference-transaction", "pre-push", "pre-auto-gc")


def script(path: Path, canary: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ntouch {canary}\ncat\n")
    path.chmod(0o755)
    return path


def hooks(workspace: Path, canary: Path) -> None:
    for name in HOOKS:
        script(workspace / ".git/hooks" / name, canary)


def hooks_path(workspace: Path, canary: Path) -> None:
    for name in HOOKS:
        script(workspace / "evil" / name, canary)
    git(workspace, "config", "core.hooksPath", str(workspace / "evil"))


def clean_filter(workspace: Path, canary: Path) -> None:
    git(workspace, "config", "filter.evil.clean", f"touch {canary}; cat")
    git(workspace, "config", "filter.evil.smudge", f"touch {canary}; cat")
    (workspace / ".gitattributes").write_text("* filter=evil\n")


def process_filter(workspace: Path, canary: Path) -> None:
    git(workspace, "config", "filter.evil.process", f"touch {canary}")
    (workspace / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    git(workspace, "config", "diff.evil.textconv", f"touch {canary}; cat")
    git(workspace, "config", "diff.evil.command", f"touch {canary}")


def fsmonitor(workspace: Path, canary: Path) -> None:
    git(workspace, "config", "core.fsmonitor", f"touch {canary}; false")


def nested_with_filter(workspace: Path, canary: Path) -> None:
    nested = workspace / "src/nested"
    nested.mkdir()
    git(nested, "init", "-q")
    (nested / "file").write_text("one\n")
    (nested / ".gitattributes").write_text("* filter=evil\n")
    git(nested, "add", "-A")
    git(nested, "commit", "-q", "-m", "x")
    git(nested, "config", "filter.evil.clean", f"touch {canary}; cat")
    git(nested, "config", "core.fsmonitor", f"touch {canary}; false")
    (nested / "file").write_text("two\n")
    git(workspace, "config", "diff.ignoreSubmodules", "none")
    git(workspace, "update-index", "--add", "--cacheinfo", f"160000,{git(nested, 'rev-parse', 'HEAD')},src/nested")


def gitfile_to_elsewhere(workspace: Path, canary: Path) -> None:
    fsmonitor(workspace, canary)
    hooks(workspace, canary)
    clean_filter(workspace, canary)
    (workspace / ".git").rename(workspace / "dot")
    (workspace / ".git").write_text(f"gitdir: {workspace}/dot\n")


def git_symlink(workspace: Path, canary: Path) -> None:
    gitfile_to_elsewhere(workspace, canary)
    (workspace / ".git").unlink()
    (workspace / ".git").symlink_to("dot")


TRAPS: list[Trap] = [
    hooks,
    hooks_path,
    clean_filter,
    process_filter,
    fsmonitor,
    nested_with_filter,
    gitfile_to_elsewhere,
    git_symlink,
]


def unguarded(workspace: Path) -> None:
    """Do what a careless orchestrator does in a workspace."""
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null"}
    for command in (["status"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a", "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *command], cwd=workspace, env=environment, capture_output=True, check=False)


def work(desk: Desk, repository: Repository) -> Snapshot:
    """Do all that Symphony does around a workspace."""
    store = desk.workspaces.git("DEMO-1")
    made = snapshot(store, parents=[repository.first], message="turn", when=WHEN)
    forge = GitForge(repository.url, "main")
    forge.push_snapshot(store, snapshot_ref("run-1", 1), made.commit)
    forge.publish(store, "symphony/DEMO-1", made.commit, expected=None)
    return made


@pytest.mark.parametrize("trap", TRAPS)
def test_the_traps_are_armed(desk: Desk, tmp_path: Path, trap: Trap) -> None:
    canary = tmp_path / "canary"
    trap(desk.path, canary)
    (desk.path / "README.md").write_text("one\n2\nthree\n")
    canary.unlink(missing_ok=True)
    unguarded(desk.path)
    assert canary.exists()


@pytest.mark.parametrize("trap", TRAPS)
def test_no_trap_of_a_workspace_is_sprung(desk: Desk, repository: Repository, tmp_path: Path, trap: Trap) -> None:
    canary = tmp_path / "canary"
    take_tree(desk.workspaces.git("DEMO-1"))
    trap(desk.path, canary)
    (desk.path / "README.md").write_text("one\n2\nthree\n")
    canary.unlink(missing_ok=True)
    made = work(desk, repository)
    desk.workspaces.open("DEMO-1", desk.claim, source=desk.source)
    desk.workspaces.remove("DEMO-1", desk.claim)
    assert not canary.exists()
    assert git(repository.path, "cat-file", "blob", f"{made.commit}:README.md") == "one\n2\nthree"


def test_a_populated_submodule_runs_nothing_and_stays_what_it_was(
    desk: Desk, repository: Repository, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    store = desk.workspaces.git("DEMO-1")
    nested_with_filter(desk.path, canary)
    inner = git(desk.path / "src/nested", "rev-parse", "HEAD")
    canary.unlink(missing_ok=True)
    store.run("update-index", "--add", "--cacheinfo", f"160000,{inner},src/nested")
    (desk.path / ".gitmodules").write_text('[submodule "n"]\n\tpath = src/nested\n\turl = ./n\n\tignore = none\n')
    (desk.path / "src/nested/file").write_text("six\n")
    taken = take_tree(store)
    assert not canary.exists()
    assert f"160000 commit {inner}\tsrc/nested" in store.run("ls-tree", "-r", taken.tree)
    assert [(left.path, left.reason.partition(":")[0]) for left in taken.left_out] == [("src/nested", "submodule")]


def test_a_checkout_of_hostile_content_runs_nothing(desk: Desk, repository: Repository, tree: Tree, tmp_path: Path) -> None:
    (desk.path / ".gitattributes").write_text("* filter=lfs diff=lfs merge=lfs\n*.txt filter=evil\n")
    (desk.path / ".gitmodules").write_text(f'[submodule "n"]\n\tpath = n\n\turl = ext::sh -c "touch% {tmp_path}/canary"\n')
    (desk.path / "a.txt").write_text("text\n")
    made = work(desk, repository)
    clean_checkout(tree, repository.path, made.commit, tmp_path / "proof")
    assert (tmp_path / "proof/a.txt").read_text() == "text\n"
    assert not (tmp_path / "canary").exists()


def test_lfs_pointers_stay_pointers(desk: Desk, repository: Repository) -> None:
    (desk.path / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 3\n"
    (desk.path / "a.bin").write_text(pointer)
    made = work(desk, repository)
    assert git(repository.path, "cat-file", "blob", f"{made.commit}:a.bin") + "\n" == pointer


def test_objects_that_the_workspace_points_at_are_not_read(desk: Desk, repository: Repository, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "private")
    (tmp_path / "private/secret").write_text("secret\n")
    secret = git(tmp_path / "private", "hash-object", "-w", "secret")
    info = desk.path / ".git/objects/info"
    info.mkdir(exist_ok=True)
    (info / "alternates").write_text(f"{tmp_path}/private/.git/objects\n")
    work(desk, repository)
    store = desk.workspaces.git("DEMO-1")
    assert store.run("cat-file", "--batch-check", stdin=secret.encode()) == f"{secret} missing"


def test_the_agents_git_configuration_names_no_server_that_we_ask(
    desk: Desk, repository: Repository, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    git(desk.path, "config", "core.sshCommand", f"touch {canary}; false")
    git(desk.path, "config", "credential.helper", f"!touch {canary}; false")
    git(desk.path, "config", f"url.ext::touch {canary}.insteadOf", repository.url)
    git(desk.path, "config", f"url.{tmp_path}/evil.git.pushInsteadOf", repository.url)
    git(tmp_path, "init", "-q", "--bare", "evil.git")
    work(desk, repository)
    assert not canary.exists()
    assert git(tmp_path / "evil.git", "for-each-ref") == ""


def test_a_link_out_of_the_workspace_is_a_link_and_never_its_target(
    desk: Desk, repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host/passwd").write_text("root:x\n")
    (desk.path / "etc").symlink_to(tmp_path / "host")
    (desk.path / ".gitignore").unlink()
    (desk.path / ".gitignore").symlink_to(tmp_path / "host/passwd")
    (desk.path / "src/.gitattributes").symlink_to(tmp_path / "host/passwd")
    made = work(desk, repository)
    listing = git(repository.path, "ls-tree", "-r", made.commit)
    assert [line.split()[0] for line in listing.splitlines() if "etc" in line or ".git" in line] == ["120000"] * 3
    assert "passwd" not in listing


def test_the_mirror_cannot_be_reached_through_the_clone(desk: Desk) -> None:
    before = {path: path.read_bytes() for path in desk.source.mirror.rglob("*") if path.is_file()}
    for path in (desk.path / ".git/objects").rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(b"broken")
    assert {path: path.read_bytes() for path in desk.source.mirror.rglob("*") if path.is_file()} == before


def test_environment_of_symphonys_own_process_does_not_steer_git(
    desk: Desk, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    evil = script(tmp_path / "evil", canary)
    for name in ("GIT_EXTERNAL_DIFF", "GIT_EDITOR", "GIT_PAGER", "GIT_PROXY_COMMAND", "SSH_ASKPASS"):
        monkeypatch.setenv(name, str(evil))
    monkeypatch.setenv("GIT_DIR", str(desk.path / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(evil))
    work(desk, repository)
    assert not canary.exists()
    assert not (tmp_path / "index").exists()
