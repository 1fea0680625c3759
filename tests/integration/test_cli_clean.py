"""`symphony clean` beside a node at work: what nothing needs goes, nothing of a live run does."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from symphony.agents.log import log_path
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.local.upkeep.waste import size_of
from symphony.processes.guardian import Guardian
from tests.fakes.command import Command
from tests.fakes.repositories import Repository, git
from tests.integration.stage_bench import CHANGE, ISSUE, Bench, bench

pytest_plugins = ["tests.fakes.repository_fixtures"]


@pytest.fixture
def work(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    with bench(database_url, tmp_path, guardian) as made:
        monkeypatch.setenv("SYMPHONY_DATABASE_URL", database_url)
        monkeypatch.setenv("SYMPHONY_HOME", str(made.deployment.settings.home))
        monkeypatch.setenv("SYMPHONY_NODE", made.deployment.node)
        yield made


@pytest.fixture
def symphony(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def kinds(said: object) -> list[str]:
    return [item["kind"] for item in said["items"]]  # type: ignore[index]


def litter(home: Path, run_id: object) -> dict[str, Path]:
    """Leave what killed processes and old runs leave; all of it made long ago as far as its own time tells."""
    made = {
        "checkout": home / "checkouts" / "00000000-0000-7000-8000-000000000000@1",
        "mirror": home / "mirrors" / "other-0123456789abcdef.git",
        "agent": log_path(home, "board", ISSUE),
        "namesake": log_path(home, "gone", ISSUE),
        "proof": home / "logs" / "proofs" / str(run_id) / "x.log",
        "cache": home / "setups" / "abc",
        "dropped": home / "run" / "artifacts" / str(run_id),
        "artifacts": home / "artifacts" / str(run_id),
        "stranger": home / "checkouts" / "mine",
    }
    for path in made.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".log":
            path.mkdir()
            (path / "file").write_text("x" * 10_000)
        else:
            path.write_text("x")
    return made


def test_nothing_of_a_live_run_goes_whatever_its_age(work: Bench, symphony: Command) -> None:
    work.agent(CHANGE)
    run = work.bring(Stage.PROOF)
    home = work.deployment.settings.home
    made = litter(home, run.id)
    said = symphony("clean", "--older-than", "0", "--json")
    assert said.code == 0 and sorted(kinds(said.document)) == ["cache", "checkout", "log", "mirror"]
    assert said.document["bytes"] >= 30_000
    assert (
        made["dropped"].exists()
        and made["artifacts"].exists()
        and work.workspace.is_dir()
        and made["agent"].exists()
        and made["proof"].exists()
        and made["stranger"].exists()
    )
    assert not made["checkout"].exists() and not made["mirror"].exists() and not made["namesake"].exists()
    assert git(work.folder, "ls-remote", str(work.folder / "origin.git"), "refs/symphony/wip/*")
    assert work.step().state is RunState.QUEUED, "the run goes on as if nothing had been"


def test_what_a_landed_run_leaves_goes_at_once_but_for_logs(work: Bench, symphony: Command) -> None:
    work.agent(CHANGE)
    run = work.bring(Stage.LAND)
    while (run := work.step()).state is not RunState.LANDED:
        assert run.state is RunState.QUEUED
    assert work.workspace.is_dir()
    made = litter(work.deployment.settings.home, run.id)
    origin, strange = work.folder / "origin.git", "refs/symphony/wip/00000000-0000-7000-8000-000000000000/1"
    for ref in (f"refs/symphony/wip/{run.id}/1", strange):
        git(origin, "update-ref", ref, "main")
    planned = symphony("clean", "--dry-run")
    assert planned.code == 0 and "would remove workspace" in planned.out and work.workspace.is_dir()
    assert f"{ISSUE}#1 has landed" in planned.out and "refs/symphony/wip" in planned.out
    done = symphony("clean")
    assert "removed workspace" in done.out and "removed 1 workspace, 1 checkout, 1 ref on the node" in done.out, done.out
    assert not work.workspace.exists() and made["agent"].exists() and made["proof"].exists()
    left = git(work.folder, "ls-remote", str(origin), "refs/symphony/wip/*").split()[1:]
    assert left == [strange], "another deployment's stay"
    assert "nothing to remove" in symphony("clean").out
    assert sorted(kinds(symphony("clean", "--older-than", "0", "--json").document)) == [
        *("artifact", "cache", "leftover", "log", "log", "log", "mirror")
    ]


def test_a_released_runs_workspace_stays_for_a_week(work: Bench, symphony: Command) -> None:
    work.bring(Stage.AGENT)
    work.tracker.person_moves(ISSUE, "Backlog")
    work.board.poll()
    assert work.run.state is RunState.RELEASED
    assert "nothing to remove" in symphony("clean").out
    work.board.sql("UPDATE runs SET finished_at = now() - interval '8 days', created_at = now() - interval '9 days'")
    assert "was let go 8 days ago, and no later run takes it up" in symphony("clean").out
    assert not work.workspace.exists()


def test_artifacts_go_a_month_after_their_run_and_are_then_said_to_be_gone(work: Bench, symphony: Command) -> None:
    work.agent(f'{CHANGE}; echo seen > "$SYMPHONY_ARTIFACTS/note.txt"')
    work.bring(Stage.LAND)
    run = work.step()
    assert run.state is RunState.LANDED
    home = work.deployment.settings.home
    (kept,) = (home / "artifacts" / str(run.id)).iterdir()
    assert "artifact" not in kinds(symphony("clean", "--json").document) and kept.read_text() == "seen\n"
    assert f"at `{kept}`" in symphony("show", ISSUE, "--md").out
    work.board.sql("UPDATE runs SET finished_at = now() - interval '31 days', created_at = now() - interval '32 days'")
    (strange := home / "artifacts" / "00000000-0000-7000-8000-000000000000").mkdir()
    assert f"would remove artifact {kept.parent}: its run landed 31 days ago" in symphony("clean", "--dry-run").out
    assert f"removed artifact {kept.parent}" in symphony("clean").out
    assert not kept.parent.exists() and strange.is_dir()
    assert "on the node" in symphony("show", ISSUE, "--md").out


def test_what_somebody_holds_is_left(work: Bench, symphony: Command) -> None:
    folder = work.deployment.settings.home / "mirrors"
    litter(work.deployment.settings.home, "x")
    with (folder / "0123456789abcdef.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        said = symphony("clean", "--older-than", "0", "--json").document
    outcomes = {item["kind"]: item["outcome"] for item in said["items"]}
    assert outcomes["mirror"] == "left: something uses it now" and outcomes["checkout"] == "removed"
    assert (folder / "other-0123456789abcdef.git").is_dir()


def test_without_a_ledger_nothing_is_known_and_nothing_goes(
    symphony: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYMPHONY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SYMPHONY_DATABASE_URL", raising=False)
    said = symphony("clean")
    assert said.code == 2 and "nothing runs on this home" in said.err


def test_sizes_count_links_once_and_follow_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    alone = size_of(tmp_path)
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "c").symlink_to("/")
    assert 100_000 <= alone <= size_of(tmp_path) < alone + 20_000
