"""Hidden refs of ended runs at the repository: dropped a day after the end, few at a time, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine import refs
from symphony.processes.guardian import Guardian
from tests.fakes.repositories import Repository, git
from tests.integration.stage_bench import CHANGE, ISSUE, Bench, bench

pytest_plugins = ["tests.fakes.repository_fixtures"]

STRANGE = "refs/symphony/wip/00000000-0000-7000-8000-000000000000/1"


@pytest.fixture
def work(database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository) -> Iterator[Bench]:
    """A board on a repository of which the node has no mirror yet."""
    with bench(database_url, tmp_path, guardian) as made:
        made.agent(CHANGE)
        yield made


def there(work: Bench) -> set[str]:
    """Give the hidden refs at the repository."""
    return set(git(work.folder, "ls-remote", str(work.folder / "origin.git"), "refs/symphony/wip/*").split()[1::2])


def ended(work: Bench, *, ago: str) -> UUID:
    """Have a run that kept work at the repository and then ended without landing."""
    run = work.bring(Stage.PROOF)
    work.tracker.person_moves(ISSUE, "Cancelled")
    work.board.poll()
    assert work.run.state is RunState.CANCELLED
    work.board.sql(
        "UPDATE runs SET finished_at = now() - CAST(%(ago)s AS interval), created_at = now() - interval '9 days' "
        "WHERE id = %(id)s",
        ago=ago,
        id=run.id,
    )
    return run.id


def another_hour(work: Bench) -> None:
    """Let an hour pass since the last look."""
    for url in work.deployment.refs_looked_at:
        work.deployment.refs_looked_at[url] -= 3600


def test_only_refs_of_runs_that_ended_a_day_ago_are_dropped(work: Bench) -> None:
    old = ended(work, ago="25 hours")
    young = ended(work, ago="23 hours")
    live = work.bring(Stage.PROOF).id
    git(work.folder / "origin.git", "update-ref", STRANGE, "main")
    before = there(work)
    assert {UUID(ref.split("/")[3]) for ref in before} == {old, young, live, UUID(STRANGE.split("/")[3])}
    assert refs.sweep(work.deployment, work.guardian) == 1
    assert {ref for ref in before if str(old) in ref} == before - there(work)
    assert work.step().state is RunState.QUEUED, "the live run goes on as if nothing had been"


def test_a_repository_is_looked_at_once_an_hour_and_again_while_there_is_more(
    work: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ended(work, ago="2 days")
    for token in range(100, 103):
        git(work.folder / "origin.git", "update-ref", f"refs/symphony/wip/{run}/{token}", "main")
    monkeypatch.setattr(refs, "MOST", 3)
    assert [refs.sweep(work.deployment, work.guardian) for _ in range(3)] == [3, 1, 0]
    assert there(work) == set()
    git(work.folder / "origin.git", "update-ref", f"refs/symphony/wip/{run}/100", "main")
    assert refs.sweep(work.deployment, work.guardian) == 0
    another_hour(work)
    assert refs.sweep(work.deployment, work.guardian) == 1


def test_a_repository_that_is_away_holds_up_nothing_and_has_its_turn_again(work: Bench) -> None:
    ended(work, ago="2 days")
    origin = work.folder / "origin.git"
    origin.rename(work.folder / "away.git")
    assert refs.sweep(work.deployment, work.guardian) == 0
    (work.folder / "away.git").rename(origin)
    another_hour(work)
    assert refs.sweep(work.deployment, work.guardian) == 1
    assert there(work) == set()


def test_a_node_without_a_mirror_drops_them_too(work: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended(work, ago="2 days")
    work.deployment.settings = work.deployment.settings.model_copy(update={"home": tmp_path / "elsewhere"})
    assert refs.sweep(work.deployment, work.guardian) == 1
    assert there(work) == set()
