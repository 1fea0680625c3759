"""What an agent finds in its workspace when its work is sent back: its work, or the target anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from symphony.domain.stage import Stage
from symphony.engine import reconcile
from symphony.processes.guardian import Guardian
from tests.fakes.repositories import Repository
from tests.integration.stage_bench import ISSUE, bench

pytest_plugins = ["tests.fakes.repository_fixtures"]

LEAVES = "cat > /dev/null; ls > seen.txt; echo x > first.txt"


@pytest.mark.parametrize(("way", "keeps"), [("continue", True), ("restart", False)])
@pytest.mark.parametrize("by_person", [False, True], ids=["proof", "person"])
def test_what_is_sent_back_goes_on_or_begins_upon_the_target(
    way: str, keeps: bool, by_person: bool, database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    sections = {"land": {"rework": way}}
    with bench(database_url, tmp_path, guardian, sections=sections) as work:
        work.agent(LEAVES)
        work.check("[ ! -e first.txt ] || [ -e second.txt ]")
        work.bring(Stage.PROOF)
        if by_person:
            run = work.run
            work.board.database.transact(lambda t: reconcile.rework(t, work.board.rules, run, "Again."))
        else:
            work.step()
        work.agent(f"{LEAVES}; echo y > second.txt")
        while work.run.stage is not Stage.PROOF:
            work.step()
        assert ("first.txt" in (work.workspace / "seen.txt").read_text()) is keeps
        work.step()
        work.step()
        assert str(work.run.state) == "landed"
        assert work.board.run(ISSUE).rework_rounds == (0 if by_person else 1)
