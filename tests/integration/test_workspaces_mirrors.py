"""Mirrors that are damaged, killed and fought for; hooks; the installed git."""

from __future__ import annotations

import fcntl
import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from symphony.domain.errors import Cancelled, ConfigError, Transient
from symphony.forges.git import GitForge
from symphony.processes.git import Git, check_git
from symphony.processes.guardian import Guardian, Tree
from symphony.workspaces.clones import clean_checkout
from symphony.workspaces.hooks import Hook, run_hook, run_hook_quietly
from symphony.workspaces.mirrors import Mirror
from tests.conftest import wait_until
from tests.fakes.repositories import Repository, git

pytest_plugins = ["tests.fakes.repository_fixtures"]

SHELL = {"PATH": os.environ["PATH"]}


def test_a_mirror_that_was_damaged_is_filled_anew(
    mirror: Mirror, repository: Repository, forge: GitForge, tree: Tree, tmp_path: Path
) -> None:
    for path in [path for path in (mirror.path / "objects").rglob("*") if path.is_file()]:
        path.chmod(0o644)
        path.write_bytes(b"")
    repository.person.commit({"b": "2"})
    repository.person.push()
    assert mirror.update(forge.fetch_target) == repository.tip()
    clean_checkout(tree, mirror.path, repository.tip(), tmp_path / "proof")


def test_a_mirror_found_damaged_by_a_reader_is_filled_anew_for_the_next(
    mirror: Mirror, repository: Repository, forge: GitForge, tree: Tree, tmp_path: Path
) -> None:
    packs = [path for path in (mirror.path / "objects").rglob("*") if path.is_file()]
    for path in packs:
        path.chmod(0o644)
        path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(Transient) as caught, mirror.reading():
        clean_checkout(tree, mirror.path, repository.first, tmp_path / "one")
    assert caught.value.category == "repository_corrupt"
    mirror.update(forge.fetch_target)
    with mirror.reading():
        clean_checkout(tree, mirror.path, repository.first, tmp_path / "two")


def test_a_reader_without_a_mirror_comes_again(mirror: Mirror, tree: Tree, tmp_path: Path) -> None:
    mirror.path.rename(tmp_path / "gone")
    with pytest.raises(Transient), mirror.reading():
        clean_checkout(tree, mirror.path, "1" * 40, tmp_path / "one")


@pytest.mark.parametrize("damage", ["HEAD", "config", "refs/heads/main"])
def test_a_mirror_with_a_spoilt_file_heals(mirror: Mirror, repository: Repository, forge: GitForge, damage: str) -> None:
    (mirror.path / damage).write_text("\0garbage\n")
    assert mirror.update(forge.fetch_target) == repository.first


def test_locks_and_halves_of_killed_processes_do_not_stop_a_mirror(
    mirror: Mirror, repository: Repository, forge: GitForge
) -> None:
    half = mirror.path.with_name(mirror.path.name + "@dead")
    half.mkdir()
    lock = mirror.path / "refs/heads/main.lock"
    lock.write_text("")
    os.utime(lock, (1, 1))
    repository.person.commit({"b": "2"})
    repository.person.push()
    assert mirror.update(forge.fetch_target) == repository.tip()
    assert not half.exists()


def test_a_fetch_killed_midway_leaves_a_mirror_that_works(
    guardian: Guardian, repository: Repository, forge: GitForge, tmp_path: Path
) -> None:
    repository.person.commit({f"f{number}": os.urandom(2000).hex() for number in range(100)})
    repository.person.push()
    started = tmp_path / "started"
    slow = tmp_path / "upload"
    slow.write_text(f'#!/bin/sh\ntouch {started}\nsleep 60\nexec git upload-pack "$@"\n')
    slow.chmod(0o755)
    doomed = guardian.tree("doomed")
    mirror = Mirror(doomed, tmp_path / "mirrors", repository.url)
    errors: list[BaseException] = []

    def fetch() -> None:
        try:
            mirror.update(lambda there: there.remote("fetch", f"--upload-pack={slow}", repository.url, "+main:main"))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    wait_until(started.exists)
    doomed.close()
    thread.join(30)
    assert len(errors) == 1
    with guardian.tree("next") as tree:
        assert Mirror(tree, tmp_path / "mirrors", repository.url).update(forge.fetch_target) == repository.tip()


def test_who_waits_too_long_for_a_mirror_is_told_to_come_again(mirror: Mirror, forge: GitForge) -> None:
    lock = next(mirror.path.parent.glob("*.lock"))
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Transient) as caught:
            mirror.update(forge.fetch_target, lock_timeout_s=0.2)
    assert caught.value.category == "mirror_busy"


