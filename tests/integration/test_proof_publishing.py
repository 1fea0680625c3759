"""The branch that a run hands over: its name where workflows share a repository."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.ledger import workflows
from symphony.processes.guardian import Guardian
from tests.fakes.repositories import Repository
from tests.integration.board import TEXT
from tests.integration.stage_bench import ISSUE, Bench, bench

pytest_plugins = ["tests.fakes.repository_fixtures"]

REVIEWED = {"proof": {"checks": [{"name": "tests", "run": "true"}]}, "land": {"mode": "review"}}


def register(work: Bench, name: str, repository: str) -> None:
    """Register another workflow, on a repository."""
    text = TEXT.format(
        name=name, kind="files", path=work.folder, tracker="", repository=f"repository: {{url: {repository}}}",
        agent="{kind: command, command: 'true'}", extra="",
    )  # fmt: skip
    work.board.database.transact(
        lambda t: workflows.register(
            t, name=name, source_kind="file", source=f"/{name}/WORKFLOW.md", content=text,
            digest=hashlib.sha256(text.encode()).hexdigest(), base_dir=str(work.folder), serve_for=None,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("url", "branch"),
    [
        ("{folder}/origin.git", f"symphony/{ISSUE}@board"),
        ("origin.git", f"symphony/{ISSUE}@board"),
        ("{folder}/origin.git/", f"symphony/{ISSUE}@board"),
        ("{folder}/another.git", f"symphony/{ISSUE}"),
        ("$NOT_SET_HERE", f"symphony/{ISSUE}"),
    ],
)
def test_a_branch_carries_the_workflows_name_where_two_share_a_repository(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository, url: str, branch: str
) -> None:
    with bench(database_url, tmp_path, guardian, sections=REVIEWED) as work:
        register(work, "another", url.format(folder=tmp_path))
        work.bring(Stage.PROOF)
        run = work.step()
        assert (run.state, run.branch) == (RunState.REVIEWING, branch)
        assert repository.tip(f"refs/heads/{branch}") == run.head_sha


def test_a_run_keeps_its_branch_when_another_workflow_comes_to_its_repository(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    with bench(database_url, tmp_path, guardian, sections=REVIEWED) as work:
        work.bring(Stage.PROOF)
        work.step()
        register(work, "another", repository.url)
        work.board.sql("UPDATE runs SET state = 'queued', stage = 'agent', due_at = now(), queued_at = now()")
        work.agent("echo better > better.txt")
        work.step()
        run = work.step()
        assert (run.state, run.branch) == (RunState.REVIEWING, f"symphony/{ISSUE}")
        assert repository.tip(f"refs/heads/symphony/{ISSUE}") == run.head_sha
