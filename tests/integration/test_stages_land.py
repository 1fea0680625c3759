"""The landing stage: one lander, a row before the push, and every crash resolved forward."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from symphony.domain.outcome import Outcome
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine import execute as executing
from symphony.forges.git import GitForge
from symphony.ledger import landings
from symphony.ledger.records import Proof
from symphony.processes.guardian import Guardian
from symphony.stages import land as landing
from symphony.stages.context import RunContext
from symphony.stages.source import Code
from tests.conftest import wait_until
from tests.fakes.repositories import Repository, git
from tests.integration.stage_bench import ISSUE, Bench, another_node, bench, files_at

pytest_plugins = ["tests.fakes.repository_fixtures"]


@pytest.fixture
def work(database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository) -> Iterator[Bench]:
    """A board whose run can land."""
    with bench(database_url, tmp_path, guardian) as made:
        yield made


class Died(BaseException):
    """The worker is gone at this point: nothing of it is caught, nothing settled."""


def die_at(work: Bench, monkeypatch: pytest.MonkeyPatch, *, after_push: bool) -> str:
    """Let the lander die around its push and a sweeper hand its run back; give the intended commit."""
    push = GitForge.move_target

    def dying(self: GitForge, store: Any, commit: str, *, base: str) -> None:
        if after_push:
            push(self, store, commit, base=base)
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(GitForge, "move_target", dying)
        with pytest.raises(Died):
            work.step()
    ((state, commit),) = work.landings()
    assert state == "intended"
    for lease in work.leases():
        work.keeper.release(lease)
    hand_back(work)
    return commit


def hand_back(work: Bench) -> None:
    """Have the sweeper end the dead holder's lease."""
    work.board.expire(ISSUE, process_died=False)
    work.board.swept()
    work.deployment.settings = work.board.settings
    assert work.run.state is RunState.WAITING


def test_a_proved_head_lands_as_a_merge_that_names_its_run(work: Bench, repository: Repository) -> None:
    run = work.bring(Stage.LAND)
    run = work.step()
    assert run.state is RunState.LANDED
    tip = repository.tip()
    assert run.landed_sha == tip == work.proofs()[-1].merge_sha
    assert work.landings() == [("landed", tip)]
    assert git(repository.path, "show", "-s", "--format=%P", tip) == f"{repository.first} {run.head_sha}"
    assert git(repository.path, "log", "-1", "--format=%(trailers:key=Symphony-Run,valueonly)", tip) == f"{ISSUE}#1"
    assert git(repository.path, "rev-parse", f"{tip}^{{tree}}") == work.proofs()[-1].tree_sha
    assert not [ref for ref in repository.refs() if ref.startswith("refs/symphony/")], "snapshots are dropped"


