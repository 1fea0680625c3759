"""Specification 17.2, workspaces and their safety: one test a bullet."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from symphony.domain.errors import Breach, ConfigError, Rejected, Transient
from symphony.domain.issue import workspace_key
from symphony.processes.guardian import Tree
from symphony.workspaces.clones import Source
from symphony.workspaces.hooks import Hook, HookName, run_hook, run_hook_quietly
from symphony.workspaces.workspace import Claim, Workspaces
from tests.fakes.repositories import Repository

pytest_plugins = ["tests.fakes.repository_fixtures"]

CLAIM = Claim("payments", "run-1")


def hook(name: HookName, script: str, *, seconds: float = 20) -> Hook:
    return Hook(name, script, {"PATH": os.environ["PATH"]}, timedelta(seconds=seconds))


def attempt(tree: Tree, workspaces: Workspaces, log: Path, *, before_run: str = "true", after_run: str = "true") -> None:
    """Run one attempt the way a stage does: workspace, before_run, the agent, after_run."""
    workspace = workspaces.open("DEMO-1", CLAIM)
    try:
        run_hook(tree, hook("before_run", before_run, seconds=1), workspace.path)
        with log.open("a") as file:
            file.write("agent\n")
    finally:
        run_hook_quietly(tree, hook("after_run", after_run, seconds=1), workspace.path)


@pytest.mark.conformance("17.2", "an issue's workspace path is the same every time")
def test_path_is_deterministic(tree: Tree, tmp_path: Path) -> None:
    one, other = Workspaces(tree, tmp_path / "root"), Workspaces(tree, tmp_path / "root")
    assert one.places.workspace("DEMO-1") == other.places.workspace("DEMO-1") == tmp_path / "root" / "DEMO-1"
    assert one.open("DEMO-1", CLAIM).path == other.open("DEMO-1", CLAIM).path == tmp_path / "root" / "DEMO-1"


@pytest.mark.conformance("17.2", "a workspace directory that is missing is made")
def test_missing_is_made(workspaces: Workspaces) -> None:
    workspace = workspaces.open("DEMO-1", CLAIM)
    assert workspace.created_now
    assert workspace.path.is_dir()


@pytest.mark.conformance("17.2", "a workspace directory that exists is used again")
def test_existing_is_used_again(workspaces: Workspaces) -> None:
    (workspaces.open("DEMO-1", CLAIM).path / "work").write_text("x")
    again = workspaces.open("DEMO-1", Claim("payments", "run-2"))
    assert not again.created_now
    assert (again.path / "work").read_text() == "x"
    by_hand = workspaces.places.workspace("DEMO-2")
    by_hand.mkdir()
    assert not workspaces.open("DEMO-2", CLAIM).created_now


@pytest.mark.conformance("17.2", "something else at the workspace's path is handled safely")
def test_occupied_path_is_refused_and_untouched(workspaces: Workspaces, tmp_path: Path) -> None:
    workspaces.places.workspace("FILE").write_text("precious")
    (tmp_path / "outside").mkdir()
    workspaces.places.workspace("LINK").symlink_to(tmp_path / "outside")
    workspaces.places.workspace("DANGLING").symlink_to(tmp_path / "nowhere")
    for key in ("FILE", "LINK", "DANGLING"):
        with pytest.raises(ConfigError, match="move it away"):
            workspaces.open(key, CLAIM)
        with pytest.raises(ConfigError, match="move it away"):
            workspaces.remove(key, CLAIM)
    assert workspaces.places.workspace("FILE").read_text() == "precious"
    assert (tmp_path / "outside").is_dir()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.conformance("17.2", "errors while a workspace is populated reach the caller")
def test_population_errors_are_raised(workspaces: Workspaces, repository: Repository, tmp_path: Path) -> None:
    claim = Claim("payments", "run-1", repository.url)
    with pytest.raises((Rejected, Transient, ConfigError)):
        workspaces.open("DEMO-1", claim, source=Source(tmp_path / "no mirror", repository.first, "b"))
    assert not workspaces.places.workspace("DEMO-1").exists()


@pytest.mark.conformance("17.2", "after_create runs for a new workspace only, and its failure undoes it")
def test_after_create_runs_once(tree: Tree, workspaces: Workspaces, tmp_path: Path) -> None:
    def prepare(path: Path) -> None:
        run_hook(tree, hook("after_create", f"pwd >> {tmp_path}/calls"), path)

    def fail(path: Path) -> None:
        run_hook(tree, hook("after_create", "touch half; exit 1"), path)

    def hang(path: Path) -> None:
        run_hook(tree, hook("after_create", "sleep 60", seconds=0.2), path)

    for broken in (fail, hang):
        with pytest.raises(Transient):
            workspaces.open("DEMO-1", CLAIM, prepare=broken)
        assert not workspaces.places.workspace("DEMO-1").exists()
    for _ in range(3):
        workspaces.open("DEMO-1", CLAIM, prepare=prepare)
    assert (tmp_path / "calls").read_text() == f"{workspaces.places.workspace('DEMO-1')}\n"


@pytest.mark.conformance("17.2", "before_run runs before each attempt; failure and time-out abort it")
def test_before_run_guards_each_attempt(tree: Tree, workspaces: Workspaces, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for _ in range(2):
        attempt(tree, workspaces, log, before_run=f"echo before >> {log}")
    assert log.read_text() == "before\nagent\n" * 2
    for script, category in (("exit 7", "hook_failed"), ("sleep 60", "hook_timeout")):
        with pytest.raises(Transient) as caught:
            attempt(tree, workspaces, log, before_run=script)
        assert caught.value.category == category
    assert log.read_text() == "before\nagent\n" * 2


@pytest.mark.conformance("17.2", "after_run runs after each attempt; failure and time-out are logged and ignored")
def test_after_run_never_fails_the_attempt(tree: Tree, workspaces: Workspaces, tmp_path: Path) -> None:
    log = tmp_path / "log"
    attempt(tree, workspaces, log, after_run=f"echo after >> {log}")
    with pytest.raises(Transient, match="before_run"):
        attempt(tree, workspaces, log, before_run="exit 1", after_run=f"echo after >> {log}")
    with structlog.testing.capture_logs() as logged:
        attempt(tree, workspaces, log, after_run="exit 1")
        attempt(tree, workspaces, log, after_run="sleep 60")
    assert log.read_text() == "agent\nafter\nafter\nagent\nagent\n"
    told = [entry["event"] for entry in logged if entry.get("hook") == "after_run"]
    assert told.count("hook started") == 2
    assert {"hook failed", "hook timed out", "hook failure ignored"} <= set(told)


@pytest.mark.conformance("17.2", "before_remove runs at clean-up; failure and time-out are ignored")
def test_before_remove_never_stops_the_removal(tree: Tree, workspaces: Workspaces, tmp_path: Path) -> None:
    for script in (f"pwd > {tmp_path}/seen", "exit 1", "sleep 60"):
        workspace = workspaces.open("DEMO-1", CLAIM)
        removal = hook("before_remove", script, seconds=1)
        assert workspaces.remove("DEMO-1", CLAIM, before=lambda path: run_hook_quietly(tree, removal, path))  # noqa: B023
        assert not workspace.path.exists()
    assert (tmp_path / "seen").read_text() == f"{workspaces.places.workspace('DEMO-1')}\n"
    assert not workspaces.remove("DEMO-1", CLAIM, before=lambda _: pytest.fail("there is no workspace"))


@pytest.mark.conformance("17.2", "names are sanitised, hashed where changed, and stay inside the root")
def test_any_identifier_stays_inside_the_root(workspaces: Workspaces) -> None:
    root = workspaces.places.root
    for identifier in ("../../etc", "a/b", "..", ".", "/etc/passwd", "x\0y", "ünï cödé", "-rf", "a\nb", "~", "$HOME"):
        path = workspaces.open(workspace_key(identifier), CLAIM).path
        assert path.resolve().parent == root
        assert set(path.name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    assert len(workspace_key("a/b")) - len("a_b-") >= 16
    for raw in ("../../etc", "a/b", ".."):
        with pytest.raises(Breach):
            workspaces.open(raw, CLAIM)


@pytest.mark.conformance("17.2", "clean identifiers keep their key; those that sanitise alike get different ones")
def test_keys_of_distinct_identifiers_are_distinct(workspaces: Workspaces) -> None:
    for identifier in ("DEMO-1", "a_b", "x.y", "-"):
        assert workspaces.open(workspace_key(identifier), CLAIM).path.name == identifier
    alike = ["a/b", "a b", "a:b", "a\\b", "a_b"]
    assert len({workspaces.open(workspace_key(identifier), CLAIM).path for identifier in alike}) == len(alike)


@pytest.mark.conformance("17.2", "an agent is launched in its own workspace, and nowhere outside the root")
def test_launch_directory_is_verified(tree: Tree, workspaces: Workspaces, tmp_path: Path) -> None:
    workspace = workspaces.open("DEMO-1", CLAIM)
    workspaces.places.verify_cwd("DEMO-1", workspace.path)
    done = tree.run(["pwd"], cwd=workspace.path, env={"PATH": os.environ["PATH"]})
    assert done.stdout.text() == f"{workspace.path}\n"
    for outside in (tmp_path, workspaces.places.root, Path("/"), workspace.path / ".." / ".."):
        with pytest.raises(Breach) as caught:
            workspaces.places.verify_cwd("DEMO-1", outside)
        assert caught.value.category == "invalid_workspace_cwd"