def test_who_waits_for_a_mirror_stops_when_its_tree_is_ended(
    guardian: Guardian, mirror: Mirror, repository: Repository, forge: GitForge
) -> None:
    lock = next(mirror.path.parent.glob("*.lock"))
    raised: list[BaseException] = []
    with lock.open() as held, guardian.tree("waiting") as tree:
        fcntl.flock(held, fcntl.LOCK_EX)

        def fetch() -> None:
            try:
                Mirror(tree, mirror.path.parent, repository.url).update(forge.fetch_target)
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=fetch, daemon=True)
        thread.start()
        tree.kill()
        thread.join(30)
    assert [type(error) for error in raised] == [Cancelled]


def test_many_runs_fetch_at_once(guardian: Guardian, repository: Repository, forge: GitForge, tmp_path: Path) -> None:
    results: list[object] = []

    def fetch(number: int) -> None:
        try:
            with guardian.tree(f"fetch-{number}") as tree:
                results.append(Mirror(tree, tmp_path / "mirrors", repository.url).update(forge.fetch_target))
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [repository.first] * 8


def test_many_small_fetches_do_not_scatter_a_mirror(mirror: Mirror, repository: Repository, forge: GitForge) -> None:
    packs = mirror.path / "objects/pack"
    for number in range(41):
        made = git(mirror.path, "commit-tree", f"{repository.first}^{{tree}}", "-m", str(number))
        git(mirror.path, "update-ref", "refs/heads/main", made)
        git(mirror.path, "repack", "-q", "-d")
    assert len(list(packs.glob("*.pack"))) >= 40
    mirror.update(lambda _: None)
    assert len(list(packs.glob("*.pack"))) < 10
    assert mirror.update(forge.fetch_target) == repository.first


def hook(script: str, *, seconds: float = 20) -> Hook:
    return Hook("before_run", script, SHELL | {"GREETING": "hello"}, timedelta(seconds=seconds))


def test_a_hook_runs_in_its_workspace_with_its_environment_only(tree: Tree, tmp_path: Path) -> None:
    os.environ["NOT_FOR_HOOKS"] = "secret"
    try:
        done = run_hook(tree, hook('pwd; echo "$GREETING"; env'), tmp_path)
    finally:
        del os.environ["NOT_FOR_HOOKS"]
    said = done.stdout.text()
    assert said.startswith(f"{tmp_path}\nhello\n")
    assert "NOT_FOR_HOOKS" not in said


def test_a_failing_hook_fails_with_what_it_said_last(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(Transient) as caught:
        run_hook(tree, hook("seq 1 200000; echo 'no such database' >&2; exit 3"), tmp_path)
    assert caught.value.category == "hook_failed"
    assert "status 3" in caught.value.message
    assert caught.value.message.endswith("no such database")
    assert len(caught.value.message) < 3000


def test_secrets_are_not_in_what_a_failing_hook_said(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(Transient) as caught:
        run_hook(tree, hook("echo 'cloning https://ada:correct-horse@example.org/x.git'; exit 3"), tmp_path)
    assert "example.org" in caught.value.message and "horse" not in caught.value.message


def test_a_hanging_hook_is_ended(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(Transient) as caught:
        run_hook(tree, hook("sleep 100 & sleep 100", seconds=0.3), tmp_path)
    assert caught.value.category == "hook_timeout"


def test_a_quiet_hook_fails_nobody(tree: Tree, tmp_path: Path) -> None:
    assert run_hook_quietly(tree, hook("exit 1"), tmp_path) is None
    assert run_hook_quietly(tree, hook("sleep 100", seconds=0.3), tmp_path) is None
    assert run_hook_quietly(tree, hook("exit 1"), tmp_path / "gone") is None
    done = run_hook_quietly(tree, hook("echo x"), tmp_path)
    assert done is not None


def test_the_installed_git_is_new_enough(tree: Tree, tmp_path: Path) -> None:
    assert check_git(tree, tmp_path) >= (2, 38)


@pytest.mark.parametrize(("script", "said"), [("echo git version 2.30.2", "too old"), ("exit 1", "does not run")])
def test_an_unfit_git_is_the_operators_to_replace(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    (tmp_path / "git").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=f"{said}.*install git 2.38"):
        check_git(tree, tmp_path)


def test_no_git_at_all_is_said(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="does not run"):
        check_git(tree, tmp_path)


def test_a_cancelled_tree_is_no_failure_of_git(guardian: Guardian, mirror: Mirror) -> None:
    tree = guardian.tree("cancelled")
    tree.note_end("cancel")
    tree.kill()
    with pytest.raises(Cancelled):
        Git(tree, mirror.path).run("rev-parse", "HEAD")
    tree.close()