def test_a_squash_lands_one_commit_with_the_proved_tree(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    with bench(database_url, tmp_path, guardian, sections={
        "proof": {"checks": [{"name": "tests", "run": "true"}]}, "land": {"method": "squash"}
    }) as work:  # fmt: skip
        work.bring(Stage.LAND)
        assert work.step().state is RunState.LANDED
        tip = repository.tip()
        assert git(repository.path, "show", "-s", "--format=%P", tip) == repository.first
        assert git(repository.path, "rev-parse", f"{tip}^{{tree}}") == work.proofs()[-1].tree_sha


def test_a_target_that_moved_after_the_proof_is_proved_again(work: Bench, repository: Repository) -> None:
    work.bring(Stage.LAND)
    theirs = repository.person.commit({"theirs.txt": "theirs\n"})
    repository.person.push()
    assert work.step().state is RunState.LANDED
    assert [proof.base_sha for proof in work.proofs()] == [repository.first, theirs]
    assert files_at(repository, repository.tip()).keys() >= {"new.txt", "theirs.txt"}


def test_a_target_that_moves_between_intent_and_push_is_proved_again(
    work: Bench, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.bring(Stage.LAND)
    push, raced = GitForge.move_target, []

    def racing(self: GitForge, store: Any, commit: str, *, base: str) -> None:
        if not raced:
            raced.append(repository.person.commit({"theirs.txt": "theirs\n"}))
            repository.person.push()
        push(self, store, commit, base=base)

    monkeypatch.setattr(GitForge, "move_target", racing)
    assert work.step().state is RunState.LANDED
    assert [state for state, _ in work.landings()] == ["abandoned", "landed"]
    assert git(repository.path, "show", "-s", "--format=%P", repository.tip()).split()[0] == raced[0]


def test_a_red_merge_with_the_moved_target_does_not_land(work: Bench, repository: Repository) -> None:
    work.bring(Stage.LAND)
    repository.person.commit({"theirs.txt": "theirs\n"})
    repository.person.push()
    tip = repository.tip()
    work.check("! test -f theirs.txt || ! test -f new.txt")
    run = work.step()
    assert (run.state, run.stage, run.rework_rounds) == (RunState.WAITING, Stage.AGENT, 1)
    assert repository.tip() == tip and work.landings() == []


def test_a_push_that_went_through_before_the_crash_is_landed_once(
    work: Bench, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.bring(Stage.LAND)
    commit = die_at(work, monkeypatch, after_push=True)
    theirs = repository.person
    theirs.reset("origin/main")
    later = theirs.commit({"later.txt": "later\n"})
    theirs.push()
    run = work.step()
    assert (run.state, run.landed_sha) == (RunState.LANDED, commit)
    assert work.landings() == [("landed", commit)]
    assert repository.tip() == later


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same node", "another node"])
def test_a_crash_before_the_push_pushes_the_same_commit(
    work: Bench, repository: Repository, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    work.bring(Stage.LAND)
    commit = die_at(work, monkeypatch, after_push=False)
    work.check("false")
    if elsewhere:
        with another_node(work, "node-2") as second:
            run = work.step(on=second)
    else:
        run = work.step()
    assert (run.state, run.landed_sha) == (RunState.LANDED, commit)
    assert repository.tip() == commit and len(work.proofs()) == 1


def test_a_squash_whose_lander_died_after_its_cleaning_up_is_landed_by_another_node(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: whether a landing has landed is asked before its head is, which no ref holds any more."""
    checks = {"checks": [{"name": "tests", "run": "true"}]}
    with bench(
        database_url, tmp_path, guardian, sections={"proof": checks, "land": {"method": "squash"}}
    ) as work, another_node(work, "node-2") as second:  # fmt: skip
        work.bring(Stage.PROOF)
        repository.person.commit({"theirs.txt": "theirs\n"})
        repository.person.push()
        work.step()
        done = landing._done

        def dying(context: RunContext, code: Code) -> Outcome:
            done(context, code)
            raise Died

        with monkeypatch.context() as patched:
            patched.setattr(landing, "_done", dying)
            with pytest.raises(Died):
                work.step()
        for lease in work.leases():
            work.keeper.release(lease)
        hand_back(work)
        run = work.step(on=second)
        assert (run.state, run.landed_sha) == (RunState.LANDED, repository.tip()), run.error
        assert work.landings() == [("landed", repository.tip())]


def test_an_intended_commit_that_cannot_be_made_again_is_abandoned_and_proved_anew(
    work: Bench, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.bring(Stage.LAND)
    commit = die_at(work, monkeypatch, after_push=False)
    work.tracker.put(ISSUE, title="Another title")
    work.board.poll()
    with another_node(work, "node-2") as second:
        run = work.step(on=second)
    assert run.state is RunState.LANDED and run.landed_sha != commit
    assert [state for state, _ in work.landings()] == ["abandoned", "landed"]
    assert len(work.proofs()) == 2


def test_a_crash_before_the_push_and_a_target_that_moved_on_is_proved_again(
    work: Bench, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.bring(Stage.LAND)
    commit = die_at(work, monkeypatch, after_push=False)
    repository.person.commit({"theirs.txt": "theirs\n"})
    repository.person.push()
    run = work.step()
    assert run.state is RunState.LANDED and run.landed_sha != commit
    assert [state for state, _ in work.landings()] == ["abandoned", "landed"]
    assert files_at(repository, repository.tip()).keys() >= {"new.txt", "theirs.txt"}


def test_a_declined_landing_is_put_to_a_person_in_the_repositorys_words(work: Bench, repository: Repository) -> None:
    work.bring(Stage.LAND)
    repository.hook(
        "pre-receive",
        "while read old new ref; do case $ref in refs/heads/main) echo 'main is frozen until Monday' >&2; exit 1;; esac; done",
    )
    run = work.step()
    assert run.state is RunState.BLOCKED
    assert run.question is not None and "main is frozen until Monday" in run.question
    assert repository.tip() == repository.first
    assert [state for state, _ in work.landings()] == ["abandoned"]


def test_a_repository_that_is_away_leaves_the_row_for_the_next_attempt(
    work: Bench, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.bring(Stage.LAND)
    away, push = repository.path.with_name("away.git"), GitForge.move_target

    def unreachable(self: GitForge, store: Any, commit: str, *, base: str) -> None:
        repository.path.rename(away)
        push(self, store, commit, base=base)

    with monkeypatch.context() as patched:
        patched.setattr(GitForge, "move_target", unreachable)
        run = work.step()
    assert run.state is RunState.WAITING and repository.path.exists() is False
    away.rename(repository.path)
    assert [state for state, _ in work.landings()] == ["intended"]
    assert work.step().landed_sha == repository.tip() == work.landings()[0][1]


def test_another_runs_intended_landing_is_waited_for(
    work: Bench, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.bring(Stage.LAND)
    monkeypatch.setattr(landings, "intend", lambda _transaction, _proof: None)
    run = work.step()
    assert (run.state, run.stage, run.failures) == (RunState.WAITING, Stage.LAND, 0)
    assert run.waiting_for is not None and "another landing" in run.waiting_for
    assert run.due_at - datetime.now(UTC) < timedelta(seconds=10)
    assert repository.tip() == repository.first


def test_an_intended_row_of_another_run_keeps_the_claim_away(work: Bench) -> None:
    run = work.bring(Stage.LAND)
    other = work.board.bring("DEMO-2", Stage.AGENT)
    work.board.sql(
        "INSERT INTO proofs (id, run_id, base_sha, head_sha, merge_sha, tree_sha, verdict, checks) "
        "VALUES (gen_random_uuid(), %(run)s, 'b', 'h', 'm', 't', 'passed', '[]');",
        run=other.id,
    )
    work.board.sql(
        "INSERT INTO landings (id, run_id, proof_id, target, base_sha, head_sha, merge_sha, tree_sha) "
        "SELECT gen_random_uuid(), run_id, id, %(target)s, 'b', 'h', 'm', 't' FROM proofs WHERE run_id = %(run)s",
        run=other.id, target=run.target,
    )  # fmt: skip
    assert executing.claim(work.deployment, run.id, Stage.LAND) is None


def test_a_head_that_changed_after_its_proof_does_not_land(
    work: Bench, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.bring(Stage.LAND)
    changed = repository.person.commit({"smuggled.txt": "x"})
    proving = landing.prove

    def smuggle(context: RunContext, code: Code, target: str) -> Proof | Outcome:
        proved = proving(context, code, target)
        context.write(head_sha=changed)
        return proved

    monkeypatch.setattr(landing, "prove", smuggle)
    assert work.step().state is RunState.FAILED
    assert repository.tip() == repository.first and work.landings() == []


def test_the_same_inputs_land_the_same_commit(work: Bench, repository: Repository) -> None:
    """Rule: what a dead lander intended is what its successor, on any node, makes."""
    work.bring(Stage.LAND)
    proved = work.proofs()[-1].merge_sha
    work.board.sql("DELETE FROM proofs")
    with another_node(work, "node-2") as second:
        assert work.step(on=second).landed_sha == proved == repository.tip()


def test_what_was_asked_before_the_intent_is_done_in_place_of_the_landing(work: Bench, repository: Repository) -> None:
    """Rule: a person's cancel is either refused because the push is intended, or it prevents that."""
    work.bring(Stage.LAND)
    theirs = repository.person.commit({"theirs.txt": "x"})
    repository.person.push()
    work.check(f"touch {work.folder}/ready; until test -e {work.folder}/go; do sleep 0.02; done")
    thread, answers = work.step_aside()
    wait_until(lambda: (work.folder / "ready").exists())
    work.board.sql("UPDATE runs SET request = 'cancel', request_reason = 'enough'")
    (work.folder / "go").touch()
    thread.join(30)
    (run,) = answers
    assert run.state is RunState.CANCELLED
    assert repository.tip() == theirs and not work.landings()
