"""Workspaces of issues that are over: removed by their own node, never under a live run (specification 8.6, 9.4)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from symphony.domain.errors import Rejected
from symphony.domain.issue import Issue
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine.clean import clean, nodes_to_clean
from symphony.ledger import runs
from symphony.processes.guardian import Guardian
from tests.conftest import wait_until
from tests.fakes.repositories import Repository
from tests.integration.stage_bench import ISSUE, Bench, another_node, bench

pytest_plugins = ["tests.fakes.repository_fixtures"]

FAREWELL = {
    "hooks": {
        "before_remove": 'pwd > "$HOME/removed"; echo "$SYMPHONY_ISSUE" >> "$HOME/removed"; exit 3', "timeout_ms": 1500
    }
}  # fmt: skip


@pytest.fixture
def work(database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository) -> Iterator[Bench]:
    """A board whose hook before the removal fails after it has written where it was."""
    with bench(database_url, tmp_path, guardian, sections=FAREWELL, environ={"HOME": str(tmp_path)}) as made:
        yield made


def bring_to_an_end(work: Bench) -> None:
    """Have a run with a workspace whose issue a person has closed."""
    work.bring(Stage.AGENT)
    work.tracker.person_moves(ISSUE, "Done")
    work.board.poll()
    assert work.run.state is RunState.CANCELLED


def test_a_closed_issues_workspace_is_removed_with_all_that_belongs_to_it(work: Bench) -> None:
    bring_to_an_end(work)
    assert nodes_to_clean(work.deployment) == ["node-1"]
    assert clean(work.deployment, work.guardian) == 1
    assert not work.workspace.exists()
    assert not [path for path in (work.root / ".symphony").rglob(f"{ISSUE}*") if path.parent.name != "locks"]
    assert (work.folder / "removed").read_text().split() == [str(work.workspace), ISSUE]
    assert nodes_to_clean(work.deployment) == []
    assert clean(work.deployment, work.guardian) == 0


def test_a_hook_that_hangs_is_ended_and_the_workspace_goes(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    sections = {"hooks": {"before_remove": "sleep 600", "timeout_ms": 500}}
    with bench(database_url, tmp_path, guardian, sections=sections) as work:
        bring_to_an_end(work)
        assert clean(work.deployment, guardian) == 1
        assert not work.workspace.exists()


def test_another_node_leaves_it_alone(work: Bench) -> None:
    bring_to_an_end(work)
    with another_node(work, "node-2") as second:
        assert clean(second.deployment, work.guardian) == 0
    assert work.workspace.exists()
    assert nodes_to_clean(work.deployment) == ["node-1"]


def test_an_issue_that_merely_left_the_active_states_keeps_its_workspace(work: Bench) -> None:
    work.bring(Stage.AGENT)
    work.tracker.person_moves(ISSUE, "Backlog")
    work.board.poll()
    assert work.run.state is RunState.RELEASED
    assert clean(work.deployment, work.guardian) == 0
    assert work.workspace.exists()


def test_a_removal_that_was_cut_short_is_done_again(work: Bench) -> None:
    bring_to_an_end(work)
    work.workspace.rename(work.root / ".symphony" / "aside" / f"{ISSUE}@1")
    assert clean(work.deployment, work.guardian) == 1
    assert not list((work.root / ".symphony" / "aside").iterdir())


def reopen(work: Bench) -> None:
    """Move the closed issue back, so that it has a live run beside the one that is to be cleaned."""
    work.tracker.person_moves(ISSUE, "Todo")
    work.board.poll()
    work.board.admit()
    assert work.run.state is RunState.QUEUED and len(work.board.runs(ISSUE)) == 2


def test_nothing_is_removed_under_a_live_run(work: Bench) -> None:
    bring_to_an_end(work)
    reopen(work)
    assert clean(work.deployment, work.guardian) == 0
    assert work.workspace.exists()


def test_a_run_that_began_after_the_look_keeps_its_workspace_and_its_agent(
    work: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: a removal asks again right before it begins; it must not even ask for the workspace's lock."""
    bring_to_an_end(work)
    due = work.board.database.transact(lambda t: runs.clean_due(t, "node-1"))
    assert len(due) == 1
    reopen(work)
    work.agent("touch ../ready; until test -e ../go; do sleep 0.02; done; echo changed > new.txt")
    work.step()
    thread, answers = work.step_aside()
    wait_until(lambda: (work.root / "ready").exists())
    monkeypatch.setattr(runs, "clean_due", lambda _transaction, _node: due)
    assert clean(work.deployment, work.guardian) == 0
    (work.root / "go").touch()
    thread.join(30)
    assert answers[0].stage is Stage.PROOF, work.attempts()
    assert (work.workspace / "new.txt").exists()


