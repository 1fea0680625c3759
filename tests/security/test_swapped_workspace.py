"""An agent that puts another path in its workspace's place: nothing there is read as its work, and nothing runs there."""

from __future__ import annotations

from pathlib import Path

import pytest

from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.processes.guardian import Guardian
from tests.fakes.repositories import Repository, git
from tests.integration.stage_bench import ISSUE, bench

pytest_plugins = ["tests.fakes.repository_fixtures"]


@pytest.mark.parametrize("end", ["exit 0", "exit 3"])
def test_a_link_in_the_workspaces_place_is_not_followed(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository, end: str
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    (private / "letter.txt").write_text("dear diary")
    with bench(
        database_url, tmp_path, guardian, sections={"hooks": {"after_run": "touch hooked"}}, agent={"max_attempts": 1}
    ) as work:  # fmt: skip
        work.agent(f"cd ..; mv {ISSUE} elsewhere; ln -s {private} {ISSUE}; {end}")
        work.bring(Stage.AGENT)
        run = work.step()
        assert run.state is RunState.FAILED and run.head_sha is None
        assert [path.name for path in private.iterdir()] == ["letter.txt"]
        assert "letter.txt" not in git(repository.path, "log", "--all", "--name-only", "--format=")


def test_a_workspace_that_its_agent_removed_is_made_again(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    with bench(database_url, tmp_path, guardian) as work:
        work.agent(f"cd ..; rm -rf {ISSUE}")
        work.bring(Stage.AGENT)
        run = work.step()
        assert run.state is RunState.WAITING and run.error is not None and "is gone" in run.error
        work.agent("echo work > new.txt")
        assert work.step().stage is Stage.PROOF
