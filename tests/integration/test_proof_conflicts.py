"""Conflicts with the target: what the agent is told of them, and what of them never lands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.processes.guardian import Guardian
from tests.fakes.repositories import Repository
from tests.integration.stage_bench import Bench, bench, files_at

pytest_plugins = ["tests.fakes.repository_fixtures"]


@pytest.fixture
def work(database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository) -> Iterator[Bench]:
    """A board whose check finds nothing wrong with any tree."""
    with bench(database_url, tmp_path, guardian) as made:
        yield made


def conflict(work: Bench, repository: Repository) -> None:
    """Bring a run to its rework after a conflict in README.md."""
    work.agent("sed -i 's/two/TWO/' README.md; echo a > new.txt")
    work.bring(Stage.PROOF)
    repository.person.commit({"README.md": "one\nzwei\nthree\n"})
    repository.person.push()
    run = work.step()
    assert (run.stage, run.rework_rounds) == (Stage.AGENT, 1)


def test_markers_that_the_agent_left_do_not_land(work: Bench, repository: Repository) -> None:
    conflict(work, repository)
    work.agent("echo resolved > said.txt")
    work.step()
    run = work.step()
    assert (run.state, run.stage, run.rework_rounds) == (RunState.WAITING, Stage.AGENT, 2)
    assert run.feedback is not None and "- `README.md`" in run.feedback and "new.txt" not in run.feedback
    assert work.proofs() == []
    work.agent("printf 'one\\nZWEI\\nthree\\n' > README.md")
    for _ in range(3):
        run = work.step()
    assert run.state is RunState.LANDED
    assert files_at(repository, repository.tip())["README.md"] == "one\nZWEI\nthree"


def test_a_person_who_hands_over_amid_a_conflict_does_not_land_the_markers(work: Bench, repository: Repository) -> None:
    conflict(work, repository)
    work.board.sql(
        "UPDATE runs SET state = 'queued', stage = 'land', waiting_for = NULL, approved_at = now(), due_at = now()"
    )
    assert work.step().stage is Stage.AGENT
    assert "<<<<<<<" not in files_at(repository, repository.tip())["README.md"]


def test_markers_that_people_wrote_are_their_own(work: Bench, repository: Repository) -> None:
    written = f"<<<<<<< {'0' * 40}\n"
    repository.person.commit({"legacy.txt": written, "both.txt": f"{written}a\n"})
    repository.person.push()
    work.agent("sed -i s/a/b/ both.txt; rm legacy.txt; printf '<<<<<<< HEAD\\na\\n=======\\nb\\n>>>>>>> x\\n' > manual.txt")
    work.bring(Stage.LAND)
    assert work.step().state is RunState.LANDED


def test_what_is_told_of_many_conflicts_is_bounded(work: Bench, repository: Repository) -> None:
    names = [f"file-{number:03}-{'x' * 60}.txt" for number in range(200)]
    repository.person.commit({name: "a\n" * 300 for name in names})
    repository.person.push()
    work.agent("for name in file-*; do yes mine | head -300 > $name; done")
    work.bring(Stage.PROOF)
    repository.person.commit({name: "theirs\n" * 300 for name in names})
    repository.person.push()
    run = work.step()
    assert run.stage is Stage.AGENT and run.feedback is not None
    assert len(run.feedback) < 13_000
    assert f"- `{names[0]}`" in run.feedback and "<<<<<<<" in run.feedback
    assert run.feedback.splitlines()[-1].startswith("- and ")