def test_one_process_of_a_node_cleans_at_a_time(work: Bench) -> None:
    import fcntl

    bring_to_an_end(work)
    lock = work.deployment.settings.home / "run" / "clean.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert clean(work.deployment, work.guardian) == 0
    assert clean(work.deployment, work.guardian) == 1


def test_a_workspace_of_another_workflow_stays_and_the_rest_goes_on(work: Bench) -> None:
    bring_to_an_end(work)
    marker = next(path for path in (work.root / ".symphony").rglob(ISSUE) if path.is_file() and path.parent.name != "locks")
    marker.write_text(marker.read_text().replace('"board"', '"billing"'))
    assert clean(work.deployment, work.guardian) == 0
    assert work.workspace.exists()


def test_a_workspace_that_was_kept_goes_when_its_issue_is_closed_later(work: Bench) -> None:
    work.bring(Stage.AGENT)
    work.tracker.person_moves(ISSUE, "Backlog")
    work.board.poll()
    work.board.poll()
    assert (work.run.state, nodes_to_clean(work.deployment)) == (RunState.RELEASED, [])
    work.tracker.person_moves(ISSUE, "Done")
    work.board.poll()
    assert nodes_to_clean(work.deployment) == ["node-1"]
    assert clean(work.deployment, work.guardian) == 1
    assert not work.workspace.exists()
    asked: list[bool] = []
    work.tracker.on_ids = lambda: asked.append(True)
    work.board.poll()
    assert (nodes_to_clean(work.deployment), asked) == ([], []), "what is over is not asked for again"


def test_an_ended_issue_that_cannot_be_read_holds_up_neither_the_poll_nor_the_others(work: Bench) -> None:
    work.tracker.put("DEMO-2")
    work.board.bring("DEMO-2", Stage.AGENT)
    work.bring(Stage.AGENT)
    for name in (ISSUE, "DEMO-2"):
        work.tracker.person_moves(name, "Backlog")
    work.board.poll()
    for name in (ISSUE, "DEMO-2"):
        work.tracker.person_moves(name, "Done")
    answer = work.tracker.fetch_issues_by_ids

    def malformed(ids: Collection[str]) -> tuple[Issue, ...]:
        if ISSUE in ids:
            raise Rejected("the file is malformed")
        return answer(ids)

    work.tracker.fetch_issues_by_ids = malformed  # type: ignore[method-assign]
    work.board.poll()
    assert work.board.row.poll_error is None
    assert {name: work.board.run(name).clean_due for name in (ISSUE, "DEMO-2")} == {ISSUE: False, "DEMO-2": True}


def test_a_workspace_that_a_new_run_took_over_is_not_removed_for_the_old_one(work: Bench) -> None:
    bring_to_an_end(work)
    work.tracker.person_moves(ISSUE, "Todo")
    work.bring(Stage.AGENT)
    work.tracker.person_moves(ISSUE, "Backlog")
    work.board.poll()
    assert work.run.state is RunState.RELEASED
    assert clean(work.deployment, work.guardian) == 0
    assert work.workspace.exists(), "released: the workspace is kept"


def test_no_node_is_asked_to_remove_what_waits_for_a_live_run(work: Bench) -> None:
    bring_to_an_end(work)
    work.tracker.person_moves(ISSUE, "Todo")
    work.board.poll()
    assert work.run.state is RunState.QUEUED
    assert nodes_to_clean(work.deployment) == []
